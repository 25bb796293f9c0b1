//! Claims, the volumes behind them and the classes that make these, as far as they restrict where a pod can run.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::StorageClass;
use rk_client::{LabelMatcher, Labels, ObjectKey, controller_of, parse_value};

use super::affinity::NodeTerms;
use super::node::NodeInfo;

/// Where the API keeps the node that the scheduler chose for a claim's first consumer.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Where claims and volumes had their class before there was a field for it.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Stands for a provisioner where there is none.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A claim's state.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    uid: String,
    /// UID of the controller that it was made by.
    pub(crate) owner: Option<String>,
    /// The volume it is bound to.
    pub(crate) volume: Option<String>,
    /// Whether it names a volume, bound or not.
    pub(crate) named: bool,
    /// The volume that it had, where that is lost.
    pub(crate) lost: Option<String>,
    /// Its storage class.
    pub(crate) class: String,
    /// The class of the attributes that it asks for; empty when it does not care.
    attributes: String,
    pub(crate) deleting: bool,
    /// The node that was chosen for it while it waits for its first consumer.
    pub(crate) selected_node: Option<String>,
    /// Whether only one pod may use it.
    pub(crate) exclusive: bool,
    modes: Vec<String>,
    block: bool,
    /// How much it asks for, in bytes.
    pub(crate) size: i64,
    selector: LabelMatcher,
}

fn class(annotations: Option<&Labels>, field: Option<&String>) -> String {
    annotations.and_then(|all| all.get(OLD_CLASS)).or(field).cloned().unwrap_or_default()
}

impl Claim {
    pub(crate) fn new(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.clone().unwrap_or_default();
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
        let annotations = claim.metadata.annotations.as_ref();
        let named = spec.volume_name.filter(|name| !name.is_empty());
        let modes = spec.access_modes.unwrap_or_default();
        let selector = spec.selector.as_ref().map(|selector| LabelMatcher::new(Some(selector)));
        let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
        Self {
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            owner: controller_of(&claim.metadata).map(|owner| owner.uid.clone()),
            named: named.is_some(),
            lost: (phase == Some("Lost")).then(|| named.clone().unwrap_or_default()),
            volume: named.filter(|_| phase == Some("Bound")),
            class: class(annotations, spec.storage_class_name.as_ref()),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            selected_node: annotations.and_then(|all| all.get(SELECTED_NODE)).cloned(),
            exclusive: modes.iter().any(|mode| mode == "ReadWriteOncePod"),
            modes,
            block: spec.volume_mode.as_deref() == Some("Block"),
            size: requests.get("storage").map_or(0, parse_value),
            // One that cannot be read selects nothing.
            selector: selector.map_or_else(LabelMatcher::everything, |s| s.unwrap_or_else(|_| LabelMatcher::nothing())),
        }
    }
}

/// A volume's state.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    /// The nodes that can reach it; `None` when all can.
    reach: Option<NodeTerms>,
    class: String,
    attributes: String,
    modes: Vec<String>,
    block: bool,
    /// Bytes.
    pub(crate) size: i64,
    labels: Labels,
    /// The claim that has it or is to have it, with its uid once that is known.
    promised: Option<(ObjectKey, String)>,
    available: bool,
    deleting: bool,
    /// Its driver, and what that calls it.
    pub(crate) handle: Option<(String, String)>,
}

impl Volume {
    pub(crate) fn new(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.clone().unwrap_or_default();
        let required = spec.node_affinity.and_then(|affinity| affinity.required);
        let reach = required.map(|selector| NodeTerms::new(&selector.node_selector_terms)).transpose();
        let promised = spec.claim_ref.map(|to| {
            let key = ObjectKey::new(to.namespace.unwrap_or_default(), to.name.unwrap_or_default());
            (key, to.uid.unwrap_or_default())
        });
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
        Self {
            // Terms that cannot be read are met by no node.
            reach: reach.unwrap_or_else(|_| NodeTerms::new(&[]).ok()),
            class: class(volume.metadata.annotations.as_ref(), spec.storage_class_name.as_ref()),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            size: spec.capacity.as_ref().and_then(|all| all.get("storage")).map_or(0, parse_value),
            labels: volume.metadata.labels.clone().unwrap_or_default(),
            promised,
            available: phase == Some("Available"),
            deleting: volume.metadata.deletion_timestamp.is_some(),
            handle: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
        }
    }

