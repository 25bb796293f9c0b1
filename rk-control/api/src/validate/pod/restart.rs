//! When a container runs again: after it ended (KEP-5307) and when its resources change (KEP-1287).

use serde_json::Value;

use super::super::get::{field, list, one_of, text};
use crate::status::{FieldErrors, Path};

/// Most rules of one container.
const MAX_RULES: usize = 20;
/// Most exit codes of one rule.
const MAX_CODES: usize = 255;

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
        one_of(errors, &path.child("action"), text(rule, "action"), &["Restart", "RestartAllContainers"], true);
        let here = path.child("exitCodes");
        match field(rule, "exitCodes") {
            None => errors.required(&here, "must be specified"),
            Some(codes) => exit_codes(codes, &here, errors),
        }
    }
}

fn exit_codes(codes: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    one_of(errors, &path.child("operator"), text(codes, "operator"), &["In", "NotIn"], true);
    let here = path.child("values");
    match list(codes, "values").len() {
        0 => errors.required(&here, "must specify at least one value"),
        count if count > MAX_CODES => errors.too_many(&here, count, MAX_CODES),
        _ => {}
    }
}

/// `resizePolicy`: one answer for each resource that can change in place.
pub(super) fn resize(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("resizePolicy");
    let mut seen: Vec<&str> = Vec::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if seen.contains(&resource) {
            errors.duplicate(&path.index(index), resource);
        }
        seen.push(resource);
        one_of(errors, &path, resource, &["cpu", "memory"], true);
        one_of(errors, &path, restart, &["NotRequired", "RestartContainer"], true);
        if text(spec, "restartPolicy") == "Never" && restart == "RestartContainer" {
            errors.invalid(&path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
