//! One device plugin: its devices as it tells them, and the calls to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rk_plugin_api::device as api;
use rk_plugin_api::device::device_plugin_client::DevicePluginClient;
use tonic::transport::Channel;

use super::draft::Places;
use crate::numa::NodeMask;
use crate::plugins::timed;

/// Longest call of a plugin: preparing a device may reset it.
const CALL: Duration = Duration::from_secs(30);
/// How the protocol says that a device works.
const HEALTHY: &str = "Healthy";

/// A registered plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Tells one registration of a resource from the next.
    pub generation: u64,
    /// All devices and whether they work.
    pub devices: BTreeMap<String, bool>,
    /// Where devices are: memory nodes, of those that tell it.
    pub places: BTreeMap<String, NodeMask>,
    /// What it wants to be asked.
    pub options: api::DevicePluginOptions,
    /// Since when it is away.
    pub gone: Option<Instant>,
    channel: Channel,
}

impl Plugin {
    /// A plugin behind this channel. Until it tells its devices, they are those of the `former` plugin of its resource.
    pub fn new(generation: u64, channel: Channel, options: api::DevicePluginOptions, former: Option<&Self>) -> Self {
        let devices = former.map(|former| former.devices.clone()).unwrap_or_default();
        let places = former.map(|former| former.places.clone()).unwrap_or_default();
        Self { generation, devices, places, options, gone: None, channel }
    }

    /// It has gone: its devices are there and do not work.
    pub fn go(&mut self, now: Instant) {
        self.devices.values_mut().for_each(|good| *good = false);
        self.gone = Some(now);
    }

    /// A client for calls.
    pub fn client(&self) -> DevicePluginClient<Channel> {
        DevicePluginClient::new(self.channel.clone())
    }

    /// Devices that work.
    pub fn healthy(&self) -> BTreeSet<String> {
        self.devices.iter().filter(|(_, good)| **good).map(|(id, _)| id.clone()).collect()
    }

    /// All devices, their places, and which work.
    pub fn placed(&self) -> Places {
        Places { all: self.places.clone(), healthy: self.healthy() }
    }

    /// Whether any device has a place.
    pub fn is_placed(&self) -> bool {
        self.places.values().any(|nodes| nodes.count() > 0)
    }

    /// Takes a list that the plugin sent.
    pub fn take(&mut self, list: Vec<api::Device>) {
        let nodes = |device: &api::Device| {
            let told = device.topology.iter().flat_map(|topology| &topology.nodes);
            NodeMask::of(told.filter_map(|node| usize::try_from(node.id).ok()))
        };
        self.places = list.iter().map(|device| (device.id.clone(), nodes(device))).collect();
        self.devices = list.into_iter().map(|device| (device.id, device.health == HEALTHY)).collect();
    }

    /// Which devices the plugin would choose, beside those that are `kept` anyway. One that has no opinion is content with any; one that
    /// fails to tell it is an error, in upstream's words.
    pub async fn preferred(&self, free: Vec<String>, kept: Vec<String>, wanted: usize) -> Result<Vec<String>, String> {
        if !self.options.get_preferred_allocation_available {
            return Ok(Vec::new());
        }
        let request = api::ContainerPreferredAllocationRequest {
            available_device_ids: free,
            must_include_device_ids: kept,
            allocation_size: i32::try_from(wanted).unwrap_or(i32::MAX),
        };
        let request = api::PreferredAllocationRequest { container_requests: vec![request] };
        let answer = timed("GetPreferredAllocation", self.client().get_preferred_allocation(request), CALL).await;
        let answer =
            answer.map_err(|problem| format!("device plugin GetPreferredAllocation rpc failed with err: {problem}"))?;
        Ok(answer.container_responses.into_iter().flat_map(|r| r.device_ids).collect())
    }

    /// What a container needs to use these devices.
    pub async fn allocate(&self, ids: &BTreeSet<String>) -> Result<api::ContainerAllocateResponse, String> {
        let ids: Vec<String> = ids.iter().cloned().collect();
        let request =
            api::AllocateRequest { container_requests: vec![api::ContainerAllocateRequest { devices_ids: ids }] };
        let answer = timed("Allocate", self.client().allocate(request), CALL).await?;
        let first = answer.container_responses.into_iter().next();
        first.ok_or_else(|| "Allocate: the plugin answered for no container".to_owned())
    }

    /// Tells that a container is about to begin with these devices, if the plugin wants to hear it.
    pub async fn pre_start(&self, ids: &BTreeSet<String>) -> Result<(), String> {
        if !self.options.pre_start_required {
            return Ok(());
        }
        let request = api::PreStartContainerRequest { devices_ids: ids.iter().cloned().collect() };
        timed("PreStartContainer", self.client().pre_start_container(request), CALL).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_fails_to_tell_what_it_prefers_gives_nothing() {
        let asked = async |can: bool| {
            let options = api::DevicePluginOptions { get_preferred_allocation_available: can, ..Default::default() };
            let plugin = Plugin::new(1, rk_cri_api::connect("/nowhere"), options, None);
            plugin.preferred(vec!["a".to_owned()], Vec::new(), 1).await
        };
        assert_eq!(asked(false).await, Ok(Vec::new()), "it has no opinion");
        let problem = asked(true).await.unwrap_err();
        let start = "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unavailable";
        assert!(problem.starts_with(start), "{problem}");
    }
}
