//! SubjectAccessReview and its relatives: asking instead of trying.

use rk_api::meta::{self, at, text};
use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use rk_api::validate;
use serde_json::{Value, json};

use super::{Attributes, Verdict};
use crate::authn::User;
use crate::http::required_value;
use crate::server::Core;

/// Answers a SubjectAccessReview, LocalSubjectAccessReview or SelfSubjectAccessReview (`kind` tells which).
///
/// # Errors
/// 422 for a review that asks nothing or too much, 400 for one of another namespace.
pub async fn subject_access_review(
    core: &Core,
    caller: &User,
    kind: &str,
    namespace: &str,
    mut review: Value,
) -> Result<Value, Status> {
    let errors = validate::access_review(kind, &review);
    if !errors.is_empty() {
        // Upstream names neither kind nor object here.
        return Err(Status::invalid("authorization.k8s.io", "", "", &errors.0));
    }
    if kind == "LocalSubjectAccessReview" && text(&review, &["metadata", "namespace"]) != namespace {
        return Err(Status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    let user = if kind == "SelfSubjectAccessReview" { caller.clone() } else { user_of(&review) };
    let attributes = attributes_of(&review);
    review["status"] = match core.authorizer.allowed(core, &user, &attributes).await? {
        Verdict::Allowed(why) if why.is_empty() => json!({"allowed": true}),
        Verdict::Allowed(why) => json!({"allowed": true, "reason": why}),
        Verdict::NoOpinion(why) if why.is_empty() => json!({"allowed": false}),
        Verdict::NoOpinion(why) => json!({"allowed": false, "reason": why}),
    };
    let ignored = ignored(at(&review, &["spec", "resourceAttributes"]));
    if !ignored.is_empty() {
        review["status"]["evaluationError"] = json!(ignored.join("; "));
    }
    Ok(review)
}

fn user_of(review: &Value) -> User {
    let list = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let groups = list(at(review, &["spec", "groups"]));
    let name = text(review, &["spec", "user"]);
    let extra = at(review, &["spec", "extra"])
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), list(value)))
        .collect();
    User { name: name.to_owned(), uid: text(review, &["spec", "uid"]).to_owned(), groups, extra }
}

/// What is asked: about a resource, else about a path.
fn attributes_of(review: &Value) -> Attributes {
    let resource = at(review, &["spec", "resourceAttributes"]);
    let other = at(review, &["spec", "nonResourceAttributes"]);
    if other.is_object() {
        return Attributes {
            verb: text(other, &["verb"]).to_owned(),
            path: Some(text(other, &["path"]).to_owned()),
            ..Attributes::default()
        };
    }
    let field = |name: &str| text(resource, &[name]).to_owned();
    Attributes {
        verb: field("verb"),
        group: field("group"),
        version: field("version"),
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
        node: selected_node(at(resource, &["fieldSelector"])),
        path: None,
    }
}

fn requirements(selector: &Value) -> &[Value] {
    meta::list(selector, &["requirements"])
}

fn values(requirement: &Value) -> &[Value] {
    meta::list(requirement, &["values"])
}

/// The node to which a selector keeps a list, empty for none.
fn selected_node(selector: &Value) -> String {
    const FIELD: &str = "spec.nodeName";
    let required = |requirement: &Value| match values(requirement) {
        [Value::String(one)] if text(requirement, &["key"]) == FIELD && text(requirement, &["operator"]) == "In" => {
            Some(one.clone())
        }
        _ => None,
    };
    let raw = || required_value(text(selector, &["rawSelector"]), FIELD);
    requirements(selector).iter().find_map(required).or_else(raw).unwrap_or_default()
}

/// What is told of selectors that cannot be read; what is left of them is judged.
fn ignored(resource: &Value) -> Vec<String> {
    let field = |requirement: &Value| {
        matches!(text(requirement, &["operator"]), "In" | "NotIn") && values(requirement).len() == 1
    };
    let label =
        |requirement: &Value| matches!(text(requirement, &["operator"]), "In" | "NotIn" | "Exists" | "DoesNotExist");
    let is_fields = |text: &str| text.split(',').all(|term| term.is_empty() || term.contains('='));
    let of = |name: &str, knows: &dyn Fn(&Value) -> bool, reads: &dyn Fn(&str) -> bool| {
        let selector = at(resource, &[name]);
        let list = requirements(selector);
        let known = list.iter().filter(|requirement| knows(requirement)).count();
        let extent = match known {
            _ if list.is_empty() && reads(text(selector, &["rawSelector"])) => return None,
            known if !list.is_empty() && known == list.len() => return None,
            0 => "ignored",
            _ => "partially ignored",
        };
        Some(format!("spec.resourceAttributes.{name} {extent} due to parse error"))
    };
    let fields = of("fieldSelector", &field, &is_fields);
    let labels = of("labelSelector", &label, &|text: &str| LabelSelector::parse(text).is_ok());
    fields.into_iter().chain(labels).collect()
}

/// Answers a SelfSubjectRulesReview (`kubectl auth can-i --list`).
///
/// # Errors
/// 400 without a namespace; roles cannot be read.
pub async fn self_rules_review(core: &Core, caller: &User, mut review: Value) -> Result<Value, Status> {
    let namespace = text(&review, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = core.authorizer.rbac().rules_of(core, caller, &namespace).await?;
    let node = caller.node_name().is_some();
    let (urls, resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.urls.is_empty());
    let mut status = json!({
        "resourceRules": resources.iter().map(|rule| rule.to_json()).collect::<Vec<_>>(),
        "nonResourceRules": urls.iter().map(|rule| rule.to_json()).collect::<Vec<_>>(),
        "incomplete": node,
    });
    if node {
        status["evaluationError"] = json!("node authorizer does not support user rule resolution");
    }
    review["status"] = status;
    Ok(review)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_says_to_which_node_a_list_is_kept() {
        let asked = |selector: Value| {
            attributes_of(&json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector}}})).node
        };
        assert_eq!(asked(json!({"rawSelector": "status.phase!=Failed,spec.nodeName=n"})), "n");
        let requirement = |operator: &str, values: Value| json!({"requirements": [{"key": "spec.nodeName", "operator": operator, "values": values}]});
        assert_eq!(asked(requirement("In", json!(["n"]))), "n");
        assert_eq!(asked(requirement("NotIn", json!(["n"]))), "");
        assert_eq!(asked(requirement("In", json!(["n", "m"]))), "");
        assert_eq!(asked(Value::Null), "");
    }

    #[test]
    fn what_cannot_be_read_of_selectors_is_told() {
        let told = |name: &str, selector: Value| ignored(&json!({name: selector})).join("; ");
        assert_eq!(told("fieldSelector", json!({"rawSelector": "a=b,c!=d"})), "");
        assert_eq!(
            told("fieldSelector", json!({"rawSelector": "foo"})),
            "spec.resourceAttributes.fieldSelector ignored due to parse error"
        );
        let mixed = json!({"requirements": [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "a", "operator": "Newer"}]});
        for name in ["fieldSelector", "labelSelector"] {
            let want = format!("spec.resourceAttributes.{name} partially ignored due to parse error");
            assert_eq!(told(name, mixed.clone()), want);
        }
        assert_eq!(told("labelSelector", json!({"rawSelector": "a in (b)"})), "");
        assert!(told("labelSelector", json!({"rawSelector": "a in b)"})).contains("labelSelector ignored"));
    }
}
