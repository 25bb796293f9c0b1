//! One metadata watch per deletable resource, feeding the graph.

use super::Collector;
use super::graph::Kind;
use crate::discovery::Resource;
use futures::StreamExt;
use rk_watch::{Event, follow_metadata};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How often new resources (CustomResourceDefinitions) are looked for.
const REDISCOVER: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(2);
/// Events have no owners and many changes.
const IGNORED: [&str; 1] = ["events"];

/// Keeps a watch on everything that can be listed, watched and deleted.
pub(super) async fn run(collector: Arc<Collector>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut watched: HashMap<(String, String), AbortHandle> = HashMap::new();
    loop {
        let wait = match collector.discovery.served().await {
            Ok(served) => {
                let wanted: Vec<&Resource> = served.resources.iter().filter(|r| is_collectable(r)).collect();
                let present: HashSet<(String, String)> =
                    wanted.iter().map(|r| (r.api.group.clone(), r.api.plural.clone())).collect();
                // A group that does not answer at the moment is not gone.
                if served.failed.is_empty() {
                    watched.retain(|id, task| {
                        let keep = present.contains(id);
                        if !keep {
                            task.abort();
                        }
                        keep
                    });
                }
                for resource in wanted {
                    let id = (resource.api.group.clone(), resource.api.plural.clone());
                    watched.entry(id).or_insert_with(|| tasks.spawn(watch(Arc::clone(&collector), resource.clone())));
                }
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

async fn watch(collector: Arc<Collector>, resource: Resource) {
    let kind = Arc::new(Kind { api_version: resource.api.api_version.clone(), kind: resource.api.kind.clone() });
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
                let gone: Vec<String> =
                    collector.graph().uids_of(&kind).into_iter().filter(|uid| !listed.contains(uid)).collect();
                for uid in gone {
                    let work = collector.graph().forget(&uid);
                    collector.enqueue(work);
                }
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
