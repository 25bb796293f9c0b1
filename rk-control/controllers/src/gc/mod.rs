//! Garbage collection along owner references, for every resource that the API serves.
//!
//! Each resource feeds a graph of owners and dependents: by the informer that caches it anyway, or by a metadata watch.
//! Two queues hold uids to look at: objects that may have to be deleted, and owners whose dependents are to be set free.
//! Every deletion is checked against the live API first, so a graph that lags behind deletes nothing wrongly. Owners that wait for their
//! dependents, or leave them behind, are let go only when every resource has been listed once.

mod delete;
mod graph;
mod lists;
mod monitor;
mod orphan;

use crate::context::Context;
use crate::discovery::Discovery;
use graph::Graph;
use lists::FirstLists;
use rk_client::{Informers, Queue};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How soon it is seen again whether all resources have been listed.
const LISTING: Duration = Duration::from_secs(1);

struct Collector {
    client: kube::Client,
    informers: Informers,
    discovery: Discovery,
    graph: Mutex<Graph>,
    /// What the graph was not told of yet.
    lists: Mutex<FirstLists>,
    /// Uids of objects that may have to go.
    deletions: Queue<String>,
    /// Uids of owners that leave their dependents behind.
    orphans: Queue<String>,
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, FirstLists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an owner's dependents are all known: what is let go before that takes the others along.
    fn knows_dependents(&self) -> bool {
        self.lists().are_in(Instant::now())
    }

    fn enqueue(&self, work: graph::Work) {
        work.deletions.into_iter().for_each(|uid| self.deletions.add(uid));
        work.orphans.into_iter().for_each(|uid| self.orphans.add(uid));
    }
}

/// Starts the monitors and the workers.
pub(crate) fn register(ctx: &Context) {
    let collector = Arc::new(Collector {
        client: ctx.client.clone(),
        informers: ctx.informers.clone(),
        discovery: Discovery::new(ctx.client.clone()),
        graph: Mutex::default(),
        lists: Mutex::default(),
        deletions: Queue::default(),
        orphans: Queue::default(),
    });
    ctx.task(monitor::run(Arc::clone(&collector), ctx.stop.clone()));
    let shared = Arc::clone(&collector);
    ctx.work("garbage_collector_attempt_to_delete", collector.deletions.clone(), 8, move |uid| {
        let collector = Arc::clone(&shared);
        async move { collector.attempt_delete(&uid).await }
    });
    let shared = Arc::clone(&collector);
    ctx.work("garbage_collector_attempt_to_orphan", collector.orphans.clone(), 2, move |uid| {
        let collector = Arc::clone(&shared);
        async move { collector.attempt_orphan(&uid).await }
    });
}

#[cfg(test)]
impl Collector {
    /// A collector whose server serves no kind.
    fn of_nothing() -> Self {
        let server = tower::service_fn(|request: http::Request<kube::client::Body>| {
            let answer = match request.uri().path() {
                "/api/v1" => {
                    r#"{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": []}"#
                }
                _ => r#"{"kind": "APIGroupList", "apiVersion": "v1", "groups": []}"#,
            };
            let body = kube::client::Body::from(answer.as_bytes().to_vec());
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
        });
        let client = kube::Client::new(server, "default");
        let mut lists = FirstLists::default();
        lists.begin();
        Self {
            informers: Informers::new(client.clone()),
            discovery: Discovery::new(client.clone()),
            client,
            graph: Mutex::default(),
            lists: Mutex::new(lists),
            deletions: Queue::default(),
            orphans: Queue::default(),
        }
    }
}
