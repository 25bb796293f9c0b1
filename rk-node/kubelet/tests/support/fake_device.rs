//! A device plugin with two devices, behind the real stubs.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::Stream;
use rk_plugin_api::device::device_plugin_server::{DevicePlugin, DevicePluginServer};
use rk_plugin_api::device::registration_client::RegistrationClient;
use rk_plugin_api::device::*;
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use super::eventually;

pub const RESOURCE: &str = "example.com/lamp";

/// How often a plugin of this process was asked for devices.
pub static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// Whether plugins of this process give nothing away.
pub static REFUSES: AtomicBool = AtomicBool::new(false);

struct Service;

/// Serves a plugin in `dir` and registers it with the kubelet there. It goes with the handle.
pub async fn start_device_plugin(dir: &Path) -> AbortOnDropHandle<()> {
    // A kubelet that begins takes all other sockets here away before it makes its own.
    eventually("the kubelet's socket for plugins", 30, || async {
        tokio::net::UnixStream::connect(dir.join("kubelet.sock")).await.map_err(|e| e.to_string())
    })
    .await;
    let listener = tokio::net::UnixListener::bind(dir.join("lamp.sock")).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server =
        tonic::transport::Server::builder().add_service(DevicePluginServer::new(Service)).serve_with_incoming(incoming);
    let task = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
    let mut kubelet = RegistrationClient::new(rk_cri_api::connect(dir.join("kubelet.sock")));
    let wish = |resource: &str| RegisterRequest {
        version: "v1beta1".into(),
        endpoint: "lamp.sock".into(),
        resource_name: resource.into(),
        options: Some(DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true }),
    };
    kubelet.register(wish("lamp")).await.expect_err("a resource of the project's own is nobody's to bring");
    kubelet.register(wish(RESOURCE)).await.unwrap();
    task
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(&self, _: Request<Empty>) -> Answer<DevicePluginOptions> {
        Ok(Response::new(DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Answer<Self::ListAndWatchStream> {
        let device = |id: &str, health: &str| Device { id: id.into(), health: health.into(), topology: None };
        let devices = vec![device("left", "Healthy"), device("right", "Healthy"), device("broken", "Unhealthy")];
        let first = tokio_stream::once(Ok(ListAndWatchResponse { devices }));
        Ok(Response::new(Box::pin(first.chain(tokio_stream::pending()))))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<PreferredAllocationRequest>,
    ) -> Answer<PreferredAllocationResponse> {
        let one = ContainerPreferredAllocationResponse { device_ids: vec!["right".into()] };
        Ok(Response::new(PreferredAllocationResponse { container_responses: vec![one] }))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Answer<AllocateResponse> {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        if REFUSES.load(Ordering::Relaxed) {
            return Err(Status::unknown("no power"));
        }
        let ids = request.into_inner().container_requests.remove(0).devices_ids.join(",");
        Ok(Response::new(AllocateResponse {
            container_responses: vec![ContainerAllocateResponse {
                envs: HashMap::from([("LAMP".to_owned(), ids)]),
                devices: vec![DeviceSpec {
                    container_path: "/dev/lamp".into(),
                    host_path: "/dev/null".into(),
                    permissions: "rw".into(),
                }],
                ..Default::default()
            }],
        }))
    }

    async fn pre_start_container(&self, _: Request<PreStartContainerRequest>) -> Answer<PreStartContainerResponse> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
