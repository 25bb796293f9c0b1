//! Nobody grants what they do not hold: writing roles needs the rules or the verb `escalate`, binding them the rules or `bind`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Map, Value};

use super::{Operation, Request};
use crate::authn::MASTERS;
use crate::authz::{Attributes, Rule, quoted};

const GROUP: &str = "rbac.authorization.k8s.io";
/// Fields of `metadata` that the garbage collector writes, and those that follow every write.
const COLLECTED: [&str; 5] = ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"];
/// So many permissions of what is granted are looked at one by one: a few long lists make billions of them.
const LOOKED_AT: usize = 20_000;

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.resource.gvk.group == GROUP) else { return Ok(()) };
    if request.operation == Operation::Delete || request.user.in_group(MASTERS) {
        return Ok(());
    }
    if request.old.is_some_and(|old| is_collected(old, object)) {
        return Ok(());
    }
    match &*request.resource.plural {
        plural @ ("roles" | "clusterroles") => written(request, plural, object).await,
        _ => bound(request, object).await,
    }
}

/// Who writes a role holds what is in it; where a role gathers the rules of others, that is anything.
async fn written(request: &Request<'_>, plural: &str, role: &Value) -> Result<(), Status> {
    // As in the path of a request that makes something: a right to one name makes no other role that comes under it.
    let name = if request.creates() { "" } else { request.name };
    if may(request, "escalate", plural, name).await? {
        return Ok(());
    }
    let own = own_rules(request).await?;
    let lacking = missing(&rules_of(role), &own);
    if !lacking.is_empty() {
        return Err(refused(request, &lacking));
    }
    if (gathers(role) || request.old.is_some_and(gathers)) && !missing(&everything(), &own).is_empty() {
        return Err(request.forbid("must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

/// Who binds a role holds what is in it; and it must be there, since one that comes later may be anything.
async fn bound(request: &Request<'_>, binding: &Value) -> Result<(), Status> {
    let (resource, namespace) = match meta::text(binding, &["roleRef", "kind"]) {
        "ClusterRole" => ("clusterroles", ""),
        _ => ("roles", request.namespace),
    };
    let name = meta::text(binding, &["roleRef", "name"]);
    if may(request, "bind", resource, name).await? {
        return Ok(());
    }
    let Some(role) = request.core.object(GROUP, "v1", resource, namespace, name).await? else {
        return Err(Status::not_found(&*request.core.resource(GROUP, "v1", resource)?, name));
    };
    let lacking = missing(&rules_of(&role), &own_rules(request).await?);
    if lacking.is_empty() { Ok(()) } else { Err(refused(request, &lacking)) }
}

/// Whether the user has a verb on a role, where the object is.
async fn may(request: &Request<'_>, verb: &str, resource: &str, name: &str) -> Result<bool, Status> {
    let attributes = Attributes {
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        version: "*".to_owned(),
        resource: resource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    request.allows(&attributes).await
}

async fn own_rules(request: &Request<'_>) -> Result<Vec<Rule>, Status> {
    request.core.authorizer.rbac().rules_of(request.core, request.user, request.namespace).await
}

fn rules_of(role: &Value) -> Vec<Rule> {
    role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Rule::parse).collect()
}

/// Whether a role has rules of others merged in.
fn gathers(role: &Value) -> bool {
    let selectors = meta::at(role, &["aggregationRule", "clusterRoleSelectors"]);
    selectors.as_array().is_some_and(|list| !list.is_empty())
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), urls: all(), ..Rule::default() },
    ]
}

/// Whether a change is of nothing but what the garbage collector writes.
fn is_collected(old: &Value, new: &Value) -> bool {
    fn rest(object: &Value, without: &[&str]) -> Map<String, Value> {
        let members = object.as_object().into_iter().flatten();
        let kept = members.filter(|(key, value)| !without.contains(&key.as_str()) && !value.is_null());
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
    let about = |object: &Value| rest(meta::at(object, &["metadata"]), &COLLECTED);
    rest(old, &["metadata"]) == rest(new, &["metadata"]) && about(old) == about(new)
}

/// The permissions of rules that no rule of `own` holds, in upstream's words; those on one resource are told together. A rule of more
/// permissions than are left to look at is held as a whole or not at all.
fn missing(granted: &[Rule], own: &[Rule]) -> BTreeSet<String> {
    let lacks = |one: &Rule| !own.iter().any(|rule| rule.holds(one));
    let (mut told, mut lacking) = (BTreeSet::new(), Vec::new());
    let mut left = LOOKED_AT;
    for rule in granted.iter().filter(|rule| lacks(rule)) {
        match left.checked_sub(rule.size()) {
            Some(rest) => {
                left = rest;
                lacking.extend(rule.permissions().into_iter().filter(lacks));
            }
            None => {
                told.insert(rule.told());
            }
        }
    }
    told.extend(merged(lacking).iter().map(Rule::told));
    told
}

/// Permissions, those on all objects of a resource as one rule with several verbs.
fn merged(permissions: Vec<Rule>) -> Vec<Rule> {
    let mut by_resource: BTreeMap<(Vec<String>, Vec<String>), Rule> = BTreeMap::new();
    let mut others = Vec::new();
    for one in permissions {
        if !one.names.is_empty() || !one.urls.is_empty() {
            others.push(one);
            continue;
        }
        match by_resource.entry((one.groups.clone(), one.resources.clone())) {
            Entry::Occupied(mut known) => known.get_mut().verbs.extend(one.verbs),
            Entry::Vacant(place) => {
                place.insert(one);
            }
        }
    }
    others.extend(by_resource.into_values());
    others
}

fn refused(request: &Request<'_>, missing: &BTreeSet<String>) -> Status {
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    request.forbid(&format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        request.user.name,
        quoted(&request.user.groups),
        missing.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> Rule {
        Rule::parse(&value)
    }

    #[test]
    fn what_is_missing_is_told_by_resource_and_sorted() {
        let own = [rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}))];
        let granted = [
            rule(json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "nodes"]})),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/x"]})),
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"], "resourceNames": ["n"]})),
        ];
        let told: Vec<String> = missing(&granted, &own).into_iter().collect();
        assert_eq!(
            told,
            [
                r#"{APIGroups:[""], Resources:["nodes"], ResourceNames:["n"], Verbs:["get"]}"#,
                r#"{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
            ]
        );
        assert!(missing(&everything(), &everything()).is_empty());
        assert_eq!(missing(&everything(), &everything()[..1]).len(), 1);
    }

    #[test]
    fn a_rule_of_more_permissions_than_are_looked_at_is_held_as_a_whole_or_not_at_all() {
        let many: Vec<String> = (0..1000).map(|number| format!("x{number}")).collect();
        let vast = rule(json!({"verbs": many, "apiGroups": many, "resources": many, "resourceNames": many}));
        assert!(missing(std::slice::from_ref(&vast), &everything()).is_empty());
        let pods = rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}));
        let own = [rule(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]}))];
        let lacking = r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#.to_owned();
        assert_eq!(missing(&[vast.clone(), pods], &own), BTreeSet::from([vast.told(), lacking]));
    }

    #[test]
    fn the_garbage_collector_needs_no_rights_of_roles() {
        let role = json!({"kind": "Role", "metadata": {"name": "r", "finalizers": ["a"], "resourceVersion": "1"}, "rules": [{"verbs": ["get"]}]});
        let mut changed = role.clone();
        changed["metadata"]["finalizers"] = Value::Null;
        changed["metadata"]["resourceVersion"] = json!("2");
        assert!(is_collected(&role, &changed));
        for (at, value) in [("/metadata/labels", json!({"a": "b"})), ("/rules", json!([]))] {
            let mut other = changed.clone();
            other["metadata"]["labels"] = Value::Null;
            if let Some(place) = other.pointer_mut(at) {
                *place = value;
            }
            assert!(!is_collected(&role, &other), "{at}");
        }
    }
}
