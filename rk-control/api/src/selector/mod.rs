//! Label and field selectors.

mod fields;
mod labels;
mod parse;
mod printed;

pub use fields::{CustomFields, FieldSelector, field_text, path_text, supported_fields};
pub use labels::{LabelSelector, Operator, Requirement};
pub use printed::printed;

/// Why a selector was refused; `Display` gives upstream's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
