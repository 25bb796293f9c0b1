//! NodeRestriction: a kubelet writes its own node, its own pods, and nothing about others.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Map, Value};

use super::{Operation, Request};

/// Label prefix that kubelets must not set at all.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels under `kubernetes.io` and `k8s.io` that a kubelet may set.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_PREFIXES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    validate(request, Some(object)).await
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    if !request.user.in_group(crate::authn::NODES) {
        return Ok(());
    }
    let Some(node) = request.user.node_name().filter(|node| !node.is_empty()) else {
        return Err(request.forbid(&format!("could not determine node from user {:?}", request.user.name)));
    };
    match (&*request.resource.gvk.group, &*request.resource.plural, request.subresource) {
        ("", "pods", "") => pod(request, node, object),
        ("", "pods", "status") => {
            own_pod(request, node, "can only update pod status for pods with spec.nodeName set to itself")
        }
        ("", "pods", "eviction") => own_pod(request, node, "can only evict pods with spec.nodeName set to itself"),
        ("", "nodes", "" | "status") => self_node(request, node, object),
        ("", "serviceaccounts", "token") => token(request, node, object).await,
        ("coordination.k8s.io", "leases", _) if request.namespace == "kube-node-lease" && request.name != node => {
            Err(request.forbid("can only access node lease with the same name as the requesting node"))
        }
        ("coordination.k8s.io", "leases", _) if request.namespace != "kube-node-lease" => {
            Err(request.forbid("can only access leases in the \"kube-node-lease\" system namespace"))
        }
        ("storage.k8s.io", "csinodes", _) if request.name != node => {
            Err(request.forbid("can only access CSINode with the same name as the requesting node"))
        }
        _ => Ok(()),
    }
}

fn own_pod(request: &Request<'_>, node: &str, why: &str) -> Result<(), Status> {
    let pod = request.old.unwrap_or(&Value::Null);
    if meta::text(pod, &["spec", "nodeName"]) == node {
        Ok(())
    } else {
        Err(request.forbid(&format!("node {node:?} {why}")))
    }
}

fn pod(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    match request.operation {
        Operation::Delete => own_pod(request, node, "can only delete pods with spec.nodeName set to itself"),
        Operation::Connect => Ok(()),
        Operation::Update => Err(request
            .forbid(&format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))),
        Operation::Create => {
            let pod = object.unwrap_or(&Value::Null);
            if meta::at(pod, &["metadata", "annotations", MIRROR]).is_null() {
                return Err(request.forbid(&format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                )));
            }
            if meta::text(pod, &["spec", "nodeName"]) != node {
                return Err(
                    request.forbid(&format!("node {node:?} can only create pods with spec.nodeName set to itself"))
                );
            }
            let owners = meta::at(pod, &["metadata", "ownerReferences"]).as_array().cloned().unwrap_or_default();
            let foreign = owners
                .iter()
                .any(|owner| meta::text(owner, &["kind"]) != "Node" || meta::text(owner, &["name"]) != node);
            if owners.len() > 1 || foreign {
                return Err(request
                    .forbid(&format!("node {node:?} can only create pods with an owner reference set to itself")));
            }
            // Else a node could make its way to what it may not read.
            if let Some(resource) = crate::authz::referenced(pod) {
                return Err(request.forbid(&format!("node {node:?} can not create pods that reference {resource}")));
            }
            Ok(())
        }
    }
}

fn self_node(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    if request.name != node {
        return Err(request.forbid(&format!("node {node:?} is not allowed to modify node {:?}", request.name)));
    }
    let Some(object) = object else {
        return Err(request.forbid(&format!("node {node:?} is not allowed to delete its Node object")));
    };
    let empty = Map::new();
    let labels = |value: Option<&Value>| {
        value.and_then(|value| meta::labels(value).as_object()).cloned().unwrap_or_else(|| empty.clone())
    };
    let (new, old) = (labels(Some(object)), labels(request.old));
    let mut changed: Vec<&str> =
        new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.as_str()).collect();
    changed.extend(old.keys().filter(|key| !new.contains_key(*key)).map(String::as_str));
    let mut forbidden: Vec<&str> = changed.into_iter().filter(|key| !may_set(key)).collect();
    forbidden.sort_unstable();
    if !forbidden.is_empty() {
        return Err(request.forbid(&format!("is not allowed to modify labels: {}", forbidden.join(", "))));
    }
    if let Some(old) = request.old {
        if meta::at(old, &["spec", "taints"]) != meta::at(object, &["spec", "taints"]) {
            return Err(request.forbid(&format!("node {node:?} is not allowed to modify taints")));
        }
        if meta::at(old, &["metadata", "ownerReferences"]) != meta::at(object, &["metadata", "ownerReferences"]) {
            return Err(request.forbid(&format!("node {node:?} is not allowed to modify ownerReferences")));
        }
    }
    Ok(())
}

/// Whether a kubelet may set a label on its node (KEP-279).
fn may_set(label: &str) -> bool {
    let Some((prefix, _)) = label.split_once('/') else { return true };
    let below = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    if below(RESTRICTED) {
        return false;
    }
    let reserved = below("kubernetes.io") || below("k8s.io");
    !reserved || OWN_LABELS.contains(&label) || OWN_LABEL_PREFIXES.iter().any(|own| below(own))
}

/// Tokens for the pods on the node alone.
async fn token(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    let reference = object.map_or(&Value::Null, |object| meta::at(object, &["spec", "boundObjectRef"]));
    let field = |name: &str| meta::text(reference, &[name]);
    if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
        return Err(request.forbid("node requested token not bound to a pod"));
    }
    if field("uid").is_empty() {
        return Err(request.forbid("node requested token with a pod binding without a uid"));
    }
    let pod = request.core.object("", "v1", "pods", request.namespace, field("name")).await?;
    match pod {
        Some(pod) if meta::uid(&pod) != field("uid") => {
            Err(request.forbid("the UID in the bound object reference does not match the UID in record"))
        }
        Some(pod) if meta::text(&pod, &["spec", "nodeName"]) == node => Ok(()),
        Some(_) => Err(request.forbid("node requested token bound to a pod scheduled on a different node")),
        None => {
            let resource = request.core.resource("", "v1", "pods")?;
            Err(Status::not_found(&resource, field("name")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_sets_its_own_labels_and_no_reserved_ones() {
        for (label, allowed) in [
            ("disk", true),
            ("example.com/x", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/pool", true),
            ("topology.kubernetes.io/zone", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("k8s.io/x", false),
        ] {
            assert_eq!(may_set(label), allowed, "{label}");
        }
    }
}
