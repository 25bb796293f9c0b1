//! Whether this node takes a pod. The scheduler has chosen already; this catches what it could not know.

mod app_armor;
mod pressure;
mod taints;

pub use app_armor::app_armor;
pub use pressure::pressure;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod};

use crate::claims::is_by_claim;
use crate::context::NodeFacts;
use crate::devices::is_extended;
use crate::pod::spec;
use crate::quantity::milli_of;
use crate::resources::pod_total;
use crate::static_pods::is_static;

/// Sysctls that are namespaced and harmless; all others are refused.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A label that a pod may say its operating system by.
const OS_LABEL: &str = "kubernetes.io/os";

/// A refusal: reason and message of the pod's status.
pub type Refusal = (String, String);

/// The refusal of a pod for which something failed that should not.
pub fn unexpected(problem: &str) -> Refusal {
    ("UnexpectedAdmissionError".to_owned(), format!("Allocate failed due to {problem}, which is unexpected"))
}

/// Decides on `pod` with the pods that are here already.
pub fn admit(pod: &Pod, others: &[&Pod], node: &NodeFacts, max_pods: u32) -> Result<(), Refusal> {
    // First what no other pod's end could mend, then in the scheduler's order.
    if pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS_LABEL)).is_some_and(|os| os != "linux") {
        let message = format!("Failed to admit pod as the `{OS_LABEL}` label doesn't match node label");
        return Err(("PodOSSelectorNodeLabelDoesNotMatch".into(), message));
    }
    if pod.spec.as_ref().and_then(|s| s.os.as_ref()).is_some_and(|os| os.name != "linux") {
        return Err(("PodOSNotSupported".into(), "Failed to admit pod as the OS field doesn't match node OS".into()));
    }
    if let Some(short) = shortages(pod, others, node, max_pods).first() {
        return Err(short.refusal());
    }
    // Who placed the pod knew labels that nobody could tell this node yet; its own manifests know it by its own.
    if node.heard || is_static(pod) {
        fits_node(pod, node)?;
    }
    host_ports(pod, others)?;
    if is_borne(pod, node) {
        return Ok(());
    }
    let message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    Err(("TaintToleration".into(), message.into()))
}

/// Whether the pod may begin by the node's labels and taints, which are the API's to change at any moment.
pub fn suits(pod: &Pod, node: &NodeFacts) -> bool {
    fits_node(pod, node).is_ok() && is_borne(pod, node)
}

/// What the node's own manifests ask for runs whatever the node is told to keep away.
fn is_borne(pod: &Pod, node: &NodeFacts) -> bool {
    is_static(pod) || taints::borne(pod, &node.taints)
}

/// Refuses sysctls that are neither harmless nor allowed by name (`net.core.*` allows all that begin so).
pub fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Refusal> {
    let fits = |name: &str, pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    let may = |name: &str| SAFE_SYSCTLS.contains(&name) || allowed.iter().any(|pattern| fits(name, pattern));
    match crate::translate::sysctls(pod).keys().find(|name| !may(name)) {
        Some(name) => Err(("SysctlForbidden".into(), format!("forbidden sysctl: \"{name}\" not allowlisted"))),
        None => Ok(()),
    }
}

/// A resource of which a pod asks more than is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Its name.
    pub resource: String,
    /// What the pod asks for, thousandths.
    pub requested: i64,
    /// What the others have, thousandths.
    pub used: i64,
    /// What there is, thousandths.
    pub capacity: i64,
}

impl Short {
    /// What is missing, thousandths.
    pub fn missing(&self) -> i64 {
        self.used.saturating_add(self.requested).saturating_sub(self.capacity)
    }

    fn refusal(&self) -> Refusal {
        // CPU counts in thousandths, everything else in whole units.
        let unit = if self.resource == "cpu" { 1 } else { 1000 };
        let message = format!(
            "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
            self.resource,
            self.requested / unit,
            self.used / unit,
            self.capacity / unit
        );
        (format!("OutOf{}", self.resource), message)
    }
}

/// What the pod takes of a resource, thousandths; the pod itself counts as one of `pods`.
pub fn taken(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" { 1000 } else { pod_total(pod, resource, false) }
}

