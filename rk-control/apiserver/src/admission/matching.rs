//! Which changes concern a webhook or policy, and in which version it wants to see them.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request};

/// What a webhook or policy wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Scope {
    rules: Vec<Rule>,
    /// Whether everything is wanted when there is no rule.
    open: bool,
    /// What it does not want to hear of, whatever the rules say.
    excluded: Vec<Rule>,
    /// Whether only the resources in the rules themselves count.
    exact: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

#[derive(Debug, Default)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// Empty for any.
    names: Vec<String>,
    scope: String,
}

impl Scope {
    /// From the object whose field `rules` has the rules.
    pub(super) fn of(entry: &Value, rules: &str) -> Self {
        // A selector that cannot be read was refused when it was written.
        let selector = |field: &str| match entry.get(field) {
            Some(selector @ Value::Object(_)) => LabelSelector::from_object(selector).unwrap_or(LabelSelector::NOTHING),
            _ => LabelSelector::default(),
        };
        let list = |field: &str| meta::at(entry, &[field]).as_array().into_iter().flatten().map(rule).collect();
        Self {
            rules: list(rules),
            open: false,
            excluded: list("excludeResourceRules"),
            exact: meta::text(entry, &["matchPolicy"]) == "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The same for what only narrows down what another scope wants: without rules it wants everything.
    pub(super) fn narrowing(entry: &Value, rules: &str) -> Self {
        let scope = Self::of(entry, rules);
        Self { open: scope.rules.is_empty(), ..scope }
    }
}

fn rule(entry: &Value) -> Rule {
    Rule {
        operations: texts(entry, "operations"),
        groups: texts(entry, "apiGroups"),
        versions: texts(entry, "apiVersions"),
        resources: texts(entry, "resources"),
        names: texts(entry, "resourceNames"),
        scope: meta::text(entry, &["scope"]).to_owned(),
    }
}

/// The texts in a list.
pub(super) fn texts(entry: &Value, field: &str) -> Vec<String> {
    let list = meta::at(entry, &[field]).as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A change as rules look at it.
struct Subject<'a> {
    operation: &'a str,
    group: &'a str,
    version: &'a str,
    plural: &'a str,
    subresource: &'a str,
    name: &'a str,
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
            && (self.names.is_empty() || one_of(&self.names, subject.name))
            && one_of(&self.operations, subject.operation)
            && one_of(&self.groups, subject.group)
            && one_of(&self.versions, subject.version)
    }
}

/// The row in whose version a change is to be shown; `None` when it is of no concern.
pub(super) async fn row(
    scope: &Scope,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<Option<Arc<Resource>>, Status> {
    let Some(row) = by_rules(scope, request) else { return Ok(None) };
    // A scale has no labels, whatever it is of.
    let bare = json!({});
    let (new, old) = match request.subresource {
        "scale" => (object.and(Some(&bare)), request.old.and(Some(&bare))),
        _ => (object, request.old),
    };
    if !by_labels(&scope.objects, new, old) {
        return Ok(None);
    }
    let wanted = scope.namespaces.is_empty() || in_namespace(&scope.namespaces, request, object).await?;
    Ok(wanted.then_some(row))
}

fn by_rules(scope: &Scope, request: &Request<'_>) -> Option<Arc<Resource>> {
    let matches = |rules: &[Rule], row: &Resource| {
        let subject = Subject {
            operation: operation(request.operation),
            group: &row.gvk.group,
            version: &row.gvk.version,
            plural: &row.plural,
            subresource: request.subresource,
            name: request.name,
            namespaced: !request.namespace.is_empty(),
        };
        rules.iter().any(|rule| rule.matches(&subject))
    };
    let wanted = |row: &Resource| scope.open || matches(&scope.rules, row);
    if matches(&scope.excluded, request.requested) {
        return None;
    }
    if wanted(request.requested) {
        return Some(Arc::clone(request.requested));
    }
    if scope.exact {
        return None;
    }
    // Other names of the same objects, in the order of the table.
    let registry = request.core.registry();
    let same = |row: &&Arc<Resource>| row.hub == request.requested.hub && row.plural == request.requested.plural;
    registry.iter().filter(same).find(|row| wanted(row)).cloned()
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
    let namespace = request.core.consult("", "v1", "namespaces", "", request.namespace).await?;
    let none = json!({});
    Ok(selector.matches(namespace.as_deref().map_or(&none, meta::labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_operations_resources_subresources_and_scopes() {
        let pods = |operation: &'static str, subresource: &'static str| Subject {
            operation,
            group: "",
            version: "v1",
            plural: "pods",
            subresource,
            name: "p",
            namespaced: true,
        };
        let of = |resources: Value, scope: &str| {
            rule(
                &json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": resources, "scope": scope}),
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
