//! From client-side to server-side apply: the annotation that `kubectl apply` keeps.

use serde_json::Value;

use super::Request;
use super::set::FieldSet;
use super::walk::{compare, owned};
use crate::decode::{Form, fit};
use crate::meta::text;
use crate::status::go_json;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager whose annotation it is.
const KUBECTL: &str = "kubectl";

fn annotation(object: &Value) -> Option<&str> {
    Some(text(object, &["metadata", "annotations", ANNOTATION])).filter(|t| !t.is_empty())
}

/// Fields that `kubectl` may take over without force: it applied them itself on the client's side, and nobody changed them since.
pub(super) fn allowed(live: Option<&Value>, request: &Request<'_>) -> FieldSet {
    let Some(live) = live.filter(|_| request.manager == KUBECTL) else { return FieldSet::default() };
    let parsed = annotation(live).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let own = |applied: &Value| {
        text(applied, &["apiVersion"]) == request.api_version && text(applied, &["kind"]) == text(live, &["kind"])
    };
    let Some(mut applied) = parsed.filter(own) else { return FieldSet::default() };
    if fit(&mut applied, request.schema, Form::AsGiven).is_err() {
        return FieldSet::default();
    }
    let changes = compare(&applied, live, request.schema);
    let mut allowed = owned(&applied, request.schema).unwrap_or_default();
    allowed.subtract(&changes.changed);
    allowed.subtract(&changes.removed);
    allowed
}

/// Keeps the annotation in step, so that the client may go back to client-side apply.
pub(super) fn refresh(result: &mut Value, config: &Value, request: &Request<'_>) {
    if request.manager != KUBECTL || annotation(result).is_none() || annotation(config).is_some() {
        return;
    }
    let mut applied = config.clone();
    super::update::forget(&mut applied);
    if let Some(annotations) = result.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        // Encoders of objects end a line.
        annotations.insert(ANNOTATION.to_owned(), format!("{}\n", go_json(&applied.to_string())).into());
    }
}
