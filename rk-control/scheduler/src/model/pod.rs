//! A pod, compiled once and asked about often.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Toleration};
use rk_client::{Labels, ObjectKey, SelectorError, controller_of};

use super::affinity::{NodeAffinity, PodAffinity};
use super::extended::{Asker, askers};
use super::resources::{Resources, pod_request, pod_request_for_score};
use super::spread::Spread;

/// All containers of a pod start again when one ends in a way that its rules name (KEP-5532).
const RESTART_ALL: &str = "RestartAllContainersOnContainerExits";

/// The reason of the condition of pods that give way to others.
pub(crate) const PREEMPTED: &str = "PreemptionByScheduler";

/// A port that the pod wants on the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node. The unspecified address stands for every address.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let wild = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || wild(&self.address) || wild(&other.address))
    }
}

/// Whether the pod may evict others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Preemption {
    #[default]
    LowerPriority,
    Never,
}

/// A claim of devices that a pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceClaim {
    pub(crate) name: String,
    /// Whether it was made for this pod from a template, and is of no use when it belongs to another.
    pub(crate) made_for_pod: bool,
}

/// A pod as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct PodInfo {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The pod's uid.
    pub uid: String,
    /// The pod's labels.
    pub labels: Labels,
    /// What it takes of a node.
    pub request: Resources,
    pub(crate) request_for_score: Resources,
    /// The node it is bound to, if any.
    pub node: Option<String>,
    /// Higher is more important.
    pub priority: i32,
    pub(crate) preemption: Preemption,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) node_affinity: NodeAffinity,
    pub(crate) affinity: PodAffinity,
    pub(crate) spread: Vec<Spread>,
    pub(crate) images: Vec<String>,
    pub(crate) containers: usize,
    pub(crate) claims: Vec<String>,
    /// Those of them that are made for its generic ephemeral volumes.
    pub(crate) made_claims: Vec<String>,
    /// The claims of devices that it names, or that were made for it.
    pub(crate) device_claims: Vec<DeviceClaim>,
    /// Its containers that request what may be devices by the names of extended resources.
    pub(crate) askers: Vec<Asker>,
    /// Uid of the controller that made it; pods of one controller spread by default.
    pub(crate) owner: Option<String>,
    /// What holds it back before it is decided on: its gates, and claims of devices that are still to be made for it.
    pub(crate) gates: Vec<String>,
    /// What its node must declare that it can do.
    pub(crate) features: Vec<&'static str>,
    pub(crate) nominated: Option<String>,
    /// When it began on its node; one that has not comes after all that have.
    pub(crate) started: jiff::Timestamp,
    pub(crate) deleting: bool,
    /// Whether it is being deleted to make room for another.
    pub(crate) gives_way: bool,
}

impl PodInfo {
    /// Compiles a pod.
    ///
    /// # Errors
    /// When a selector has an operator that the API would have refused.
    pub fn new(pod: &Pod) -> Result<Self, SelectorError> {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        let (device_claims, unmade) = device_claims(spec, status);
        Ok(Self {
            key: ObjectKey::of(pod),
            uid: meta.uid.clone().unwrap_or_default(),
            request: pod_request(pod),
            request_for_score: pod_request_for_score(pod),
            node: spec.node_name.clone().filter(|name| !name.is_empty()),
            priority: spec.priority.unwrap_or(0),
            preemption: match spec.preemption_policy.as_deref() {
                Some("Never") => Preemption::Never,
                _ => Preemption::LowerPriority,
            },
            host_ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_affinity: NodeAffinity::new(spec)?,
            affinity: PodAffinity::new(spec, &namespace, &labels)?,
            spread: Spread::all(spec, &labels)?,
            images: containers(spec).filter_map(|c| c.image.clone()).collect(),
            containers: containers(spec).count(),
            claims: claims(&meta.name.clone().unwrap_or_default(), spec, false),
            made_claims: claims(&meta.name.clone().unwrap_or_default(), spec, true),
            device_claims,
            askers: askers(spec),
            owner: controller_of(meta).map(|owner| owner.uid.clone()),
            gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).chain(unmade).collect(),
            features: features(spec),
            nominated: status.and_then(|s| s.nominated_node_name.clone()).filter(|name| !name.is_empty()),
            started: status.and_then(|s| s.start_time.as_ref()).map_or(jiff::Timestamp::MAX, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            gives_way: meta.deletion_timestamp.is_some() && status.is_some_and(is_preempted),
            labels,
        })
    }

    /// The claims of devices that it uses, each once.
    pub(crate) fn device_claim_keys(&self) -> Vec<ObjectKey> {
        let mut seen = HashSet::new();
        let names = self.device_claims.iter().map(|own| own.name.as_str()).filter(|name| seen.insert(*name));
        names.map(|name| ObjectKey::new(&self.key.namespace, name)).collect()
    }

