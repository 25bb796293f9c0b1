use std::path::PathBuf;

use tonic::{Code, Status};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong; the text reaches the kubelet and so the pod's events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox, container or image.
    #[error("{kind} {id:?}: not found")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By which id or name.
        id: String,
    },
    /// The id fits more than one.
    #[error("{kind} id {id:?} is ambiguous: give more of it")]
    Ambiguous {
        /// What was looked for.
        kind: &'static str,
        /// The prefix.
        id: String,
    },
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// The object's state does not allow it.
    #[error("{0}")]
    State(String),
    /// The same sandbox or container exists.
    #[error("{0}")]
    Exists(String),
    /// This runtime does not do that.
    #[error("{0}")]
    Unsupported(String),
    /// There are too many of its kind already.
    #[error("{0}")]
    Busy(String),
    /// The time given is over.
    #[error("{0}")]
    Deadline(String),
    /// The container's program could not be started.
    #[error("failed to start container: unable to start container process: {0}")]
    Start(String),
    /// The pod's network could not be made.
    #[error("failed to setup network for sandbox {sandbox:?}: {reason}")]
    Network {
        /// Sandbox id.
        sandbox: String,
        /// What the plugin said.
        reason: String,
    },
    /// The sandbox's shim is gone or misbehaves.
    #[error("shim of sandbox {sandbox:?}: {reason}")]
    Shim {
        /// Sandbox id.
        sandbox: String,
        /// What happened.
        reason: String,
    },
    /// An image operation failed.
    #[error("{}", .0.chain())]
    Image(#[from] rk_images::Error),
    /// The node's disk or kernel failed us.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Anything else of this node.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// No such `kind`.
    pub(crate) fn not_found(kind: &'static str, id: &str) -> Self {
        Self::NotFound { kind, id: id.to_owned() }
    }
}

/// Names the action and the path of an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|error| Error::Io { action, path: path.into(), source: error.into() })
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use rk_images::ErrorKind as Kind;
        let code = match &error {
            Error::NotFound { .. } => Code::NotFound,
            Error::Ambiguous { .. } | Error::Invalid(_) => Code::InvalidArgument,
            Error::State(_) => Code::FailedPrecondition,
            Error::Exists(_) => Code::AlreadyExists,
            Error::Unsupported(_) => Code::Unimplemented,
            Error::Busy(_) => Code::ResourceExhausted,
            Error::Deadline(_) => Code::DeadlineExceeded,
            Error::Image(image) => match image.kind() {
                Kind::Invalid => Code::InvalidArgument,
                Kind::NotFound => Code::NotFound,
                Kind::NoSpace => Code::ResourceExhausted,
                Kind::Cancelled => Code::Cancelled,
                _ => Code::Unknown,
            },
            // What other runtimes answer for everything that went wrong on the node.
            Error::Start(_) | Error::Network { .. } | Error::Shim { .. } | Error::Io { .. } | Error::Internal(_) => {
                Code::Unknown
            }
        };
        Status::new(code, error.to_string())
    }
}
