//! Label and field selectors.

mod fields;
mod labels;
mod parse;

pub use fields::{CustomFields, FieldSelector, field_text, path_text, supported_fields};
pub use labels::{LabelSelector, Operator, Requirement};

/// Why a selector was refused; `Display` gives upstream's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
