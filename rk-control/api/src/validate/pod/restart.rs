//! When a container runs again: after it ended (KEP-5307) and when its resources change (KEP-1287).

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{field, list, one_of, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Most rules of one container.
const MAX_RULES: usize = 20;
/// Most exit codes of one rule.
const MAX_CODES: usize = 255;
/// What a rule does.
const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];

/// `restartPolicy` and `restartPolicyRules` of a container.
pub(super) fn policy(container: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let policy = text(container, "restartPolicy");
    let here = path.child("restartPolicy");
    one_of(errors, &here, policy, &["Always", "Never", "OnFailure"], false);
    let rules = list(container, "restartPolicyRules");
    if rules.is_empty() {
        return;
    }
    if policy.is_empty() {
        errors.required(&here, "must specify restartPolicy when restart rules are used");
    }
    let here = path.child("restartPolicyRules");
    if rules.len() > MAX_RULES {
        errors.too_many(&here, rules.len(), MAX_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = here.index(index);
        let action = text(rule, "action");
        if !ACTIONS.contains(&action) {
            errors.unsupported(&path.child("action"), action, &ACTIONS);
        }
        let here = path.child("exitCodes");
        match field(rule, "exitCodes") {
            None => errors.required(&here, "must be specified"),
            Some(codes) => exit_codes(codes, &here, errors),
        }
    }
}

fn exit_codes(codes: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let operator = text(codes, "operator");
    if !matches!(operator, "In" | "NotIn") {
        errors.unsupported(&path.child("operator"), operator, &["In", "NotIn"]);
    }
    let here = path.child("values");
    match list(codes, "values").len() {
        0 => errors.required(&here, "must specify at least one value"),
        count if count > MAX_CODES => errors.too_many(&here, count, MAX_CODES),
        _ => {}
    }
}

/// Whether a rule of the container is about how it ended.
fn rule_for(container: &Value, code: i64) -> Option<&Value> {
    list(container, "restartPolicyRules").iter().find(|rule| {
        let codes = at(rule, &["exitCodes"]);
        let named = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        match text(codes, "operator") {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        }
    })
}

/// Whether a rule of any container runs all of them again.
pub(super) fn may_restart_all(spec: &Value) -> bool {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|kind| list(spec, kind));
    let mut rules = containers.flat_map(|container| list(container, "restartPolicyRules"));
    rules.any(|rule| text(rule, "action") == "RestartAllContainers")
}

/// Whether a container that ended with this code runs again: by its own rules and policy, else by those of the pod.
pub(super) fn runs_again(spec: &Value, container: Option<&Value>, code: i64) -> bool {
    let own = container.map_or("", |container| text(container, "restartPolicy"));
    if !own.is_empty() && container.and_then(|container| rule_for(container, code)).is_some() {
        return true;
    }
    let policy = if own.is_empty() { text(spec, "restartPolicy") } else { own };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

/// `resizePolicy`: one answer for each resource that can change in place.
pub(super) fn resize(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("resizePolicy");
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(index), resource);
        }
        one_of(errors, &path, resource, &["cpu", "memory"], true);
        one_of(errors, &path, restart, &["NotRequired", "RestartContainer"], true);
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(&path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_restarts_its_container_or_all_of_them_and_does_nothing_else() {
        let told = |action: &str| {
            let rule = json!({"action": action, "exitCodes": {"operator": "In", "values": [42]}});
            let mut errors = FieldErrors::default();
            policy(&json!({"restartPolicy": "Always", "restartPolicyRules": [rule]}), &Path::new("c"), &mut errors);
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("Restart"), [""; 0]);
        assert_eq!(told("RestartAllContainers"), [""; 0]);
        let why = "Unsupported value: \"Leap\": supported values: \"Restart\", \"RestartAllContainers\"";
        assert_eq!(told("Leap"), [format!("c.restartPolicyRules[0].action: {why}")]);
    }
}
