//! What validating policies tell the audit log: their own annotations, and failures that a binding wants to have audited.

use serde_json::{Value, json};

use super::evaluate::Denial;
use super::read::{Binding, Policy};
use crate::audit;

/// The annotation of failures that are audited.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Annotations of one policy, by key: each value that its bindings made once, in their order.
#[derive(Debug, Default)]
pub(super) struct Annotations(Vec<(String, Vec<String>)>);

impl Annotations {
    /// Adds what a binding made.
    pub(super) fn add(&mut self, found: Vec<(String, String)>) {
        for (key, value) in found {
            let Some((_, values)) = self.0.iter_mut().find(|(own, _)| *own == key) else {
                self.0.push((key, vec![value]));
                continue;
            };
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    /// Keys and values as events have them.
    fn told(&self, policy: &str) -> Vec<(String, String)> {
        self.0.iter().map(|(key, values)| (format!("{policy}/{key}"), values.join(", "))).collect()
    }

    /// Notes them in the event of the request.
    pub(super) fn publish(&self, policy: &str) {
        for (key, value) in self.told(policy) {
            audit::annotate(&key, || value);
        }
    }
}

/// A failure as events show it.
pub(super) fn failure(policy: &Policy, binding: &Binding, denial: &Denial) -> Value {
    json!({
        "message": denial.message, "policy": policy.name, "binding": binding.name, "expressionIndex": denial.index,
        "validationActions": binding.actions,
    })
}

/// Notes all failures in the event of the request.
pub(super) fn publish(failures: Vec<Value>) {
    if !failures.is_empty() {
        audit::annotate(FAILURE, || Value::Array(failures).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_several_bindings_are_joined_once_each() {
        let mut annotations = Annotations::default();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        annotations.add(vec![pair("who", "a"), pair("why", "x")]);
        annotations.add(vec![pair("who", "b"), pair("why", "x")]);
        assert_eq!(annotations.told("p"), [pair("p/who", "a, b"), pair("p/why", "x")]);
    }
}
