//! What a kubelet may say of its own Node.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::super::{Operation, Request};

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

pub(super) fn judge(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    if request.name != node {
        return Err(request.forbid(&format!("node {node:?} is not allowed to modify node {:?}", request.name)));
    }
    let Some(object) = object else {
        return Err(request.forbid(&format!("node {node:?} is not allowed to delete its Node object")));
    };
    let nothing = Value::Null;
    let why = match (request.operation, request.old) {
        (Operation::Create, _) => refused_new(node, object),
        (_, old) => refused_change(node, object, old.unwrap_or(&nothing)),
    };
    why.map_or(Ok(()), |why| Err(request.forbid(&why)))
}

fn refused_new(node: &str, object: &Value) -> Option<String> {
    if !meta::at(object, &["spec", "configSource"]).is_null() {
        return Some(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
    }
    let labels = forbidden_labels(object, &Value::Null);
    (!labels.is_empty())
        .then(|| format!("node {node:?} is not allowed to set the following labels: {}", labels.join(", ")))
}

fn refused_change(node: &str, new: &Value, old: &Value) -> Option<String> {
    let source = |object| meta::at(object, &["spec", "configSource"]);
    if !source(new).is_null() && source(new) != source(old) {
        return Some(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
    }
    let differs = |path: &[&str]| meta::list(new, path) != meta::list(old, path);
    if differs(&["spec", "taints"]) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let labels = forbidden_labels(new, old);
    if !labels.is_empty() {
        return Some(format!("is not allowed to modify labels: {}", labels.join(", ")));
    }
    differs(&["metadata", "ownerReferences"]).then(|| format!("node {node:?} is not allowed to modify ownerReferences"))
}

/// Labels that differ and that a kubelet may not set, in order.
fn forbidden_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let (new, old) = (meta::labels(new), meta::labels(old));
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(|labels| labels.keys());
    let mut changed: Vec<&str> =
        keys.map(String::as_str).filter(|key| new.get(*key) != old.get(*key) && !may_set(key)).collect();
    changed.sort_unstable();
    changed.dedup();
    changed
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn what_is_refused_is_told_by_what_is_done() {
        let labelled = |label: &str| json!({"metadata": {"labels": {label: "x", "disk": "ssd"}}});
        let role = "node-role.kubernetes.io/a";
        assert_eq!(
            refused_new("n", &labelled(role)).as_deref(),
            Some("node \"n\" is not allowed to set the following labels: node-role.kubernetes.io/a")
        );
        assert_eq!(refused_new("n", &labelled("kubernetes.io/os")), None);
        let source = json!({"spec": {"configSource": {"configMap": {"name": "c"}}}});
        assert!(refused_new("n", &source).is_some_and(|why| why.contains("non-nil configSource")));
        assert_eq!(refused_change("n", &source, &source), None);
        let plain = json!({"spec": {}});
        for (new, old, why) in [
            (&labelled(role), &plain, Some("is not allowed to modify labels: node-role.kubernetes.io/a")),
            (&plain, &labelled(role), Some("is not allowed to modify labels: node-role.kubernetes.io/a")),
            (&labelled(role), &labelled(role), None),
            (&json!({"spec": {"taints": [{"key": "a"}]}}), &plain, Some("node \"n\" is not allowed to modify taints")),
            (&json!({"spec": {"taints": []}}), &plain, None),
            (&source, &plain, Some("node \"n\" is not allowed to update configSource to a new non-nil configSource")),
            (
                &json!({"metadata": {"ownerReferences": [{"name": "a"}]}}),
                &plain,
                Some("node \"n\" is not allowed to modify ownerReferences"),
            ),
        ] {
            assert_eq!(refused_change("n", new, old).as_deref(), why, "{new} {old}");
        }
    }
}
