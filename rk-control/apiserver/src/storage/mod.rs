//! Objects in the store, and the watch cache in front of it.
//!
//! One watch over the whole registry feeds every cache ([`dispatch`]); a cache is loaded when its resource is first asked for.
//! Because the one watch sees every write, its progress is a clock: a read that must be fresh asks the store for its revision
//! and waits until the dispatcher has passed it. Objects are kept as serialized JSON with the few fields that selectors look at
//! ([`object::Cached`]); watchers read the shared event window at their own pace ([`window::Window`]), so that a slow one costs
//! nothing and falls out alone.

mod dispatch;
mod failure;
mod figures;
mod key;
mod object;
mod prepared;
mod resource_cache;
mod selectable;
mod slot;
mod slots;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_store::{Attached, Expect, ListRequest, Revision, Store, StoreError, Written};
use serde_json::Value;
use tokio::sync::watch;

pub use dispatch::run as run_dispatcher;
pub use failure::store_status;
pub use key::{object_key, prefix, resource_of_key, told_key};
pub use object::Cached;
pub use resource_cache::{ResourceCache, Snapshot};
pub use window::{Event, EventKind, Events, json_frame, unmanaged_frame};

use crate::metrics::Timings;
use prepared::Prepared;
use slot::Slot;
use slots::Slots;

/// How long a read waits for the cache to catch up; upstream's figure.
const FRESH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the watch may take to show a write by itself before the store is asked for its progress.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long an Event object lives; upstream's `--event-ttl`.
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// An object as it was stored.
pub struct Stored {
    /// The object, with its new resource version.
    pub object: Value,
    /// The same as JSON text, where it is at hand.
    pub json: Option<Bytes>,
}

/// The store with its caches.
pub struct Storage {
    store: Arc<dyn Store>,
    slots: Slots,
    /// Everything up to this revision has been handed to the caches.
    progress: watch::Sender<Revision>,
    /// The same, for the many who only read it: a lock that all share is most of what it costs them.
    reached: AtomicU64,
    /// The last revision that was written through here.
    written: AtomicU64,
    /// How long the store took.
    timings: Timings,
}

