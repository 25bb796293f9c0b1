//! Claims and the volumes behind them, as far as they restrict where a pod can run.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use rk_client::SelectorError;

use super::affinity::NodeTerms;

/// A claim's state.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// The volume it is bound to.
    pub(crate) volume: Option<String>,
    /// Its storage class.
    pub(crate) class: Option<String>,
    pub(crate) deleting: bool,
    /// The node that was chosen for it while it waits for its first consumer.
    pub(crate) selected_node: Option<String>,
}

/// Where the API keeps the node that the scheduler chose for a claim's first consumer.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

impl Claim {
    pub(crate) fn new(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
        let annotations = claim.metadata.annotations.as_ref();
        Self {
            volume: spec.and_then(|s| s.volume_name.clone()).filter(|name| bound && !name.is_empty()),
            class: spec.and_then(|s| s.storage_class_name.clone()),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            selected_node: annotations.and_then(|a| a.get(SELECTED_NODE)).cloned(),
        }
    }
}

/// The nodes that can reach a volume; `None` when all can.
pub(crate) fn reach(volume: &PersistentVolume) -> Result<Option<NodeTerms>, SelectorError> {
    let required = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref()).and_then(|a| a.required.as_ref());
    required.map(|selector| NodeTerms::new(&selector.node_selector_terms)).transpose()
}

/// Why a pod's volumes let it run nowhere yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeProblem {
    /// The claim does not exist.
    Missing(String),
    /// The claim is being deleted.
    Deleting(String),
    /// The claim binds at once, but has not been bound.
    Unbound,
}

impl VolumeProblem {
    /// The problem in the API's words.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Missing(name) => format!("persistentvolumeclaim \"{name}\" not found"),
            Self::Deleting(name) => format!("persistentvolumeclaim \"{name}\" is being deleted"),
            Self::Unbound => "pod has unbound immediate PersistentVolumeClaims".to_owned(),
        }
    }
}
