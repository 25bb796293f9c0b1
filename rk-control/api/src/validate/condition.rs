//! Conditions in the status of objects.

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{field, int, list, named, one_of, text};
use crate::meta::{condition_reason, qualified_name};
use crate::status::{FieldErrors, Path};

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
/// Longest reason, in bytes.
const REASON_MAX: usize = 1024;
/// Longest message, in bytes.
const MESSAGE_MAX: usize = 32 * 1024;

/// The `conditions` of a status: one of each type, each complete.
pub(super) fn conditions(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("conditions");
    let mut types: BTreeSet<&str> = BTreeSet::new();
    for (index, condition) in list(holder, "conditions").iter().enumerate() {
        let path = all.index(index);
        let kind = text(condition, "type");
        if !types.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        self::condition(condition, &path, errors);
    }
}

fn condition(condition: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(condition, "type");
    named(errors, &path.child("type"), kind, qualified_name(kind));
    let status = text(condition, "status");
    if status.is_empty() {
        errors.unsupported(&path.child("status"), status, &STATUSES);
    }
    one_of(errors, &path.child("status"), status, &STATUSES, false);
    if let Some(generation) = int(condition, "observedGeneration").filter(|g| *g < 0) {
        errors.invalid(&path.child("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if field(condition, "lastTransitionTime").is_none() {
        errors.required(&path.child("lastTransitionTime"), "must be set");
    }
    let reason = text(condition, "reason");
    if reason.is_empty() {
        errors.required(&path.child("reason"), "must be set");
    } else {
        named(errors, &path.child("reason"), reason, condition_reason(reason));
    }
    if reason.len() > REASON_MAX {
        errors.too_long(&path.child("reason"), REASON_MAX);
    }
    if text(condition, "message").len() > MESSAGE_MAX {
        errors.too_long(&path.child("message"), MESSAGE_MAX);
    }
}
