//! Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::get::{
    at_most_all, empty, field, immutable, int, int_or_percent, list, named, non_negative, one_of_listed, text,
};
use super::selector::{is_empty, label_selector};
use super::{claim, pod};
use crate::meta::{at, dns1123_label};
use crate::selector::LabelSelector;
use crate::status::{FieldErrors, Path};

/// Selector and template, and that one finds the other.
fn selector_and_template(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let selector = at(spec, &["selector"]);
    let here = path.child("selector");
    if selector.is_null() {
        errors.required(&here, "");
    } else {
        label_selector(selector, &here, errors);
        if is_empty(selector) {
            errors.invalid(&here, selector.clone(), format!("empty selector is invalid for {kind}"));
        }
    }
    if LabelSelector::from_object(selector).is_err() {
        errors.invalid(&here, selector.clone(), "invalid label selector");
    }
    matching_template(spec, path, errors);
}

/// The template, and that the selector finds it; a selector that is missing finds nothing.
fn matching_template(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let selector = at(spec, &["selector"]);
    let template = at(spec, &["template"]);
    let path = path.child("template");
    if let Ok(parsed) = LabelSelector::from_object(selector) {
        let labels = at(template, &["metadata", "labels"]);
        if !parsed.is_empty() && !parsed.matches(labels) {
            let metadata = path.child("metadata");
            errors.invalid(&metadata.child("labels"), labels.clone(), "`selector` does not match template `labels`");
        }
    }
    pod::template(template, &path, errors);
}

fn always(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let template = at(spec, &["template", "spec"]);
    let path = path.child("template");
    let path = path.child("spec");
    let policy = text(template, "restartPolicy");
    if policy != "Always" {
        errors.unsupported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if field(template, "activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&path.child("activeDeadlineSeconds"), why);
    }
}

/// The amount of a number or percentage, for comparisons with zero.
fn is_zero(value: &Value) -> bool {
    match value {
        // What is no number counts as none.
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse::<i64>().unwrap_or(0) == 0,
        other => other.as_i64() == Some(0),
    }
}

fn counts(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        non_negative(errors, &path.child(key), int(spec, key));
    }
}

