//! Why a body could not be decoded.

use super::unregistered;
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
    /// It does not say what it is.
    #[error("{0}")]
    Unnamed(String),
    /// Longer than [`super::Limits::bytes`].
    #[error("limit is {0}")]
    TooLarge(usize),
    /// Nested deeper than [`super::Limits::depth`].
    #[error("exceeded max depth")]
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
    /// A kind that nobody knows.
    #[error("{}", unregistered(.kind, .api_version))]
    Unregistered {
        /// Its group and version.
        api_version: String,
        /// Its name.
        kind: String,
    },
}

impl DecodeError {
    /// The answer to a request whose body should have been a `kind` of `version` and did not decode.
    pub fn into_status(self, kind: &str, version: &str, body: &[u8]) -> Status {
        match self {
            DecodeError::TooLarge(_) => Status::request_entity_too_large(&self.to_string()),
            DecodeError::Syntax(_) | DecodeError::TooDeep(_) => Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {self} ({})",
                summary(body)
            )),
            DecodeError::Yaml(why) | DecodeError::Unnamed(why) => Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): {why} ({})",
                summary(body)
            )),
            DecodeError::Unregistered { ref api_version, kind: ref given } => {
                let version = api_version.rsplit('/').next().unwrap_or_default();
                Status::bad_request(format!("{given} in version {version:?} cannot be handled as a {kind}: {self}"))
            }
            other => {
                Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {other}"))
            }
        }
    }

    /// The answer to a request whose options came in a body that did not decode: in no more words than the decoder's.
    pub fn into_status_of_options(self) -> Status {
        match self {
            DecodeError::TooLarge(_) => Status::request_entity_too_large(&self.to_string()),
            DecodeError::Syntax(_) | DecodeError::TooDeep(_) => {
                Status::bad_request(format!("couldn't get version/kind; json parse error: {self}"))
            }
            DecodeError::Yaml(why) => Status::bad_request(why),
            DecodeError::Unregistered { kind, api_version } => super::unregistered_options(&kind, &api_version),
            other => Status::bad_request(other.to_string()),
        }
    }
}

/// The head of a body: as text when it looks like an object, else in hex.
fn summary(body: &[u8]) -> String {
    const MAX: usize = 30;
    let head = body.get(..MAX).unwrap_or(body);
    let dots = if body.len() > MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex}{dots}")
        }
    }
}
