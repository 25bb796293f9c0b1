//! Priority and fairness.

use serde_json::Value;

use super::get::{empty, field, in_range, int, list, one_of, required_name, text};
use crate::meta::{at, path_segment};
use crate::status::{FieldErrors, Path};

/// FlowSchema.
pub(super) fn flow_schema(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    if precedence <= 0 {
        errors.invalid(&path.child("matchingPrecedence"), precedence, "must be a positive value");
    } else if precedence > 10_000 {
        errors.invalid(&path.child("matchingPrecedence"), precedence, "must not be greater than 10000");
    }
    let name = text(at(object, &["metadata"]), "name");
    if precedence == 1 && name != "exempt" {
        errors.invalid(
            &path.child("matchingPrecedence"),
            1,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        );
    }
    if let Some(method) = field(spec, "distinguisherMethod") {
        let path = path.child("distinguisherMethod");
        one_of(errors, &path, text(method, "type"), &["ByNamespace", "ByUser"], true);
    }
    let level = path.child("priorityLevelConfiguration");
    required_name(errors, &level.child("name"), text(at(spec, &["priorityLevelConfiguration"]), "name"), path_segment);
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules");
        let path = path.index(index);
        if empty(rule, "subjects") {
            errors.required(&path.child("subjects"), "subjects must contain at least one value");
        }
        if empty(rule, "resourceRules") && empty(rule, "nonResourceRules") {
            errors.required(&path, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        for (at_index, subject) in list(rule, "subjects").iter().enumerate() {
            let path = path.child("subjects");
            let path = path.index(at_index);
            let own = match text(subject, "kind") {
                "User" => "user",
                "Group" => "group",
                "ServiceAccount" => "serviceAccount",
                other => {
                    errors.unsupported(&path.child("kind"), other, &["Group", "ServiceAccount", "User"]);
                    continue;
                }
            };
            match field(subject, own) {
                None => errors.required(
                    &path.child(own),
                    &format!("{own} is required when subject kind is '{}'", text(subject, "kind")),
                ),
                Some(who) if text(who, "name").is_empty() => errors.required(&path.child(own).child("name"), ""),
                Some(_) => {}
            }
        }
    }
}

/// PriorityLevelConfiguration.
pub(super) fn priority_level(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let kind = text(spec, "type");
    one_of(errors, &path.child("type"), kind, &["Exempt", "Limited"], true);
    match (kind, field(spec, "limited")) {
        ("Exempt", Some(_)) => {
            errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
        }
        ("Limited", None) => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
        ("Limited", Some(limited)) => self::limited(limited, &path.child("limited"), errors),
        _ => {}
    }
    if kind == "Limited" && field(spec, "exempt").is_some() {
        errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
    }
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(shares) = int(limited, "nominalConcurrencyShares").filter(|s| *s < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = int(limited, "lendablePercent") {
        in_range(errors, &path.child("lendablePercent"), percent, 0, 100);
    }
    if let Some(percent) = int(limited, "borrowingLimitPercent").filter(|p| *p < 0) {
        errors.invalid(&path.child("borrowingLimitPercent"), percent, "if specified, must be a non-negative integer");
    }
    let response = at(limited, &["limitResponse"]);
    let path = path.child("limitResponse");
    match (text(response, "type"), field(response, "queuing")) {
        ("Reject", Some(_)) => {
            errors.forbidden(&path.child("queuing"), "must be nil if limited.limitResponse.type is not Limited")
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            errors.required(&path.child("queuing"), "must not be empty if limited.limitResponse.type is Limited")
        }
        ("Queue", Some(queuing)) => {
            let path = path.child("queuing");
            for key in ["queueLengthLimit", "queues", "handSize"] {
                if int(queuing, key).unwrap_or(0) <= 0 {
                    errors.invalid(&path.child(key), int(queuing, key).unwrap_or(0), "must be positive");
                }
            }
            let (queues, hand) = (int(queuing, "queues").unwrap_or(0), int(queuing, "handSize").unwrap_or(0));
            if hand > queues {
                errors.invalid(&path.child("handSize"), hand, format!("should not be greater than queues ({queues})"));
            }
        }
        (other, _) => errors.unsupported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}
