//! Admission policies: ValidatingAdmissionPolicies and MutatingAdmissionPolicies with their bindings, evaluated here.
//!
//! [`read`] compiles policies once per version of them, [`params`] finds what bindings bind them to, [`evaluate`] runs their
//! expressions (pure), [`mutating`] carries changes out, [`status`] writes down what the type check says.

mod evaluate;
mod mutating;
mod params;
mod read;
mod status;
mod types;

pub(super) use mutating::Round;
pub use read::Policies;
pub use status::run;

use std::sync::Arc;

use rk_api::resources::Resource;
use rk_api::status::{Cause, Reason, Status};
use serde_json::Value;

use super::expression::{Scene, with_answers};
use super::{Request, matching, webhook};
use evaluate::{Check, Denial, Findings};
use read::{Binding, Kind, Policy};

/// Lets every validating policy judge a change.
///
/// # Errors
/// The first denial, in the order of the names.
pub(super) async fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let mut denied = None;
    for policy in &*read::policies(request, Kind::Validating).await? {
        for binding in &policy.bindings {
            let findings = judge(policy, binding, request, object).await?;
            let observe = |check: Check, action: &'static str| {
                let own = &request.core.metrics.policies;
                own.observe(&policy.name, &binding.name, check.error, action, check.took);
            };
            for check in findings.ignored {
                observe(check, "allow");
            }
            for denial in findings.denials {
                let text = &denial.message;
                if binding.acts("Audit") {
                    observe(denial.check, "audit");
                }
                if denial.always || binding.acts("Deny") {
                    observe(denial.check, "deny");
                    let by = format!("ValidatingAdmissionPolicy '{}' with binding '{}'", policy.name, binding.name);
                    denied.get_or_insert_with(|| {
                        refusal(request, &denial.reason, format!("{by} denied request: {text}"))
                    });
                } else if binding.acts("Warn") {
                    observe(denial.check, "warn");
                    let (policy, binding) = (&policy.name, &binding.name);
                    warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {text}"
                    ));
                }
            }
        }
    }
    denied.map_or(Ok(()), Err)
}

/// What a policy says of a change, for every parameter of a binding.
async fn judge(
    policy: &Policy,
    binding: &Binding,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<Findings, Status> {
    let mut findings = Findings::default();
    let Some(row) = concerned(policy, binding, request, object).await? else { return Ok(findings) };
    let params = match params::of(policy, binding, request).await? {
        Ok(params) => params,
        Err(why) => {
            findings.denials.extend(policy.fail_closed.then(|| Denial::misconfigured(why)));
            return Ok(findings);
        }
    };
    let scene = scene(request, &row, object).await?;
    for params in &params {
        let run = |answers: &[_]| evaluate::validate(policy, &scene, params, answers);
        match with_answers(request, run).await {
            Ok(found) => {
                findings.denials.extend(found.denials);
                findings.ignored.extend(found.ignored);
            }
            Err(failure) if policy.fail_closed => {
                findings.denials.push(Denial::misconfigured(failure.to_string()));
            }
            Err(_) => {}
        }
    }
    Ok(findings)
}

/// The row in whose version a policy wants to see a change that its binding lets through to it.
async fn concerned(
    policy: &Policy,
    binding: &Binding,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<Option<Arc<Resource>>, Status> {
    let Some(row) = matching::row(&policy.scope, request, object).await? else { return Ok(None) };
    match &binding.scope {
        Some(scope) => Ok(matching::row(scope, request, object).await?.map(|_| row)),
        None => Ok(Some(row)),
    }
}

/// What expressions see of a change, in the version of `row`.
async fn scene(request: &Request<'_>, row: &Resource, object: Option<&Value>) -> Result<Scene, Status> {
    let shown = webhook::show(request, row, object).await?;
    let old = webhook::show(request, row, request.old).await?;
    let mut scene = Scene::new(request, row, shown.as_ref(), old.as_ref());
    if !request.namespace.is_empty() && !request.is_sub("", "namespaces", request.subresource) {
        let namespace = request.core.object("", "v1", "namespaces", "", request.namespace).await?;
        scene.namespace = namespace.unwrap_or_default();
    }
    Ok(scene)
}

/// A denial as the client sees it.
fn refusal(request: &Request<'_>, reason: &str, message: String) -> Status {
    let reason = if reason.is_empty() { "Invalid" } else { reason };
    let mut status = request.forbid(&message);
    status.reason = Reason::parse(reason);
    status.code = match reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message, ..Cause::default() });
    }
    status
}
