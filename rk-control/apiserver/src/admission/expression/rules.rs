//! `x-kubernetes-validations`: rules of custom kinds.

use rk_api::resources::Resource;
use rk_api::status::FieldErrors;
use serde_json::Value;

/// Checks the rules of a definition.
pub(super) fn check(_definition: &Value, _errors: &mut FieldErrors) {}

/// Holds an object against the rules of its kind.
pub(crate) fn judge(
    _resource: &Resource,
    _part: &str,
    _object: &Value,
    _old: Option<&Value>,
    _errors: &mut FieldErrors,
) {
}
