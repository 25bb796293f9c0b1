//! A DRA driver with one lamp, and how the lamp is, behind the real stubs.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use rk_plugin_api::dra::v1::dra_plugin_server::{DraPlugin, DraPluginServer};
use rk_plugin_api::dra::v1::*;
use rk_plugin_api::dra_health::dra_resource_health_server::{DraResourceHealth, DraResourceHealthServer};
use rk_plugin_api::dra_health::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::fake_plugin::{Answer, FakePlugin};

pub const LAMPS: &str = "lamps.example.com";

type Told = Result<NodeWatchResourcesResponse, Status>;

#[derive(Default)]
pub struct Seen {
    /// What was asked, in order, with the claim.
    pub calls: Vec<String>,
    /// Nothing is done, for this reason.
    pub broken: Option<String>,
    /// How the lamp is.
    health: (HealthStatus, String),
    listeners: Vec<mpsc::Sender<Told>>,
}

impl Seen {
    fn told(&self) -> Told {
        let device = DeviceIdentifier { pool_name: "pool".into(), device_name: "left".into() };
        let (health, message) = self.health.clone();
        let told = DeviceHealth {
            device: Some(device),
            health: health as i32,
            health_check_timeout_seconds: 600,
            message,
            ..Default::default()
        };
        Ok(NodeWatchResourcesResponse { devices: vec![told] })
    }

    /// The lamp is like this from now on.
    pub fn turn(&mut self, health: HealthStatus, message: &str) {
        self.health = (health, message.into());
        let told = self.told();
        self.listeners.retain(|listener| listener.try_send(told.clone()).is_ok());
    }

    fn note(&mut self, call: &str, claim: &Claim) -> String {
        self.calls.push(format!("{call} {}/{}", claim.namespace, claim.name));
        self.broken.clone().unwrap_or_default()
    }
}

/// The driver; it goes with it.
pub struct FakeDra {
    seen: Arc<Mutex<Seen>>,
    pub plugin: FakePlugin,
}

#[derive(Clone)]
struct Service {
    seen: Arc<Mutex<Seen>>,
}

impl FakeDra {
    /// Starts the driver below the kubelet's directory.
    pub fn start(kubelet: &Path) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let service = Service { seen: seen.clone() };
        let calls = Routes::new(DraPluginServer::new(service.clone()));
        let calls = calls.add_service(DraResourceHealthServer::new(service));
        let versions = ["v1.DRAPlugin", "v1beta1.DRAPlugin"];
        Self { seen, plugin: FakePlugin::start(kubelet, "DRAPlugin", LAMPS, &versions, calls) }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl DraPlugin for Service {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Answer<NodePrepareResourcesResponse> {
        let mut seen = self.seen();
        let lamp = Device {
            request_names: vec!["lamp".into()],
            pool_name: "pool".into(),
            device_name: "left".into(),
            cdi_device_ids: vec!["example.com/lamp=left".into()],
            share_id: None,
        };
        let answer = |claim: Claim| {
            let error = seen.note("prepare", &claim);
            (claim.uid, NodePrepareResourceResponse { devices: vec![lamp.clone()], error })
        };
        let claims = request.into_inner().claims.into_iter().map(answer).collect();
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Answer<NodeUnprepareResourcesResponse> {
        let mut seen = self.seen();
        let answer = |claim: Claim| {
            let error = seen.note("unprepare", &claim);
            (claim.uid, NodeUnprepareResourceResponse { error })
        };
        let claims = request.into_inner().claims.into_iter().map(answer).collect();
        Ok(Response::new(NodeUnprepareResourcesResponse { claims }))
    }
}

#[tonic::async_trait]
impl DraResourceHealth for Service {
    type NodeWatchResourcesStream = Pin<Box<dyn Stream<Item = Told> + Send>>;

    async fn node_watch_resources(
        &self,
        _: Request<NodeWatchResourcesRequest>,
    ) -> Answer<Self::NodeWatchResourcesStream> {
        let (listener, told) = mpsc::channel(8);
        let mut seen = self.seen();
        // It is the first in an empty queue.
        let _ = listener.try_send(seen.told());
        seen.listeners.push(listener);
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}