/// Deployment.
pub(super) fn deployment(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    counts(spec, &path, errors);
    selector_and_template(spec, "deployment", &path, errors);
    always(spec, "ReplicaSet", &path, errors);
    strategy(at(spec, &["strategy"]), &path.child("strategy"), errors);
    if let Some(deadline) = int(spec, "progressDeadlineSeconds") {
        let here = path.child("progressDeadlineSeconds");
        non_negative(errors, &here, Some(deadline));
        if deadline <= int(spec, "minReadySeconds").unwrap_or(0) {
            errors.invalid(&here, deadline, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match (text(strategy, "type"), field(strategy, "rollingUpdate")) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.required(&path.child("rollingUpdate"), "this should be defaulted and never be nil")
        }
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            let (unavailable, surge) = (at(rolling, &["maxUnavailable"]), at(rolling, &["maxSurge"]));
            int_or_percent(unavailable, &path.child("maxUnavailable"), errors);
            int_or_percent(surge, &path.child("maxSurge"), errors);
            if is_zero(unavailable) && is_zero(surge) {
                errors.invalid(&path.child("maxUnavailable"), unavailable.clone(), "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(unavailable, &path.child("maxUnavailable"), errors);
        }
        (_, rolling) => {
            let shown = unknown_strategy(strategy, rolling);
            errors.unsupported_as_listed(path, shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

/// A strategy of an unknown type as upstream shows it: by the names of its own fields.
fn unknown_strategy(strategy: &Value, rolling: Option<&Value>) -> Value {
    let amount = |key: &str| rolling.map_or(&Value::Null, |rolling| at(rolling, &[key])).clone();
    let rolling = match rolling {
        Some(_) => json!({"MaxUnavailable": amount("maxUnavailable"), "MaxSurge": amount("maxSurge")}),
        None => Value::Null,
    };
    json!({"Type": text(strategy, "type"), "RollingUpdate": rolling})
}

/// ReplicaSet.
pub(super) fn replica_set(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    counts(spec, &path, errors);
    selector_and_template(spec, "deployment", &path, errors);
    always(spec, "ReplicaSet", &path, errors);
}

/// ReplicationController.
pub(super) fn replication_controller(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    counts(spec, &path, errors);
    if empty(spec, "selector") {
        errors.required(&path.child("selector"), "");
    }
    if field(spec, "template").is_none() {
        errors.required(&path.child("template"), "");
        return;
    }
    let labels = at(spec, &["template", "metadata", "labels"]);
    if let Some(selector) = at(spec, &["selector"]).as_object()
        && !LabelSelector::from_labels(selector).matches(labels)
    {
        let path = path.child("template");
        let path = path.child("metadata");
        errors.invalid(&path.child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
    pod::template(at(spec, &["template"]), &path.child("template"), errors);
    always(spec, "ReplicationController", &path, errors);
}

/// StatefulSet.
pub(super) fn stateful_set(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let here = path.child("podManagementPolicy");
    match text(spec, "podManagementPolicy") {
        "" => errors.required(&here, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&here, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    stateful_update(at(spec, &["updateStrategy"]), &path.child("updateStrategy"), errors);
    let retention = at(spec, &["persistentVolumeClaimRetentionPolicy"]);
    for key in ["whenDeleted", "whenScaled"] {
        let here = path.child("persistentVolumeClaimRetentionPolicy");
        one_of_listed(errors, &here.child(key), text(retention, key), &["Retain", "Delete"]);
    }
    // A negative limit of revisions keeps them all.
    for key in ["replicas", "minReadySeconds"] {
        non_negative(errors, &path.child(key), int(spec, key));
    }
    non_negative(errors, &path.child("ordinals").child("start"), int(at(spec, &["ordinals"]), "start"));
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.required(&path.child("selector"), "");
    } else {
        label_selector(selector, &path.child("selector"), errors);
        if is_empty(selector) {
            errors.invalid(&path.child("selector"), selector.clone(), "empty selector is invalid for statefulset");
        }
    }
    if LabelSelector::from_object(selector).is_err() {
        errors.invalid(&path.child("selector"), selector.clone(), "");
    }
    let mut as_made = spec.clone();
    complete_template(&mut as_made);
    matching_template(&as_made, &path, errors);
    always(spec, "StatefulSet", &path, errors);
}

/// The update strategy of a StatefulSet.
fn stateful_update(update: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match (text(update, "type"), field(update, "rollingUpdate")) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(rolling)) => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(&path.child("rollingUpdate"), partitioned(rolling), why);
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            non_negative(errors, &path.child("partition"), int(rolling, "partition"));
            let Some(value) = field(rolling, "maxUnavailable") else { return };
            int_or_percent(value, &path.child("maxUnavailable"), errors);
            if is_zero(value) {
                errors.invalid(&path.child("maxUnavailable"), value.clone(), "cannot be 0");
            }
            at_most_all(value, &path.child("maxUnavailable"), errors);
        }
        (other, rolling) => {
            let shown = json!({"Type": other, "RollingUpdate": rolling.map(partitioned)});
            errors.invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

/// What rolls a StatefulSet, as upstream shows it.
fn partitioned(rolling: &Value) -> Value {
    json!({"Partition": int(rolling, "partition").unwrap_or(0), "MaxUnavailable": at(rolling, &["maxUnavailable"])})
}

/// A new StatefulSet: what can never be changed must be right from the start.
pub(super) fn stateful_set_create(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        named(errors, &path.child("serviceName"), service, dns1123_label(service));
    }
    for (index, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let path = path.child("volumeClaimTemplates");
        let path = path.index(index);
        claim::spec(at(claim, &["spec"]), &path.child("spec"), errors);
    }
}

/// The template as the controller completes it: claims stand in for volumes of the same name, host name and subdomain are its own.
fn complete_template(spec: &mut Value) {
    let names: Vec<String> =
        list(spec, "volumeClaimTemplates").iter().map(|c| text(at(c, &["metadata"]), "name").to_owned()).collect();
    let Some(pod) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut) else { return };
    for key in ["hostname", "subdomain"] {
        pod.remove(key);
    }
    if names.is_empty() {
        return;
    }
    let volumes = pod.entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        let claimed: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        volumes.retain(|v| !claimed.contains(text(v, "name")));
        volumes.extend(names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})));
    }
}

/// Of a StatefulSet only a few fields may change.
pub(super) fn stateful_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    const MUTABLE: [&str; 8] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "",
    ];
    let strip = |object: &Value| -> Value {
        let mut spec = at(object, &["spec"]).clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|key, _| !MUTABLE.contains(&key.as_str()));
        }
        spec
    };
    if strip(new) != strip(old) {
        errors.forbidden(
            &Path::new("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

/// DaemonSet.
pub(super) fn daemon_set(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let selector = at(spec, &["selector"]);
    let here = path.child("selector");
    label_selector(selector, &here, errors);
    if !selector.is_null() && is_empty(selector) {
        errors.invalid(&here, selector.clone(), "empty selector is invalid for daemonset");
    }
    matching_template(spec, &path, errors);
    always(spec, "DaemonSet", &path, errors);
    counts(spec, &path, errors);
    let update = at(spec, &["updateStrategy"]);
    let here = path.child("updateStrategy");
    match (text(update, "type"), field(update, "rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&here.child("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => {
            let here = here.child("rollingUpdate");
            let (unavailable, surge) = (at(rolling, &["maxUnavailable"]), at(rolling, &["maxSurge"]));
            int_or_percent(unavailable, &here.child("maxUnavailable"), errors);
            int_or_percent(surge, &here.child("maxSurge"), errors);
            match (is_zero(unavailable), is_zero(surge)) {
                (true, true) => {
                    errors.required(&here.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (false, false) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(&here.child("maxSurge"), surge.clone(), why);
                }
                _ => {}
            }
            at_most_all(unavailable, &here.child("maxUnavailable"), errors);
            at_most_all(surge, &here.child("maxSurge"), errors);
        }
        (_, rolling) => {
            let shown = unknown_strategy(update, rolling);
            errors.unsupported_as_listed(&here, shown, &["RollingUpdate", "OnDelete"]);
        }
    }
}

/// The selector of a workload is for ever.
pub(super) fn selector_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let selector = |object: &Value| at(object, &["spec", "selector"]).clone();
    immutable(errors, &path.child("selector"), Some(&selector(new)), Some(&selector(old)));
}

/// ControllerRevision.
pub(super) fn controller_revision(object: &Value, errors: &mut FieldErrors) {
    non_negative(errors, &Path::new("revision"), int(object, "revision"));
}

/// A new ControllerRevision holds an object.
pub(super) fn controller_revision_create(object: &Value, errors: &mut FieldErrors) {
    match at(object, &["data"]) {
        Value::Object(_) => {}
        Value::Null => errors.required(&Path::new("data"), "data is mandatory"),
        _ => errors.required(&Path::new("data"), "data must be a valid JSON object"),
    }
}

/// A ControllerRevision's data is for ever.
pub(super) fn controller_revision_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(errors, &Path::new("data"), new.get("data"), old.get("data"));
}
