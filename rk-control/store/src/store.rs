//! The seam between the API server and its storage.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::error::Result;
use crate::model::{Attached, Entry, Expect, ListRequest, Page, Revision, Written};
use crate::watch::Watch;

/// Largest value that a store takes, in bytes. etcd's default request limit is 1.5 MiB and Kubernetes objects are bounded by it.
pub const VALUE_LIMIT: usize = 1536 * 1024;

/// A revisioned key-value map; see the crate's documentation for the model and its invariants.
pub trait Store: Send + Sync + 'static {
    /// Reads one key at the latest revision.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// Reads a range as one consistent snapshot.
    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page>>;

    /// Writes one key if it is in the expected state. With `ttl` the key deletes itself that long after this write.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Written>> {
        self.put_attached(key, value, expect, ttl, None)
    }

    /// As [`Store::put`]; a backend that can hands `attached` to this process' watchers with the change.
    fn put_attached<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        attached: Option<Attached>,
    ) -> BoxFuture<'a, Result<Written>>;

    /// Whether the value of a key would be stored otherwise now, as after a change of encryption keys: then a write that changes nothing
    /// is made all the same.
    fn is_stale<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<bool>> {
        std::future::ready(Ok(false)).boxed()
    }

    /// Deletes one key if it is in the expected state.
    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<Written>>;

    /// Streams every change of `prefix` with a revision greater than `after`.
    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>>;

    /// The revision of the last write.
    fn revision(&self) -> BoxFuture<'_, Result<Revision>>;

    /// Asks that every open watch soon yields [`WatchItem::Progress`](crate::WatchItem::Progress) at or beyond the returned
    /// revision, so that a cache fed by a watch can answer a consistent read without reading the store.
    fn request_progress(&self) -> BoxFuture<'_, Result<Revision>>;

    /// How much room the state takes on disk, in bytes.
    fn size(&self) -> BoxFuture<'_, Result<u64>>;

    /// Forgets history before `revision`; live keys stay.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>>;
}
