//! The status of a CustomResourceDefinition; pure.

use rk_api::meta;
use rk_api::resources::Registry;
use rk_api::validate::approval_of;
use serde_json::{Value, json};

/// Keeps a definition until its objects are gone.
pub(super) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn names(definition: &Value) -> &Value {
    meta::at(definition, &["spec", "names"])
}

fn group(definition: &Value) -> &str {
    meta::text(definition, &["spec", "group"])
}

fn short_names(names: &Value) -> impl Iterator<Item = &str> {
    meta::at(names, &["shortNames"]).as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Why the names of a definition are not its own: condition reason and message.
fn conflict(definition: &Value, all: &[Value], builtin: &Registry) -> Option<(&'static str, String)> {
    let own = names(definition);
    let text = |field: &str| meta::text(own, &[field]);
    // Built-in kinds of the same group come first.
    if let Some(taken) = builtin.iter().find(|row| row.gvk.group == group(definition) && row.plural == text("plural")) {
        return Some(("PluralConflict", format!("{:?} is already in use", taken.plural)));
    }
    let others = all.iter().filter(|other| {
        meta::name(other) != meta::name(definition) && group(other) == group(definition) && accepted(other)
    });
    for other in others {
        let theirs = meta::at(other, &["status", "acceptedNames"]);
        for (field, reason) in [
            ("plural", "PluralConflict"),
            ("singular", "SingularConflict"),
            ("kind", "KindConflict"),
            ("listKind", "ListKindConflict"),
        ] {
            if !text(field).is_empty() && meta::text(theirs, &[field]) == text(field) {
                return Some((reason, format!("{:?} is already in use", text(field))));
            }
        }
        let taken = short_names(own).find(|name| short_names(theirs).any(|other| other == *name));
        if let Some(name) = taken {
            return Some(("ShortNamesConflict", format!("{name:?} is already in use")));
        }
    }
    None
}

fn is_true(definition: &Value, kind: &str) -> bool {
    let conditions = meta::at(definition, &["status", "conditions"]).as_array();
    conditions.into_iter().flatten().any(|c| meta::text(c, &["type"]) == kind && meta::text(c, &["status"]) == "True")
}

fn accepted(definition: &Value) -> bool {
    is_true(definition, "NamesAccepted")
}

/// Whether a definition is to be served: it was before, or its names are free.
pub(super) fn is_served(definition: &Value, all: &[Value], builtin: &Registry) -> bool {
    is_true(definition, "Established") || conflict(definition, all, builtin).is_none()
}

/// The definition with the finalizer that its objects need; `None` when it has it, or is on its way out.
pub(super) fn with_finalizer(definition: &Value) -> Option<Value> {
    let own = meta::at(definition, &["metadata", "finalizers"]).as_array().cloned().unwrap_or_default();
    if meta::is_deleting(definition) || own.iter().any(|name| name == FINALIZER) {
        return None;
    }
    let mut changed = definition.clone();
    changed["metadata"]["finalizers"] = own.into_iter().chain([json!(FINALIZER)]).collect();
    Some(changed)
}

/// The definition with its status as it should be; `None` when it is.
pub(super) fn with_status(
    definition: &Value,
    all: &[Value],
    builtin: &Registry,
    now: jiff::Timestamp,
) -> Option<Value> {
    let mut changed = definition.clone();
    let conflict = conflict(definition, all, builtin);
    match &conflict {
        None => {
            changed["status"]["acceptedNames"] = names(definition).clone();
            set(&mut changed, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            set(
                &mut changed,
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
                now,
            );
        }
        Some((reason, message)) => {
            set(&mut changed, "NamesAccepted", "False", reason, message, now);
            if !is_true(definition, "Established") {
                set(&mut changed, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
        }
    }
    if let Some((conforms, reason, message)) = approval_of(definition) {
        let status = if conforms { "True" } else { "False" };
        set(&mut changed, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
    }
    if meta::is_deleting(definition) {
        let why = "CustomResource deletion is in progress";
        set(&mut changed, "Terminating", "True", "InstanceDeletionInProgress", why, now);
    }
    let stored = meta::at(definition, &["status", "storedVersions"]).as_array().cloned().unwrap_or_default();
    let versions = meta::at(definition, &["spec", "versions"]).as_array().into_iter().flatten();
    let storage = versions.filter(|version| meta::at(version, &["storage"]) == &Value::Bool(true));
    let missing: Vec<Value> =
        storage.filter_map(|version| version.get("name").cloned()).filter(|name| !stored.contains(name)).collect();
    if !missing.is_empty() {
        changed["status"]["storedVersions"] = stored.into_iter().chain(missing).collect();
    }
    (changed != *definition).then_some(changed)
}

fn set(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: jiff::Timestamp) {
    let mut conditions = meta::at(definition, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut condition =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time});
    match conditions.iter_mut().find(|own| meta::text(own, &["type"]) == kind) {
        Some(own) => {
            if meta::text(own, &["status"]) == status {
                condition["lastTransitionTime"] = meta::at(own, &["lastTransitionTime"]).clone();
                if let Some(generation) = own.get("observedGeneration") {
                    condition["observedGeneration"] = generation.clone();
                }
            }
            *own = condition;
        }
        None => conditions.push(condition),
    }
    definition["status"]["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com",
            "names": {"plural": plural, "kind": kind}, "versions": [{"name": "v1", "storage": true, "served": true}]}})
    }

    #[test]
    fn the_first_to_ask_for_a_name_has_it() {
        let (now, builtin) = (jiff::Timestamp::UNIX_EPOCH, Registry::builtin());
        let first = with_status(&definition("foos", "Foo"), &[], &builtin, now).unwrap();
        assert!(is_true(&first, "Established") && first["status"]["storedVersions"] == json!(["v1"]));
        assert_eq!(with_status(&first, std::slice::from_ref(&first), &builtin, now), None);
        let second = definition("foes", "Foo");
        let all = [first.clone(), second.clone()];
        assert!(!is_served(&second, &all, &builtin));
        let refused = with_status(&second, &all, &builtin, now).unwrap();
        assert_eq!(refused["status"]["conditions"][0]["reason"], "KindConflict");
        assert!(is_served(&second, std::slice::from_ref(&second), &builtin), "once the other is gone the name is free");
    }

    #[test]
    fn definitions_in_groups_of_kubernetes_own_tell_who_approved_of_them() {
        let told = |group: &str, approval: &str| {
            let mut definition = definition("gateways", "Gateway");
            definition["spec"]["group"] = json!(group);
            definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": approval});
            let changed = with_status(&definition, &[], &Registry::builtin(), jiff::Timestamp::UNIX_EPOCH).unwrap();
            let conditions = changed["status"]["conditions"].as_array().unwrap().clone();
            let own = conditions.into_iter().find(|own| own["type"] == "KubernetesAPIApprovalPolicyConformant")?;
            Some(["status", "reason", "message"].map(|field| own[field].as_str().unwrap().to_owned()))
        };
        let url = "https://example.com/1";
        let approved = ["True", "ApprovedAnnotation", "approved in https://example.com/1"];
        assert_eq!(told("gateway.networking.k8s.io", url).unwrap(), approved);
        let not = ["False", "UnapprovedAnnotation", "not approved: \"unapproved, for a test\""];
        assert_eq!(told("gateway.networking.k8s.io", "unapproved, for a test").unwrap(), not);
        assert_eq!(told("gateway.networking.k8s.io", "perhaps").unwrap()[1], "InvalidAnnotation");
        assert_eq!(told("example.com", url), None);
    }

    #[test]
    fn built_in_names_are_nobodys() {
        let mut definition = definition("deployments", "Deployment");
        definition["spec"]["group"] = json!("apps");
        assert!(!is_served(&definition, &[], &Registry::builtin()));
    }
}
