//! What drivers for tests in guests share: their sockets, and how they make themselves known.

use std::path::Path;

use rk_plugin_api::registration::registration_server::{Registration, RegistrationServer};
use rk_plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";

/// What a call is answered with.
pub type Answer<T> = Result<Response<T>, Status>;

struct Registrar(PluginInfo);

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Answer<PluginInfo> {
        Ok(Response::new(self.0.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Answer<RegistrationStatusResponse> {
        let status = request.into_inner();
        eprintln!("registered: {} {}", status.plugin_registered, status.error);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// A socket in the place of one that an earlier driver left.
fn listen(path: &Path) -> std::io::Result<UnixListenerStream> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path).map(UnixListenerStream::new)
}

/// Serves the calls of a plugin at its endpoint and makes it known. With an argument the program only copies itself there.
pub async fn run(info: PluginInfo, calls: Routes) -> anyhow::Result<()> {
    if let Some(place) = std::env::args().nth(1) {
        std::fs::copy(std::env::current_exe()?, place)?;
        return Ok(());
    }
    let registry = Path::new(REGISTRY).join(format!("{}-reg.sock", info.name));
    let plugin = Server::builder().add_routes(calls).serve_with_incoming(listen(Path::new(&info.endpoint))?);
    let plugin = tokio::spawn(plugin);
    let registration = RegistrationServer::new(Registrar(info));
    Server::builder().add_service(registration).serve_with_incoming(listen(&registry)?).await?;
    plugin.await??;
    Ok(())
}
