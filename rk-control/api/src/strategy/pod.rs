//! Pods.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::traits::StatusMetadata::Frozen;
use super::{app_armor, status};
use crate::meta::{Quantity, at, text};

/// Quality-of-service class, and the condition of a pod that is held back by scheduling gates.
pub(super) fn create(pod: &mut Value) {
    let class = qos_class(pod);
    let gated = at(pod, &["spec", "schedulingGates"]).as_array().is_some_and(|g| !g.is_empty());
    spread_by_label_keys(pod);
    app_armor::sync(pod);
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.insert("qosClass".into(), json!(class));
    if gated {
        status.insert(
            "conditions".into(),
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": null, "observedGeneration": 1}]),
        );
    }
}

/// After an update: what follows from the spec follows again.
pub(super) fn update(pod: &mut Value) {
    let ungated = at(pod, &["spec", "schedulingGates"]).as_array().is_none_or(Vec::is_empty);
    if let Some(conditions) = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut)
        && ungated
    {
        conditions.retain(|c| !(text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated"));
    }
}

/// `matchLabelKeys` of spread constraints and affinity terms become selectors on the pod's own labels.
fn spread_by_label_keys(pod: &mut Value) {
    let labels = at(pod, &["metadata", "labels"]).clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in spec.pointer_mut("/topologySpreadConstraints").and_then(Value::as_array_mut).into_iter().flatten()
    {
        add_expressions(constraint, "matchLabelKeys", "In", &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let base = format!("/affinity/{kind}");
        let required = format!("{base}/requiredDuringSchedulingIgnoredDuringExecution");
        for term in spec.pointer_mut(&required).and_then(Value::as_array_mut).into_iter().flatten() {
            affinity_term(term, &labels);
        }
        let preferred = format!("{base}/preferredDuringSchedulingIgnoredDuringExecution");
        for weighted in spec.pointer_mut(&preferred).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                affinity_term(term, &labels);
            }
        }
    }
}

fn affinity_term(term: &mut Value, labels: &Value) {
    add_expressions(term, "matchLabelKeys", "In", labels);
    add_expressions(term, "mismatchLabelKeys", "NotIn", labels);
}

fn add_expressions(holder: &mut Value, keys: &str, operator: &str, labels: &Value) {
    let keys: Vec<String> = holder
        .get(keys)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if holder.get("labelSelector").is_none_or(Value::is_null) {
        return;
    }
    for key in keys {
        let Some(value) = labels.get(&key) else { continue };
        let expression = json!({"key": key, "operator": operator, "values": [value]});
        let selector = holder.get_mut("labelSelector").and_then(Value::as_object_mut);
        let expressions = selector.map(|s| s.entry("matchExpressions").or_insert_with(|| json!([])));
        if let Some(list) = expressions.and_then(Value::as_array_mut)
            && !list.contains(&expression)
        {
            list.push(expression);
        }
    }
}

/// `Guaranteed` when every container has equal requests and limits of cpu and memory, `BestEffort` when none has any.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = at(pod, &["spec"]);
    let pod_level = at(spec, &["resources"]);
    let amounts = |resources: &Value, list: &str| -> Vec<(String, Quantity)> {
        let map = resources.get(list).and_then(Value::as_object).into_iter().flatten();
        map.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse::<Quantity>().ok()?)))
            .filter(|(_, amount)| amount.sign() > 0)
            .collect()
    };
    let holders: Vec<&Value> = if amounts(pod_level, "requests").is_empty() && amounts(pod_level, "limits").is_empty() {
        let containers = ["containers", "initContainers"].into_iter();
        containers
            .flat_map(|l| at(spec, &[l]).as_array().into_iter().flatten())
            .map(|c| at(c, &["resources"]))
            .collect()
    } else {
        vec![pod_level]
    };
    let (mut any, mut guaranteed) = (false, true);
    for resources in holders {
        let (requests, limits) = (amounts(resources, "requests"), amounts(resources, "limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &=
            limits.len() == 2 && requests.iter().all(|r| limits.contains(r)) && requests.len() == limits.len();
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// `status`: what a client leaves out that it did not mean to take back.
pub(super) fn keep_in_status(new: &mut Value, old: &Value) {
    let before = at(old, &["status"]);
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    for key in ["qosClass", "observedGeneration"] {
        if let Some(value) = before.get(key).filter(|_| !status.contains_key(key)) {
            status.insert(key.into(), value.clone());
        }
    }
    // Of several conditions of a type each stands for the one in its place.
    let mut left: BTreeMap<&str, VecDeque<&Value>> = BTreeMap::new();
    for other in at(before, &["conditions"]).as_array().into_iter().flatten() {
        left.entry(text(other, &["type"])).or_default().push_back(other);
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = left.get_mut(text(condition, &["type"]));
        let Some(other) = same.and_then(VecDeque::pop_front) else { continue };
        let Some(condition) = condition.as_object_mut() else { continue };
        if let Some(value) = other.get("observedGeneration").filter(|_| !condition.contains_key("observedGeneration")) {
            condition.insert("observedGeneration".into(), value.clone());
        }
    }
}

/// `ephemeralcontainers`: only that list may change.
pub(super) fn keep_all_but_ephemeral_containers(new: &mut Value, old: &Value) {
    let list = at(new, &["spec", "ephemeralContainers"]).clone();
    let metadata = new.get("metadata").cloned();
    *new = old.clone();
    if let (Some(metadata), Some(object)) = (metadata, new.as_object_mut()) {
        object.insert("metadata".into(), status::merged_metadata(metadata, at(old, &["metadata"]), Frozen));
    }
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
        if list.is_null() {
            spec.remove("ephemeralContainers");
        } else {
            spec.insert("ephemeralContainers".into(), list);
        }
    }
}

/// `resize`: only resources and resize policies of containers may change. Containers that are others, or stand in another order, are
/// left as they were given: validation tells of them.
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let names = |pod: &Value, list: &str| -> Vec<String> {
        let containers = at(pod, &["spec", list]).as_array().into_iter().flatten();
        containers.map(|container| text(container, &["name"]).to_owned()).collect()
    };
    if LISTS.iter().any(|list| names(new, list).len() != names(old, list).len()) {
        return;
    }
    let wanted = std::mem::replace(new, old.clone());
    if let (Some(metadata), Some(object)) = (wanted.get("metadata"), new.as_object_mut()) {
        let merged = status::merged_metadata(metadata.clone(), at(old, &["metadata"]), Frozen);
        object.insert("metadata".into(), merged);
    }
    let whole = at(&wanted, &["spec", "resources"]);
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
        if whole.is_null() {
            spec.remove("resources");
        } else {
            spec.insert("resources".into(), whole.clone());
        }
    }
    for list in LISTS {
        let sources = at(&wanted, &["spec", list]).as_array().cloned().unwrap_or_default();
        let same = names(&wanted, list) == names(old, list);
        let Some(containers) = new.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut) else {
            continue;
        };
        if !same {
            *containers = sources;
            continue;
        }
        for (container, source) in containers.iter_mut().zip(&sources) {
            let Some(container) = container.as_object_mut() else { continue };
            for key in ["resources", "resizePolicy"] {
                match source.get(key) {
                    Some(value) => drop(container.insert(key.into(), value.clone())),
                    None => drop(container.remove(key)),
                }
            }
        }
    }
}
