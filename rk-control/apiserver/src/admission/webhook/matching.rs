//! Which webhooks a change concerns, and in which version they want to see it.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::super::{Operation, Request};
use super::hook::{Hook, Rule};

/// A change as rules look at it.
struct Subject<'a> {
    operation: &'a str,
    group: &'a str,
    version: &'a str,
    plural: &'a str,
    subresource: &'a str,
    namespaced: bool,
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let one_of = |list: &[String], wanted: &str| list.iter().any(|own| own == "*" || own == wanted);
        let scope = match self.scope.as_str() {
            "Namespaced" => subject.namespaced,
            "Cluster" => !subject.namespaced,
            _ => true,
        };
        let resource = self.resources.iter().any(|own| {
            let (plural, subresource) = own.split_once('/').unwrap_or((own, ""));
            (plural == "*" || plural == subject.plural) && (subresource == "*" || subresource == subject.subresource)
        });
        scope
            && resource
            && one_of(&self.operations, subject.operation)
            && one_of(&self.groups, subject.group)
            && one_of(&self.versions, subject.version)
    }
}

/// The row in whose version a webhook wants to see a change; `None` when it does not want to.
pub(super) async fn row(
    hook: &Hook,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<Option<Arc<Resource>>, Status> {
    let Some(row) = by_rules(hook, request) else { return Ok(None) };
    if !by_labels(&hook.objects, object, request.old) {
        return Ok(None);
    }
    let wanted = hook.namespaces.is_empty() || in_namespace(&hook.namespaces, request, object).await?;
    Ok(wanted.then_some(row))
}

fn by_rules(hook: &Hook, request: &Request<'_>) -> Option<Arc<Resource>> {
    let matches = |row: &Resource| {
        let subject = Subject {
            operation: operation(request.operation),
            group: &row.gvk.group,
            version: &row.gvk.version,
            plural: &row.plural,
            subresource: request.subresource,
            namespaced: !request.namespace.is_empty(),
        };
        hook.rules.iter().any(|rule| rule.matches(&subject))
    };
    if matches(request.requested) {
        return Some(Arc::clone(request.requested));
    }
    if hook.exact {
        return None;
    }
    // Other names of the same objects, in the order of the table.
    let registry = request.core.registry();
    let same = |row: &&Arc<Resource>| row.hub == request.requested.hub && row.plural == request.requested.plural;
    registry.iter().filter(same).find(|row| matches(row)).cloned()
}

/// The word of an operation in rules and questions.
pub(super) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// Either state of the object may match.
fn by_labels(selector: &LabelSelector, object: Option<&Value>, old: Option<&Value>) -> bool {
    let matches = |object: Option<&Value>| object.is_some_and(|object| selector.matches(meta::labels(object)));
    selector.is_empty() || matches(object) || matches(old)
}

/// Whether the labels of the namespace match; what is in none always does, and a Namespace is judged by its own.
async fn in_namespace(selector: &LabelSelector, request: &Request<'_>, object: Option<&Value>) -> Result<bool, Status> {
    if request.is_sub("", "namespaces", request.subresource) {
        let own = object.or(request.old);
        return Ok(own.is_none_or(|own| selector.matches(meta::labels(own))));
    }
    if request.namespace.is_empty() {
        return Ok(true);
    }
    let namespace = request.core.object("", "v1", "namespaces", "", request.namespace).await?;
    let none = json!({});
    Ok(selector.matches(namespace.as_ref().map_or(&none, meta::labels)))
}

#[cfg(test)]
mod tests {
    use super::super::hook::of_configuration;
    use super::*;

    fn rule(rule: Value) -> Rule {
        let mut hooks = of_configuration(&json!({"webhooks": [{"name": "a.b.c", "rules": [rule]}]}));
        hooks.remove(0).rules.remove(0)
    }

    #[test]
    fn rules_name_operations_resources_subresources_and_scopes() {
        let pods = |operation: &'static str, subresource: &'static str| Subject {
            operation,
            group: "",
            version: "v1",
            plural: "pods",
            subresource,
            namespaced: true,
        };
        let of = |resources: Value, scope: &str| {
            rule(
                json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": resources, "scope": scope}),
            )
        };
        assert!(of(json!(["pods"]), "*").matches(&pods("CREATE", "")));
        assert!(!of(json!(["pods"]), "*").matches(&pods("UPDATE", "")));
        assert!(!of(json!(["pods"]), "*").matches(&pods("CREATE", "exec")));
        assert!(of(json!(["pods/*"]), "*").matches(&pods("CREATE", "exec")));
        assert!(of(json!(["*/*"]), "Namespaced").matches(&pods("CREATE", "")));
        assert!(!of(json!(["*"]), "Cluster").matches(&pods("CREATE", "")));
        assert!(!of(json!(["*/status"]), "*").matches(&pods("CREATE", "")));
    }

    #[test]
    fn either_state_of_an_object_may_carry_the_label() {
        let selector = LabelSelector::parse("a=b").unwrap();
        let (with, without) = (json!({"metadata": {"labels": {"a": "b"}}}), json!({"metadata": {}}));
        assert!(by_labels(&selector, Some(&with), Some(&without)) && by_labels(&selector, Some(&without), Some(&with)));
        assert!(!by_labels(&selector, Some(&without), None));
    }
}
