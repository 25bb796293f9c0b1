//! The status of a CustomResourceDefinition; pure.

use std::collections::BTreeSet;

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

/// What a claim to the names of a definition comes to.
struct Claim {
    /// Those that it has.
    accepted: Value,
    /// Why it has not all: condition reason and message, of the last name that is somebody else's.
    conflict: Option<(&'static str, String)>,
}

/// Takes the names that are free or the definition's already; resources and kinds of a group have names apart.
fn claim(definition: &Value, all: &[Value], builtin: &Registry) -> Claim {
    let (wanted, own) = (names(definition), meta::at(definition, &["status", "acceptedNames"]));
    let mut resources: BTreeSet<&str> = BTreeSet::new();
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    for theirs in all.iter().filter(|other| group(other) == group(definition)) {
        let theirs = meta::at(theirs, &["status", "acceptedNames"]);
        resources.extend(["plural", "singular"].map(|field| meta::text(theirs, &[field])));
        resources.extend(short_names(theirs));
        kinds.extend(["kind", "listKind"].map(|field| meta::text(theirs, &[field])));
    }
    // Built-in kinds of the same group come first.
    resources.extend(builtin.iter().filter(|row| row.gvk.group == group(definition)).map(|row| &*row.plural));
    let in_use = |name: &str| format!("{name:?} is already in use");
    let mut accepted = wanted.clone();
    let mut conflict = None;
    for (field, reason, used) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let (before, name) = (meta::at(own, &[field]), meta::text(wanted, &[field]));
        let taken: BTreeSet<&str> = match field {
            "shortNames" => short_names(wanted)
                .filter(|name| used.contains(name) && !short_names(own).any(|o| o == *name))
                .collect(),
            _ => Some(name)
                .filter(|name| *name != meta::text(own, &[field]) && used.contains(name))
                .into_iter()
                .collect(),
        };
        if taken.is_empty() {
            continue;
        }
        // Several are told in the order in which they are asked for.
        let mut told: Vec<String> = match field {
            "shortNames" => short_names(wanted).filter(|name| taken.contains(name)).map(in_use).collect(),
            _ => taken.into_iter().map(in_use).collect(),
        };
        told.dedup();
        conflict = Some((reason, if told.len() > 1 { format!("[{}]", told.join(", ")) } else { told.concat() }));
        keep_name(&mut accepted, field, before);
    }
    Claim { accepted, conflict }
}

/// Has a field of the accepted names be what it was; plural and kind are always told.
fn keep_name(accepted: &mut Value, field: &str, before: &Value) {
    let Some(accepted) = accepted.as_object_mut() else { return };
    match (before, field) {
        (Value::Null, "plural" | "kind") => drop(accepted.insert(field.to_owned(), json!(""))),
        (Value::Null, _) => drop(accepted.remove(field)),
        (before, _) => drop(accepted.insert(field.to_owned(), before.clone())),
    }
}

fn is_true(definition: &Value, kind: &str) -> bool {
    let conditions = meta::at(definition, &["status", "conditions"]).as_array();
    conditions.into_iter().flatten().any(|c| meta::text(c, &["type"]) == kind && meta::text(c, &["status"]) == "True")
}

/// The definitions that are to be served: those that were before, and those whose names are free. Of several that ask for one name the first
/// has it.
pub(super) fn served<'a>(all: &'a [Value], builtin: &Registry) -> Vec<&'a Value> {
    let holder = |definition: &Value, accepted: &Value| json!({"spec": {"group": group(definition)}, "status": {"acceptedNames": accepted}});
    let mut holders: Vec<Value> =
        all.iter().map(|definition| holder(definition, meta::at(definition, &["status", "acceptedNames"]))).collect();
    let mut served = Vec::new();
    for (index, definition) in all.iter().enumerate() {
        if !is_true(definition, "Established") {
            let Claim { accepted, conflict } = claim(definition, &holders, builtin);
            if conflict.is_some() {
                continue;
            }
            holders.get_mut(index).into_iter().for_each(|own| *own = holder(definition, &accepted));
        }
        served.push(definition);
    }
    served
}

