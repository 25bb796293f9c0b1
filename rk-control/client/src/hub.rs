//! One informer per kind and process.

use crate::feed::Feed;
use crate::informer::Informer;
use futures::future::BoxFuture;
use kube::Client;
use rk_watch::Object;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Default)]
struct Registry {
    informers: HashMap<(TypeId, &'static str), Box<dyn Any + Send + Sync>>,
    waiting: Vec<BoxFuture<'static, ()>>,
    /// `Some` once started: informers asked for later start at once.
    tasks: Option<JoinSet<()>>,
    sync: Vec<watch::Receiver<bool>>,
    clear: Vec<Box<dyn Fn() + Send>>,
    /// The informers of all objects of a kind, by group and plural.
    feeds: HashMap<(String, String), Arc<dyn Feed>>,
}

impl Registry {
    fn add(&mut self, filling: BoxFuture<'static, ()>) {
        match &mut self.tasks {
            Some(tasks) => drop(tasks.spawn(filling)),
            None => self.waiting.push(filling),
        }
    }
}

/// Hands out the shared informers. Watches end when the last handle is dropped.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    writer: Client,
    registry: Arc<Mutex<Registry>>,
}

impl Informers {
    /// A hub whose watches use `client`.
    pub fn new(client: Client) -> Self {
        Self { writer: client.clone(), client, registry: Arc::default() }
    }

    /// The same informers, whose handles write through another client: one set of watches, many identities.
    pub fn writing_as(&self, writer: Client) -> Self {
        Self { client: self.client.clone(), writer, registry: Arc::clone(&self.registry) }
    }

    /// The informer of kind `K`; made on first use.
    pub fn of<K: Object>(&self) -> Informer<K> {
        self.selected("")
    }

    /// An informer that watches only what a field selector admits, such as one well-known name in all namespaces.
    pub fn selected<K: Object>(&self, fields: &'static str) -> Informer<K> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            registry.informers.get(&(TypeId::of::<K>(), fields)).and_then(|any| any.downcast_ref::<Informer<K>>())
        {
            return known.writing_as(self.writer.clone());
        }
        let informer = Informer::<K>::new(self.client.clone(), fields);
        registry.informers.insert((TypeId::of::<K>(), fields), Box::new(informer.clone()));
        let clear = informer.clone();
        registry.clear.push(Box::new(move || clear.drop_handlers()));
        registry.sync.push(informer.first_list());
        if fields.is_empty() {
            let kind = (K::group(&()).into_owned(), K::plural(&()).into_owned());
            let feed: Arc<dyn Feed> = Arc::new(informer.clone());
            registry.feeds.entry(kind).or_insert(feed);
        }
        registry.add(informer.filling());
        informer.writing_as(self.writer.clone())
    }

    /// The metadata of a kind, if an informer of all its objects was asked for; no other watch of it is needed then.
    pub fn metadata(&self, group: &str, plural: &str) -> Option<Arc<dyn Feed>> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.feeds.get(&(group.to_owned(), plural.to_owned())).cloned()
    }

    /// Starts all watches asked for so far; later ones start when asked for.
    pub fn start(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tasks = registry.tasks.take().unwrap_or_default();
        for filling in std::mem::take(&mut registry.waiting) {
            tasks.spawn(filling);
        }
        registry.tasks = Some(tasks);
    }

    /// Ends all watches and drops all handlers. Handlers hold informers, so without this a hub is never freed.
    pub fn stop(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.tasks = Some(JoinSet::new());
        registry.clear.iter().for_each(|clear| clear());
    }

    /// Waits until every informer asked for so far has listed once.
    pub async fn synced(&self) {
        let waits = self.registry.lock().unwrap_or_else(PoisonError::into_inner).sync.clone();
        for mut first_list in waits {
            // An error means that the informer is gone, and nobody waits for it.
            let _ = first_list.wait_for(|synced| *synced).await;
        }
    }
}
