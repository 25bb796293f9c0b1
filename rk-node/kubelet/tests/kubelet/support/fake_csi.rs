//! A small CSI driver that keeps volumes in directories, behind the real stubs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rk_plugin_api::csi::node_server::{Node, NodeServer};
use rk_plugin_api::csi::node_service_capability::{Rpc, Type, rpc};
use rk_plugin_api::csi::*;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::fake_plugin::{Answer, FakePlugin};

pub const DRIVER: &str = "directories.csi.example";

#[derive(Default)]
pub struct Seen {
    /// Names of calls that change something, in order, with the volume.
    pub calls: Vec<(&'static str, String)>,
    /// The last publication's context.
    pub context: HashMap<String, String>,
    /// The last publication's secrets.
    pub secrets: HashMap<String, String>,
    /// Calls that fail, and with what.
    pub refuses: HashMap<&'static str, Code>,
    /// By so many less than seven is how many volumes the node takes.
    pub fewer: i64,
    /// Bytes of every volume.
    pub size: i64,
}

/// The driver; it goes with it.
pub struct FakeCsi {
    seen: Arc<Mutex<Seen>>,
    pub plugin: FakePlugin,
}

struct Service {
    seen: Arc<Mutex<Seen>>,
}

impl FakeCsi {
    /// Starts the driver below the kubelet's directory.
    pub fn start(kubelet: &Path) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let calls = Routes::new(NodeServer::new(Service { seen: seen.clone() }));
        Self { seen, plugin: FakePlugin::start(kubelet, "CSIPlugin", DRIVER, &["1.0.0"], calls) }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn calls(&self) -> Vec<&'static str> {
        self.seen().calls.iter().map(|(name, _)| *name).collect()
    }

    /// The calls of these names since the last time, those that were repeated once.
    pub fn take_calls(&self, of: &[&str]) -> Vec<&'static str> {
        let all = std::mem::take(&mut self.seen().calls);
        let mut calls: Vec<_> = all.into_iter().map(|(name, _)| name).filter(|name| of.contains(name)).collect();
        calls.dedup();
        calls
    }
}

impl Service {
    fn note(&self, call: &'static str, volume: &str) -> Result<MutexGuard<'_, Seen>, Status> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.calls.push((call, volume.to_owned()));
        match seen.refuses.get(call).copied() {
            Some(code) => Err(Status::new(code, "the disk is on fire")),
            None => Ok(seen),
        }
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn node_stage_volume(&self, request: Request<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        let request = request.into_inner();
        assert!(Path::new(&request.staging_target_path).is_dir(), "the staging path is made by the kubelet");
        drop(self.note("stage", &request.volume_id)?);
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        drop(self.note("unstage", &request.into_inner().volume_id)?);
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        let request = request.into_inner();
        let mut seen = self.note("publish", &request.volume_id)?;
        seen.context = request.volume_context;
        seen.secrets = request.secrets;
        std::fs::create_dir_all(&request.target_path)?;
        std::fs::write(Path::new(&request.target_path).join("of-driver"), request.volume_id)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        drop(self.note("unpublish", &request.volume_id)?);
        // <pod>/volumes/<plugin>/<volume>/mount
        let pod = Path::new(&request.target_path).ancestors().nth(4).map(|pod| pod.join("volume-subpaths"));
        if pod.is_some_and(|parts| parts.exists()) {
            return Err(Status::internal("parts of the volume are still mounted"));
        }
        std::fs::remove_dir_all(&request.target_path)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Answer<NodeGetVolumeStatsResponse> {
        let known = Path::new(&request.into_inner().volume_path).join("of-driver").exists();
        let total = self.seen.lock().unwrap_or_else(PoisonError::into_inner).size;
        let bytes = VolumeUsage { total, available: total - 100, used: 100, unit: volume_usage::Unit::Bytes as i32 };
        if !known {
            return Err(Status::not_found("no such volume"));
        }
        Ok(Response::new(NodeGetVolumeStatsResponse { usage: vec![bytes], volume_condition: None }))
    }

    async fn node_expand_volume(&self, request: Request<NodeExpandVolumeRequest>) -> Answer<NodeExpandVolumeResponse> {
        let request = request.into_inner();
        let wanted = request.capacity_range.unwrap_or_default().required_bytes;
        assert!(Path::new(&request.volume_path).join("of-driver").exists(), "what grows is published");
        self.note("expand", &request.volume_id)?.size = wanted;
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes: wanted }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        let can = [rpc::Type::StageUnstageVolume, rpc::Type::ExpandVolume, rpc::Type::GetVolumeStats];
        let capability = |can: rpc::Type| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: can as i32 })) };
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities: can.map(capability).to_vec() }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        let fewer = self.seen.lock().unwrap_or_else(PoisonError::into_inner).fewer;
        let segments = HashMap::from([("topology.csi.example/rack".to_owned(), "r1".to_owned())]);
        Ok(Response::new(NodeGetInfoResponse {
            node_id: "node-a-of-driver".into(),
            max_volumes_per_node: 7 - fewer,
            accessible_topology: Some(Topology { segments }),
        }))
    }
}
