//! SubjectAccessReview and its relatives: asking instead of trying.

use rk_api::meta::{at, text};
use rk_api::status::Status;
use rk_api::validate;
use serde_json::{Value, json};

use super::{Attributes, Verdict};
use crate::authn::User;
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
        ..Attributes::default()
    }
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
    let mut rules = core.authorizer.rbac().rules_of(core, caller, &namespace).await?;
    let node = caller.node_name().is_some();
    if caller.in_group(crate::authn::MASTERS) {
        let all = || vec!["*".to_owned()];
        rules.push(super::Rule { verbs: all(), groups: all(), resources: all(), ..Default::default() });
        rules.push(super::Rule { verbs: all(), urls: all(), ..Default::default() });
    }
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
