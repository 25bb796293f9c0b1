//! Workloads.

use serde_json::{Value, json};

use super::edit::{child, default, each, empty, ensure, text};
use super::{pod, storage};
use crate::Object;

fn spec_and_template(object: &mut Object) -> Option<&mut Object> {
    let spec = ensure(object, "spec")?;
    if let Some(template) = child(spec, "template") {
        pod::template(template);
    }
    Some(spec)
}

/// Deployment.
pub(super) fn deployment(object: &mut Object) {
    let Some(spec) = spec_and_template(object) else {
        return;
    };
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = ensure(spec, "strategy") else {
        return;
    };
    default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure(strategy, "rollingUpdate")
    {
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
}

/// ReplicaSet.
pub(super) fn replica_set(object: &mut Object) {
    if let Some(spec) = spec_and_template(object) {
        default(spec, "replicas", 1);
    }
}

/// ReplicationController: labels and selector follow the template's labels.
pub(super) fn replication_controller(object: &mut Object) {
    let Some(spec) = spec_and_template(object) else {
        return;
    };
    default(spec, "replicas", 1);
    let labels = spec.get("template").and_then(|t| t.pointer("/metadata/labels")).cloned();
    let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|l| !l.is_empty())) else {
        return;
    };
    if empty(spec, "selector") {
        spec.insert("selector".into(), labels.clone());
    }
    if let Some(metadata) = ensure(object, "metadata")
        && empty(metadata, "labels")
    {
        metadata.insert("labels".into(), labels);
    }
}

/// StatefulSet.
pub(super) fn stateful_set(object: &mut Object) {
    let Some(spec) = spec_and_template(object) else {
        return;
    };
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            default(rolling, "partition", 0);
            default(rolling, "maxUnavailable", json!(1));
        }
    }
    if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        default(retention, "whenDeleted", "Retain");
        default(retention, "whenScaled", "Retain");
    }
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion".into(), Value::from("v1"));
        claim.insert("kind".into(), Value::from("PersistentVolumeClaim"));
        storage::persistent_volume_claim(claim);
    }
}

/// DaemonSet.
pub(super) fn daemon_set(object: &mut Object) {
    let Some(spec) = spec_and_template(object) else {
        return;
    };
    default(spec, "revisionHistoryLimit", 10);
    let Some(strategy) = ensure(spec, "updateStrategy") else {
        return;
    };
    default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure(strategy, "rollingUpdate")
    {
        default(rolling, "maxUnavailable", json!(1));
        default(rolling, "maxSurge", json!(0));
    }
}
