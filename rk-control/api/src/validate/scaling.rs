//! Autoscalers and disruption budgets.

use serde_json::Value;

use super::condition::conditions;
use super::get::{
    amount, at_most_all, empty, field, int, int_or_percent, list, named, non_negative, required_name, text, word_of,
};
use super::resources::resource_name;
use super::selector::label_selector;
use crate::meta::{Quantity, at, dns1123_label, path_segment};
use crate::status::{DISRUPTION_BUDGET_SPEC, FieldErrors, Path};

const METRICS: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Longest window of a scaling policy, in seconds.
const MAX_PERIOD: i64 = 1800;
/// Longest stabilization window, in seconds.
const MAX_STABILIZATION: i64 = 3600;

/// Another object in the same namespace; `grouped`: of a kind that has an API group.
fn reference(reference: &Value, grouped: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["kind", "name"] {
        required_name(errors, &path.child(key), text(reference, key), path_segment);
    }
    let version = text(reference, "apiVersion");
    let why = match version.matches('/').count() {
        2.. => format!("unexpected GroupVersion string: {version}"),
        _ if grouped && version.split_once('/').is_none_or(|(group, _)| group.is_empty()) => {
            "apiVersion must specify API group".to_owned()
        }
        _ => return,
    };
    errors.invalid(&path.child("apiVersion"), version, why);
}

/// HorizontalPodAutoscaler, in the version in which it is stored.
pub(super) fn autoscaler(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let target = at(spec, &["scaleTargetRef"]);
    // The one kind of the core group that can be scaled.
    let grouped = text(target, "kind") != "ReplicationController";
    reference(target, grouped, &path.child("scaleTargetRef"), errors);
    let (low, high) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    if let Some(low) = low.filter(|l| *l < 1) {
        errors.invalid(&path.child("minReplicas"), low, "must be greater than or equal to 1");
    }
    match high {
        0 => errors.required(&path.child("maxReplicas"), "must be set and greater than 0"),
        ..0 => errors.invalid(&path.child("maxReplicas"), high, "must be greater than or equal to 1"),
        _ => {}
    }
    if low.is_some_and(|low| high < low) {
        errors.invalid(&path.child("maxReplicas"), high, "must be greater than or equal to `minReplicas`");
    }
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &path.child("metrics").index(index), errors);
    }
    if let Some(behavior) = field(spec, "behavior") {
        let path = path.child("behavior");
        for direction in ["scaleUp", "scaleDown"] {
            if let Some(rules) = field(behavior, direction) {
                scaling_rules(rules, &path.child(direction), errors);
            }
        }
    }
}

/// Names of metric sources, and of the fields that hold them.
static SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(metric: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map_or("", |(_, own)| *own);
    let unknown = |errors: &mut FieldErrors| errors.unsupported(&path.child("type"), kind, &METRICS);
    if expected.is_empty() {
        unknown(errors);
    }
    let mut present = SOURCES.iter().filter_map(|(_, own)| Some((*own, field(metric, own)?)));
    if let Some((own, source)) = present.next() {
        self::source(source, own, &path.child(own), errors);
    }
    match expected {
        // Told twice, as upstream has it.
        "" => unknown(errors),
        _ if field(metric, expected).is_none() => {
            errors.required(&path.child(expected), "must populate information for the given metric source");
        }
        _ => {}
    }
    let count = SOURCES.iter().filter(|(_, own)| field(metric, own).is_some()).count();
    for (_, own) in SOURCES.iter().filter(|(_, own)| count > 1 && *own != expected && field(metric, own).is_some()) {
        errors.forbidden(&path.child(own), "must populate the given metric source only");
    }
}

fn source(source: &Value, own: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if own == "object" {
        reference(at(source, &["describedObject"]), false, &path.child("describedObject"), errors);
    }
    if matches!(own, "resource" | "containerResource") {
        resource(source, own, path, errors);
    } else {
        let name = text(at(source, &["metric"]), "name");
        let here = path.child("metric");
        if name.is_empty() {
            errors.required(&here.child("name"), "must specify a metric name");
        } else {
            named(errors, &here.child("name"), name, path_segment(name));
        }
    }
    target(at(source, &["target"]), own, &path.child("target"), errors);
}

