//! What fake plugins share that register with the kubelet: their sockets, and what the kubelet says of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rk_plugin_api::registration::registration_server::{Registration, RegistrationServer};
use rk_plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub type Answer<T> = Result<Response<T>, Status>;

/// Whether the kubelet has taken a plugin on, and why not.
type Outcome = Option<(bool, String)>;

/// A plugin that is served and registers; it and its sockets go with it.
pub struct FakePlugin {
    outcome: Arc<Mutex<Outcome>>,
    sockets: [PathBuf; 2],
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Registrar {
    info: PluginInfo,
    outcome: Arc<Mutex<Outcome>>,
}

/// Serves behind a socket until the handle goes.
pub fn serve(socket: &Path, calls: Routes) -> AbortOnDropHandle<()> {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(calls).serve_with_incoming(incoming);
    AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }))
}

impl FakePlugin {
    /// Serves the calls of a plugin below the kubelet's directory, and registers it as one of this kind.
    pub fn start(kubelet: &Path, kind: &str, name: &str, versions: &[&str], calls: Routes) -> Self {
        let endpoint = kubelet.join("plugins").join(name).join("plugin.sock");
        let registry = kubelet.join("plugins_registry").join(format!("{name}-reg.sock"));
        let info = PluginInfo {
            r#type: kind.into(),
            name: name.into(),
            endpoint: endpoint.to_string_lossy().into_owned(),
            supported_versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        };
        let outcome = Arc::<Mutex<Outcome>>::default();
        let registrar = Registrar { info, outcome: outcome.clone() };
        // Whoever hears of it asks at once.
        let plugin = serve(&endpoint, calls);
        let registration = serve(&registry, Routes::new(RegistrationServer::new(registrar)));
        Self { outcome, sockets: [registry, endpoint], _tasks: [registration, plugin] }
    }

    /// What the kubelet said of the registration.
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FakePlugin {
    fn drop(&mut self) {
        self.sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Answer<PluginInfo> {
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Answer<RegistrationStatusResponse> {
        let status = request.into_inner();
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some((status.plugin_registered, status.error));
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
