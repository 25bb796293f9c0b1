//! The CSI drivers that have registered on this node.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rk_plugin_api::csi::node_client::NodeClient;
use rk_plugin_api::csi::node_service_capability::{Type, rpc};
use rk_plugin_api::csi::{NodeGetCapabilitiesRequest, NodeGetInfoRequest};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::meters::Meters;
use crate::plugins::{bounded, code, words};

/// Longest call: mounting a network file system may wait for its server.
const CALL: Duration = Duration::from_secs(120);
/// Longest question about the driver itself.
const ASK: Duration = Duration::from_secs(10);

/// A driver and what it said of itself.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// The node, as the driver calls it.
    pub node_id: String,
    /// Most volumes on this node, when there is a limit.
    pub max_volumes: Option<i32>,
    /// Where on the world the node is, as far as the driver is concerned.
    pub topology: BTreeMap<String, String>,
    capabilities: Vec<i32>,
    channel: Channel,
    meters: Arc<Meters>,
}

/// Most volumes on a node, as its driver tells; zero and less mean that there is no limit.
fn most(told: i64) -> Option<i32> {
    i32::try_from(told).ok().filter(|n| *n > 0)
}

/// What a call failed with, for people.
pub fn failed(what: &str, status: &Status) -> String {
    format!("{what}: {}", words(status))
}

/// Whether a call that failed has left nothing under way, as upstream reads CSI's codes; a connection that broke tells nothing.
pub fn is_final(status: &Status) -> bool {
    let open = [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::ResourceExhausted, Code::Aborted];
    status.source().is_none() && !open.contains(&status.code())
}

impl Driver {
    /// The driver behind a socket, of which nothing is known but its name.
    fn new(name: &str, endpoint: PathBuf, meters: Arc<Meters>) -> Self {
        Self {
            name: name.to_owned(),
            node_id: String::new(),
            max_volumes: None,
            topology: BTreeMap::new(),
            capabilities: Vec::new(),
            channel: rk_cri_api::connect(endpoint),
            meters,
        }
    }

    /// Asks the driver behind a socket about itself.
    pub async fn ask(name: &str, endpoint: PathBuf, meters: Arc<Meters>) -> Result<Self, String> {
        let unknown = Self::new(name, endpoint, meters);
        let mut client = unknown.client();
        let info = unknown.ask_quickly("NodeGetInfo", client.node_get_info(NodeGetInfoRequest {})).await?;
        let asking = client.node_get_capabilities(NodeGetCapabilitiesRequest {});
        let answer = unknown.ask_quickly("NodeGetCapabilities", asking).await?;
        let capabilities =
            answer.capabilities.into_iter().filter_map(|c| c.r#type).map(|Type::Rpc(rpc)| rpc.r#type).collect();
        Ok(Self {
            node_id: info.node_id,
            max_volumes: most(info.max_volumes_per_node),
            topology: info.accessible_topology.map(|t| t.segments.into_iter().collect()).unwrap_or_default(),
            capabilities,
            ..unknown
        })
    }

    /// One that nobody has asked, for tests of what becomes of its words.
    #[cfg(test)]
    pub fn of(name: &str, node_id: &str, topology: BTreeMap<String, String>) -> Self {
        let unknown = Self::new(name, "/nowhere.sock".into(), Arc::default());
        Self { node_id: node_id.to_owned(), topology, ..unknown }
    }

    /// Whether the driver can do this.
    pub fn can(&self, capability: rpc::Type) -> bool {
        self.capabilities.contains(&(capability as i32))
    }

    /// Whether it knows volumes that one pod of a node writes from those that several do.
    pub fn tells_writers_apart(&self) -> bool {
        self.can(rpc::Type::SingleNodeMultiWriter)
    }

    /// A client for calls; bound each with [`Driver::call`].
    pub fn client(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// One question about a volume.
    pub async fn ask_quickly<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        self.counted(what, call, ASK).await.map_err(|status| words(&status))
    }

    /// One call that mounts, unmounts or grows; the error is the driver's own.
    pub async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        self.counted(what, call, CALL).await
    }

    async fn counted<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
        limit: Duration,
    ) -> Result<T, Status> {
        let begun = Instant::now();
        let answer = bounded(what, call, limit).await;
        let code = code(answer.as_ref().err().map_or(Code::Ok, Status::code));
        self.meters.storage.called(&self.name, what, &code, begun.elapsed());
        answer
    }

    /// Asks how many volumes the node takes now.
    async fn ask_most(&self) -> Result<Option<i32>, String> {
        let info = self.ask_quickly("NodeGetInfo", self.client().node_get_info(NodeGetInfoRequest {})).await?;
        Ok(most(info.max_volumes_per_node))
    }
}

/// All registered drivers; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Drivers {
    known: Arc<RwLock<BTreeMap<String, Driver>>>,
    /// Drivers that could not attach a volume for want of room.
    full: Arc<Mutex<BTreeSet<String>>>,
    meters: Arc<Meters>,
}

impl Drivers {
    /// None so far; what they do is counted here.
    pub fn new(meters: Arc<Meters>) -> Self {
        Self { meters, ..Self::default() }
    }

    /// Where their work is counted.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Adds a driver, or replaces it.
    pub fn add(&self, driver: Driver) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(driver.name.clone(), driver);
    }

    /// Forgets a driver.
    pub fn remove(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Driver> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The driver takes fewer volumes on this node than it said.
    pub fn note_full(&self, name: &str) {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Those of which [`note_full`](Self::note_full) was said since the last call.
    pub fn take_full(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.full.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks a driver how many volumes the node takes now; true when that is news.
    pub async fn ask_most(&self, name: &str) -> Result<bool, String> {
        let most = self.get(name)?.ask_most().await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(driver) = known.get_mut(name) else { return Ok(false) };
        let news = driver.max_volumes != most;
        driver.max_volumes = most;
        Ok(news)
    }

    /// A driver by name.
    pub fn get(&self, name: &str) -> Result<Driver, String> {
        let found = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        found.ok_or_else(|| format!("driver name {name} not found in the list of registered CSI drivers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_after_which_a_call_may_go_on_are_not_final() {
        for code in [Code::InvalidArgument, Code::Internal, Code::NotFound, Code::FailedPrecondition, Code::Unknown] {
            assert!(is_final(&Status::new(code, "")), "{code:?}");
        }
        for code in [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::Aborted, Code::ResourceExhausted]
        {
            assert!(!is_final(&Status::new(code, "")), "{code:?}");
        }
        assert!(!is_final(&Status::from_error(Box::new(std::io::Error::other("the pipe broke")))));
        assert_eq!(
            failed("NodeStageVolume", &Status::internal("no")),
            "NodeStageVolume: rpc error: code = Internal desc = no"
        );
    }

    #[test]
    fn a_driver_that_is_full_is_told_once() {
        let drivers = Drivers::default();
        drivers.clone().note_full("d");
        assert_eq!(drivers.take_full(), BTreeSet::from(["d".to_owned()]));
        assert!(drivers.take_full().is_empty());
    }
}
