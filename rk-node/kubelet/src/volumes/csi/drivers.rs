//! The CSI drivers that have registered on this node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rk_plugin_api::csi::node_client::NodeClient;
use rk_plugin_api::csi::node_service_capability::{Type, rpc};
use rk_plugin_api::csi::{NodeGetCapabilitiesRequest, NodeGetInfoRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::plugins::timed;

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
}

impl Driver {
    /// Asks the driver behind a socket about itself.
    pub async fn ask(name: &str, endpoint: PathBuf) -> Result<Self, String> {
        let channel = rk_cri_api::connect(endpoint);
        let mut client = NodeClient::new(channel.clone());
        let info = timed("NodeGetInfo", client.node_get_info(NodeGetInfoRequest {}), ASK).await?;
        let answer =
            timed("NodeGetCapabilities", client.node_get_capabilities(NodeGetCapabilitiesRequest {}), ASK).await?;
        let capabilities =
            answer.capabilities.into_iter().filter_map(|c| c.r#type).map(|Type::Rpc(rpc)| rpc.r#type).collect();
        Ok(Self {
            name: name.to_owned(),
            node_id: info.node_id,
            max_volumes: i32::try_from(info.max_volumes_per_node).ok().filter(|n| *n > 0),
            topology: info.accessible_topology.map(|t| t.segments.into_iter().collect()).unwrap_or_default(),
            capabilities,
            channel,
        })
    }

    /// Whether the driver can do this.
    pub fn can(&self, capability: rpc::Type) -> bool {
        self.capabilities.contains(&(capability as i32))
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
        timed(what, call, ASK).await
    }

    /// One call that mounts or unmounts.
    pub async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        timed(what, call, CALL).await
    }
}

/// All registered drivers; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Drivers(Arc<RwLock<BTreeMap<String, Driver>>>);

impl Drivers {
    /// Adds a driver, or replaces it.
    pub fn add(&self, driver: Driver) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(driver.name.clone(), driver);
    }

    /// Forgets a driver.
    pub fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Driver> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A driver by name.
    pub fn get(&self, name: &str) -> Result<Driver, String> {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        found.ok_or_else(|| format!("driver name {name} not found in the list of registered CSI drivers"))
    }
}
