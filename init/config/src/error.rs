//! What can be wrong with a machine config, by field.

use std::fmt;

/// One field that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field as an operator would write it: `network.interfaces[1].mtu`.
    pub path: String,
    /// What is wrong with its value, and what would be right.
    pub reason: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.path, self.reason) }
    }
}

/// Why a machine config was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is larger than [`crate::MAX_CONFIG_BYTES`].
    #[error("machine config is {size} bytes; at most {max} are read")]
    TooLarge {
        /// Bytes offered.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The text is not YAML.
    #[error("machine config is not valid YAML: {0}")]
    Syntax(String),
    /// The text is YAML; these fields are wrong (all of them, in document order).
    #[error("machine config has {} wrong field(s): {}", .0.len(), join(.0))]
    Fields(Vec<FieldError>),
    /// The accepted config could not be read or written.
    #[error("machine config {path}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The accepted config on disk is torn or foreign.
    #[error("accepted machine config {path} is unreadable: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// The parser's error.
        reason: String,
    },
}

impl ConfigError {
    /// The refused fields; other failures are one entry without a path, so that a caller can print any error line by line.
    pub fn fields(&self) -> Vec<FieldError> {
        match self {
            ConfigError::Fields(fields) => fields.clone(),
            other => vec![FieldError { path: String::new(), reason: other.to_string() }],
        }
    }
}

fn join(fields: &[FieldError]) -> String {
    fields.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; ")
}
