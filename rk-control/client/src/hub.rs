//! One informer per kind and process.

use crate::informer::Informer;
use crate::key::Object;
use kube::Client;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

type Starter = Box<dyn FnOnce(&mut JoinSet<()>) + Send>;

#[derive(Default)]
struct Registry {
    informers: HashMap<(TypeId, &'static str), Box<dyn Any + Send + Sync>>,
    waiting: Vec<Starter>,
    /// `Some` once started: informers asked for later start at once.
    tasks: Option<JoinSet<()>>,
    sync: Vec<Box<dyn Fn() -> futures::future::BoxFuture<'static, ()> + Send>>,
    clear: Vec<Box<dyn Fn() + Send>>,
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
        let (run, sync, clear) = (informer.clone(), informer.clone(), informer.clone());
        registry.clear.push(Box::new(move || clear.drop_handlers()));
        registry.sync.push(Box::new(move || {
            let informer = sync.clone();
            Box::pin(async move { informer.synced().await })
        }));
        match &mut registry.tasks {
            Some(tasks) => {
                tasks.spawn(run.run());
            }
            None => registry.waiting.push(Box::new(move |tasks| {
                tasks.spawn(run.run());
            })),
        }
        informer.writing_as(self.writer.clone())
    }

    /// Starts all watches asked for so far; later ones start when asked for.
    pub fn start(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tasks = registry.tasks.take().unwrap_or_default();
        for start in std::mem::take(&mut registry.waiting) {
            start(&mut tasks);
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
        let waits: Vec<_> = {
            let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.sync.iter().map(|wait| wait()).collect()
        };
        futures::future::join_all(waits).await;
    }
}