    /// Whether the node can reach it.
    pub(crate) fn is_reached_from(&self, node: &NodeInfo) -> bool {
        self.reach.as_ref().is_none_or(|terms| terms.matches(&node.name, &node.labels))
    }

    /// Whether the claim may have it.
    pub(crate) fn suits(&self, key: &ObjectKey, claim: &Claim) -> bool {
        let fits = self.size >= claim.size
            && self.block == claim.block
            && self.attributes == claim.attributes
            && claim.modes.iter().all(|mode| self.modes.contains(mode));
        let free = match &self.promised {
            // Who has promised it has chosen its class.
            Some((to, uid)) => to == key && (uid.is_empty() || *uid == claim.uid),
            None => self.available && self.class == claim.class && claim.selector.matches(Some(&self.labels)),
        };
        fits && free && !self.deleting
    }

    /// Whether it is promised to somebody already.
    pub(crate) fn is_promised(&self) -> bool {
        self.promised.is_some()
    }
}

/// A storage class.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    /// Whether its claims wait for a consumer.
    pub(crate) late: bool,
    /// Who makes its volumes.
    pub(crate) provisioner: String,
    topologies: Vec<TopologySelectorTerm>,
}

impl Class {
    pub(crate) fn new(class: &StorageClass) -> Self {
        Self {
            late: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: class.provisioner.clone(),
            topologies: class.allowed_topologies.clone().unwrap_or_default(),
        }
    }

    /// Whether a volume can be made for a pod on the node.
    pub(crate) fn provisions_on(&self, node: &NodeInfo) -> bool {
        let met = |term: &TopologySelectorTerm| {
            let mut all = term.match_label_expressions.iter().flatten();
            all.all(|wanted| node.labels.get(&wanted.key).is_some_and(|value| wanted.values.contains(value)))
        };
        let made = !self.provisioner.is_empty() && self.provisioner != NO_PROVISIONER;
        made && (self.topologies.is_empty() || self.topologies.iter().any(met))
    }
}

/// Why a pod's volumes let it run nowhere yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeProblem {
    /// The claim does not exist.
    Missing(String),
    /// The claim is still to be made for the pod.
    Unmade(String),
    /// The claim has the name of the one that is made for the pod, and is not the pod's.
    Foreign(ObjectKey, ObjectKey),
    /// The claim has lost its volume.
    Lost(String, String),
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
            Self::Unmade(name) => {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\"")
            }
            Self::Foreign(claim, pod) => format!("PVC {claim} was not created for pod {pod} (pod is not owner)"),
            Self::Lost(name, volume) => {
                format!("persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\"")
            }
            Self::Deleting(name) => format!("persistentvolumeclaim \"{name}\" is being deleted"),
            Self::Unbound => "pod has unbound immediate PersistentVolumeClaims".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_volume_suits_a_claim_that_asks_for_its_attributes() {
        let spec = |class: Value| {
            json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "volumeAttributesClassName": class,
                "resources": {"requests": {"storage": "1Gi"}}})
        };
        let suits = |has: Value, wants: Value| {
            let volume = json!({"metadata": {"name": "v"}, "spec": spec(has), "status": {"phase": "Available"}});
            let volume = Volume::new(&serde_json::from_value(volume).expect("a volume"));
            let claim = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": spec(wants)});
            let claim = Claim::new(&serde_json::from_value(claim).expect("a claim"));
            volume.suits(&ObjectKey::new("n", "c"), &claim)
        };
        let gold = || json!("gold");
        assert_eq!([suits(Value::Null, Value::Null), suits(gold(), gold())], [true, true]);
        assert_eq!([suits(Value::Null, gold()), suits(gold(), Value::Null)], [false, false]);
    }

    #[test]
    fn a_volume_that_is_promised_to_a_claim_is_of_whatever_class() {
        let claim = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"storageClassName": "fast"}});
        let claim = Claim::new(&serde_json::from_value(claim).expect("a claim"));
        let suits = |class: &str, to: Value| {
            let spec = json!({"storageClassName": class, "claimRef": to});
            let volume = json!({"metadata": {"name": "v"}, "spec": spec, "status": {"phase": "Available"}});
            let volume = Volume::new(&serde_json::from_value(volume).expect("a volume"));
            volume.suits(&ObjectKey::new("n", "c"), &claim)
        };
        let to = |name: &str| json!({"namespace": "n", "name": name});
        assert_eq!([suits("fast", Value::Null), suits("slow", to("c"))], [true, true]);
        assert_eq!([suits("slow", Value::Null), suits("fast", to("d"))], [false, false]);
    }
}
