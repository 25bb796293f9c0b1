//! A node and what runs on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use rk_client::{Labels, ObjectKey, parse_value};

use super::pod::{HostPort, PodInfo};
use super::resources::Resources;

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: Effect,
}

/// A node as the scheduler sees it: what the API says of it, and the sums over its pods.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// The node's name.
    pub name: String,
    /// The node's labels.
    pub labels: Labels,
    /// What pods may take in sum.
    pub allocatable: Resources,
    /// How many pods may run.
    pub allowed_pods: usize,
    /// What its pods take.
    pub requested: Resources,
    pub(crate) requested_for_score: Resources,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    /// What it declares that it can do.
    pub(crate) features: Vec<String>,
    /// Sizes in bytes of the images that are present, by name.
    pub(crate) images: BTreeMap<String, i64>,
    pub(crate) pods: HashMap<ObjectKey, Arc<PodInfo>>,
    /// How many of its pods have terms about other pods; most clusters have none and skip the search.
    pub(crate) pods_with_terms: usize,
    /// How many of its pods each controller made.
    pub(crate) owners: HashMap<String, i64>,
    /// Whether the API knows the node; pods may be seen before their node is.
    pub(crate) known: bool,
}

impl NodeInfo {
    /// A node whose Node object has not been seen yet.
    pub(crate) fn unknown(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes over what the API says, keeping the pods.
    pub(crate) fn update(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        self.known = true;
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.unschedulable = spec.and_then(|s| s.unschedulable).unwrap_or(false);
        self.taints = spec.into_iter().flat_map(|s| s.taints.iter().flatten()).filter_map(taint).collect();
        self.allocatable = allocatable.map(Resources::of).unwrap_or_default();
        let pods = allocatable.and_then(|a| a.get("pods")).map_or(0, parse_value);
        self.allowed_pods = usize::try_from(pods).unwrap_or(0);
        self.features = status.and_then(|s| s.declared_features.clone()).unwrap_or_default();
        self.images = status
            .into_iter()
            .flat_map(|s| s.images.iter().flatten())
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (name.clone(), size))
            })
            .collect();
    }

    /// Counts a pod in. A pod that is there already is replaced.
    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.key);
        self.requested.add(&pod.request);
        self.requested_for_score.add(&pod.request_for_score);
        self.pods_with_terms += usize::from(pod.has_terms());
        if let Some(owner) = &pod.owner {
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
        self.pods.insert(pod.key.clone(), pod);
    }

    /// Counts a pod out.
    pub(crate) fn remove_pod(&mut self, key: &ObjectKey) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.request);
        self.requested_for_score.subtract(&pod.request_for_score);
        self.pods_with_terms -= usize::from(pod.has_terms());
        if let Some(owner) = &pod.owner
            && let Some(count) = self.owners.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(owner);
            }
        }
        Some(pod)
    }

    /// Whether a port that the pod wants on the node is taken.
    pub(crate) fn port_taken(&self, wanted: &HostPort) -> bool {
        self.pods.values().flat_map(|pod| &pod.host_ports).any(|used| used.conflicts(wanted))
    }
}

fn taint(taint: &k8s_openapi::api::core::v1::Taint) -> Option<Taint> {
    Some(Taint {
        key: taint.key.clone(),
        value: taint.value.clone().unwrap_or_default(),
        effect: Effect::of(&taint.effect)?,
    })
}
