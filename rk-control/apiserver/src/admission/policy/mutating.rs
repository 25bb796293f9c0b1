//! Mutating policies, one after the other, and once more for those that want to see what others changed.

use std::sync::Arc;

use rk_api::decode;
use rk_api::managed;
use rk_api::patch::{PatchError, json_patch};
use rk_api::resources::Resource;
use rk_api::status::{Cause, Reason, Status};
use serde_json::Value;

use super::super::expression::with_answers;
use super::super::{Operation, Request, webhook};
use super::evaluate::Made;
use super::read::{Kind, Policy, policies};
use super::{concerned, evaluate, params, refusal, scene};

/// One change on its way through the mutating policies.
pub(crate) struct Round {
    policies: Arc<Vec<Policy>>,
    /// The object as each policy that wants to be applied again left it.
    left: Vec<Option<Value>>,
}

impl Round {
    /// The policies as of now.
    pub(crate) async fn of(request: &Request<'_>) -> Result<Self, Status> {
        let policies = match request.operation {
            Operation::Create | Operation::Update => policies(request, Kind::Mutating).await?,
            Operation::Delete | Operation::Connect => Arc::default(),
        };
        Ok(Self { policies, left: Vec::new() })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Applies every policy that the change concerns; tells whether one of them changed the object.
    pub(crate) async fn first(&mut self, request: &Request<'_>, object: &mut Value) -> Result<bool, Status> {
        let (mut changed, mut refusals) = (false, Vec::new());
        for policy in &*Arc::clone(&self.policies) {
            changed |= apply(policy, request, object, &mut refusals).await?;
            self.left.push(policy.again.then(|| object.clone()));
        }
        refused(request, refusals).map(|()| changed)
    }

    /// Applies those again whose work others changed since.
    pub(crate) async fn again(&mut self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let mut refusals = Vec::new();
        for (policy, left) in self.policies.iter().zip(&self.left) {
            if left.as_ref().is_some_and(|left| *left != *object) {
                apply(policy, request, object, &mut refusals).await?;
            }
        }
        refused(request, refusals)
    }
}

/// A reason and a message.
type Refusal = (Reason, String);

/// Applies one policy through all of its bindings; tells whether it changed the object. What fails and may not is added to `refusals`.
async fn apply(
    policy: &Policy,
    request: &Request<'_>,
    object: &mut Value,
    refusals: &mut Vec<Refusal>,
) -> Result<bool, Status> {
    let before = object.clone();
    for binding in &policy.bindings {
        let Some(row) = concerned(policy, binding, request, Some(object)).await? else { continue };
        let by = format!("policy '{}' with binding '{}' denied request", policy.name, binding.name);
        let mut failures = Vec::new();
        match params::of(policy, binding, request).await? {
            Ok(all) => {
                for params in &all {
                    let failed = mutate(policy, request, &row, params, object).await?;
                    failures.extend(failed.into_iter().map(|why| (Reason::Invalid, format!("{by}: {why}"))));
                }
            }
            Err(params::Wrong { policy: false, why }) => failures.push((Reason::Forbidden, format!("{by}: {why}"))),
            Err(params::Wrong { why, .. }) => {
                failures.push((Reason::Forbidden, format!("policy {:?} denied request: {why}", policy.name)));
            }
        }
        for (_, why) in &failures {
            tracing::debug!(policy = policy.name, binding = binding.name, why, "mutating admission policy failed");
        }
        if policy.fail_closed {
            refusals.append(&mut failures);
        }
    }
    Ok(*object != before)
}

/// The refusal of mutating policies: 403 whatever the reason, and the words of the policies alone.
fn refused(request: &Request<'_>, refusals: Vec<Refusal>) -> Result<(), Status> {
    let Some((reason, message)) = refusals.first().cloned() else { return Ok(()) };
    let mut status = Status { code: 403, message: message.clone(), ..refusal(request, reason.as_str(), message) };
    if let Some(details) = &mut status.details {
        details.causes = refusals.into_iter().map(|(_, message)| Cause { message, ..Cause::default() }).collect();
    }
    Err(status)
}

/// The mutations of a policy in their order, each on what the one before left; answers why some failed, which left the object alone.
async fn mutate(
    policy: &Policy,
    request: &Request<'_>,
    row: &Resource,
    params: &Value,
    object: &mut Value,
) -> Result<Vec<String>, Status> {
    let mut failures = Vec::new();
    for index in 0..policy.mutations.len().max(usize::from(policy.broken.is_some())) {
        let scene = scene(request, row, Some(object)).await?;
        let run = |answers: &[_]| evaluate::mutation(policy, index, &scene, params, answers);
        let made = match with_answers(request, run).await {
            Ok(Made::Change(made)) => made,
            Ok(Made::Unmet) => return Ok(failures),
            Ok(Made::Unusable(why)) => return Ok(vec![why]),
            Err(failure) => {
                failures.push(failure.to_string());
                continue;
            }
        };
        let json = policy.mutations.get(index).is_some_and(|mutation| mutation.json);
        let change = |shown: &mut Value| if json { patch(shown, &made) } else { merge(shown, &made, row) };
        match webhook::changed_by(request, row, object, change).await {
            Ok(patched) => *object = patched,
            Err(status) => failures.push(status.message),
        }
    }
    Ok(failures)
}

/// Carries a JSON patch out; one with a `test` that does not hold changes nothing.
fn patch(shown: &mut Value, patch: &Value) -> Result<(), Status> {
    match json_patch(shown, patch) {
        Ok(()) | Err(PatchError::Untrue(_)) => Ok(()),
        Err(error) => Err(Status::bad_request(format!("JSON Patch: {error}"))),
    }
}

/// Merges an object in, as server-side apply does; nobody comes to own anything by it.
fn merge(shown: &mut Value, config: &Value, row: &Resource) -> Result<(), Status> {
    let mut config = config.clone();
    let Some(members) = config.as_object_mut() else { return Err(Status::internal("no object to apply")) };
    // What it says of itself counts for nothing.
    for (field, own) in [("apiVersion", row.api_version()), ("kind", row.gvk.kind.to_string())] {
        members.insert(field.to_owned(), Value::from(own));
    }
    let untyped = |why: &dyn std::fmt::Display| {
        Status::bad_request(format!("error applying patch: failed to convert patch object to typed object: {why}"))
    };
    if let Some(why) = managed::mistyped(&config, &row.schema) {
        return Err(untyped(&why));
    }
    let fitted = decode::applied(config, &row.schema).map_err(|error| untyped(&error))?;
    *shown = managed::merged(shown, &fitted, &row.schema)
        .map_err(|why| Status::bad_request(format!("error applying patch: invalid ApplyConfiguration: {why}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_that_does_not_hold_leaves_the_object_alone() {
        let mut object = json!({"a": 1});
        let change = json!({"op": "replace", "path": "/a", "value": 2});
        let tested = |value: i64| json!([{"op": "test", "path": "/a", "value": value}, change]);
        assert!(patch(&mut object, &tested(9)).is_ok());
        assert_eq!(object, json!({"a": 1}));
        assert!(patch(&mut object, &tested(1)).is_ok());
        assert_eq!(object, json!({"a": 2}));
        let why = patch(&mut object, &json!([{"op": "remove", "path": "/b"}])).unwrap_err().message;
        assert!(why.starts_with("JSON Patch: "), "{why}");
    }
}
