//! What a store can answer instead of success.

use crate::model::{Entry, Revision};

/// Result of every store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Errors that callers tell apart; everything unexpected of a backend is [`StoreError::Backend`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key was not in the state that [`Expect`](crate::Expect) named. Nothing was written.
    #[error("{key} is not in the expected state")]
    Conflict {
        /// The key.
        key: String,
        /// What is there now, so that the caller need not read again.
        current: Option<Box<Entry>>,
    },
    /// History before `compacted` is gone; list again and watch from there.
    #[error("revision {requested} is compacted; the oldest readable one is {compacted}")]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        compacted: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future; the store is at {current}")]
    FutureRevision {
        /// The revision that was asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The value is larger than a store accepts.
    #[error("{key}: value of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The key.
        key: String,
        /// Size of the value in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The value cannot be encrypted or decrypted: another key, or tampered with.
    #[error("unable to transform key {key:?}: {reason}")]
    Transform {
        /// The key.
        key: String,
        /// Upstream's words for it.
        reason: String,
    },
    /// The store is shutting down or its worker ended.
    #[error("the store is closed")]
    Closed,
    /// The backend failed; the operation may or may not have happened.
    #[error("{operation} failed in the storage backend")]
    Backend {
        /// What was attempted.
        operation: &'static str,
        /// The backend's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Wraps a backend's error with the operation that met it.
    pub(crate) fn backend(operation: &'static str) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::Backend { operation, source }
    }
}

impl StoreError {
    /// The text of the underlying cause, for logs and for errors that are handed to several waiters.
    pub(crate) fn source_text(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string)
    }
}