/// The definition as its deletion leaves it: marked, kept until its objects are gone, and saying so. kube-apiserver v1.36 sets no grace
/// period then, nor is the mark a new generation.
pub(crate) fn retired(definition: &Value, now: jiff::Timestamp) -> Value {
    let mut changed = definition.clone();
    let own = meta::at(definition, &["metadata", "finalizers"]).as_array().cloned().unwrap_or_default();
    if !own.iter().any(|name| name == FINALIZER) {
        changed["metadata"]["finalizers"] = own.into_iter().chain([json!(FINALIZER)]).collect();
    }
    changed["metadata"]["deletionTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(&mut changed, "Terminating", "True", "InstanceDeletionPending", why, now);
    changed
}

/// The definition with its status as it should be; `None` when it is.
pub(super) fn with_status(
    definition: &Value,
    all: &[Value],
    builtin: &Registry,
    now: jiff::Timestamp,
) -> Option<Value> {
    let mut changed = definition.clone();
    let Claim { accepted, conflict } = claim(definition, all, builtin);
    changed["status"]["acceptedNames"] = accepted;
    match &conflict {
        None => {
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
    let own = meta::at(definition, &["metadata", "finalizers"]).as_array();
    if meta::is_deleting(definition) && own.is_some_and(|own| own.iter().any(|name| name == FINALIZER)) {
        let why = "CustomResource deletion is in progress";
        set(&mut changed, "Terminating", "True", "InstanceDeletionInProgress", why, now);
    }
    let stored = meta::at(definition, &["status", "storedVersions"]).as_array().cloned().unwrap_or_default();
    let versions = meta::at(definition, &["spec", "versions"]).as_array().into_iter().flatten();
    let storage = versions.filter(|version| meta::at(version, &["storage"]) == &Value::Bool(true));
    let missing: Vec<Value> =
        storage.filter_map(|version| version.get("name").cloned()).filter(|name| !stored.contains(name)).collect();
    // Whoever takes a version out after a migration may do so; only none at all cannot be.
    if stored.is_empty() && !missing.is_empty() {
        changed["status"]["storedVersions"] = missing.into();
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
        assert_eq!(served(&all, &builtin), [&first]);
        let both = [definition("foos", "Foo"), second.clone()];
        assert_eq!(served(&both, &builtin), [&both[0]], "of two that come at once the first alone");
        let refused = with_status(&second, &all, &builtin, now).unwrap();
        assert_eq!(refused["status"]["conditions"][0]["reason"], "KindConflict");
        let left = [second];
        assert_eq!(served(&left, &builtin), [&left[0]], "once the other is gone the name is free");
    }

    #[test]
    fn a_definition_has_those_of_its_names_that_are_free() {
        let (now, builtin) = (jiff::Timestamp::UNIX_EPOCH, Registry::builtin());
        let first = with_status(&definition("foos", "Foo"), &[], &builtin, now).unwrap();
        let mut second = definition("bars", "Bar");
        second["spec"]["names"]["shortNames"] = json!(["foos", "b"]);
        second["spec"]["names"]["listKind"] = json!("Foo");
        let told = |second: &Value| {
            let told = with_status(second, &[first.clone(), second.clone()], &builtin, now).unwrap();
            let condition = told["status"]["conditions"][0].clone();
            (told["status"]["acceptedNames"].clone(), condition["reason"].clone(), condition["message"].clone())
        };
        let (names, reason, message) = told(&second);
        assert_eq!(names, json!({"plural": "bars", "kind": "Bar"}));
        assert_eq!(
            (reason, message),
            (json!("ListKindConflict"), json!("\"Foo\" is already in use")),
            "the last is told"
        );
        second["spec"]["names"] = json!({"plural": "bars", "kind": "Bar", "singular": "bar", "shortNames": ["foos"]});
        assert_eq!(told(&second).2, "\"foos\" is already in use", "a plural is no short name of another");
    }

    #[test]
    fn who_migrated_takes_a_version_out_of_those_that_are_stored() {
        let (now, builtin) = (jiff::Timestamp::UNIX_EPOCH, Registry::builtin());
        let mut own = with_status(&definition("foos", "Foo"), &[], &builtin, now).unwrap();
        own["status"]["storedVersions"] = json!(["v0"]);
        assert_eq!(with_status(&own, std::slice::from_ref(&own), &builtin, now), None);
    }

    #[test]
    fn a_definition_is_kept_from_its_deletion_on() {
        let mut own = definition("foos", "Foo");
        own["metadata"]["generation"] = json!(3);
        let retired = retired(&own, jiff::Timestamp::UNIX_EPOCH);
        let want = json!({"name": "foos.example.com", "generation": 3, "deletionTimestamp": "1970-01-01T00:00:00Z",
            "finalizers": [FINALIZER]});
        assert_eq!(retired["metadata"], want);
        assert_eq!(retired["status"]["conditions"][0]["reason"], "InstanceDeletionPending");
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
        assert!(served(&[definition], &Registry::builtin()).is_empty());
    }
}
