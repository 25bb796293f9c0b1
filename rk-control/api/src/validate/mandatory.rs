//! The FlowSchemas and priority levels that every cluster has, whose specs are fixed (upstream's mandatory bootstrap configuration).

use serde_json::{Value, json};

use super::get::text;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// The names of both kinds' mandatory objects; a schema leads to the level of its name.
pub const MANDATORY: [&str; 2] = [EXEMPT, CATCH_ALL];

/// Requests that nothing holds back.
const EXEMPT: &str = "exempt";
/// Requests that no other schema takes.
const CATCH_ALL: &str = "catch-all";

/// The spec of a mandatory FlowSchema.
#[must_use]
pub fn mandatory_flow_schema(name: &str) -> Option<Value> {
    let any = ["*"];
    let of = |groups: &[&str], precedence: u32| {
        let subjects: Vec<Value> =
            groups.iter().map(|group| json!({"kind": "Group", "group": {"name": group}})).collect();
        json!({
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": precedence,
            "rules": [{
                "subjects": subjects,
                "resourceRules": [
                    {"verbs": any, "apiGroups": any, "resources": any, "clusterScope": true, "namespaces": any},
                ],
                "nonResourceRules": [{"verbs": any, "nonResourceURLs": any}],
            }],
        })
    };
    match name {
        EXEMPT => Some(of(&["system:masters"], 1)),
        CATCH_ALL => {
            let mut spec = of(&["system:unauthenticated", "system:authenticated"], 10_000);
            spec["distinguisherMethod"] = json!({"type": "ByUser"});
            Some(spec)
        }
        _ => None,
    }
}

/// The spec of a mandatory PriorityLevelConfiguration. `exempt` of the level of that name is its administrator's business.
#[must_use]
pub fn mandatory_priority_level(name: &str) -> Option<Value> {
    match name {
        EXEMPT => Some(json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        CATCH_ALL => Some(json!({
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
        })),
        _ => None,
    }
}

/// Told when a mandatory FlowSchema is not as it must be.
pub(super) fn flow_schema(object: &Value, errors: &mut FieldErrors) {
    let (name, spec) = (text(at(object, &["metadata"]), "name"), at(object, &["spec"]));
    if mandatory_flow_schema(name).is_some_and(|fixed| *spec != fixed) {
        let why = format!("spec of '{name}' must equal the fixed value");
        errors.invalid(&Path::new("spec"), spec.clone(), why);
    }
}

/// Told when a mandatory PriorityLevelConfiguration is not as it must be.
pub(super) fn priority_level(object: &Value, errors: &mut FieldErrors) {
    let (name, spec) = (text(at(object, &["metadata"]), "name"), at(object, &["spec"]));
    let Some(fixed) = mandatory_priority_level(name) else { return };
    let (but, wanted) =
        if name == EXEMPT { (" except the 'spec.exempt' field", with_exempt_of(&fixed, spec)) } else { ("", fixed) };
    if *spec != wanted {
        let why = format!("spec of '{name}'{but} must equal the fixed value");
        errors.invalid(&Path::new("spec"), spec.clone(), why);
    }
}

/// A spec with the `exempt` of another one, or without any.
fn with_exempt_of(fixed: &Value, spec: &Value) -> Value {
    let mut wanted = fixed.clone();
    if let Some(fields) = wanted.as_object_mut() {
        match spec.get("exempt") {
            Some(own) => drop(fields.insert("exempt".to_owned(), own.clone())),
            None => drop(fields.remove("exempt")),
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(check: fn(&Value, &mut FieldErrors), name: &str, spec: &Value) -> String {
        let mut errors = FieldErrors::new();
        check(&json!({"metadata": {"name": name}, "spec": spec}), &mut errors);
        errors.0.iter().map(|error| error.detail.clone()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_every_cluster_has_stays_as_it_is() {
        for name in MANDATORY {
            let schema = mandatory_flow_schema(name).unwrap();
            assert_eq!(told(flow_schema, name, &schema), "");
            let mut other = schema.clone();
            other["matchingPrecedence"] = json!(7);
            let why = format!("spec of '{name}' must equal the fixed value");
            assert_eq!(told(flow_schema, name, &other), why);
            assert_eq!(told(flow_schema, "mine", &other), "");
            assert_eq!(told(priority_level, name, &mandatory_priority_level(name).unwrap()), "");
        }
        let mut level = mandatory_priority_level("catch-all").unwrap();
        level["limited"]["nominalConcurrencyShares"] = json!(6);
        assert_eq!(told(priority_level, "catch-all", &level), "spec of 'catch-all' must equal the fixed value");
        assert_eq!(told(priority_level, "mine", &level), "");
    }

    #[test]
    fn shares_of_the_exempt_level_may_be_set() {
        let shares = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 9, "lendablePercent": 50}});
        assert_eq!(told(priority_level, "exempt", &shares), "");
        assert_eq!(told(priority_level, "exempt", &json!({"type": "Exempt"})), "");
        let why = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
        assert_eq!(told(priority_level, "exempt", &json!({"type": "Limited"})), why);
    }
}
