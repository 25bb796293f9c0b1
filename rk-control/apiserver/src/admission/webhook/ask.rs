//! One question to one webhook.

use std::sync::Arc;
use std::time::Instant;

use rk_api::resources::Resource;
use rk_api::status::Status;
use serde_json::Value;

use super::super::expression::{Met, Scene, with_answers};
use super::super::{Operation, Request, matching};
use super::hook::Hook;
use super::review;
use crate::audit;
use crate::conversion;
use crate::metrics::{Came, Half};

/// What came of a question.
pub(super) struct Outcome {
    /// A refusal, the webhook's own or that of its failure.
    pub(super) verdict: Result<(), Status>,
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
}

/// Asks a webhook about a change, in the version of `row`; `None` when its conditions do not hold.
///
/// # Errors
/// The change is a dry run that the webhook must not hear of, or cannot be converted for it.
pub(super) async fn ask(
    hook: &Hook,
    request: &Request<'_>,
    row: Arc<Resource>,
    object: Option<&Value>,
    mutating: bool,
) -> Result<Option<Outcome>, Status> {
    let shown = show(request, &row, object).await?;
    let old = show(request, &row, request.old).await?;
    if !hook.conditions.is_empty() && !concerns(hook, request, &row, (shown.as_ref(), old.as_ref())).await? {
        return Ok(None);
    }
    if request.dry_run && !hook.dry_run {
        return Err(Status::bad_request(format!("admission webhook {:?} does not support dry run", hook.name)));
    }
    let started = Instant::now();
    let answer = exchange(hook, request, &row, (shown.as_ref(), old.as_ref()), mutating).await;
    let answered = answer.is_ok();
    let outcome = outcome(hook, answer);
    let came = match &outcome.verdict {
        Ok(()) if answered => Came::Allowed,
        Ok(()) => Came::Ignored,
        Err(status) if answered => Came::Refused(status.code),
        Err(_) => Came::Failed,
    };
    let half = if mutating { Half::Admit } else { Half::Validate };
    let operation = matching::operation(request.operation);
    request.core.metrics.admission.webhook(&hook.name, half, operation, came, started.elapsed());
    Ok(Some(outcome))
}

fn outcome(hook: &Hook, answer: Result<review::Answer, String>) -> Outcome {
    match answer {
        Ok(answer) => {
            for (key, value) in answer.annotations {
                audit::annotate(&format!("{}/{key}", hook.name), || value);
            }
            Outcome {
                verdict: if answer.allowed { Ok(()) } else { Err(review::denied(&hook.name, &answer.status)) },
                patch: answer.patch,
                warnings: answer.warnings,
            }
        }
        Err(why) => {
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            tracing::warn!(webhook = %hook.name, fail_closed = hook.fail_closed, why, "admission webhook failed");
            let verdict = if hook.fail_closed { Err(Status::internal(why)) } else { Ok(()) };
            Outcome { verdict, patch: None, warnings: Vec::new() }
        }
    }
}

/// Whether the conditions of a webhook hold; conditions that fail count as the failure of the webhook.
async fn concerns(
    hook: &Hook,
    request: &Request<'_>,
    row: &Resource,
    (object, old): (Option<&Value>, Option<&Value>),
) -> Result<bool, Status> {
    let scene = Scene::new(request, row, object, old);
    let run = |answers: &[_]| hook.conditions.met(&mut scene.context(answers, rk_cel::CONDITIONS_BUDGET));
    let why = match with_answers(request, run).await {
        Ok(Met::Yes) => return Ok(true),
        Ok(Met::No) => return Ok(false),
        Ok(Met::Failed(why)) => why,
        Err(failure) => failure.to_string(),
    };
    tracing::warn!(webhook = %hook.name, fail_closed = hook.fail_closed, why, "match conditions of an admission webhook failed");
    if hook.fail_closed { Err(request.forbid(&why)) } else { Ok(false) }
}

async fn exchange(
    hook: &Hook,
    request: &Request<'_>,
    row: &Resource,
    objects: (Option<&Value>, Option<&Value>),
    mutating: bool,
) -> Result<review::Answer, String> {
    let uid = uuid::Uuid::new_v4().to_string();
    let question = review::question(request, row, &hook.version, &uid, objects);
    let answer = request.core.callouts.post(request.core, &hook.client, &question, hook.limit).await;
    let answer = answer.map_err(|error| format!("failed to call webhook: {error}"))?;
    review::answer(&answer, &hook.version, &uid, mutating)
}

/// The object as the webhook sees it: converted, unless it is of a kind of its own.
pub(in super::super) async fn show(
    request: &Request<'_>,
    row: &Resource,
    object: Option<&Value>,
) -> Result<Option<Value>, Status> {
    let Some(object) = object else { return Ok(None) };
    let own_kind = object.get("kind").and_then(Value::as_str) != Some(&*request.resource.gvk.kind);
    if own_kind || request.operation == Operation::Connect {
        return Ok(Some(object.clone()));
    }
    let converted = conversion::to(request.core, object.clone(), row).await?;
    if request.subresource == "scale" {
        return rk_api::scale::view(row, &converted).map(Some);
    }
    Ok(Some(converted))
}
