//! What a kubelet may do to pods: make and delete the mirrors of its own, tell how its pods are, and evict them.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::super::{Operation, Request};

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) async fn judge(request: &Request<'_>, node: &str, part: &str, object: Option<&Value>) -> Result<(), Status> {
    let object = object.unwrap_or(&Value::Null);
    let old = request.old.unwrap_or(&Value::Null);
    let why = match (part, request.operation) {
        ("", Operation::Create) => match refused_mirror(node, object) {
            None => return owned_by_node(request, node, object).await,
            why => why,
        },
        ("", Operation::Delete) if !is_on(old, node) => {
            Some(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("", Operation::Update) => {
            Some(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        ("status", Operation::Update) => refused_status(node, object, old),
        ("eviction", _) if !is_on(old, node) => {
            Some(format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("" | "status" | "eviction", _) => None,
        _ => Some(format!("unexpected pod subresource {part:?}, only 'status' and 'eviction' are allowed")),
    };
    why.map_or(Ok(()), |why| Err(request.forbid(&why)))
}

fn is_on(pod: &Value, node: &str) -> bool {
    meta::text(pod, &["spec", "nodeName"]) == node
}

/// A mirror names nothing by which the node could make its way to what it may not read.
fn refused_mirror(node: &str, pod: &Value) -> Option<String> {
    if meta::at(pod, &["metadata", "annotations", MIRROR]).is_null() {
        return Some(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if !is_on(pod, node) {
        return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    if let Some(why) = refused_owner(node, pod) {
        return Some(why);
    }
    let named = |list: &str| meta::at(pod, &["spec", list]).as_array().is_some_and(|list| !list.is_empty());
    let reference = if !meta::text(pod, &["spec", "serviceAccountName"]).is_empty() {
        Some("a service account")
    } else if projects_bundle(pod) {
        Some("clustertrustbundles")
    } else if named("resourceClaims") {
        Some("resourceclaims")
    } else {
        crate::authz::referenced(pod)
    };
    reference.map(|what| format!("node {node:?} can not create pods that reference {what}"))
}

fn refused_owner(node: &str, pod: &Value) -> Option<String> {
    let owner = match meta::list(pod, &["metadata", "ownerReferences"]) {
        [] => return Some(format!("node {node:?} can only create pods with an owner reference set to itself")),
        [owner] => owner,
        _ => return Some(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    let field = |name: &str| meta::text(owner, &[name]);
    if (field("apiVersion"), field("kind"), field("name")) != ("v1", "Node", node) {
        return Some(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return Some(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    (owner["blockOwnerDeletion"] == true)
        .then(|| format!("node {node:?} must not set blockOwnerDeletion on an owner reference"))
}

/// Whether the owner is the Node that there is now, not one that had its name.
async fn owned_by_node(request: &Request<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let given = pod.pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str).unwrap_or_default();
    let Some(object) = request.core.object("", "v1", "nodes", "", node).await? else {
        let resource = request.core.resource("", "v1", "nodes")?;
        return Err(Status::not_found(&resource, node));
    };
    let uid = meta::uid(&object);
    if uid == given {
        return Ok(());
    }
    Err(request.forbid(&format!("node {node} UID mismatch: expected {given} got {uid}")))
}

fn projects_bundle(pod: &Value) -> bool {
    let volumes = meta::at(pod, &["spec", "volumes"]).as_array().into_iter().flatten();
    let mut sources =
        volumes.flat_map(|volume| meta::at(volume, &["projected", "sources"]).as_array().into_iter().flatten());
    sources.any(|source| !meta::at(source, &["clusterTrustBundle"]).is_null())
}

fn refused_status(node: &str, new: &Value, old: &Value) -> Option<String> {
    if !is_on(old, node) {
        return Some(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let labels = |pod| meta::labels(pod).as_object().filter(|labels| !labels.is_empty());
    if labels(new) != labels(old) {
        return Some(format!("node {node:?} cannot update labels through pod status"));
    }
    if claims(new) != claims(old) {
        return Some(format!("node {node:?} cannot update resource claim statues"));
    }
    let extended = |pod| meta::at(pod, &["status", "extendedResourceClaimStatus"]);
    (extended(new) != extended(old)).then(|| format!("node {node:?} cannot update extended resource claim status"))
}

/// Which claims a pod was given, by the names that it has for them.
fn claims(pod: &Value) -> Vec<(&str, Option<&str>)> {
    let statuses = meta::at(pod, &["status", "resourceClaimStatuses"]).as_array().into_iter().flatten();
    statuses.map(|status| (meta::text(status, &["name"]), meta::at(status, &["resourceClaimName"]).as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mirror(owner: Value, spec: Value) -> Value {
        let mut pod = json!({"metadata": {"annotations": {MIRROR: "h"}, "ownerReferences": [owner]}, "spec": spec});
        pod["spec"]["nodeName"] = json!("n");
        pod
    }

    fn node() -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true})
    }

    fn changed(key: &str, value: Value) -> Value {
        let mut owner = node();
        owner[key] = value;
        owner
    }

    #[test]
    fn a_mirror_is_of_its_node_and_names_nothing() {
        let volumes = |source: Value| json!({"volumes": [{"name": "v", "projected": {"sources": [source]}}]});
        let mut bare = mirror(node(), json!({}));
        assert_eq!(refused_mirror("n", &bare), None);
        let own = "can only create pods with an owner reference set to itself";
        for (pod, why) in [
            (json!({"spec": {"nodeName": "n"}}), "can only create mirror pods"),
            (mirror(changed("kind", json!("Pod")), json!({})), own),
            (mirror(changed("name", json!("m")), json!({})), own),
            (mirror(changed("apiVersion", json!("v2")), json!({})), own),
            (mirror(changed("controller", json!(null)), json!({})), "with a controller owner reference set to itself"),
            (mirror(changed("blockOwnerDeletion", json!(true)), json!({})), "must not set blockOwnerDeletion"),
            (mirror(node(), json!({"serviceAccountName": "s"})), "reference a service account"),
            (mirror(node(), json!({"imagePullSecrets": [{"name": "s"}]})), "reference secrets"),
            (mirror(node(), volumes(json!({"clusterTrustBundle": {"name": "b"}}))), "reference clustertrustbundles"),
            (mirror(node(), volumes(json!({"configMap": {"name": "c"}}))), "reference configmaps"),
            (mirror(node(), json!({"resourceClaims": [{"name": "c"}]})), "reference resourceclaims"),
        ] {
            assert!(refused_mirror("n", &pod).is_some_and(|told| told.contains(why)), "{pod}");
        }
        assert!(refused_mirror("m", &bare).is_some_and(|told| told.contains("spec.nodeName set to itself")));
        bare["metadata"]["ownerReferences"] = json!([node(), node()]);
        assert!(refused_mirror("n", &bare).is_some_and(|told| told.contains("a single owner reference")));
        bare["metadata"]["ownerReferences"] = json!([]);
        assert!(refused_mirror("n", &bare).is_some_and(|told| told.contains(own)));
    }

    #[test]
    fn a_status_tells_how_a_pod_is_and_not_whose() {
        let pod = |node: &str, labels: Value, claims: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}, "status": {"resourceClaimStatuses": claims}});
        let claim = |name: &str| json!([{"name": "c", "resourceClaimName": name}]);
        let old = pod("n", json!({"a": "b"}), claim("one"));
        for (new, why) in [
            (pod("n", json!({"a": "b"}), claim("one")), None),
            (pod("n", json!({"a": "c"}), claim("one")), Some("cannot update labels through pod status")),
            (pod("n", json!(null), claim("one")), Some("cannot update labels through pod status")),
            (pod("n", json!({"a": "b"}), claim("two")), Some("cannot update resource claim statues")),
            (pod("n", json!({"a": "b"}), json!(null)), Some("cannot update resource claim statues")),
        ] {
            assert_eq!(refused_status("n", &new, &old), why.map(|why| format!("node \"n\" {why}")), "{new}");
        }
        assert!(refused_status("m", &old, &old).is_some());
        assert_eq!(
            refused_status("n", &json!({"metadata": {"labels": {}}}), &json!({"spec": {"nodeName": "n"}})),
            None
        );
    }
}
