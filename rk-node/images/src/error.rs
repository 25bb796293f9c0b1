//! What can go wrong with images, worded for a pod's events.

use std::{io, path::PathBuf, sync::Arc};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that several waiters of one pull may share.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image name cannot be parsed.
    #[error("invalid reference {name:?}: {reason}")]
    InvalidReference {
        /// What was given.
        name: String,
        /// Why it is not a reference.
        reason: &'static str,
    },
    /// No registry holds the image, or no such image is stored.
    #[error("{what}: not found")]
    NotFound {
        /// The image, blob or snapshot.
        what: String,
    },
    /// The registry wants other credentials.
    #[error("{registry}: {reason}: check the pod's imagePullSecrets")]
    Denied {
        /// Registry host.
        registry: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry could not be reached or answered with a failure.
    #[error("{registry}: {reason}")]
    Registry {
        /// Registry host or mirror endpoint.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// The registry's answer is not what the image specification allows.
    #[error("{what}: {reason}")]
    Malformed {
        /// Manifest, index, config or layer.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content does not have the digest that it was asked for by.
    #[error("{what}: content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Manifest, config or layer.
        what: String,
        /// The digest asked for.
        expected: String,
        /// The digest received.
        actual: String,
    },
    /// An image exceeds a limit of this node.
    #[error("{what}: {limit}")]
    Limit {
        /// Which layer or document.
        what: String,
        /// The limit, in words.
        limit: String,
    },
    /// The image has no variant for this node's platform.
    #[error("no match for platform linux/{arch} in {what}")]
    NoPlatform {
        /// The image.
        what: String,
        /// This node's architecture.
        arch: &'static str,
    },
    /// Every endpoint failed.
    #[error("failed to pull image {image:?}: {attempts}")]
    Pull {
        /// Normalised reference.
        image: String,
        /// One cause for each endpoint, in the order tried.
        attempts: String,
        /// The kind that decides what the caller answers.
        kind: ErrorKind,
    },
    /// The caller gave up.
    #[error("pull of {image:?} was cancelled")]
    Cancelled {
        /// Normalised reference.
        image: String,
    },
    /// A stored layer is not what was unpacked.
    #[error("layer {layer} is damaged: {reason}")]
    Damaged {
        /// Its diff ID.
        layer: String,
        /// What was found.
        reason: String,
    },
    /// The image or snapshot is in use.
    #[error("{what} is in use by {by}")]
    InUse {
        /// What was to be removed.
        what: String,
        /// Who uses it.
        by: String,
    },
    /// The node's disk failed us.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Credentials are missing or wrong.
    Denied,
    /// The registry is unreachable or failing; a retry may help.
    Unavailable,
    /// The content is wrong, whatever the number of retries.
    Corrupt,
    /// The disk is full.
    NoSpace,
    /// The caller cancelled.
    Cancelled,
    /// In use.
    InUse,
    /// Anything else of this node.
    Internal,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidReference { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Registry { .. } => ErrorKind::Unavailable,
            Self::Malformed { .. } | Self::DigestMismatch { .. } | Self::Limit { .. } | Self::NoPlatform { .. } => {
                ErrorKind::Corrupt
            }
            Self::Pull { kind, .. } => *kind,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            // The images that it belonged to are forgotten, and can be pulled again.
            Self::Damaged { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::InUse,
            Self::Io { source, .. } if is_full(source) => ErrorKind::NoSpace,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }

    /// The error with its sources, as one line for a pod's event.
    pub fn chain(&self) -> String {
        rk_sys::chain(self)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Names the action and the path of an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|e| Error::Io { action, path: path.into(), source: Arc::new(e.into()) })
    }
}
