//! Filters: may this pod run on this node, and if not, why.
//!
//! [`Filters::prepare`] looks once at the whole cluster for what the pod's constraints count (pods per zone, pods to stay away
//! from); [`Filters::check`] then answers for one node at a time. Reasons are worded as upstream's, users search for them.

pub(crate) mod affinity;
mod devices;
mod node;
mod resources;
pub(crate) mod spread;
mod volumes;

use std::borrow::Cow;
use std::sync::Arc;

use crate::devices::Extended;
use crate::model::{Cluster, NodeInfo, PodInfo};
use affinity::AffinityState;
use devices::DeviceState;
pub(crate) use devices::{STEPS, STEPS_AT_ONCE};
use spread::SpreadState;

/// Why a node does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Reasons in the API's words.
    pub(crate) reasons: Vec<Cow<'static, str>>,
    /// Whether evicting pods from the node could help.
    pub(crate) evicting_helps: bool,
    /// Whether the reason lies in the pod, so that no other node is to be asked.
    pub(crate) everywhere: bool,
}

impl Rejection {
    /// A reason that lies in the node itself.
    fn final_(reason: &'static str) -> Self {
        Self { reasons: vec![Cow::Borrowed(reason)], evicting_helps: false, everywhere: false }
    }

    /// A reason that lies in the pods on the node.
    fn crowded(reason: &'static str) -> Self {
        Self { reasons: vec![Cow::Borrowed(reason)], evicting_helps: true, everywhere: false }
    }
}

/// The cluster, or the cluster as it would be with one node changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) replaced: Option<&'a NodeInfo>,
    /// How many steps the search for devices may take.
    pub(crate) steps: u64,
}

impl<'a> View<'a> {
    pub(crate) fn of(cluster: &'a Cluster, steps: u64) -> Self {
        Self { cluster, replaced: None, steps }
    }

    /// What the pod asks for by the names of extended resources, on the nodes that may be checked.
    pub(crate) fn extended(self, pod: &PodInfo) -> Extended {
        match self.replaced {
            Some(only) => Extended::new(&self.cluster.devices, pod, [only].into_iter()),
            None => Extended::new(&self.cluster.devices, pod, self.nodes()),
        }
    }

    /// All known nodes.
    pub(crate) fn nodes(self) -> impl Iterator<Item = &'a NodeInfo> {
        self.cluster.nodes().map(move |node| match self.replaced {
            Some(replaced) if replaced.name == node.name => replaced,
            _ => node,
        })
    }
}

/// What all nodes are checked with for one pod.
pub(crate) struct Filters<'a> {
    cluster: &'a Cluster,
    pod: &'a PodInfo,
    counts: Counts<'a>,
    pub(crate) devices: DeviceState<'a>,
}

/// What is counted over the pods of all nodes.
struct Counts<'a> {
    spread: SpreadState<'a>,
    affinity: AffinityState,
    /// Whether another pod has a volume of the pod's that only one may use.
    contested: bool,
}

impl<'a> Counts<'a> {
    fn new(view: View<'a>, pod: &'a PodInfo) -> Self {
        Self {
            spread: SpreadState::new(view, pod),
            affinity: AffinityState::new(view, pod),
            contested: volumes::contested(view, pod),
        }
    }

    /// Whether those who are on the node, and on others, keep away from the pod as they should.
    fn check(&self, cluster: &Cluster, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        volumes::check(cluster, pod, node, self.contested)?;
        self.spread.check(node)?;
        self.affinity.check(pod, node)
    }
}

impl<'a> Filters<'a> {
    /// Counts what the pod's constraints are about; `extended` is what [`View::extended`] says.
    pub(crate) fn prepare(view: View<'a>, pod: &'a PodInfo, extended: &'a Extended) -> Self {
        Self {
            cluster: view.cluster,
            pod,
            counts: Counts::new(view, pod),
            devices: DeviceState::new(view.cluster, pod, extended, view.steps),
        }
    }

    /// Checks one node, cheap filters first.
    pub(crate) fn check(&self, node: &'a NodeInfo) -> Result<(), Rejection> {
        self.check_all_but_devices(node)?;
        self.devices.check(node)
    }

    /// The same without the search for devices. Pods that are promised room on the node may come or not: the pod must fit with them and
    /// without.
    pub(crate) fn check_all_but_devices(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let (cluster, pod) = (self.cluster, self.pod);
        node::unschedulable(pod, node)?;
        node::taints(pod, node)?;
        node::affinity(pod, node)?;
        node::features(pod, node)?;
        room(cluster, pod, node)?;
        self.counts.check(cluster, pod, node)?;
        let Some(full) = with_promised(cluster, pod, node) else { return Ok(()) };
        room(cluster, pod, &full)?;
        // To count anew is to look at all pods of the cluster; here that would find what is known.
        if full.pods_with_terms == node.pods_with_terms && !is_counted_for(pod) {
            return Ok(());
        }
        let view = View { cluster, replaced: Some(&full), steps: 0 };
        Counts::new(view, pod).check(cluster, pod, &full)
    }
}

/// Whether those who are on the node leave the pod its ports and what it requests.
fn room(cluster: &Cluster, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    node::ports(pod, node)?;
    resources::fit(cluster, pod, node)
}

/// Whether the pod itself asks for anything that depends on who else is there, and where.
fn is_counted_for(pod: &PodInfo) -> bool {
    pod.has_terms() || !pod.spread.is_empty() || !pod.claims.is_empty()
}

/// The node with those on it that are promised room there and come before the pod; `None` where there are none.
fn with_promised(cluster: &Cluster, pod: &PodInfo, node: &NodeInfo) -> Option<NodeInfo> {
    let mut promised = cluster.ahead_of(pod, &node.name).filter(|other| !node.pods.contains_key(&other.key)).peekable();
    promised.peek()?;
    let mut full = node.clone();
    promised.for_each(|other| full.add_pod(Arc::clone(other)));
    Some(full)
}
