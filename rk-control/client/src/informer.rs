//! A watch of one kind, its cache, and writes that the cache shows at once.
//!
//! An object returned by a write is put into the cache right away, unless the watch has already passed its revision
//! (then the watch knows better: the object may be gone). Revisions are compared as numbers, which Kubernetes
//! guarantees since v1.35 (KEP-5504).

use crate::cache::{Cache, IndexFn, revision};
use crate::verbs::{Deletion, Verbs};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Patch;
use rk_watch::{Collection, Event, Selection, Told, read, reflect};
use rk_watch::{Object, ObjectKey};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// One change of the cache.
#[derive(Debug, Clone)]
pub enum Change<K> {
    /// The object is new here.
    Added(Arc<K>),
    /// The object changed.
    Updated {
        /// What was cached before.
        old: Arc<K>,
        /// What is cached now.
        new: Arc<K>,
    },
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The latest state of the object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Added(object) | Change::Deleted(object) => object,
            Change::Updated { new, .. } => new,
        }
    }

    /// The state before, for updates.
    pub fn previous(&self) -> Option<&Arc<K>> {
        match self {
            Change::Updated { old, .. } => Some(old),
            _ => None,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Shared<K> {
    client: Client,
    /// Restricts the watch; empty for all objects.
    fields: &'static str,
    cache: RwLock<Cache<K>>,
    /// Held over a cache change and its handlers, so that handlers see changes in order.
    handlers: Mutex<Vec<Handler<K>>>,
    /// The highest revision that a list or the watch delivered.
    seen: AtomicU64,
    /// Whether the watch ever told of an object that cannot be read as a `K`.
    misread: AtomicBool,
    synced: watch::Sender<bool>,
}

/// A cloneable handle on the shared watch and cache of kind `K`. Handles may write under identities of their own.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    writer: Client,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), writer: self.writer.clone() }
    }
}

impl<K: Object> Informer<K> {
    pub(crate) fn new(client: Client, fields: &'static str) -> Self {
        Self {
            writer: client.clone(),
            shared: Arc::new(Shared {
                client,
                fields,
                cache: RwLock::new(Cache::new()),
                handlers: Mutex::new(Vec::new()),
                seen: AtomicU64::new(0),
                misread: AtomicBool::new(false),
                synced: watch::Sender::new(false),
            }),
        }
    }

    /// Calls `handler` on every change from now on, and with `Added` for what is cached already. Handlers must be
    /// short (enqueue a key) and must not write through this informer.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.list() {
            handler(&Change::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    pub(crate) fn drop_handlers(&self) {
        self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps an index; [`Informer::by_index`] reads it. Asking again for the same name changes nothing.
    pub fn index(&self, name: &'static str, values: IndexFn<K>) {
        self.shared.cache.write().unwrap_or_else(PoisonError::into_inner).add_index(name, values);
    }

    pub(crate) fn misread(&self) -> bool {
        self.shared.misread.load(Ordering::Acquire)
    }

    fn read<T>(&self, f: impl FnOnce(&Cache<K>) -> T) -> T {
        f(&self.shared.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cached object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|cache| cache.get(key).cloned())
    }

    /// All cached objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(Cache::all)
    }

    /// How many objects are cached.
    pub fn len(&self) -> usize {
        self.read(Cache::len)
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cached objects of one namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|cache| cache.in_namespace(namespace))
    }

