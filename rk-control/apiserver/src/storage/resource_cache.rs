//! The present state and recent past of one resource.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rk_api::resources::Resource;
use rk_store::{Change, ChangeKind, ListRequest, Revision, Store, StoreError};
use tokio::sync::watch;

use super::figures::CacheFigures;
use super::key::object_key;
use super::object::{Cached, set_resource_version};
use super::window::{Event, EventKind, Events, Window};

/// Namespace and name, ordered as the store orders keys.
type Key = (Box<str>, Box<str>);

/// A consistent view of some objects.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The objects, in key order.
    pub objects: Vec<Arc<Cached>>,
    /// The revision of which this is the state.
    pub revision: Revision,
}

struct State {
    objects: BTreeMap<Key, Arc<Cached>>,
    window: Window,
    /// Revision of the last change seen here.
    revision: Revision,
}

/// The cache of one resource.
pub struct ResourceCache {
    hub: Arc<Resource>,
    state: RwLock<State>,
    /// Bumped with each batch of changes, and when the cache is abandoned.
    changed: watch::Sender<Revision>,
    abandoned: AtomicBool,
    figures: Arc<CacheFigures>,
}

impl ResourceCache {
    /// The row of the objects' storage version.
    #[must_use]
    pub fn hub(&self) -> &Arc<Resource> {
        &self.hub
    }

    /// What the caches of this resource took in and gave out.
    #[must_use]
    pub fn figures(&self) -> &CacheFigures {
        &self.figures
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.objects.get(&(Box::from(namespace), Box::from(name))).cloned()
    }

    /// The objects of a namespace (empty: all) for which `keep` holds. `floor` is a revision that the caches had reached before
    /// the call; the snapshot is at least that new.
    #[must_use]
    pub fn snapshot(&self, namespace: &str, floor: Revision, keep: impl Fn(&Cached) -> bool) -> Snapshot {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let objects = state.in_namespace(namespace).filter(|object| keep(object)).cloned().collect();
        Snapshot { objects, revision: state.revision.max(floor) }
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).objects.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// The revision after which every change is still at hand.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.state.read().unwrap_or_else(PoisonError::into_inner).window.floor()
    }

    /// At most about `limit` events after a revision.
    #[must_use]
    pub fn events_after(&self, revision: Revision, limit: usize) -> Events {
        self.state.read().unwrap_or_else(PoisonError::into_inner).window.after(revision, limit)
    }

    /// A signal that carries the revision of the last change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    /// Whether this cache will not change any more: after a gap in the store's watch, or since the server ends.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Ends this cache for good, and with it its watches.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.wake();
    }

    /// Lets every watch look again.
    pub(super) fn wake(&self) {
        self.changed.send_replace(self.revision());
    }

    pub(super) async fn load(
        hub: Arc<Resource>,
        figures: Arc<CacheFigures>,
        prefix: &str,
        store: &dyn Store,
    ) -> Result<Self, StoreError> {
        let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        let page = store.list(request).await?;
        let mut objects = BTreeMap::new();
        for entry in &page.entries {
            match Cached::from_entry(&hub, entry) {
                Ok(object) => {
                    objects.insert((object.namespace.clone(), object.name.clone()), Arc::new(object));
                }
                Err(error) => {
                    tracing::error!(key = %entry.key, %error, "skipping a value that cannot be read as an object")
                }
            }
        }
        let state = State { objects, window: Window::new(page.revision), revision: page.revision };
        Ok(Self {
            hub,
            state: RwLock::new(state),
            changed: watch::Sender::new(page.revision),
            abandoned: AtomicBool::new(false),
            figures,
        })
    }

    /// Takes a change in. Its watches see it when they look next; [`ResourceCache::wake`] has them look.
    pub(super) fn apply(&self, change: &Change) {
        self.figures.received();
        let object = match Cached::from_change(&self.hub, change) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::error!(key = %change.entry.key, %error, "skipping a value that cannot be read as an object");
                self.last_known(change)
            }
        };
        let Some(object) = object.map(Arc::new) else { return };
        let revision = object.revision;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if revision <= state.window.floor() {
            return;
        }
        let key = (object.namespace.clone(), object.name.clone());
        let deleted = change.kind == ChangeKind::Deleted;
        let previous =
            if deleted { state.objects.remove(&key) } else { state.objects.insert(key, Arc::clone(&object)) };
        let kind = match (deleted, &previous) {
            (true, _) => EventKind::Deleted,
            (false, None) => EventKind::Added,
            (false, Some(_)) => EventKind::Modified,
        };
        state.window.push(Arc::new(Event::new(kind, object, previous)));
        state.revision = revision;
        self.figures.dispatched();
    }

    /// Of a deleted object whose last value cannot be read, the state that is known here, at the revision of the deletion: what is gone
    /// is gone, readable or not.
    fn last_known(&self, change: &Change) -> Option<Cached> {
        if change.kind != ChangeKind::Deleted {
            return None;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |object: &&Arc<Cached>| {
            let key = object_key(&self.hub, &object.namespace, &object.name);
            key.as_str() == &*change.entry.key
        };
        let mut last = state.objects.values().find(is_it)?.value();
        set_resource_version(&mut last, change.entry.mod_revision);
        Some(Cached::new(&self.hub, &last, change.entry.mod_revision))
    }
}

impl State {
    fn in_namespace<'a>(&'a self, namespace: &'a str) -> Box<dyn Iterator<Item = &'a Arc<Cached>> + 'a> {
        if namespace.is_empty() {
            return Box::new(self.objects.values());
        }
        let start = Bound::Included((Box::<str>::from(namespace), Box::<str>::from("")));
        let range = self.objects.range((start, Bound::Unbounded));
        Box::new(range.take_while(move |((own, _), _)| &**own == namespace).map(|(_, object)| object))
    }
}