impl Storage {
    /// Wraps a store. [`run_dispatcher`] must run for the caches to move.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            slots: Slots::default(),
            progress: watch::Sender::new(0),
            reached: AtomicU64::new(0),
            written: AtomicU64::new(0),
            timings: Timings::default(),
        }
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How long the store took to answer.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// How far the caches are: where they begin, before the dispatcher runs and the first cache loads, and then what it gave them.
    pub fn set_progress(&self, revision: Revision) {
        self.reached.store(revision, Ordering::Release);
        self.progress.send_replace(revision);
    }

    /// The revision up to which the caches are complete.
    #[must_use]
    pub fn progress(&self) -> Revision {
        self.reached.load(Ordering::Acquire)
    }

    /// The place of a cache that somebody asked for.
    fn known_slot(&self, hub: &Resource) -> Option<Arc<Slot>> {
        self.slots.known(hub)
    }

    /// Ends the cache of a resource whose definition changed or went: its watches end, and the next reader loads it again.
    pub fn forget(&self, hub: &Resource) {
        self.slots.retire(hub);
    }

    fn slot_of_key(&self, key: &str) -> Option<Arc<Slot>> {
        self.slots.of_key(key)
    }

    fn all_slots(&self) -> Vec<Arc<Slot>> {
        self.slots.all()
    }

    /// How many objects each loaded cache holds, by resource and group.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, String, usize)> {
        let mut counts: Vec<_> = self
            .all_slots()
            .iter()
            .filter_map(|slot| slot.loaded())
            .map(|cache| (cache.hub().plural.to_string(), cache.hub().gvk.group.to_string(), cache.len()))
            .collect();
        counts.sort();
        counts
    }

    /// The cache of a resource (its storage version), loaded on first use. Who needs a revision waits for it before: a cache that is at
    /// hand already may be abandoned meanwhile, and never has what was waited for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn cache(&self, hub: &Arc<Resource>) -> Result<Arc<ResourceCache>, Status> {
        self.load(&self.slots.of(hub)).await
    }

    /// The cache of a resource with every write of it that this server acknowledged before this call.
    ///
    /// # Errors
    /// As [`Storage::cache`] and [`Storage::wait_for`].
    pub async fn settled_cache(&self, hub: &Arc<Resource>) -> Result<Arc<ResourceCache>, Status> {
        let slot = self.slots.of(hub);
        self.wait_for(slot.written()).await?;
        self.load(&slot).await
    }

    async fn load(&self, slot: &Slot) -> Result<Arc<ResourceCache>, Status> {
        slot.cache(&*self.store).await.map_err(|error| store_status(&error))
    }

    /// Waits until the caches contain every write acknowledged before this call; returns the revision reached.
    ///
    /// # Errors
    /// 504 when the store's watch lags too far behind.
    pub async fn fresh(&self) -> Result<Revision, Status> {
        let revision = self.store.revision().await.map_err(|error| store_status(&error))?;
        if let Ok(reached) = tokio::time::timeout(PATIENCE, self.wait_for(revision)).await {
            return reached;
        }
        // Others write to this store outside of our prefix, or we are late: ask to be told how far the watch has come.
        self.store.request_progress().await.map_err(|error| store_status(&error))?;
        self.wait_for(revision).await
    }

    /// Waits until the caches contain every write that this server acknowledged before this call: enough for what the server
    /// itself looks up, and free of a question to the store.
    ///
    /// # Errors
    /// As [`Storage::wait_for`].
    pub async fn settled(&self) -> Result<Revision, Status> {
        self.wait_for(self.written.load(Ordering::Acquire)).await
    }

    /// Waits until the caches have passed `revision`; returns the revision reached.
    ///
    /// # Errors
    /// 504 with the cause that clients know for a revision from the future.
    pub async fn wait_for(&self, revision: Revision) -> Result<Revision, Status> {
        let now = self.progress();
        if now >= revision {
            return Ok(now);
        }
        let mut progress = self.progress.subscribe();
        let reached = async { progress.wait_for(|now| *now >= revision).await.map(|now| *now) };
        match tokio::time::timeout(FRESH_TIMEOUT, reached).await {
            Ok(Ok(now)) => return Ok(now),
            Ok(Err(_)) => return Err(Status::service_unavailable("the server is shutting down")),
            Err(_) => {}
        }
        // Where all stood still for that long, the dispatcher has its turn before it is called late.
        tokio::task::yield_now().await;
        let now = self.progress();
        if now >= revision { Ok(now) } else { Err(Status::too_large_resource_version(revision, now, 1)) }
    }

    /// One object as of now, from the cache.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, hub: &Arc<Resource>, namespace: &str, name: &str) -> Result<Option<Arc<Cached>>, Status> {
        self.fresh().await?;
        Ok(self.cache(hub).await?.get(namespace, name))
    }

    /// One object as of this server's last write of its kind, from the cache. What that does not have is looked for in the store:
    /// another server may have made it a moment ago.
    ///
    /// # Errors
    /// As [`Storage::settled_cache`] and [`Storage::read`].
    pub async fn cached(
        &self,
        hub: &Arc<Resource>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Cached>>, Status> {
        if let Some(found) = self.settled_cache(hub).await?.get(namespace, name) {
            return Ok(Some(found));
        }
        let found = self.read(hub, namespace, name).await?;
        Ok(found.map(|(object, revision)| Arc::new(Cached::new(hub, &object, revision))))
    }

    /// One object from its cache, if there is one that has, or soon has, this server's own writes of the kind. Others may have
    /// written since: for changes, which the store takes only for the revision that they were made from.
    pub async fn at_hand(&self, hub: &Arc<Resource>, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        let slot = self.known_slot(hub).filter(|slot| slot.has_form_of(hub))?;
        let cache = slot.loaded()?;
        tokio::time::timeout(PATIENCE, self.wait_for(slot.written())).await.ok()?.ok()?;
        cache.get(namespace, name)
    }

    /// Every object of a namespace (empty: of all) as of this server's last write of the kind, from the cache.
    ///
    /// # Errors
    /// As [`Storage::settled_cache`].
    pub async fn all_cached(&self, hub: &Arc<Resource>, namespace: &str) -> Result<Vec<Arc<Cached>>, Status> {
        Ok(self.settled_cache(hub).await?.snapshot(namespace, 0, |_| true).objects)
    }

    /// One object read from the store itself, for a compare-and-swap.
    ///
    /// # Errors
    /// The store cannot be read, or holds something that is no object.
    pub async fn read(&self, hub: &Resource, namespace: &str, name: &str) -> Result<Option<(Value, Revision)>, Status> {
        let key = object_key(hub, namespace, name);
        let begun = Instant::now();
        let entry = self.store.get(&key).await;
        self.timings.observe("get", hub, begun.elapsed(), figures::broke(&entry));
        let entry = entry.map_err(|error| store_status(&error))?;
        entry.map(|entry| Ok((object::parse_entry(hub, &entry)?, entry.mod_revision))).transpose()
    }

    /// Whether an object is stored otherwise than it would be now: by an older encryption key or, of a custom kind, in a version that is not
    /// the stored one any more. A change that changes nothing is then written all the same, which is how stored objects are moved.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn is_stale(&self, hub: &Resource, namespace: &str, name: &str) -> Result<bool, Status> {
        let key = object_key(hub, namespace, name);
        let stale = self.store.is_stale(&key).await.map_err(|error| store_status(&error))?;
        // The stored versions of built-in kinds stay as they are.
        if stale || hub.custom.is_none() {
            return Ok(stale);
        }
        let entry = self.store.get(&key).await.map_err(|error| store_status(&error))?;
        Ok(entry.is_some_and(|entry| object::is_of_another_version(hub, &entry)))
    }

    /// Writes an object (in its storage version) if it is in the expected state, and returns it with its new resource version.
    ///
    /// # Errors
    /// The store's own, so that callers can tell a conflict.
    pub async fn put(&self, hub: &Resource, object: Value, expect: Expect) -> Result<Value, StoreError> {
        self.put_told(hub, object, expect, false).await.map(|stored| stored.object)
    }

    /// As [`Storage::put`], with the object's text, for an answer that need not be serialized again. Of an object that `sheds` its owners
    /// nobody owns anything where it is too large with them.
    ///
    /// # Errors
    /// As [`Storage::put`].
    pub async fn put_told(
        &self,
        hub: &Resource,
        mut object: Value,
        expect: Expect,
        mut sheds: bool,
    ) -> Result<Stored, StoreError> {
        let key = object_key(hub, rk_api::meta::namespace(&object), rk_api::meta::name(&object));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        let ttl = (hub.plural == "events").then_some(EVENT_TTL);
        let operation = if matches!(expect, Expect::Absent) { "create" } else { "update" };
        // The store alone knows what is too large: encryption adds to a text, and etcd counts more than the value.
        let (text, attached, written) = loop {
            let (text, prepared) = Prepared::new(hub, &object);
            let attached = prepared.map(Attached::new);
            let begun = Instant::now();
            let written = self.store.put_attached(&key, text.clone(), expect, ttl, attached.clone()).await;
            self.timings.observe(operation, hub, begun.elapsed(), figures::broke(&written));
            if !std::mem::take(&mut sheds) || !matches!(written, Err(StoreError::TooLarge { .. })) {
                break (text, attached, written?);
            }
            rk_api::managed::disown_all(&mut object);
        };
        self.settle(hub, written.revision).await;
        object::set_resource_version(&mut object, written.revision);
        let prepared = attached.as_ref().and_then(|attached| attached.get::<Prepared>());
        let json = prepared.and_then(|prepared| prepared.versioned(&text, written.revision));
        Ok(Stored { object, json })
    }

    /// Deletes an object if it is in the expected state.
    ///
    /// # Errors
    /// The store's own, so that callers can tell a conflict.
    pub async fn delete(
        &self,
        hub: &Resource,
        namespace: &str,
        name: &str,
        expect: Expect,
    ) -> Result<Written, StoreError> {
        let begun = Instant::now();
        let written = self.store.delete(&object_key(hub, namespace, name), expect).await;
        self.timings.observe("delete", hub, begun.elapsed(), figures::broke(&written));
        let written = written?;
        self.settle(hub, written.revision).await;
        Ok(written)
    }

    /// Requests are judged by rights and webhooks from the cache: a change of them is answered only when it holds, so that a right
    /// that was taken away is gone when the answer comes.
    async fn settle(&self, hub: &Resource, revision: Revision) {
        if let Some(slot) = self.known_slot(hub) {
            slot.wrote(revision);
        }
        self.written.fetch_max(revision, Ordering::AcqRel);
        let judged_by = matches!(&*hub.gvk.group, "rbac.authorization.k8s.io" | "admissionregistration.k8s.io");
        if judged_by && let Err(status) = self.wait_for(revision).await {
            tracing::warn!(%status, "the cache is late with a change of what requests are judged by");
        }
    }

    /// A page of a resource as of a revision, straight from the store.
    ///
    /// # Errors
    /// 410 when the revision is compacted.
    pub async fn page(
        &self,
        hub: &Arc<Resource>,
        namespace: &str,
        after: Option<String>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<(Vec<Arc<Cached>>, Revision, u64), Status> {
        let mut prefix = prefix(hub);
        if !namespace.is_empty() {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        let request = ListRequest { prefix, after, limit, revision };
        let begun = Instant::now();
        let page = self.store.list(request).await;
        self.timings.observe("list", hub, begun.elapsed(), figures::broke(&page));
        let page = page.map_err(|error| store_status(&error))?;
        let objects =
            page.entries.iter().map(|entry| Cached::from_entry(hub, entry).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok((objects, page.revision, page.remaining))
    }
}