    /// The cached objects that have `value` in the index `name`.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.read(|cache| cache.by_index(name, value))
    }

    /// Waits for the first complete list.
    pub async fn synced(&self) {
        // The sender lives in `shared`, so this cannot fail.
        let _ = self.first_list().wait_for(|synced| *synced).await;
    }

    /// What fills this cache, until dropped.
    pub(crate) fn filling(&self) -> BoxFuture<'static, ()> {
        let filling = Filling { informer: self.clone(), listed: Vec::new(), unread: HashSet::new() };
        let collection = Collection::of::<K>(Selection::fields(self.shared.fields));
        fill(reflect(self.shared.client.clone(), collection), Box::new(filling)).boxed()
    }

    /// Tells when the first list is complete.
    pub(crate) fn first_list(&self) -> watch::Receiver<bool> {
        self.shared.synced.subscribe()
    }

    /// Takes in a list of revision `at`. What was written or deleted here since then stays as it was left: the watch, which begins at the
    /// same revision, will tell of it. `unread` are objects that are there, whatever they have become: those that are cached stay as they were.
    fn replace_all(&self, listed: Vec<K>, unread: HashSet<ObjectKey>, at: u64) {
        let present: HashSet<ObjectKey> = listed.iter().map(ObjectKey::of).chain(unread).collect();
        // A write that was answered before this and comes here after it is in the list, or what it made is gone: no watch will tell of that.
        if at != u64::MAX {
            self.shared.seen.fetch_max(at, Ordering::AcqRel);
        }
        {
            let uids: HashSet<&str> = listed.iter().filter_map(|object| object.meta().uid.as_deref()).collect();
            let mut cache = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner);
            cache.keep_buried(|uid| uids.contains(uid));
        }
        let missing: Vec<ObjectKey> =
            self.read(|cache| cache.keys().filter(|key| !present.contains(key)).cloned().collect());
        for key in &missing {
            self.change(|cache| {
                cache.get(key).filter(|known| revision::<K>(known) <= at)?;
                cache.remove(key).map(Change::Deleted)
            });
        }
        for object in listed {
            self.apply(object, true);
        }
        self.shared.synced.send_replace(true);
    }

    /// The object is gone; its last known state is what is cached.
    fn forget(&self, key: &ObjectKey) {
        self.change(|cache| cache.remove(key).map(Change::Deleted));
    }

    fn change(&self, f: impl FnOnce(&mut Cache<K>) -> Option<Change<K>>) {
        let handlers = self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let change = f(&mut self.shared.cache.write().unwrap_or_else(PoisonError::into_inner));
        if let Some(change) = change {
            handlers.iter().for_each(|handler| handler(&change));
        }
    }

    fn apply(&self, mut object: K, watched: bool) {
        // The bulk of many objects, and nothing that control loops read.
        object.meta_mut().managed_fields = None;
        let (key, at) = (ObjectKey::of(&object), revision(&object));
        self.change(|cache| {
            if watched {
                self.shared.seen.fetch_max(at, Ordering::AcqRel);
            } else if at != 0 && at <= self.shared.seen.load(Ordering::Acquire) {
                return None;
            }
            if cache.is_buried(object.meta().uid.as_deref()) {
                return None;
            }
            // Also where another object has taken the place since, which this process may know of before the watch does.
            if cache.get(&key).is_some_and(|known| at != 0 && at <= revision(known.as_ref())) {
                return None;
            }
            let new = Arc::new(object);
            Some(match cache.insert(key, Arc::clone(&new)) {
                Some(old) => Change::Updated { old, new },
                None => Change::Added(new),
            })
        });
    }

    fn remove(&self, mut object: K) {
        object.meta_mut().managed_fields = None;
        let key = ObjectKey::of(&object);
        self.change(|cache| {
            self.shared.seen.fetch_max(revision(&object), Ordering::AcqRel);
            cache.unbury(object.meta().uid.as_deref());
            let newer = |cached: &Arc<K>| {
                cached.meta().uid != object.meta().uid && revision(cached.as_ref()) > revision(&object)
            };
            if cache.get(&key).is_some_and(newer) {
                return None;
            }
            cache.remove(&key)?;
            Some(Change::Deleted(Arc::new(object)))
        });
    }

    /// The same cache, written through another client.
    pub fn writing_as(&self, writer: Client) -> Self {
        Self { shared: Arc::clone(&self.shared), writer }
    }

    /// Shows the result of a write in the cache; answers it.
    pub fn observe(&self, object: K) -> K {
        self.apply(object.clone(), false);
        object
    }

    /// Creates an object.
    pub async fn create(&self, object: &K) -> kube::Result<K> {
        self.writer.create(object).await.map(|o| self.observe(o))
    }

    /// Replaces an object, guarded by its resourceVersion.
    pub async fn replace(&self, object: &K) -> kube::Result<K> {
        self.writer.replace(object).await.map(|o| self.observe(o))
    }

    /// Replaces the status of an object, guarded by its resourceVersion.
    pub async fn replace_status(&self, object: &K) -> kube::Result<K> {
        self.writer.replace_sub("status", object).await.map(|o| self.observe(o))
    }

    /// Patches an object.
    pub async fn patch<P: Serialize + std::fmt::Debug>(&self, key: &ObjectKey, patch: &Patch<P>) -> kube::Result<K> {
        self.writer.patch(key, patch).await.map(|o| self.observe(o))
    }

    /// Patches the status of an object.
    pub async fn patch_status<P: Serialize + std::fmt::Debug>(
        &self,
        key: &ObjectKey,
        patch: &Patch<P>,
    ) -> kube::Result<K> {
        self.writer.patch_sub("status", key, patch).await.map(|o| self.observe(o))
    }

    /// Applies a configuration of the status of an object as the field manager `manager`, who takes what others own of it.
    pub async fn apply_status<B: Serialize>(
        &self,
        key: &ObjectKey,
        manager: &str,
        configuration: &B,
    ) -> kube::Result<K> {
        self.writer.apply_sub("status", key, manager, configuration).await.map(|o| self.observe(o))
    }

    /// Deletes an object. The cache shows at once that it is gone, or that it is being deleted when a grace period or
    /// finalizers keep it.
    pub async fn delete(&self, key: &ObjectKey, how: &Deletion) -> kube::Result<()> {
        match self.writer.delete::<K>(key, how).await? {
            Some(rest) if is_pending(rest.meta()) => {
                self.observe(rest);
            }
            Some(rest) => self.bury(key, rest.meta().uid.as_deref()),
            None => self.bury(key, how.uid.as_deref()),
        }
        Ok(())
    }

    /// Forgets an object that the server says is gone; late watch events of it are ignored until its deletion arrives.
    fn bury(&self, key: &ObjectKey, uid: Option<&str>) {
        self.change(|cache| {
            let cached = cache.get(key)?;
            let other = uid.is_some_and(|uid| cached.meta().uid.as_deref() != Some(uid));
            if other || cached.meta().finalizers.as_ref().is_some_and(|f| !f.is_empty()) {
                return None;
            }
            let last = cache.remove(key)?;
            cache.bury(last.meta().uid.as_deref());
            Some(Change::Deleted(last))
        });
    }
}

