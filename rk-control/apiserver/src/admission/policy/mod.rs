//! Admission policies: ValidatingAdmissionPolicies and MutatingAdmissionPolicies with their bindings, evaluated here.
//!
//! [`read`] compiles policies once per version of them, [`params`] finds what bindings bind them to, [`evaluate`] runs their
//! expressions (pure), [`mutating`] carries changes out, [`status`] writes down what the type check says, [`audited`] notes what the audit
//! log is told.

mod audited;
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
use audited::Annotations;
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
    let mut outcome = Outcome::default();
    for policy in &*read::policies(request, Kind::Validating).await? {
        let mut annotations = Annotations::default();
        for binding in &policy.bindings {
            let findings = judge(policy, binding, request, object).await?;
            annotations.add(findings.annotations);
            findings.ignored.into_iter().for_each(|check| observe(request, (policy, binding), check, "allow"));
            for denial in &findings.denials {
                outcome.take(request, (policy, binding), denial, warnings);
            }
        }
        annotations.publish(&policy.name);
    }
    audited::publish(outcome.audited);
    outcome.denied.map_or(Ok(()), Err)
}

/// What comes of the denials of all policies.
#[derive(Default)]
struct Outcome {
    /// The first that refuses the change.
    denied: Option<Status>,
    /// What the audit log is told.
    audited: Vec<Value>,
}

impl Outcome {
    /// Takes in a denial, which the binding wants to have audited, enforced or only told.
    fn take(
        &mut self,
        request: &Request<'_>,
        (policy, binding): (&Policy, &Binding),
        denial: &Denial,
        warnings: &mut Vec<String>,
    ) {
        let bound = if denial.unbound { String::new() } else { format!(" with binding '{}'", binding.name) };
        let by = format!("ValidatingAdmissionPolicy '{}'{bound}", policy.name);
        let text = &denial.message;
        let count = |action| observe(request, (policy, binding), denial.check, action);
        if binding.acts("Audit") {
            count("audit");
            self.audited.push(audited::failure(policy, binding, denial));
        }
        if denial.always || binding.acts("Deny") {
            count("deny");
            let refused = || refusal(request, &denial.reason, format!("{by} denied request: {text}"));
            self.denied.get_or_insert_with(refused);
        } else if binding.acts("Warn") {
            count("warn");
            warnings.push(format!("Validation failed for {by}: {text}"));
        }
    }
}

/// Counts what became of a check.
fn observe(request: &Request<'_>, (policy, binding): (&Policy, &Binding), check: Check, action: &'static str) {
    request.core.metrics.policies.observe(&policy.name, &binding.name, check.error, action, check.took);
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
        Err(params::Wrong { policy: unbound, why }) => {
            let denial = Denial { unbound, ..Denial::misconfigured(why) };
            findings.denials.extend(policy.fail_closed.then_some(denial));
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
                findings.annotations.extend(found.annotations);
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
