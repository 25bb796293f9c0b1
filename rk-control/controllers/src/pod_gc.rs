//! Removes pods that nobody will: on nodes that are gone, never scheduled but deleted, or finished long ago.

use crate::context::Context;
use crate::pods;
use crate::taint_eviction::mark_disrupted;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Patch;
use rk_client::{Deletion, Informer, ObjectKey, Verbs, is_not_found};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(20);
/// A node that is missing may just have been created: its pods get this long.
const QUARANTINE: Duration = Duration::from_secs(40);

struct Collector {
    client: kube::Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    keep_finished: usize,
    missing_since: Mutex<HashMap<String, Instant>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let collector = Arc::new(Collector {
        client: ctx.client.clone(),
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        keep_finished: ctx.config.finished_pods,
        missing_since: Mutex::default(),
    });
    ctx.every(PERIOD, move || {
        let collector = Arc::clone(&collector);
        async move { collector.turn().await }
    });
}

/// Why a pod is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    NodeGone,
    NeverScheduled,
    OutOfService,
    FinishedLongAgo,
}

/// Picks pods to remove. `gone` are nodes that certainly do not exist, `out_of_service` those declared dead.
fn pick(
    all: &[Arc<Pod>],
    gone: &HashSet<String>,
    out_of_service: &HashSet<String>,
    keep_finished: usize,
) -> BTreeSet<(Cause, usize)> {
    let mut picked = BTreeSet::new();
    let mut finished: Vec<usize> = Vec::new();
    for (at, pod) in all.iter().enumerate() {
        let node = pods::node_name(pod);
        if node.is_some_and(|n| gone.contains(n)) {
            picked.insert((Cause::NodeGone, at));
        } else if pods::is_terminating(pod) && node.is_none() {
            picked.insert((Cause::NeverScheduled, at));
        } else if pods::is_terminating(pod) && node.is_some_and(|n| out_of_service.contains(n)) {
            picked.insert((Cause::OutOfService, at));
        } else if pods::is_finished(pod) && !pods::is_terminating(pod) {
            finished.push(at);
        }
    }
    // Those that were evicted go first: nobody waits for what they did.
    let is_evicted = |pod: &Pod| pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    let worth = |pod: &Arc<Pod>| (!is_evicted(pod), pod.metadata.creation_timestamp.as_ref().map(|t| t.0));
    finished.sort_by_key(|at| all.get(*at).map(worth));
    let excess = finished.len().saturating_sub(keep_finished);
    picked.extend(finished.into_iter().take(excess).map(|at| (Cause::FinishedLongAgo, at)));
    picked
}

impl Collector {
    async fn turn(&self) {
        let all = self.pods.list();
        let gone = self.nodes_gone(&all).await;
        let dead = |node: &Arc<Node>| {
            let tainted = node
                .spec
                .iter()
                .flat_map(|s| s.taints.iter().flatten())
                .any(|t| t.key == "node.kubernetes.io/out-of-service");
            let ready = node
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .any(|c| c.type_ == "Ready" && c.status == "True");
            tainted && !ready
        };
        let out_of_service =
            self.nodes.list().iter().filter(|n| dead(n)).filter_map(|n| n.metadata.name.clone()).collect();
        for (cause, at) in pick(&all, &gone, &out_of_service, self.keep_finished) {
            let Some(pod) = all.get(at) else { continue };
            match self.remove(pod, cause).await {
                Ok(()) => tracing::info!(pod = %ObjectKey::of(pod.as_ref()), ?cause, "removed pod"),
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    tracing::debug!(pod = %ObjectKey::of(pod.as_ref()), %error, "pod not removed, will retry")
                }
            }
        }
    }

    /// Nodes named by pods that have been missing for the whole quarantine, and are missing in the live API too.
    async fn nodes_gone(&self, all: &[Arc<Pod>]) -> HashSet<String> {
        let named: HashSet<String> = all.iter().filter_map(|p| pods::node_name(p)).map(str::to_owned).collect();
        let missing: HashSet<String> =
            named.into_iter().filter(|name| self.nodes.get(&ObjectKey::cluster(name.clone())).is_none()).collect();
        let due: Vec<String> = {
            let mut since = self.missing_since.lock().unwrap_or_else(PoisonError::into_inner);
            since.retain(|name, _| missing.contains(name));
            for name in missing {
                since.entry(name).or_insert_with(Instant::now);
            }
            since.iter().filter(|(_, at)| at.elapsed() >= QUARANTINE).map(|(name, _)| name.clone()).collect()
        };
        let mut gone = HashSet::new();
        for name in due {
            if self.client.get::<Node>(&ObjectKey::cluster(name.clone())).await.is_err_and(|e| is_not_found(&e)) {
                gone.insert(name);
            }
        }
        gone
    }

    async fn remove(&self, pod: &Pod, cause: Cause) -> kube::Result<()> {
        let key = ObjectKey::of(pod);
        if !pods::is_finished(pod) {
            if cause == Cause::NodeGone {
                mark_disrupted(&self.pods, pod, "DeletionByPodGC", "PodGC: node no longer exists").await?;
            }
            // Whoever counts results must see an end, not a disappearance.
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed"}});
            self.pods.patch_status(&key, &Patch::Merge(patch)).await?;
        }
        self.pods.delete(&key, &Deletion::of_uid(pod.metadata.uid.as_ref()).now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_that_nobody_else_removes_are_picked() {
        let pod = |node: Option<&str>, phase: &str, ends: bool, created: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"creationTimestamp": created, "deletionTimestamp": ends.then_some("2026-01-01T00:00:00Z")},
                    "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase}}))
                .expect("valid"),
            )
        };
        let all = [
            pod(Some("gone"), "Running", false, "2026-01-01T00:00:00Z"),
            pod(None, "Pending", true, "2026-01-01T00:00:00Z"),
            pod(None, "Pending", false, "2026-01-01T00:00:00Z"),
            pod(Some("dead"), "Running", true, "2026-01-01T00:00:00Z"),
            pod(Some("dead"), "Running", false, "2026-01-01T00:00:00Z"),
            pod(Some("ok"), "Succeeded", false, "2026-01-01T00:00:02Z"),
            pod(Some("ok"), "Failed", false, "2026-01-01T00:00:01Z"),
        ];
        let picked = pick(&all, &HashSet::from(["gone".to_owned()]), &HashSet::from(["dead".to_owned()]), 1);
        let expected =
            [(Cause::NodeGone, 0), (Cause::NeverScheduled, 1), (Cause::OutOfService, 3), (Cause::FinishedLongAgo, 6)];
        assert_eq!(picked, BTreeSet::from(expected));
    }

    #[test]
    fn of_finished_pods_those_that_were_evicted_go_first_and_then_the_oldest() {
        let pod = |reason: &str, second: u8| -> Arc<Pod> {
            let meta = json!({"creationTimestamp": format!("2026-01-01T00:00:0{second}Z")});
            let pod = json!({"metadata": meta, "status": {"phase": "Failed", "reason": reason}});
            Arc::new(serde_json::from_value(pod).expect("valid"))
        };
        let all = [pod("Error", 1), pod("Error", 2), pod("Evicted", 3)];
        let picked = pick(&all, &HashSet::new(), &HashSet::new(), 1);
        assert_eq!(picked, BTreeSet::from([(Cause::FinishedLongAgo, 0), (Cause::FinishedLongAgo, 2)]));
    }
}
