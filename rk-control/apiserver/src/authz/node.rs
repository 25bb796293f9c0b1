//! The node authorizer: a kubelet reads what its own pods need and writes what is its own.

use rk_api::status::Status;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Verdict};
use crate::server::Core;

/// What every node may do without a look at its pods; the finer limits on writes are the NodeRestriction admission's.
fn general(attributes: &Attributes) -> bool {
    // The role of the same name holds all rules; the resources judged below are not among them.
    super::policy::node_rules().iter().any(|rule: &Rule| rule.covers(attributes))
}

/// Judges a request of the kubelet of `node`.
///
/// # Errors
/// Pods cannot be read.
pub async fn judge(core: &Core, node: &str, attributes: &Attributes) -> Result<Verdict, Status> {
    let no = |why: &str| Ok(Verdict::NoOpinion(why.to_owned()));
    let Attributes { verb, group, resource, subresource, namespace, name, .. } = attributes;
    if attributes.path.is_some() {
        return no("");
    }
    let reads = matches!(verb.as_str(), "get" | "list" | "watch");
    match (group.as_str(), resource.as_str(), subresource.as_str()) {
        ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts", "") => {
            used(core, node, attributes, reads).await
        }
        ("", "serviceaccounts", "token") => {
            if verb != "create" {
                return no("can only create tokens for individual service accounts");
            }
            related(core, node, "serviceaccounts", namespace, name).await
        }
        ("", "persistentvolumeclaims", "status") => {
            if !matches!(verb.as_str(), "get" | "update" | "patch") {
                return no("can only get/update/patch this type");
            }
            related(core, node, resource, namespace, name).await
        }
        ("resource.k8s.io", "resourceclaims", "")
        | ("", "persistentvolumes", "")
        | ("storage.k8s.io", "volumeattachments", "")
            if verb != "get" =>
        {
            no("can only get individual resources of this type")
        }
        ("resource.k8s.io", "resourceclaims", "") => related(core, node, resource, namespace, name).await,
        ("", "persistentvolumes", "") => volume(core, node, name).await,
        ("storage.k8s.io", "volumeattachments", "") => own(core, node, attributes).await,
        ("resource.k8s.io", "resourceslices", "") => match verb.as_str() {
            "get" | "update" | "patch" | "delete" => own(core, node, attributes).await,
            "list" | "watch" | "deletecollection" if attributes.node != node => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            "create" | "list" | "watch" | "deletecollection" => Ok(Verdict::Allowed(String::new())),
            _ => no(""),
        },
        // Pods on a node are its own, and so are lists that hold no others.
        ("", "pods", "") if reads && (verb == "get" || attributes.node != node) => {
            if name.is_empty() {
                return no("can only list/watch pods with spec.nodeName field selector");
            }
            own(core, node, attributes).await
        }
        ("", "nodes", "") if reads && !name.is_empty() && name != node && verb == "get" => {
            no(&format!("node {node:?} cannot read {name:?}, only its own Node object"))
        }
        ("coordination.k8s.io", "leases", "") if namespace == "kube-node-lease" && is_named_after(node, attributes) => {
            Ok(Verdict::Allowed(String::new()))
        }
        ("coordination.k8s.io", "leases", "") => {
            no("can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes", "") if is_named_after(node, attributes) => Ok(Verdict::Allowed(String::new())),
        ("storage.k8s.io", "csinodes", "") => no("can only access CSINode with the same name as the requesting node"),
        _ if general(attributes) => Ok(Verdict::Allowed(String::new())),
        _ => no(""),
    }
}

/// Whether the request is for one object of the node's own name, by a verb that means one object.
fn is_named_after(node: &str, attributes: &Attributes) -> bool {
    let Attributes { verb, name, .. } = attributes;
    let named = name == node || (verb == "create" && name.is_empty());
    named && matches!(verb.as_str(), "get" | "create" | "update" | "patch" | "delete")
}

/// What pods use: a node reads that of its own pods, by name.
async fn used(core: &Core, node: &str, attributes: &Attributes, reads: bool) -> Result<Verdict, Status> {
    let no = |why: &str| Ok(Verdict::NoOpinion(why.to_owned()));
    let Attributes { verb, resource, namespace, name, .. } = attributes;
    if !reads {
        return no("can only read resources of this type");
    }
    if name.is_empty() {
        return no(&format!("can only read namespaced object of this type by name, node {node:?}"));
    }
    match resource.as_str() {
        "serviceaccounts" if verb != "get" => no("can only get individual resources of this type"),
        "secrets" => secret(core, node, namespace, name).await,
        _ => related(core, node, resource, namespace, name).await,
    }
}

/// Whether a pod on the node uses the object.
async fn related(core: &Core, node: &str, resource: &str, namespace: &str, name: &str) -> Result<Verdict, Status> {
    let pods = core.storage.settled_cache(&core.resource("", "v1", "pods")?).await?;
    let here = pods.snapshot(namespace, 0, |pod| pod.field("spec.nodeName") == node);
    for pod in &here.objects {
        let pod = pod.value();
        if uses(&pod, resource, name) || through_account(core, &pod, resource, namespace, name).await? {
            return Ok(Verdict::Allowed(String::new()));
        }
    }
    Ok(unrelated(node, resource, namespace, name))
}

