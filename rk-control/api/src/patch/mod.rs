//! JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, on values.

mod json;
mod list;
mod merge;
mod shown;
mod strategic;
#[cfg(test)]
mod strategic_tests;
mod typed;

pub use json::{json_patch, undeclared_members};
pub use merge::merge_patch;
pub(crate) use shown::{MAP, type_name, written};
pub use shown::{go_type, shown, unfit, unfit_field};
pub use strategic::{spent, strategic_merge_patch};
pub use typed::misconverted;

use crate::status::{Reason, Status};

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well-formed but does not fit this object (a missing path): 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A `test` of the patch does not hold: 422.
    #[error("{0}")]
    Untrue(String),
    /// The patch makes no sense for this object in a way that upstream's server has no answer of its own for: 500 without a reason.
    #[error("{0}")]
    Unanswered(String),
    /// The patch asks for too much work: 413.
    #[error("{0}")]
    TooLarge(String),
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Status {
        match error {
            PatchError::Malformed(text) => Status::bad_request(text),
            PatchError::Unanswered(text) => Status::new(Reason::Unknown, text),
            PatchError::TooLarge(text) => Status::request_entity_too_large(&text),
            PatchError::Unprocessable(text) | PatchError::Untrue(text) => Status::foreign(422, ("", ""), &text),
        }
    }
}
