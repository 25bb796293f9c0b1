//! Nobody grants what they do not hold: writing roles needs the rules or the verb `escalate`, binding them the rules or `bind`.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::{Operation, Request};
use crate::authn::MASTERS;
use crate::authz::{Attributes, Rule, Verdict};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.resource.gvk.group == GROUP) else { return Ok(()) };
    if request.operation == Operation::Delete || request.user.in_group(MASTERS) {
        return Ok(());
    }
    let plural = &*request.resource.plural;
    let is_role = matches!(plural, "roles" | "clusterroles");
    let unchanged: &[&str] = if is_role { &["rules", "aggregationRule"] } else { &["subjects", "roleRef"] };
    if same(request, object, unchanged) {
        return Ok(());
    }
    let (verb, resource, name) = if is_role {
        ("escalate", plural, request.name)
    } else {
        let (resource, name) = referred(object);
        ("bind", resource, name)
    };
    let attributes = Attributes {
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    if matches!(request.core.authorizer.allowed(request.core, request.user, &attributes).await?, Verdict::Allowed(_)) {
        return Ok(());
    }
    let granted = if is_role { given(object) } else { bound(request, resource, name).await? };
    let own = request.core.authorizer.rbac().rules_of(request.core, request.user, request.namespace).await?;
    let missing: Vec<String> =
        granted.iter().filter(|rule| !covered(rule, &own)).map(|rule| rule.to_json().to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(request.forbid(&format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        request.user.name,
        request.user.groups,
        missing.join("\n")
    )))
}

/// Whether these fields are as they were.
fn same(request: &Request<'_>, object: &Value, fields: &[&str]) -> bool {
    request.old.is_some_and(|old| fields.iter().all(|field| old.get(*field) == object.get(*field)))
}

/// The rules that a role gives to who is bound to it.
fn given(role: &Value) -> Vec<Rule> {
    let mut rules = rules_of(role);
    if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        // What will be merged in is not known now: it may be anything.
        rules.push(everything());
    }
    rules
}

/// The role that a binding refers to: its resource and its name.
fn referred(binding: &Value) -> (&'static str, &str) {
    let resource = match meta::text(binding, &["roleRef", "kind"]) {
        "ClusterRole" => "clusterroles",
        _ => "roles",
    };
    (resource, meta::text(binding, &["roleRef", "name"]))
}

/// What a binding grants to who may not bind whatever the role holds: its rules, and it must be there, since one that comes later may be
/// anything.
async fn bound(request: &Request<'_>, resource: &str, name: &str) -> Result<Vec<Rule>, Status> {
    let namespace = if resource == "clusterroles" { "" } else { request.namespace };
    let Some(role) = request.core.object(GROUP, "v1", resource, namespace, name).await? else {
        return Err(Status::not_found(&*request.core.resource(GROUP, "v1", resource)?, name));
    };
    Ok(rules_of(&role))
}

fn rules_of(role: &Value) -> Vec<Rule> {
    role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Rule::parse).collect()
}

fn everything() -> Rule {
    let all = || vec!["*".to_owned()];
    Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }
}

/// Whether every single permission of a rule is held by some rule of `own`.
fn covered(rule: &Rule, own: &[Rule]) -> bool {
    let any = |list: &[String]| if list.is_empty() { vec![String::new()] } else { list.to_vec() };
    rule.verbs.iter().all(|verb| {
        let urls = rule.urls.iter().all(|url| own.iter().any(|held| held.grants_url(verb, url)));
        let resources = if rule.urls.is_empty() { any(&rule.groups) } else { Vec::new() };
        urls && resources.iter().all(|group| {
            any(&rule.resources).iter().all(|resource| {
                any(&rule.names).iter().all(|name| own.iter().any(|held| held.grants(verb, group, resource, name)))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> Rule {
        Rule::parse(&value)
    }

    #[test]
    fn a_rule_is_covered_by_several_that_together_hold_it() {
        let own = [
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
            rule(json!({"verbs": ["list"], "apiGroups": ["", "apps"], "resources": ["*"]})),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]})),
        ];
        assert!(covered(&rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})), &own));
        assert!(covered(
            &rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]})),
            &own
        ));
        assert!(!covered(&rule(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]})), &own));
        assert!(!covered(&rule(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]})), &own));
        assert!(covered(&rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/x"]})), &own));
        assert!(!covered(&rule(json!({"verbs": ["get"], "nonResourceURLs": ["*"]})), &own));
    }
}
