//! What can go wrong with machines and their surroundings.

use std::path::PathBuf;
use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, and on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, socket or directory.
    #[error("{what} {path}")]
    File {
        /// The verb, such as `write`.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started or failed.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// Why, with what it printed last.
        reason: String,
    },
    /// A condition did not come true in time.
    #[error("waited {waited:?} for {what}; last seen:\n{seen}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long.
        waited: Duration,
        /// The last observation, such as the end of a console log.
        seen: String,
    },
    /// A machine ended while something was expected of it.
    #[error("machine {name} ended early; its console ends with:\n{tail}")]
    MachineEnded {
        /// The machine.
        name: String,
        /// End of its console log.
        tail: String,
    },
    /// QEMU's monitor refused a command.
    #[error("QMP command {command}: {reason}")]
    Qmp {
        /// The command.
        command: String,
        /// The answer.
        reason: String,
    },
    /// An HTTP peer answered otherwise than hoped, or not at all.
    #[error("{method} {url}: {reason}")]
    Http {
        /// Method.
        method: String,
        /// Target.
        url: String,
        /// Status and body, or the failure of the connection.
        reason: String,
    },
    /// An image archive, layout or name is not what it should be.
    #[error("image {name}: {reason}")]
    Image {
        /// Archive, reference or digest.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Keys and certificates.
    #[error("certificate of {subject}: {reason}")]
    Certificate {
        /// Whose.
        subject: String,
        /// What went wrong.
        reason: String,
    },
    /// A machine config that this crate made was refused.
    #[error("machine config of {node}")]
    Config {
        /// The node.
        node: String,
        /// The refused fields.
        source: rk_config::ConfigError,
    },
    /// A state that forbids the request, such as a machine of an unknown name.
    #[error("{0}")]
    State(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { what, path, source }
    }

    /// A failed program.
    pub(crate) fn program(program: impl Into<String>, reason: impl ToString) -> Error {
        Error::Program { program: program.into(), reason: reason.to_string() }
    }

    /// A bad image.
    pub(crate) fn image(name: impl Into<String>, reason: impl ToString) -> Error {
        Error::Image { name: name.into(), reason: reason.to_string() }
    }
}
