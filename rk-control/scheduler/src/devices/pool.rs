//! Pools of devices: what a driver publishes of one, and whether that is the whole of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};

use super::amount::{Amounts, amounts_of};
use crate::model::{NodeInfo, NodeTerms};

/// A driver and the name that it gave to a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PoolId {
    pub(crate) driver: String,
    pub(crate) name: String,
}

impl PoolId {
    pub(crate) fn of(slice: &ResourceSlice) -> Self {
        Self { driver: slice.spec.driver.clone(), name: slice.spec.pool.name.clone() }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.name)
    }
}

/// What is known of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// All of its newest generation.
    Whole,
    /// Slices of its newest generation are still to come, or are still there: the driver is at work.
    Incomplete,
    /// What its slices say does not go together.
    Invalid,
}

/// Which nodes reach the devices of a slice, or one device.
#[derive(Debug, Clone)]
enum Reach {
    Nowhere,
    Node(String),
    All,
    Terms(NodeTerms),
}

impl Reach {
    fn new(node: Option<&String>, all: Option<bool>, selector: Option<&NodeSelector>) -> Self {
        match (node.filter(|name| !name.is_empty()), all, selector) {
            (Some(name), ..) => Reach::Node(name.clone()),
            (None, Some(true), _) => Reach::All,
            (None, _, Some(selector)) => {
                NodeTerms::new(&selector.node_selector_terms).map_or(Reach::Nowhere, Reach::Terms)
            }
            (None, _, None) => Reach::Nowhere,
        }
    }

    fn has(&self, node: &NodeInfo) -> bool {
        match self {
            Reach::Nowhere => false,
            Reach::Node(name) => *name == node.name,
            Reach::All => true,
            Reach::Terms(terms) => terms.matches(&node.name, &node.labels),
        }
    }
}

/// A slice of the newest generation of its pool.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) object: Arc<ResourceSlice>,
    reach: Reach,
    /// Of each device, where they differ.
    own: Option<Vec<Reach>>,
}

impl Slice {
    fn new(object: &Arc<ResourceSlice>) -> Self {
        let spec = &object.spec;
        let of_device = |own: &Device| Reach::new(own.node_name.as_ref(), own.all_nodes, own.node_selector.as_ref());
        Self {
            reach: Reach::new(spec.node_name.as_ref(), spec.all_nodes, spec.node_selector.as_ref()),
            own: (spec.per_device_node_selection == Some(true))
                .then(|| spec.devices.iter().flatten().map(of_device).collect()),
            object: Arc::clone(object),
        }
    }

    /// All devices, whoever reaches them.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.object.spec.devices.iter().flatten()
    }

    /// The devices that a node reaches.
    pub(crate) fn devices_of<'a>(&'a self, node: &'a NodeInfo) -> impl Iterator<Item = &'a Device> {
        let own = self.own.as_deref();
        let all = own.is_none() && self.reach.has(node);
        self.devices().enumerate().filter_map(move |(index, device)| {
            let reached = own.map_or(all, |own| own.get(index).is_some_and(|reach| reach.has(node)));
            reached.then_some(device)
        })
    }

    fn reaches(&self, node: &NodeInfo) -> bool {
        match &self.own {
            Some(own) => own.iter().any(|reach| reach.has(node)),
            None => self.reach.has(node),
        }
    }
}

/// A pool as its slices tell of it.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) state: State,
    pub(crate) slices: Vec<Slice>,
    /// What devices of the pool have in common, by set and counter.
    pub(crate) counters: BTreeMap<String, Amounts>,
    /// Whether devices are prepared for a node before pods are bound to it (KEP-5007); such pools come last.
    pub(crate) prepared: bool,
}

impl Pool {
    /// Looks at all slices of a pool, whatever their generation, by name.
    pub(crate) fn new<'a>(id: PoolId, all: impl Iterator<Item = &'a Arc<ResourceSlice>> + Clone) -> Self {
        let newest = all.clone().map(|slice| slice.spec.pool.generation).max();
        let slices: Vec<Slice> =
            all.filter(|slice| Some(slice.spec.pool.generation) == newest).map(Slice::new).collect();
        let count = slices.first().map_or(0, |slice| slice.object.spec.pool.resource_slice_count);
        let counters = counters(&slices);
        let state = match &counters {
            _ if i64::try_from(slices.len()).ok() != Some(count) => State::Incomplete,
            Some(counters) if has_unique_names(&slices) && has_counters(&slices, counters) => State::Whole,
            _ => State::Invalid,
        };
        let prepared = |device: &Device| device.binding_conditions.as_ref().is_some_and(|own| !own.is_empty());
        let prepared = slices.iter().flat_map(Slice::devices).any(prepared);
        Self { id, state, slices, counters: counters.unwrap_or_default(), prepared }
    }

    /// Whether a node reaches any of it.
    pub(crate) fn concerns(&self, node: &NodeInfo) -> bool {
        self.slices.iter().any(|slice| slice.reaches(node))
    }

    /// The nodes that have slices of their own.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &String> {
        self.slices.iter().filter_map(|slice| match &slice.reach {
            Reach::Node(name) => Some(name),
            _ => None,
        })
    }

    /// Whether there are slices of more than one node.
    pub(crate) fn is_wide(&self) -> bool {
        self.slices.iter().any(|slice| !matches!(slice.reach, Reach::Node(_)))
    }
}

/// The counters of a pool; `None` when two sets have one name.
fn counters(slices: &[Slice]) -> Option<BTreeMap<String, Amounts>> {
    let mut all = BTreeMap::new();
    for set in slices.iter().flat_map(|slice| slice.object.spec.shared_counters.iter().flatten()) {
        let amounts = amounts_of(set.counters.iter().map(|(name, counter)| (name, &counter.value)));
        if all.insert(set.name.clone(), amounts).is_some() {
            return None;
        }
    }
    Some(all)
}

fn has_unique_names(slices: &[Slice]) -> bool {
    let mut seen = HashSet::new();
    slices.iter().flat_map(Slice::devices).all(|device| seen.insert(device.name.as_str()))
}

fn has_counters(slices: &[Slice], counters: &BTreeMap<String, Amounts>) -> bool {
    let devices = slices.iter().flat_map(Slice::devices);
    let mut consumed = devices.flat_map(|device| device.consumes_counters.iter().flatten());
    consumed.all(|consumed| {
        let set = counters.get(&consumed.counter_set);
        set.is_some_and(|set| consumed.counters.keys().all(|name| set.contains_key(name)))
    })
}
