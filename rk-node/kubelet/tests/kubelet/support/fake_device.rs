//! A device plugin with two devices, behind the real stubs.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use rk_plugin_api::device::device_plugin_server::{DevicePlugin, DevicePluginServer};
use rk_plugin_api::device::registration_client::RegistrationClient;
use rk_plugin_api::device::*;
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::eventually;
use super::fake_plugin::{Answer, serve};

pub const RESOURCE: &str = "example.com/lamp";

#[derive(Default)]
pub struct Seen {
    /// How often devices were asked for.
    pub allocations: usize,
    /// None are given away, for this reason.
    pub broken: Option<String>,
}

/// The plugin; it goes with it.
pub struct FakeDevice {
    seen: Arc<Mutex<Seen>>,
    _task: AbortOnDropHandle<()>,
}

struct Service {
    seen: Arc<Mutex<Seen>>,
}

impl FakeDevice {
    /// Serves the plugin in `dir` and registers it with the kubelet there.
    pub async fn start(dir: &Path) -> Self {
        // A kubelet that begins takes all other sockets here away before it makes its own.
        eventually("the kubelet's socket for plugins", 30, || async {
            tokio::net::UnixStream::connect(dir.join("kubelet.sock")).await.map_err(|e| e.to_string())
        })
        .await;
        let seen = Arc::<Mutex<Seen>>::default();
        let service = Service { seen: seen.clone() };
        let task = serve(&dir.join("lamp.sock"), Routes::new(DevicePluginServer::new(service)));
        let mut kubelet = RegistrationClient::new(rk_cri_api::connect(dir.join("kubelet.sock")));
        let wish = |resource: &str| RegisterRequest {
            version: "v1beta1".into(),
            endpoint: "lamp.sock".into(),
            resource_name: resource.into(),
            options: Some(DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true }),
        };
        kubelet.register(wish("lamp")).await.expect_err("a resource of the project's own is nobody's to bring");
        kubelet.register(wish(RESOURCE)).await.unwrap();
        Self { seen, _task: task }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.allocations += 1;
        if let Some(problem) = &seen.broken {
            return Err(Status::unknown(problem.clone()));
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