fn unrelated(node: &str, resource: &str, namespace: &str, name: &str) -> Verdict {
    let kind = resource.strip_suffix('s').unwrap_or(resource);
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    Verdict::NoOpinion(format!("no relationship found between node '{node}' and this object ({kind} {place}{name})"))
}

/// Whether a pod on the node uses the secret, or a volume that a pod on the node uses is mounted with it.
async fn secret(core: &Core, node: &str, namespace: &str, name: &str) -> Result<Verdict, Status> {
    let verdict = related(core, node, "secrets", namespace, name).await?;
    if verdict.allows() {
        return Ok(verdict);
    }
    for volume in core.objects("", "v1", "persistentvolumes", "").await? {
        if mounted_with(&volume, namespace, name) && is_used(core, node, &volume).await? {
            return Ok(Verdict::Allowed(String::new()));
        }
    }
    Ok(verdict)
}

/// Secrets of the node's part of what a volume is of; those of a driver's controller are not for nodes.
const NODE_SECRETS: [&str; 4] = ["nodeStageSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef", "secretRef"];

/// Whether a node needs the secret for the volume. Without a namespace, it is in that of the claim.
fn mounted_with(volume: &Value, namespace: &str, name: &str) -> bool {
    let text = rk_api::meta::text;
    let sources = volume.get("spec").and_then(Value::as_object).into_iter().flat_map(|spec| spec.values());
    let mut secrets = sources.flat_map(|source| NODE_SECRETS.iter().filter_map(move |field| source.get(*field)));
    secrets.any(|secret| {
        let given = text(secret, &["namespace"]);
        let of = if given.is_empty() { text(volume, &["spec", "claimRef", "namespace"]) } else { given };
        of == namespace && text(secret, &["name"]) == name
    })
}

/// Whether a pod on the node uses the claim to which a volume is bound.
async fn is_used(core: &Core, node: &str, volume: &Value) -> Result<bool, Status> {
    let claim = |field: &str| rk_api::meta::text(volume, &["spec", "claimRef", field]);
    let (namespace, claim) = (claim("namespace"), claim("name"));
    Ok(!claim.is_empty() && related(core, node, "persistentvolumeclaims", namespace, claim).await?.allows())
}

async fn volume(core: &Core, node: &str, name: &str) -> Result<Verdict, Status> {
    let volume = core.object("", "v1", "persistentvolumes", "", name).await?.unwrap_or_default();
    let is_used = is_used(core, node, &volume).await?;
    Ok(if is_used { Verdict::Allowed(String::new()) } else { unrelated(node, "persistentvolumes", "", name) })
}

/// Whether the object itself names the node as its own.
async fn own(core: &Core, node: &str, attributes: &Attributes) -> Result<Verdict, Status> {
    let Attributes { group, resource, namespace, name, .. } = attributes;
    let object = core.object(group, "v1", resource, namespace, name).await?;
    let is_own = object.is_some_and(|object| rk_api::meta::text(&object, &["spec", "nodeName"]) == node);
    Ok(if is_own { Verdict::Allowed(String::new()) } else { unrelated(node, resource, namespace, name) })
}

/// Pods reach the secrets of their service account too.
async fn through_account(
    core: &Core,
    pod: &Value,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<bool, Status> {
    if resource != "secrets" {
        return Ok(false);
    }
    let account = rk_api::meta::text(pod, &["spec", "serviceAccountName"]);
    let Some(account) = core.object("", "v1", "serviceaccounts", namespace, account).await? else { return Ok(false) };
    let named = |list: &str| {
        account
            .get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|entry| rk_api::meta::text(entry, &["name"]) == name)
    };
    Ok(named("secrets") || named("imagePullSecrets"))
}

/// Of each resource, the fields of a pod's spec that name its objects.
const REFERENCES: &[(&str, &[&str])] = &[
    ("secrets", &["secretName", "secretRef", "secretKeyRef", "secret", "imagePullSecrets", "nodePublishSecretRef"]),
    ("configmaps", &["configMap", "configMapRef", "configMapKeyRef"]),
    ("persistentvolumeclaims", &["claimName"]),
];

/// Whether the pod's own fields name the object.
fn uses(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    match resource {
        "serviceaccounts" => return rk_api::meta::text(spec, &["serviceAccountName"]) == name,
        "resourceclaims" => return has_devices_of(pod, name),
        "persistentvolumeclaims" if is_made_for(pod, name) => return true,
        _ => {}
    }
    let fields = REFERENCES.iter().find(|(kind, _)| *kind == resource);
    fields.is_some_and(|(_, fields)| anywhere(spec, fields, &|reference| names(reference, name)))
}