/// What is measured of pods, or of one container of each.
fn resource(source: &Value, own: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let name = text(source, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    } else if own == "containerResource" {
        resource_name(name, &path.child("name"), errors);
    }
    if own == "containerResource" {
        let container = text(source, "container");
        let here = path.child("container");
        if container.is_empty() {
            errors.required(&here, "must specify a container");
        } else {
            named(errors, &here, container, dns1123_label(container));
        }
    }
}

fn target(target: &Value, metric: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for key in ["value", "averageValue"] {
        let amount = text(target, key).parse::<Quantity>().ok();
        if amount.is_some_and(|a| a.sign() != 1) {
            errors.invalid(&path.child(key), text(target, key), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|p| *p < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
    let (value, average) = (!empty(target, "value"), !empty(target, "averageValue"));
    let percent = int(target, "averageUtilization").is_some();
    match metric {
        "resource" | "containerResource" => match (percent, average) {
            (false, false) => {
                let why = "must set either a target raw value or a target utilization";
                errors.required(&path.child("averageUtilization"), why);
            }
            (true, true) => {
                let why = "may not set both a target raw value and a target utilization";
                errors.forbidden(&path.child("averageValue"), why);
            }
            _ => {}
        },
        "pods" if amount(at(target, &["averageValue"])).sign() != 1 => {
            errors.required(&path.child("averageValue"), "must specify a positive target averageValue")
        }
        "object" if !value && !average => {
            errors.required(&path.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            errors
                .required(&path.child("averageValue"), "must set either a target value for metric or a per-pod target");
        }
        "external" if value && average => {
            errors.forbidden(&path.child("value"), "may not set both a target value for metric and a per-pod target");
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(seconds) = int(rules, "stabilizationWindowSeconds") {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(&path, seconds, "must be greater than or equal to zero");
        } else if seconds > MAX_STABILIZATION {
            errors.invalid(&path, seconds, format!("must be less than or equal to {MAX_STABILIZATION}"));
        }
    }
    word_of(errors, path, rules, "selectPolicy", &["Disabled", "Max", "Min"]);
    if empty(rules, "policies") {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    if amount(at(rules, &["tolerance"])).sign() < 0 {
        let shown = at(rules, &["tolerance"]).clone();
        errors.invalid(&path.child("tolerance"), shown, "must be greater than or equal to 0");
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        let path = path.child("policies");
        let path = path.index(index);
        let kind = text(policy, "type");
        if !matches!(kind, "Percent" | "Pods") {
            errors.unsupported(&path.child("type"), kind, &["Percent", "Pods"]);
        }
        for (key, max) in [("value", i64::MAX), ("periodSeconds", MAX_PERIOD)] {
            let number = int(policy, key).unwrap_or(0);
            if number <= 0 {
                errors.invalid(&path.child(key), number, "must be greater than zero");
            } else if number > max {
                errors.invalid(&path.child(key), number, format!("must be less than or equal to {max}"));
            }
        }
    }
}

/// PodDisruptionBudget.
pub(super) fn disruption_budget(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    if field(spec, "minAvailable").is_some() && field(spec, "maxUnavailable").is_some() {
        errors.invalid(&path, DISRUPTION_BUDGET_SPEC.of(spec), "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let path = path.child(key);
        if let Some(value) = field(spec, key) {
            int_or_percent(value, &path, errors);
            at_most_all(value, &path, errors);
        }
    }
    if let Some(selector) = field(spec, "selector") {
        label_selector(selector, &path.child("selector"), errors);
    }
    word_of(errors, &path, spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]);
}

/// Numbers of an autoscaler's status.
pub(super) fn autoscaler_status(new: &Value, errors: &mut FieldErrors) {
    status_numbers(new, &["currentReplicas", "desiredReplicas"], errors);
}

/// Conditions and numbers of a budget's status.
pub(super) fn budget_status(new: &Value, errors: &mut FieldErrors) {
    conditions(at(new, &["status"]), &Path::new("status"), errors);
    status_numbers(new, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], errors);
}

fn status_numbers(object: &Value, keys: &[&str], errors: &mut FieldErrors) {
    let path = Path::new("status");
    for key in keys {
        non_negative(errors, &path.child(key), int(at(object, &["status"]), key));
    }
}
