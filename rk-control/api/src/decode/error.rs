//! Why a body could not be decoded.

use crate::status::Status;

/// Why a body could not be decoded. `Display` gives upstream's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON at all.
    #[error("{0}")]
    Syntax(String),
    /// Not YAML.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    /// Longer than [`super::Limits::bytes`].
    #[error("limit on request body is {0} bytes")]
    TooLarge(usize),
    /// Nested deeper than [`super::Limits::depth`].
    #[error("exceeded max depth of {0}")]
    TooDeep(usize),
    /// A value of the wrong type.
    #[error("{0}")]
    Type(String),
    /// Unknown or duplicate fields under strict validation.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// Malformed protobuf.
    #[error("{0}")]
    Proto(String),
}

impl DecodeError {
    /// The answer to a request whose body should have been a `kind` of `version` and did not decode.
    pub fn into_status(self, kind: &str, version: &str) -> Status {
        match self {
            DecodeError::TooLarge(_) => Status::request_entity_too_large(&self.to_string()),
            other => Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {other}")),
        }
    }
}
