//! The control plane's storage: a revisioned, ordered key-value map with compare-and-swap, history and watch.
//!
//! The model is etcd's, because Kubernetes' list and watch semantics were written for it: one global revision counter, every
//! write takes the next revision, a key remembers the revision that created it and the one that last changed it, and history can
//! be read until it is compacted. [`Store`] is that model; [`SqliteStore`] is the default backend, [`EtcdStore`] the replicated one.
//! [`EncryptedStore`] stands before either and encrypts what an [`Encryption`] names. All pass the same suite (`suite::run`, feature `suite`).
//!
//! Invariants every backend holds:
//! - a write that was acknowledged survives a crash of the process and of the machine;
//! - watchers see every change of their prefix exactly once, in revision order, or are told that they fell behind;
//! - a paged list at one revision is a consistent snapshot, or fails with [`StoreError::Compacted`].

mod compact;
mod encryption;
mod error;
mod etcd;
mod model;
mod sqlite;
mod store;
mod watch;

#[cfg(feature = "suite")]
pub mod suite;

pub use compact::compact_periodically;
pub use encryption::{EncryptedStore, Encryption, EncryptionError, ResourceOf};
pub use error::{Result, StoreError};
pub use etcd::{EtcdSecurity, EtcdStore};
pub use model::{Attached, Change, ChangeKind, Entry, Expect, ListRequest, Page, Revision, Written};
pub use sqlite::{
    SqliteOptions, SqliteStore, check as check_snapshot, restore as restore_snapshot, snapshot as take_snapshot,
};
pub use store::{Store, VALUE_LIMIT};
pub use watch::{Watch, WatchItem};
