//! Admission webhooks: MutatingWebhookConfigurations and ValidatingWebhookConfigurations at work.
//!
//! [`hook`] reads configurations, [`matching`] decides who is asked (pure), [`review`] makes the question and reads the answer
//! (pure), [`ask`] puts the two on the wire. Mutating webhooks are asked one after the other, validating ones all at once.
//! Expressions (`matchConditions`) are not evaluated: a webhook that has some counts as one that failed, so that its
//! `failurePolicy` decides.

mod ask;
mod hook;
mod matching;
mod mutate;
mod review;

pub use hook::Hooks;
pub(super) use mutate::Round;

use futures::future::{join_all, try_join_all};
use rk_api::status::Status;
use serde_json::Value;

use super::Request;
use hook::Kind;

/// Asks every validating webhook that the change concerns.
///
/// # Errors
/// The first refusal, in the order of the configurations.
pub(super) async fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let hooks = hook::hooks(request, Kind::Validating).await?;
    if hooks.is_empty() {
        return Ok(());
    }
    let concerned = try_join_all(hooks.iter().map(|hook| matching::row(hook, request, object))).await?;
    let asked = hooks.iter().zip(concerned).filter_map(|(hook, row)| Some((hook, row?)));
    let answers = join_all(asked.map(|(hook, row)| ask::ask(hook, request, row, object, false))).await;
    for answer in answers {
        let answer = answer?;
        warnings.extend(answer.warnings);
        answer.verdict?;
    }
    Ok(())
}