    /// Whether it has terms about other pods.
    pub(crate) fn has_terms(&self) -> bool {
        !self.affinity.is_empty()
    }
}

fn is_preempted(status: &PodStatus) -> bool {
    let mut told = status.conditions.iter().flatten().filter(|condition| condition.type_ == "DisruptionTarget");
    told.any(|condition| condition.status == "True" && condition.reason.as_deref() == Some(PREEMPTED))
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    sidecars
        .chain(&spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(HostPort {
                address: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}

/// The features of nodes that the pod needs (KEP-5328).
fn features(spec: &PodSpec) -> Vec<&'static str> {
    let mut rules = containers(spec).flat_map(|container| container.restart_policy_rules.iter().flatten());
    let restarts_all = rules.any(|rule| rule.action == "RestartAllContainers");
    restarts_all.then_some(RESTART_ALL).into_iter().collect()
}

/// The claims that the pod uses, the ones made for its generic ephemeral volumes included, or only these.
fn claims(pod: &str, spec: &PodSpec, only_made: bool) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => (!only_made).then(|| claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{pod}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}

/// The claims of devices that are there for the pod, and the names of those that a controller is still to make from a template. One
/// that a controller found to be needless has no name.
fn device_claims(spec: &PodSpec, status: Option<&PodStatus>) -> (Vec<DeviceClaim>, Vec<String>) {
    let (mut there, mut unmade) = (Vec::new(), Vec::new());
    let made = |name: &str| {
        let mut all = status.into_iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
        all.find(|own| own.name == name)
    };
    for own in spec.resource_claims.iter().flatten() {
        match (&own.resource_claim_name, made(&own.name)) {
            (Some(name), _) => there.push(DeviceClaim { name: name.clone(), made_for_pod: false }),
            (None, Some(made)) => {
                let name = made.resource_claim_name.clone();
                there.extend(name.map(|name| DeviceClaim { name, made_for_pod: true }));
            }
            (None, None) => unmade.push(own.name.clone()),
        }
    }
    (there, unmade)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_waits_until_its_claims_are_made() {
        let spec = json!({"containers": [], "resourceClaims": [{"name": "own", "resourceClaimName": "shared"},
            {"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "nic", "resourceClaimTemplateName": "u"}]});
        let pod = |statuses: serde_json::Value| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": {"resourceClaimStatuses": statuses}});
            PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
        };
        let waits = pod(json!([{"name": "gpu", "resourceClaimName": "p-gpu-x"}]));
        assert_eq!(waits.gates, ["nic"]);
        let ready = pod(json!([{"name": "gpu", "resourceClaimName": "p-gpu-x"}, {"name": "nic"}]));
        assert_eq!(ready.gates, Vec::<String>::new(), "the second is needless");
        let claims: Vec<_> = ready.device_claims.iter().map(|own| (own.name.as_str(), own.made_for_pod)).collect();
        assert_eq!(claims, [("shared", false), ("p-gpu-x", true)]);
    }

    #[test]
    fn a_pod_gives_way_while_it_is_deleted_for_another() {
        let gives_way = |deleted: serde_json::Value, reason: &str, status: &str| {
            let told = json!([{"type": "DisruptionTarget", "status": status, "reason": reason}]);
            let pod = json!({"metadata": {"deletionTimestamp": deleted}, "status": {"conditions": told}});
            PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule").gives_way
        };
        let now = json!("2026-01-01T00:00:00Z");
        assert!(gives_way(now.clone(), PREEMPTED, "True"));
        assert!(!gives_way(serde_json::Value::Null, PREEMPTED, "True"));
        assert!(!gives_way(now.clone(), PREEMPTED, "False") && !gives_way(now, "EvictionByEvictionAPI", "True"));
    }

    #[test]
    fn host_ports_conflict_by_address_protocol_and_port() {
        let port =
            |address: &str, protocol: &str, port| HostPort { address: address.into(), protocol: protocol.into(), port };
        let cases = [
            (port("", "TCP", 80), port("10.0.0.1", "TCP", 80), true),
            (port("10.0.0.2", "TCP", 80), port("10.0.0.1", "TCP", 80), false),
            (port("10.0.0.1", "UDP", 80), port("10.0.0.1", "TCP", 80), false),
            (port("0.0.0.0", "TCP", 81), port("", "TCP", 80), false),
        ];
        for (a, b, expected) in cases {
            assert_eq!((a.conflicts(&b), b.conflicts(&a)), (expected, expected), "{a:?} {b:?}");
        }
    }
}
