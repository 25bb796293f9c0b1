//! The values that cross the [`Store`](crate::Store) seam.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the store's history. Revisions start at 1 (the empty store) and grow by one or more with each write.
pub type Revision = u64;

/// One live key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Full key, for example `/registry/pods/default/web-0`.
    pub key: Arc<str>,
    /// The stored bytes; the store never looks inside.
    pub value: Bytes,
    /// Revision of the write that brought the key to life.
    pub create_revision: Revision,
    /// Revision of the last write to the key.
    pub mod_revision: Revision,
}

/// What a write demands of the key's present state, checked atomically with the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this `mod_revision`.
    At(Revision),
    /// For `put`: whatever is there. For `delete`: the key must exist.
    Any,
}

/// The outcome of a successful write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Revision of this write.
    pub revision: Revision,
    /// Revision that created the key (equals `revision` for a creation).
    pub create_revision: Revision,
    /// The entry that the write replaced or deleted.
    pub previous: Option<Entry>,
}

/// A range read.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Only keys that start with this prefix.
    pub prefix: String,
    /// Only keys strictly after this one; continues a paged list.
    pub after: Option<String>,
    /// At most this many entries; 0 means no limit.
    pub limit: usize,
    /// Read the state as of this revision instead of the latest.
    pub revision: Option<Revision>,
}

/// One page of a range read, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision of the snapshot that was read; pass it on to continue.
    pub revision: Revision,
    /// How many further keys the prefix holds after this page.
    pub remaining: u64,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The key did not exist before.
    Created,
    /// The key existed and has a new value.
    Updated,
    /// The key is gone; [`Change::entry`] holds its last value, at the revision of the deletion.
    Deleted,
}

/// One change as watchers see it.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The new state; for a deletion, the last value with `mod_revision` set to the revision of the deletion.
    pub entry: Entry,
    /// The value before the change, absent for a creation and where history no longer holds it.
    pub previous: Option<Bytes>,
    /// What its writer gave along, if that was this process and the change came to a live watch.
    pub attached: Option<Attached>,
}

/// What a writer gives along with a value for the watchers in its own process, such as a parsed form. It is never stored and no
/// part of what a change is.
#[derive(Debug, Clone)]
pub struct Attached(Arc<dyn Any + Send + Sync>);

impl Attached {
    /// Wraps a value.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.entry, &self.previous) == (other.kind, &other.entry, &other.previous)
    }
}

impl Eq for Change {}
