//! What one request shows to expressions.

use std::sync::Arc;

use rk_api::resources::Resource;
use rk_cel::{Answer, Authz, Context, Question};
use serde_json::Value;

use super::super::{Operation, Request, webhook};

/// The values of `object`, `oldObject`, `request`, `namespaceObject`.
pub(in crate::admission) struct Scene {
    object: Value,
    old: Value,
    request: Value,
    pub(in crate::admission) namespace: Value,
    own: Question,
}

impl Scene {
    /// A change as who sees it in the version of `row` sees it.
    pub(in crate::admission) fn new(
        request: &Request<'_>,
        row: &Resource,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Self {
        let verb = match request.operation {
            Operation::Create | Operation::Connect => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        };
        let own = Question {
            verb: verb.to_owned(),
            group: request.requested.gvk.group.to_string(),
            resource: request.requested.plural.to_string(),
            subresource: request.subresource.to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.name.to_owned(),
            ..Question::default()
        };
        Self {
            object: object.cloned().unwrap_or_default(),
            old: old.cloned().unwrap_or_default(),
            request: webhook::attributes(request, row, object.or(old)),
            namespace: Value::Null,
            own,
        }
    }

    /// A context that holds all of it.
    pub(in crate::admission) fn context<'a>(&'a self, answers: &'a [(Question, Answer)], budget: u64) -> Context<'a> {
        let mut context = Context::new(budget);
        context.set("object", rk_cel::Value::json(&self.object));
        context.set("oldObject", rk_cel::Value::json(&self.old));
        context.set("request", rk_cel::Value::json(&self.request));
        context.set("namespaceObject", rk_cel::Value::json(&self.namespace));
        context.set("authorizer", rk_cel::Value::Authz(Arc::new(Authz::new(self.own.clone()))));
        context.set_answers(answers);
        context
    }
}
