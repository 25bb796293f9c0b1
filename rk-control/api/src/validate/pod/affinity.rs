//! Where a pod may run: affinity, tolerations, spread.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{empty, field, int, list, named, one_of, one_of_listed, strings, text};
use super::super::selector::label_selector;
use crate::meta::{at, dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::status::{FieldErrors, Path};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Node, pod and pod anti-affinity.
pub(super) fn affinity(affinity: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(node) = field(affinity, "nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(selector) = field(node, REQUIRED) {
            node_selector(selector, &path.child(REQUIRED), errors);
        }
        for (index, term) in list(node, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED);
            let path = path.index(index);
            weight(term, &path, errors);
            // What no label can have is never preferred, and does no harm.
            node_term(at(term, &["preference"]), false, &path.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = field(affinity, kind) else { continue };
        let path = path.child(kind);
        for (index, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(index), errors);
        }
        for (index, weighted) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED);
            let path = path.index(index);
            weight(weighted, &path, errors);
            pod_term(at(weighted, &["podAffinityTerm"]), &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let weight = int(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A NodeSelector: at least one term.
pub(in super::super) fn node_selector(selector: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("nodeSelectorTerms");
    if empty(selector, "nodeSelectorTerms") {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in list(selector, "nodeSelectorTerms").iter().enumerate() {
        node_term(term, true, &path.index(index), errors);
    }
}

fn node_term(term: &Value, strict: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions");
        let path = path.index(index);
        let operator = text(expression, "operator");
        let count = list(expression, "values").len();
        match operator {
            "In" | "NotIn" if count == 0 => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                errors.forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "Gt" | "Lt" if count != 1 => {
                errors
                    .required(&path.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(expression, "key");
        named(errors, &path.child("key"), key, qualified_name(key));
        for (at, value) in strings(expression, "values").enumerate().filter(|_| strict) {
            named(errors, &path.child("values").index(at), value, label_value(value));
        }
    }
    for (index, requirement) in list(term, "matchFields").iter().enumerate() {
        let path = path.child("matchFields");
        let path = path.index(index);
        if !matches!(text(requirement, "operator"), "In" | "NotIn") {
            errors.invalid(&path.child("operator"), text(requirement, "operator"), "not a valid selector operator");
        } else if list(requirement, "values").len() != 1 {
            errors.required(
                &path.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            );
        }
        if text(requirement, "key") != "metadata.name" {
            errors.invalid(&path.child("key"), text(requirement, "key"), "not a valid field selector key");
        } else {
            for (at, value) in strings(requirement, "values").enumerate() {
                named(errors, &path.child("values").index(at), value, dns1123_subdomain(value));
            }
        }
    }
}

fn pod_term(term: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = field(term, key) {
            label_selector(selector, &path.child(key), errors);
        }
    }
    for namespace in strings(term, "namespaces") {
        named(errors, &path.child("namespace"), namespace, dns1123_label(namespace));
    }
    label_keys(term, path, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    named(errors, &path.child("topologyKey"), key, qualified_name(key));
}

/// `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633).
fn label_keys(term: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let selector = field(term, "labelSelector");
    for kind in ["matchLabelKeys", "mismatchLabelKeys"] {
        let here = path.child(kind);
        if selector.is_none() && !empty(term, kind) {
            errors.forbidden(&here, "must not be specified when labelSelector is not set");
            continue;
        }
        for (at, key) in strings(term, kind).enumerate() {
            named(errors, &here.index(at), key, qualified_name(key));
        }
    }
    let mentioned = selector.map(mentions).unwrap_or_default();
    let mismatched: BTreeSet<&str> = strings(term, "mismatchLabelKeys").collect();
    for (at, key) in strings(term, "matchLabelKeys").enumerate() {
        if mentioned.get(key).is_some_and(|times| *times > 1) {
            errors.invalid(&path.index(at), key, "exists in both matchLabelKeys and labelSelector");
        }
        if mismatched.contains(key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(&path.child("matchLabelKeys").index(at), key, why);
        }
    }
}

/// How often a selector speaks of each key; once it does for a key that was made an expression of.
fn mentions(selector: &Value) -> BTreeMap<&str, usize> {
    let labels = at(selector, &["matchLabels"]).as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
    let expressions = list(selector, "matchExpressions").iter().map(|expression| text(expression, "key"));
    let mut times = BTreeMap::new();
    for key in labels.chain(expressions) {
        *times.entry(key).or_default() += 1;
    }
    times
}

/// Tolerations.
pub(in super::super) fn tolerations(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = path.index(index);
        let (key, operator, value, effect) = (
            text(toleration, "key"),
            text(toleration, "operator"),
            text(toleration, "value"),
            text(toleration, "effect"),
        );
        if !key.is_empty() {
            named(errors, &path.child("key"), key, qualified_name(key));
        } else if operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if field(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
            errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "" | "Equal" => {
                let wrong = label_value(value);
                if !wrong.is_empty() {
                    errors.invalid(&path.child("operator"), value, wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&path.child("operator"), value, why);
            }
            "Exists" => {}
            other => errors.unsupported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        one_of_listed(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

/// Topology spread constraints.
pub(super) fn spread(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let constraints = list(spec, "topologySpreadConstraints");
    let mut last = BTreeMap::new();
    for (index, constraint) in constraints.iter().enumerate() {
        last.insert((text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable")), index);
    }
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        let key = text(constraint, "topologyKey");
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let action = text(constraint, "whenUnsatisfiable");
        if !ACTIONS.contains(&action) {
            errors.unsupported(&path.child("whenUnsatisfiable"), action, &ACTIONS);
        }
        if last.get(&(key, action)).is_some_and(|last| *last != index) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            if domains <= 0 {
                errors.invalid(&path.child("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule";
                errors.invalid(&path.child("minDomains"), domains, format!("{why}, not {action}"));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of(errors, &path.child(key), text(constraint, key), &["Honor", "Ignore"], false);
        }
        if let Some(selector) = field(constraint, "labelSelector") {
            label_selector(selector, &path.child("labelSelector"), errors);
        } else if !empty(constraint, "matchLabelKeys") {
            errors.forbidden(&path.child("matchLabelKeys"), "must not be specified when labelSelector is not set");
        }
        let mentioned = field(constraint, "labelSelector").map(mentions).unwrap_or_default();
        for (at, key) in strings(constraint, "matchLabelKeys").enumerate() {
            let path = path.child("matchLabelKeys");
            named(errors, &path.index(at), key, qualified_name(key));
            if mentioned.get(key).is_some_and(|times| *times > 1) {
                errors.invalid(&path.index(at), key, "exists in both matchLabelKeys and labelSelector");
            }
        }
    }
}