/// Whether a claim of devices is named by the pod, or was made for it.
fn has_devices_of(pod: &Value, claim: &str) -> bool {
    let lists = [["spec", "resourceClaims"], ["status", "resourceClaimStatuses"]];
    let entries = lists.iter().flat_map(|path| rk_api::meta::at(pod, path).as_array().into_iter().flatten());
    let extended = rk_api::meta::at(pod, &["status", "extendedResourceClaimStatus"]);
    let mut named = entries.chain([extended]).map(|entry| rk_api::meta::text(entry, &["resourceClaimName"]));
    !claim.is_empty() && named.any(|name| name == claim)
}

/// Whether a claim is that of one of the pod's ephemeral volumes.
fn is_made_for(pod: &Value, claim: &str) -> bool {
    let prefix = format!("{}-", rk_api::meta::name(pod));
    let Some(name) = claim.strip_prefix(&prefix) else { return false };
    let mut volumes = rk_api::meta::at(pod, &["spec", "volumes"]).as_array().into_iter().flatten();
    volumes.any(|volume| {
        rk_api::meta::text(volume, &["name"]) == name
            && !rk_api::meta::at(volume, &["ephemeral", "volumeClaimTemplate"]).is_null()
    })
}

/// The first resource of which a pod's spec names an object: what a node would reach by a pod of its own making.
pub(crate) fn referenced(pod: &Value) -> Option<&'static str> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let is_any = |reference: &Value| !reference.is_null() && reference.as_array().is_none_or(|list| !list.is_empty());
    REFERENCES.iter().find(|(_, fields)| anywhere(spec, fields, &is_any)).map(|(resource, _)| *resource)
}

/// Whether one of the reference fields, wherever it stands in the spec, is what is looked for: the shapes are few and regular.
fn anywhere(value: &Value, fields: &[&str], wanted: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, inner)| (fields.contains(&key.as_str()) && wanted(inner)) || anywhere(inner, fields, wanted)),
        Value::Array(items) => items.iter().any(|item| anywhere(item, fields, wanted)),
        _ => false,
    }
}

fn names(reference: &Value, name: &str) -> bool {
    match reference {
        Value::String(text) => text == name,
        Value::Object(_) => rk_api::meta::text(reference, &["name"]) == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_is_mounted_with_the_secrets_of_its_nodes_part() {
        let secret = |name: &str| json!({"name": name, "namespace": "vault"});
        let volume = json!({"spec": {"claimRef": {"namespace": "apps", "name": "data"}, "csi": {"driver": "d",
            "nodeStageSecretRef": secret("stage"), "nodePublishSecretRef": secret("publish"),
            "nodeExpandSecretRef": secret("expand"), "controllerPublishSecretRef": secret("controller")}}});
        for name in ["stage", "publish", "expand"] {
            assert!(mounted_with(&volume, "vault", name) && !mounted_with(&volume, "apps", name), "{name}");
        }
        assert!(!mounted_with(&volume, "vault", "controller"));
        let near = json!({"spec": {"claimRef": {"namespace": "apps", "name": "data"}, "iscsi": {"secretRef": {"name": "chap"}}}});
        assert!(mounted_with(&near, "apps", "chap") && !mounted_with(&near, "vault", "chap"));
    }

    #[test]
    fn a_pod_uses_what_its_volumes_and_environment_name() {
        let pod = json!({"spec": {
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "vol"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "proj"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
            ],
            "containers": [{"name": "x", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]}],
        }});
        for secret in ["vol", "proj", "env", "pull"] {
            assert!(uses(&pod, "secrets", secret), "{secret}");
        }
        assert!(uses(&pod, "configmaps", "kube-root-ca.crt"));
        assert!(uses(&pod, "persistentvolumeclaims", "claim"));
        assert!(uses(&pod, "serviceaccounts", "sa"));
        assert!(!uses(&pod, "secrets", "claim") && !uses(&pod, "secrets", "k"));
        let made = json!({"metadata": {"name": "p"},
            "spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, {"name": "w", "emptyDir": {}}],
                "resourceClaims": [{"name": "a", "resourceClaimName": "named"}, {"name": "b", "resourceClaimTemplateName": "t"}]},
            "status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "p-b-x"}]}});
        assert!(uses(&made, "persistentvolumeclaims", "p-v"));
        assert!(!uses(&made, "persistentvolumeclaims", "p-w") && !uses(&made, "persistentvolumeclaims", "p-"));
        assert!(uses(&made, "resourceclaims", "named") && uses(&made, "resourceclaims", "p-b-x"));
        assert!(!uses(&made, "resourceclaims", "t") && !uses(&made, "resourceclaims", ""));
        assert_eq!(referenced(&pod), Some("secrets"));
        let of = |spec: Value| referenced(&json!({"spec": spec}));
        assert_eq!(of(json!({"imagePullSecrets": [{"name": "pull"}]})), Some("secrets"));
        assert_eq!(of(json!({"imagePullSecrets": []})), None);
        assert_eq!(of(json!({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]})), Some("configmaps"));
        assert_eq!(
            of(json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]})),
            Some("persistentvolumeclaims")
        );
        assert_eq!(of(json!({"nodeName": "n", "volumes": [{"name": "v", "hostPath": {"path": "/"}}]})), None);
    }
}
