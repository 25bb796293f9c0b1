//! What is special to a kind on its way into the store: resets, generation, immutability, validation.
//!
//! Every kind has one row of [`traits::TRAITS`]; code here is generic, rules of single kinds are in [`crate::validate`] and
//! [`prepare`].

mod app_armor;
mod delete;
mod generation;
mod owners;
mod pod;
mod prepare;
mod service;
mod special;
mod status;
#[cfg(test)]
mod tests;
mod times;
mod traits;
mod volume;
mod warn;

use std::collections::BTreeSet;

use serde_json::Value;

pub use delete::{default_propagation, grace_period};
pub use owners::dedup_owners;
pub use pod::qos_class;
pub use prepare::{fold, prepare_for_create, prepare_for_update};
pub use special::stamp;
pub use times::fill_times;
pub(crate) use volume::sources as complete_sources;
pub use warn::warnings;

use crate::managed::FieldSet;
use crate::resources::Resource;
use crate::status::FieldErrors;
use crate::validate;

/// Texts for `Warning` headers about an object as its author wrote it, of what is no longer seen once it is prepared.
pub fn early_warnings(resource: &Resource, object: &Value) -> Vec<String> {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => app_armor::warnings(object),
        _ => Vec::new(),
    }
}

/// Rules for a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> FieldErrors {
    let mut errors = validate::metadata(resource, object);
    validate::object(resource, object, &mut errors);
    validate::create(resource, object, &mut errors);
    errors
}

/// Rules for a change, immutable fields included.
pub fn validate_update(resource: &Resource, subresource: Option<&str>, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate::metadata_update(resource, new, old);
    match subresource {
        Some("status") => {
            let told = |new: &Value| errors_of(|e| validate::subresource_update(resource, "status", new, old, e));
            errors.extend(news(told(new), || told(old)));
        }
        Some(subresource) => validate::subresource_update(resource, subresource, new, old, &mut errors),
        None => {
            if let Some(custom) = &resource.custom {
                custom.validate_update(new, old, &mut errors);
                custom.validate_scale(new, true, &mut errors);
                return errors;
            }
            let told = |object: &Value| errors_of(|e| validate::object(resource, object, e));
            errors.extend(news(told(new), || told(old)));
            validate::update(resource, new, old, &mut errors);
        }
    }
    errors
}

fn errors_of(check: impl FnOnce(&mut FieldErrors)) -> FieldErrors {
    let mut errors = FieldErrors::new();
    check(&mut errors);
    errors
}

/// What is wrong now and was not before: an object that was stored when a rule did not exist yet must not be beyond every change, the loss
/// of a finalizer among them.
pub fn news(now: FieldErrors, before: impl FnOnce() -> FieldErrors) -> FieldErrors {
    if now.is_empty() {
        return now;
    }
    let known: BTreeSet<String> = before().0.iter().map(ToString::to_string).collect();
    FieldErrors(now.0.into_iter().filter(|error| !known.contains(&error.to_string())).collect())
}

/// Rules of the version in which the client names the object; `old` is `None` on creation.
pub fn validate_requested(requested: &Resource, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    validate::requested(requested, new, old, errors);
}

/// Whether a PUT (or apply) to a name that does not exist creates the object.
pub fn allow_create_on_update(resource: &Resource) -> bool {
    traits::of(resource).create_on_update
}

/// What a request to the status of a kind cannot change, and nobody comes to own by it.
pub fn status_resets(resource: &Resource) -> &'static FieldSet {
    status::resets(traits::of(resource).status_metadata)
}

/// Whether a PUT without `resourceVersion` is accepted.
pub fn allow_unconditional_update(resource: &Resource) -> bool {
    traits::of(resource).unconditional_update
}
