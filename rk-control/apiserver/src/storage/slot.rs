//! The place of a cache: empty, loading or loaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rk_api::resources::Resource;
use rk_store::{Change, Revision, Store, StoreError};

use super::figures::CacheFigures;
use super::resource_cache::ResourceCache;

/// Holds the cache of one resource and the changes that arrive while it loads.
pub(super) struct Slot {
    hub: Arc<Resource>,
    prefix: String,
    /// One loader at a time.
    gate: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
    /// The last revision at which this server wrote one of its objects. A write from before the slot was there is in what it loads.
    written: AtomicU64,
    figures: Arc<CacheFigures>,
}

#[derive(Default)]
struct Inner {
    cache: Option<Arc<ResourceCache>>,
    /// Changes that arrived while the cache was loading; `None` when it is not.
    pending: Option<Vec<Change>>,
    /// No change comes here any more.
    retired: bool,
}

impl Slot {
    pub(super) fn new(hub: Arc<Resource>, prefix: String) -> Self {
        Self {
            hub,
            prefix,
            gate: tokio::sync::Mutex::default(),
            inner: Mutex::default(),
            written: AtomicU64::new(0),
            figures: Arc::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of the objects' storage version.
    pub(super) fn hub(&self) -> &Resource {
        &self.hub
    }

    /// What its caches took in and gave out.
    pub(super) fn figures(&self) -> &CacheFigures {
        &self.figures
    }

    /// Whether this is the place of a resource, in whatever version.
    pub(super) fn is_of(&self, resource: &Resource) -> bool {
        self.hub.plural == resource.plural && self.hub.gvk.group == resource.gvk.group
    }

    /// Whether what its caches hold has the form that a resource says: of a custom kind, that of its definition as it is now.
    pub(super) fn has_form_of(&self, hub: &Resource) -> bool {
        self.hub.has_form_of(hub)
    }

    /// What the keys of its objects begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Notes a write that was acknowledged.
    pub(super) fn wrote(&self, revision: Revision) {
        self.written.fetch_max(revision, Ordering::AcqRel);
    }

    /// The last revision that was noted.
    pub(super) fn written(&self) -> Revision {
        self.written.load(Ordering::Acquire)
    }

    /// The cache, if it is loaded.
    pub(super) fn loaded(&self) -> Option<Arc<ResourceCache>> {
        self.inner().cache.clone()
    }

    pub(super) async fn cache(&self, store: &dyn Store) -> Result<Arc<ResourceCache>, StoreError> {
        if let Some(cache) = self.loaded() {
            return Ok(cache);
        }
        let _gate = self.gate.lock().await;
        loop {
            if let Some(cache) = self.loaded() {
                return Ok(cache);
            }
            // From here on changes are kept aside, so none is lost between the list and the first event.
            let pending = Pending::begin(self);
            let (hub, figures) = (Arc::clone(&self.hub), Arc::clone(&self.figures));
            pending.publish(Arc::new(ResourceCache::load(hub, figures, &self.prefix, store).await?));
        }
    }

    /// Takes a change from the store's watch; answers the cache that it was applied to, which wakes nobody by itself.
    pub(super) fn offer(&self, change: &Change) -> Option<Arc<ResourceCache>> {
        let mut inner = self.inner();
        if let Some(pending) = inner.pending.as_mut() {
            pending.push(change.clone());
            return None;
        }
        let cache = inner.cache.clone()?;
        drop(inner);
        cache.apply(change);
        Some(cache)
    }

    /// Ends the cache for good, also one that is being loaded.
    pub(super) fn retire(&self) {
        let mut inner = self.inner();
        inner.retired = true;
        if let Some(cache) = inner.cache.take() {
            cache.abandon();
        }
    }

    /// Forgets the cache after a gap; its watchers end, and the next reader loads it again.
    pub(super) fn abandon(&self) {
        let cache = {
            let mut inner = self.inner();
            inner.pending = None;
            inner.cache.take()
        };
        if let Some(cache) = cache {
            cache.abandon();
        }
    }
}

/// The time of loading; when the loader is dropped half-way, changes are no longer kept aside.
struct Pending<'a>(&'a Slot);

impl<'a> Pending<'a> {
    fn begin(slot: &'a Slot) -> Self {
        slot.inner().pending = Some(Vec::new());
        Self(slot)
    }

    /// Applies what arrived meanwhile and publishes the cache under the same lock, so that the next change finds either the
    /// pending list or the cache. A cache that was abandoned while it loaded is not published.
    fn publish(self, cache: Arc<ResourceCache>) {
        let mut inner = self.0.inner();
        if let Some(pending) = inner.pending.take() {
            for change in &pending {
                cache.apply(change);
            }
            cache.wake();
            self.0.figures.initialized();
            if inner.retired {
                cache.abandon();
            }
            inner.cache = Some(cache);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.inner().pending = None;
    }
}
