//! What is special to a kind on its way into the store: resets, generation, immutability, validation.
//!
//! Every kind has one row of [`traits::TRAITS`]; code here is generic, rules of single kinds are in [`crate::validate`] and
//! [`prepare`].

mod delete;
mod generation;
mod pod;
mod prepare;
mod service;
mod special;
mod status;
#[cfg(test)]
mod tests;
mod traits;
mod volume;
mod warn;

use serde_json::Value;

pub use delete::{default_propagation, grace_period};
pub use pod::qos_class;
pub use prepare::{prepare_for_create, prepare_for_update};
pub use special::stamp;
pub(crate) use volume::sources as complete_sources;
pub use warn::warnings;

use crate::resources::Resource;
use crate::status::FieldErrors;
use crate::validate;

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
        Some(subresource) => validate::subresource_update(resource, subresource, new, old, &mut errors),
        None => {
            if let Some(custom) = &resource.custom {
                custom.validate_update(new, old, &mut errors);
                return errors;
            }
            validate::object(resource, new, &mut errors);
            validate::update(resource, new, old, &mut errors);
        }
    }
    errors
}

/// Rules of the version in which the client names the object; `old` is `None` on creation.
pub fn validate_requested(requested: &Resource, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    validate::requested(requested, new, old, errors);
}

/// Whether a PUT (or apply) to a name that does not exist creates the object.
pub fn allow_create_on_update(resource: &Resource) -> bool {
    traits::of(resource).create_on_update
}

/// Whether a PUT without `resourceVersion` is accepted.
pub fn allow_unconditional_update(resource: &Resource) -> bool {
    traits::of(resource).unconditional_update
}
