//! PodResizeValidator: a pod is not resized beyond what its node has, nor on a node of another system (KEP-1287).

use k8s_openapi::api::core::v1::Pod;
use rk_api::meta;
use rk_api::status::{Cause, Status};
use serde_json::Value;

use super::quantity::amount;
use super::typed::typed;
use super::{Operation, Request};

/// Why a resize is refused: the cause as clients read it, and the words.
type Refusal = (&'static str, String);

pub(super) async fn validate(request: &Request<'_>, pod: Option<&Value>) -> Result<(), Status> {
    let (Some(pod), Some(old)) = (pod, request.old) else { return Ok(()) };
    let resizes = request.is_sub("", "pods", "resize") && request.operation == Operation::Update;
    let generation = |pod| meta::at(pod, &["metadata", "generation"]);
    let name = meta::text(pod, &["spec", "nodeName"]);
    if !resizes || name.is_empty() || generation(pod) == generation(old) {
        return Ok(());
    }
    let Some(node) = request.core.object("", "v1", "nodes", "", name).await? else {
        return Err(request.forbid(&format!("node {name:?} not found")));
    };
    let Some((cause, why)) = refused(&typed(pod)?, &node) else { return Ok(()) };
    let mut status = request.forbid(&why);
    let cause = Cause { reason: cause.to_owned(), message: String::new(), field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
    Err(status)
}

fn refused(pod: &Pod, node: &Value) -> Option<Refusal> {
    let asked = rk_quota::spec_requests(pod);
    let asked = |name: &str| asked.get(name).copied().unwrap_or_default();
    let there = |name: &str| amount(meta::at(node, &["status", "allocatable", name]));
    let (cpu, memory) = (asked("cpu").millis(), asked("memory").units());
    let mut more = Vec::new();
    if cpu > there("cpu").millis() {
        more.push(format!("cpu, requested: {cpu}, allocatable: {}", there("cpu").millis()));
    }
    if memory > there("memory").units() {
        more.push(format!("memory, requested: {memory}, allocatable: {}", there("memory").units()));
    }
    if !more.is_empty() {
        let why = format!("node didn't have enough allocatable resources: {}", more.join("; "));
        return Some(("NodeCapacity", why));
    }
    let system = meta::text(node, &["metadata", "labels", "kubernetes.io/os"]);
    let why = || format!("pod resize is only supported on linux nodes, node {:?} is {system:?}", meta::name(node));
    (system != "linux").then(|| ("UnsupportedPlatform", why()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_gets_what_its_node_has() {
        let node = |system: &str| {
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": "1900m", "memory": "1Gi"}}})
        };
        let told = |cpu: &str, memory: &str, system: &str| {
            let resources = json!({"requests": {"cpu": cpu, "memory": memory}});
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
            refused(&serde_json::from_value(pod).unwrap(), &node(system))
        };
        assert_eq!(told("1900m", "1Gi", "linux"), None);
        let little = "node didn't have enough allocatable resources: ";
        let both = format!(
            "{little}cpu, requested: 2000, allocatable: 1900; memory, requested: 2147483648, allocatable: 1073741824"
        );
        assert_eq!(told("2", "2Gi", "linux"), Some(("NodeCapacity", both)));
        let memory = format!("{little}memory, requested: 2147483648, allocatable: 1073741824");
        assert_eq!(told("1", "2Gi", "windows"), Some(("NodeCapacity", memory)));
        let system = "pod resize is only supported on linux nodes, node \"n\" is \"windows\"".to_owned();
        assert_eq!(told("1", "1Gi", "windows"), Some(("UnsupportedPlatform", system)));
    }
}