/// What fills a cache, of whatever kind it is.
trait Sink: Send {
    fn take(&mut self, told: Told);
}

async fn fill(mut told: BoxStream<'static, Told>, mut sink: Box<dyn Sink>) {
    while let Some(told) = told.next().await {
        sink.take(told);
    }
}

/// Brings what a watch tells into a cache.
struct Filling<K> {
    informer: Informer<K>,
    /// Of the list in progress.
    listed: Vec<K>,
    /// What is in that list and cannot be read.
    unread: HashSet<ObjectKey>,
}

impl<K: Object> Sink for Filling<K> {
    fn take(&mut self, told: Told) {
        if let Told::Complete(at) = told {
            return self.informer.replace_all(std::mem::take(&mut self.listed), std::mem::take(&mut self.unread), at);
        }
        let Some(event) = read(&K::kind(&()), told) else { return };
        if matches!(event, Event::Unread(_) | Event::Vanished(_)) {
            self.informer.shared.misread.store(true, Ordering::Release);
        }
        match event {
            Event::Begin => {
                self.listed.clear();
                self.unread.clear();
            }
            Event::Listed(object) => self.listed.push(object),
            // Taken before it was read, with its revision.
            Event::Complete => {}
            Event::Applied(object) => self.informer.apply(object, true),
            Event::Deleted(object) => self.informer.remove(object),
            // Of use to a list in progress only, which the next one clears.
            Event::Unread(key) => drop(self.unread.insert(key)),
            Event::Vanished(key) => self.informer.forget(&key),
        }
    }
}

/// Whether a deleted object lives on for its grace period or its finalizers.
fn is_pending(meta: &ObjectMeta) -> bool {
    let graceful = meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds.unwrap_or(0) > 0;
    graceful || meta.finalizers.as_ref().is_some_and(|f| !f.is_empty())
}

#[cfg(test)]
mod tests;