/// Everything of which the pod asks more than is left.
pub fn shortages(pod: &Pod, others: &[&Pod], node: &NodeFacts, max_pods: u32) -> Vec<Short> {
    // Devices of plugins are looked at themselves. What others advertise on the Node is the scheduler's to count: this node may not have
    // heard of it yet.
    let lapsed = extended(pod).filter(|name| node.lapsed.contains(*name));
    let resources = ["pods", "cpu", "memory", "ephemeral-storage"].into_iter().chain(lapsed);
    let each = resources.map(|resource| Short {
        resource: resource.to_owned(),
        requested: taken(pod, resource),
        used: others.iter().map(|p| taken(p, resource)).sum(),
        capacity: match resource {
            "pods" => i64::from(max_pods) * 1000,
            _ if node.lapsed.contains(resource) => 0,
            _ => milli_of(Some(&node.allocatable), resource),
        },
    });
    each.filter(|short| short.requested > 0 && short.missing() > 0).collect()
}

/// Extended resources that the pod asks for and does not get by a claim. Those that the scheduler ignores are none of the node's.
fn extended(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = spec::init_containers(pod).iter().chain(spec::app_containers(pod));
    let limits = containers.filter_map(|c| Some((c, c.resources.as_ref()?.limits.as_ref()?)));
    let names = limits.flat_map(|(c, limits)| limits.keys().map(move |name| (c, name.as_str())));
    let names: BTreeSet<&str> = names.filter(|(c, name)| !is_by_claim(pod, c, name)).map(|(_, name)| name).collect();
    names.into_iter().filter(|name| is_extended(name))
}

fn fits_node(pod: &Pod, node: &NodeFacts) -> Result<(), Refusal> {
    let refused = || {
        (
            "NodeAffinity".to_owned(),
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned(),
        )
    };
    let spec_of = spec::spec(pod);
    if spec_of.node_selector.iter().flatten().any(|(k, v)| node.labels.get(k) != Some(v)) {
        return Err(refused());
    }
    let required = spec_of
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        Some(selector) if !selector.node_selector_terms.iter().any(|term| term_matches(term, &node.labels)) => {
            Err(refused())
        }
        _ => Ok(()),
    }
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    // The only field is metadata.name, and the pod is bound to this node already: fields hold.
    expressions.iter().all(|r| requirement_holds(r, labels))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: Option<&String>| text.and_then(|t| t.parse::<i64>().ok());
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(number(values.first())).is_some_and(|(a, b)| a > b),
        "Lt" => number(value).zip(number(values.first())).is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

type HostPort = (String, String, i32);

fn ports_of(pod: &Pod) -> Vec<HostPort> {
    spec::app_containers(pod)
        .iter()
        .chain(spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)))
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let port = p.host_port.filter(|port| *port > 0)?;
            Some((p.host_ip.clone().unwrap_or_default(), p.protocol.clone().unwrap_or_else(|| "TCP".into()), port))
        })
        .collect()
}

