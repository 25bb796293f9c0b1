//! Where device plugins register (`device-plugins/kubelet.sock`), and the streams of their devices.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use rk_plugin_api::device as api;
use rk_plugin_api::device::registration_server::{Registration, RegistrationServer};
use rk_plugin_api::podresources::pod_resources_lister_server::PodResourcesListerServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::manager::{Devices, is_extended};
use super::podresources::Lister;
use crate::context::Shared;
use crate::meters::Meters;

/// The only version of the protocol.
const VERSION: &str = "v1beta1";

/// Serves plugins, and those who ask which pod holds what, for ever.
pub async fn serve(context: Shared) {
    let devices = context.devices.clone();
    // Plugins watch for the kubelet's socket to come anew and then register again; what is left of before would mislead them.
    for entry in fs::read_dir(devices.dir()).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_socket()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let listing = context.options.dirs.kubelet.join("pod-resources/kubelet.sock");
    let (plugins, lister) = match (listen(&devices.dir().join("kubelet.sock")), listen(&listing)) {
        (Ok(plugins), Ok(lister)) => (plugins, lister),
        (Err(error), _) | (_, Err(error)) => return tracing::error!("device plugins cannot register: {error}"),
    };
    let registration = tonic::transport::Server::builder()
        .add_service(RegistrationServer::new(Registrar { devices, meters: context.runtime.meters.clone() }))
        .serve_with_incoming(UnixListenerStream::new(plugins));
    let listing = tonic::transport::Server::builder()
        .add_service(PodResourcesListerServer::new(Lister::new(context)))
        .serve_with_incoming(UnixListenerStream::new(lister));
    if let Err(error) = tokio::try_join!(registration, listing) {
        tracing::error!("the servers of devices ended: {error}");
    }
}

fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let _ = fs::remove_file(path);
    UnixListener::bind(path)
}

struct Registrar {
    devices: Devices,
    meters: Arc<Meters>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<api::RegisterRequest>) -> Result<Response<api::Empty>, Status> {
        let request = request.into_inner();
        if request.version != VERSION {
            return Err(Status::invalid_argument(format!(
                "requested API version {:?} is not supported by kubelet. Supported version is {VERSION:?}",
                request.version
            )));
        }
        if !is_extended(&request.resource_name) {
            return Err(Status::invalid_argument(format!(
                "the ResourceName {:?} is invalid: it must be that of an extended resource",
                request.resource_name
            )));
        }
        if request.endpoint.is_empty() || request.endpoint.contains("..") {
            return Err(Status::invalid_argument("the endpoint must name a socket beside the kubelet's"));
        }
        let channel = rk_cri_api::connect(self.devices.dir().join(&request.endpoint));
        tracing::info!(resource = %request.resource_name, "a device plugin has registered");
        self.meters.entry.device_plugins.add(&[request.resource_name.as_str()]);
        tokio::spawn(
            follow(self.devices.clone(), request.resource_name, channel, request.options.unwrap_or_default()).boxed(),
        );
        Ok(Response::new(api::Empty {}))
    }
}

/// Follows the devices of a plugin until it goes or another one takes its resource.
async fn follow(
    devices: Devices,
    resource: String,
    channel: tonic::transport::Channel,
    options: api::DevicePluginOptions,
) {
    let plugin = devices.register(&resource, channel, options);
    match plugin.client().list_and_watch(api::Empty {}).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Ok(Some(list)) = stream.message().await {
                if !devices.update(&resource, plugin.generation, list.devices) {
                    return;
                }
            }
        }
        Err(status) => tracing::warn!(resource, "a device plugin does not tell its devices: {}", status.message()),
    }
    tracing::info!(resource, "a device plugin has gone");
    devices.gone(&resource, plugin.generation);
}
