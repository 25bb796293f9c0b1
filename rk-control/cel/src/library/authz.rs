//! Questions to the authorizer. Answers come from the caller: a question that has none ends the evaluation.

use std::sync::Arc;

use super::{AUTHORIZER, DECISION, GROUP_CHECK, Made, PATH_CHECK, RESOURCE_CHECK, no_overload, text};
use crate::eval::{Context, Failure};
use crate::registry::Row;
use crate::value::Value;

/// What somebody might do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The name of a service account, if it is not about who asks.
    pub user: Option<String>,
    /// The verb.
    pub verb: String,
    /// Group of the resource.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Namespace, empty for the cluster.
    pub namespace: String,
    /// Object, empty for any.
    pub name: String,
    /// Set for paths that are no resources.
    pub path: Option<String>,
}

/// The authorizer's decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// Why there is no answer.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision,
}

/// A question that is being put together, or its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authz {
    stage: Stage,
    question: Question,
    /// What the request itself is about.
    request: Question,
    answer: Answer,
}

pub(super) const TABLE: &[Row] = &[
    Row("serviceAccount", ".ZSS>Z", |_, a| {
        let name = format!("system:serviceaccount:{}:{}", text(a, 1), text(a, 2));
        next(a, Stage::Authorizer, |q, _| q.user = Some(name))
    }),
    Row("path", ".ZS>p", |_, a| next(a, Stage::Path, |q, a| q.path = Some(text(a, 1).to_owned()))),
    Row("group", ".ZS>g", |_, a| next(a, Stage::Group, |q, a| q.group = text(a, 1).to_owned())),
    Row("resource", ".gS>r", |_, a| next(a, Stage::Resource, |q, a| q.resource = text(a, 1).to_owned())),
    Row("subresource", ".rS>r", |_, a| next(a, Stage::Resource, |q, a| q.subresource = text(a, 1).to_owned())),
    Row("namespace", ".rS>r", |_, a| next(a, Stage::Resource, |q, a| q.namespace = text(a, 1).to_owned())),
    Row("name", ".rS>r", |_, a| next(a, Stage::Resource, |q, a| q.name = text(a, 1).to_owned())),
    Row("check", ".pS>d", check),
    Row("check", ".rS>d", check),
    Row("allowed", ".d>B", |_, a| answer(a, |answer| Value::Bool(answer.allowed))),
    Row("reason", ".d>S", |_, a| answer(a, |answer| Value::text(answer.reason.as_str()))),
    Row("errored", ".d>B", |_, a| answer(a, |answer| Value::Bool(answer.error.is_some()))),
    Row("error", ".d>S", |_, a| answer(a, |answer| Value::text(answer.error.clone().unwrap_or_default()))),
];

/// What a question costs; upstream's figure.
const COST: u64 = 350_000;

impl Authz {
    /// The `authorizer` of a request that is about `request`.
    #[must_use]
    pub fn new(request: Question) -> Self {
        Self { stage: Stage::Authorizer, question: Question::default(), request, answer: Answer::default() }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => AUTHORIZER,
            Stage::Path => PATH_CHECK,
            Stage::Group => GROUP_CHECK,
            Stage::Resource => RESOURCE_CHECK,
            Stage::Decision => DECISION,
        }
    }

    /// `authorizer.requestResource`.
    pub(crate) fn member<'a>(&self, field: &str) -> Option<Value<'a>> {
        (self.stage == Stage::Authorizer && field == "requestResource").then(|| {
            let question = self.request.clone();
            Value::Authz(Arc::new(Self { stage: Stage::Resource, question, ..self.clone() }))
        })
    }
}

fn next<'a>(args: &[Value<'a>], stage: Stage, change: impl FnOnce(&mut Question, &[Value<'a>])) -> Made<'a> {
    let Some(Value::Authz(own)) = args.first() else { return no_overload() };
    let mut next = Authz { stage, ..(**own).clone() };
    change(&mut next.question, args);
    Ok(Value::Authz(Arc::new(next)))
}

fn check<'a>(context: &mut Context<'a>, args: &[Value<'a>]) -> Made<'a> {
    let Some(Value::Authz(own)) = args.first() else { return no_overload() };
    context.charge(COST)?;
    let question = Question { verb: text(args, 1).to_owned(), ..own.question.clone() };
    match context.answers.iter().find(|(known, _)| *known == question) {
        Some((_, answer)) => {
            Ok(Value::Authz(Arc::new(Authz { stage: Stage::Decision, answer: answer.clone(), ..(**own).clone() })))
        }
        None => Err(Failure::Ask(Box::new(question))),
    }
}

fn answer<'a>(args: &[Value<'a>], of: fn(&Answer) -> Value<'static>) -> Made<'a> {
    match args {
        [Value::Authz(own)] => Ok(of(&own.answer)),
        _ => no_overload(),
    }
}