fn host_ports(pod: &Pod, others: &[&Pod]) -> Result<(), Refusal> {
    let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    let wanted = ports_of(pod);
    let taken: Vec<_> = if wanted.is_empty() { Vec::new() } else { others.iter().flat_map(|p| ports_of(p)).collect() };
    let clash = wanted.iter().any(|(ip, protocol, port)| {
        taken.iter().any(|(other, p, n)| p == protocol && n == port && (ip == other || any(ip) || any(other)))
    });
    if clash {
        return Err((
            "NodePorts".into(),
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Taint;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    /// One that bears every taint.
    fn tolerant(spec: serde_json::Value) -> Pod {
        let mut pod = pod(spec);
        let every = serde_json::from_value(json!([{"operator": "Exists"}])).unwrap();
        pod.spec.as_mut().unwrap().tolerations = Some(every);
        pod
    }

    #[test]
    fn a_pod_is_refused_for_the_right_reason() {
        let node = NodeFacts {
            labels: BTreeMap::from([("disk".into(), "ssd".into()), ("n".into(), "5".into())]),
            allocatable: [("cpu", "2"), ("memory", "1Gi"), ("example.com/own", "1"), ("example.com/gone", "1")]
                .map(|(k, v)| (k.to_owned(), Quantity(v.into())))
                .into(),
            lapsed: ["example.com/gone".to_owned()].into(),
            taints: vec![Taint { key: "t".into(), effect: "NoExecute".into(), ..Default::default() }],
            heard: true,
            ..Default::default()
        };
        let container = |resources: serde_json::Value| json!({"containers": [{"name": "c", "resources": resources}]});
        let here = pod(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}, "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
        );
        let affinity = |operator: &str, values: &[&str]| {
            json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "n", "operator": operator, "values": values}]}]}}}})
        };
        for (spec, want) in [
            (container(json!({})), None),
            (container(json!({"requests": {"cpu": "500m"}})), None),
            (container(json!({"requests": {"cpu": "501m"}})), Some("OutOfcpu")),
            (container(json!({"limits": {"memory": "2Gi"}})), Some("OutOfmemory")),
            (container(json!({"limits": {"example.com/own": "2"}})), None),
            (container(json!({"limits": {"example.com/gone": "1"}})), Some("OutOfexample.com/gone")),
            (container(json!({"limits": {"example.com/unheard": "1"}})), None),
            (json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), Some("NodeAffinity")),
            (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), None),
            (affinity("Gt", &["4"]), None),
            (affinity("Lt", &["4"]), Some("NodeAffinity")),
            (affinity("NotIn", &["5"]), Some("NodeAffinity")),
            (
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 2, "hostPort": 80, "hostIP": "1.1.1.1"}]}]}),
                Some("NodePorts"),
            ),
            (json!({"containers": [], "os": {"name": "windows"}}), Some("PodOSNotSupported")),
        ] {
            let answer = admit(&tolerant(spec.clone()), &[&here], &node, 110);
            assert_eq!(answer.as_ref().err().map(|(reason, _)| reason.as_str()), want, "{spec}");
        }
        assert_eq!(admit(&pod(json!({"containers": []})), &[&here], &node, 1).unwrap_err().0, "OutOfpods");
        let mut claimed = tolerant(container(json!({"limits": {"example.com/gone": "1"}})));
        let mapping = json!({"containerName": "c", "resourceName": "example.com/gone", "requestName": "r"});
        let told = json!({"extendedResourceClaimStatus": {"resourceClaimName": "p-x", "requestMappings": [mapping]}});
        claimed.status = Some(serde_json::from_value(told).unwrap());
        assert_eq!(admit(&claimed, &[], &node, 110), Ok(()), "a driver brings it");
        let mut driven = pod(json!({"containers": []}));
        assert_eq!(admit(&driven, &[], &node, 110).unwrap_err().0, "TaintToleration");
        for (os, want) in [("windows", "PodOSSelectorNodeLabelDoesNotMatch"), ("linux", "TaintToleration")] {
            driven.metadata.labels = Some([(OS_LABEL.to_owned(), os.to_owned())].into());
            assert_eq!(admit(&driven, &[], &node, 110).unwrap_err().0, want);
        }
        driven.metadata.annotations = Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
        assert_eq!(admit(&driven, &[], &node, 110), Ok(()));
    }

    #[test]
    fn a_pod_is_not_refused_for_labels_that_nobody_has_told_its_node() {
        let mut placed = pod(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
        let mut node = NodeFacts::default();
        assert_eq!(admit(&placed, &[], &node, 110), Ok(()));
        assert!(!suits(&placed, &node), "who can be asked is asked");
        placed.metadata.annotations = Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
        assert_eq!(admit(&placed, &[], &node, 110).unwrap_err().0, "NodeAffinity", "nobody has placed it");
        placed.metadata.annotations = None;
        node.admit_by(&Default::default());
        assert_eq!(admit(&placed, &[], &node, 110).unwrap_err().0, "NodeAffinity");
    }

    #[test]
    fn sysctls_are_harmless_or_allowed_by_name() {
        let asks =
            |name: &str| pod(json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}}));
        for (name, allowed, want) in [
            ("kernel.shm_rmid_forced", "", true),
            ("kernel.msgmax", "", false),
            ("kernel.msgmax", "kernel.msg*", true),
            ("kernel.shmmax", "kernel.msg*", false),
            ("kernel.msgmax", "kernel.msgmax", true),
        ] {
            let answer = sysctls(&asks(name), &[allowed.to_owned()]);
            assert_eq!(answer.is_ok(), want, "{name} {allowed}: {answer:?}");
        }
    }
}
