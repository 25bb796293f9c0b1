//! Autoscalers and disruption budgets.

use serde_json::Value;

use super::get::{empty, field, int, list, non_negative, one_of, required_name, text};
use super::selector::label_selector;
use crate::meta::{Quantity, at, path_segment};
use crate::status::{FieldErrors, Path};

const METRICS: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Longest window of a scaling policy, in seconds.
const MAX_PERIOD: i64 = 1800;
/// Longest stabilization window, in seconds.
const MAX_STABILIZATION: i64 = 3600;

/// HorizontalPodAutoscaler, in either version.
pub(super) fn autoscaler(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let target = at(spec, &["scaleTargetRef"]);
    let here = path.child("scaleTargetRef");
    required_name(errors, &here.child("kind"), text(target, "kind"), path_segment);
    required_name(errors, &here.child("name"), text(target, "name"), path_segment);
    let (low, high) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    if let Some(low) = low.filter(|l| *l < 1) {
        errors.invalid(&path.child("minReplicas"), low, "must be greater than or equal to 1");
    }
    if high < 1 {
        errors.invalid(&path.child("maxReplicas"), high, "must be greater than 0");
    }
    if low.is_some_and(|low| high < low) {
        errors.invalid(&path.child("maxReplicas"), high, "must be greater than or equal to `minReplicas`");
    }
    if let Some(percent) = int(spec, "targetCPUUtilizationPercentage").filter(|p| *p < 1) {
        errors.invalid(&path.child("targetCPUUtilizationPercentage"), percent, "must be greater than 0");
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

fn metric(metric: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(metric, "type");
    one_of(errors, &path.child("type"), kind, &METRICS, true);
    let own = match kind {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return,
    };
    let path = path.child(own);
    let Some(source) = field(metric, own) else {
        errors.required(&path, "must populate information for the given metric source");
        return;
    };
    match own {
        "resource" | "containerResource" => {
            if text(source, "name").is_empty() {
                errors.required(&path.child("name"), "must specify a resource name");
            }
            if own == "containerResource" && text(source, "container").is_empty() {
                errors.required(&path.child("container"), "must specify a container");
            }
        }
        _ => {
            let here = path.child("metric");
            required_name(errors, &here.child("name"), text(at(source, &["metric"]), "name"), path_segment);
        }
    }
    target(at(source, &["target"]), own, &path.child("target"), errors);
}

fn target(target: &Value, metric: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(target, "type");
    one_of(errors, &path.child("type"), kind, &["AverageValue", "Utilization", "Value"], true);
    if let Some(percent) = int(target, "averageUtilization").filter(|p| *p < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
    for key in ["value", "averageValue"] {
        let amount = text(target, key).parse::<Quantity>().ok();
        if amount.is_some_and(|a| a.sign() != 1) {
            errors.invalid(&path.child(key), text(target, key), "must be positive");
        }
    }
    let missing = |key: &str| empty(target, key);
    match metric {
        "resource" | "containerResource" if int(target, "averageUtilization").is_none() && missing("averageValue") => {
            errors.required(
                &path.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            );
        }
        "pods" if missing("averageValue") => {
            errors.required(&path.child("averageValue"), "must specify a positive target averageValue")
        }
        "object" if missing("value") && missing("averageValue") => {
            errors.required(&path.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if missing("value") && missing("averageValue") => {
            errors
                .required(&path.child("averageValue"), "must set either a target value for metric or a per-pod target");
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
    one_of(errors, &path.child("selectPolicy"), text(rules, "selectPolicy"), &["Disabled", "Max", "Min"], false);
    if empty(rules, "policies") {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        let path = path.child("policies");
        let path = path.index(index);
        one_of(errors, &path.child("type"), text(policy, "type"), &["Percent", "Pods"], true);
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
        errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let path = path.child(key);
        match field(spec, key) {
            Some(Value::String(text)) => {
                let digits = text.strip_suffix('%').unwrap_or_default();
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
                               for validation is '[0-9]+%')";
                    errors.invalid(&path, text.as_str(), why);
                } else if digits.parse::<i64>().is_ok_and(|d| d > 100) {
                    errors.invalid(&path, text.as_str(), "must not be greater than 100%");
                }
            }
            Some(number) => non_negative(errors, &path, number.as_i64()),
            None => {}
        }
    }
    if let Some(selector) = field(spec, "selector") {
        label_selector(selector, &path.child("selector"), errors);
    }
    let policy = text(spec, "unhealthyPodEvictionPolicy");
    one_of(errors, &path.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"], false);
}
