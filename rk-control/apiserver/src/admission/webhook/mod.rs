//! Admission webhooks: MutatingWebhookConfigurations and ValidatingWebhookConfigurations at work.
//!
//! [`hook`] reads configurations, `matching` and their conditions decide who is asked, [`review`] makes the question and reads the answer
//! (pure), [`ask`] puts the two on the wire. Mutating webhooks are asked one after the other, validating ones all at once.

mod ask;
mod hook;
mod mutate;
mod review;

pub(super) use ask::show;
pub use hook::Hooks;
pub(super) use hook::is_exempt;
pub(super) use mutate::{Round, changed_by};
pub(super) use review::attributes;

use futures::future::{join_all, try_join_all};
use rk_api::status::Status;
use serde_json::Value;

use super::{Request, matching};
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
    let concerned = try_join_all(hooks.iter().map(|hook| matching::row(&hook.scope, request, object))).await?;
    let asked = hooks.iter().zip(concerned).filter_map(|(hook, row)| Some((hook, row?)));
    let answers = join_all(asked.map(|(hook, row)| ask::ask(hook, request, row, object, false))).await;
    for answer in answers {
        let Some(answer) = answer? else { continue };
        warnings.extend(answer.warnings);
        answer.verdict?;
    }
    Ok(())
}
