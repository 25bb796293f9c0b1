//! What feeds the graph: for each deletable resource the informer that reads it anyway, else a metadata watch.

use super::Collector;
use super::graph::Kind;
use super::lists::Id;
use crate::discovery::Resource;
use futures::FutureExt as _;
use futures::StreamExt;
use kube::core::ApiResource;
use rk_client::Presence;
use rk_watch::{Event, follow_metadata};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How often new resources (CustomResourceDefinitions) are looked for.
const REDISCOVER: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(2);
/// Events have no owners and many changes.
const IGNORED: [&str; 1] = ["events"];

/// What feeds the graph by now.
#[derive(Default)]
struct Sources {
    tasks: JoinSet<()>,
    /// With what is watched: a resource may go over to another version.
    watched: HashMap<Id, (ApiResource, AbortHandle)>,
    /// Fed by informers, which last as long as the collector.
    fed: HashSet<Id>,
}

impl Sources {
    /// Ends the watches of resources that are not served any more.
    fn retain(&mut self, collector: &Collector, present: &HashSet<Id>) {
        self.watched.retain(|id, (_, task)| {
            let keep = present.contains(id);
            if !keep {
                task.abort();
                collector.lists().settle(id);
            }
            keep
        });
        // A set keeps what has ended until somebody asks.
        while self.tasks.try_join_next().is_some() {}
    }

    /// Sees to it that a resource feeds the graph.
    fn add(&mut self, collector: &Arc<Collector>, resource: &Resource) {
        let id = id_of(resource);
        match self.watched.get(&id) {
            Some((known, _)) if *known == resource.api => return,
            // In the version of before nothing may be served any more.
            Some((_, task)) => task.abort(),
            None => {}
        }
        if let Some(feed) = collector.informers.metadata(&id.0, &id.1) {
            if self.fed.insert(id.clone()) {
                let (collector, kind) = (Arc::clone(collector), kind_of(resource));
                feed.on_metadata(Box::new(move |presence: Presence<'_>| collector.learn(&kind, presence)));
            }
            // What its type cannot hold has metadata all the same: a watch tells of it, and of the others twice, which does no harm.
            if !feed.has_misread() {
                return;
            }
        }
        collector.lists().wait_for(id.clone(), Instant::now());
        let task = self.tasks.spawn(watch(Arc::clone(collector), resource.clone()).boxed());
        self.watched.insert(id, (resource.api.clone(), task));
    }
}

/// Keeps fed from everything that can be listed, watched and deleted.
pub(super) async fn run(collector: Arc<Collector>, stop: CancellationToken) {
    let mut sources = Sources::default();
    loop {
        let wait = match collector.discovery.served().await {
            Ok(served) => {
                let wanted: Vec<&Resource> = served.resources.iter().filter(|r| is_collectable(r)).collect();
                // A group that does not answer at the moment is not gone.
                if served.failed.is_empty() {
                    let present: HashSet<Id> = wanted.iter().map(|resource| id_of(resource)).collect();
                    sources.retain(&collector, &present);
                }
                for resource in wanted {
                    sources.add(&collector, resource);
                }
                collector.lists().begin();
                REDISCOVER
            }
            Err(error) => {
                tracing::debug!(%error, "garbage collector cannot read discovery, will retry");
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn is_collectable(resource: &Resource) -> bool {
    ["list", "watch", "delete"].iter().all(|verb| resource.can(verb))
        && !IGNORED.contains(&resource.api.plural.as_str())
}

fn id_of(resource: &Resource) -> Id {
    (resource.api.group.clone(), resource.api.plural.clone())
}

fn kind_of(resource: &Resource) -> Arc<Kind> {
    Arc::new(Kind { api_version: resource.api.api_version.clone(), kind: resource.api.kind.clone() })
}

impl Collector {
    /// What an informer tells. Its cache is a list and a watch already, so each change is the difference to what was told before.
    fn learn(&self, kind: &Arc<Kind>, presence: Presence<'_>) {
        let work = match presence {
            Presence::Here(object) => self.graph().observe(kind, object),
            Presence::Gone(object) => self.graph().forget(object.uid.as_deref().unwrap_or_default()),
        };
        self.enqueue(work);
    }

    /// Forgets what was known of a kind and is in its list no longer.
    fn forget_unlisted(&self, kind: &Arc<Kind>, listed: &HashSet<String>) {
        let known = self.graph().uids_of(kind);
        for uid in known.into_iter().filter(|uid| !listed.contains(uid)) {
            let work = self.graph().forget(&uid);
            self.enqueue(work);
        }
    }
}

async fn watch(collector: Arc<Collector>, resource: Resource) {
    let (id, kind) = (id_of(&resource), kind_of(&resource));
    let mut events = follow_metadata(collector.client.clone(), &resource.api);
    let mut listed: HashSet<String> = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Begin => listed.clear(),
            Event::Listed(object) => {
                listed.extend(object.uid.clone());
                let work = collector.graph().observe(&kind, &object);
                collector.enqueue(work);
            }
            Event::Complete => {
                collector.forget_unlisted(&kind, &listed);
                collector.lists().settle(&id);
                listed = HashSet::new();
            }
            Event::Applied(object) => {
                let work = collector.graph().observe(&kind, &object);
                collector.enqueue(work);
            }
            Event::Deleted(object) => {
                let work = collector.graph().forget(object.uid.as_deref().unwrap_or_default());
                collector.enqueue(work);
            }
            // Metadata that cannot be read: what was known of the object still holds.
            Event::Unread(_) | Event::Vanished(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_resource_is_watched_in_the_version_that_is_served() {
        let (collector, mut sources) = (Arc::new(Collector::of_nothing()), Sources::default());
        let of = |version: &str| Resource::of_test("example.com", version, "things");
        for version in ["v1alpha1", "v1alpha1", "v1"] {
            sources.add(&collector, &of(version));
        }
        assert_eq!(sources.tasks.len(), 2);
        let ended = sources.tasks.join_next().await.expect("two watches were begun");
        assert!(ended.is_err_and(|error| error.is_cancelled()), "the one of before ends");
        let versions: Vec<&str> = sources.watched.values().map(|(api, _)| api.version.as_str()).collect();
        assert_eq!(versions, ["v1"]);
    }
}
