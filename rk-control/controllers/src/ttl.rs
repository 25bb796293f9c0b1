//! Tells kubelets how long they may cache Secrets and ConfigMaps: longer in larger clusters.

use crate::context::Context;
use k8s_openapi::api::core::v1::Node;
use kube::api::Patch;
use rk_client::{ObjectKey, Outcome, Queue};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes on, up to how many, and for how many seconds; upstream's figures. They overlap, so that a cluster between two does
/// not change its mind with every node that comes or goes.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Which of [`STEPS`] a cluster is at that was at `before`.
fn step(before: usize, nodes: usize) -> usize {
    match STEPS.get(before) {
        Some((_, most, _)) if nodes > *most => STEPS.iter().position(|(_, most, _)| nodes <= *most).unwrap_or(before),
        Some((least, ..)) if nodes < *least => STEPS.iter().rposition(|(least, ..)| nodes >= *least).unwrap_or(before),
        _ => before,
    }
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let nodes = ctx.informers.of::<Node>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    nodes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let (all, at) = (queue.clone(), Arc::new(AtomicUsize::new(0)));
    // One worker: it alone writes down where the cluster is.
    ctx.work("ttl", queue, 1, move |key| {
        let (nodes, all, at) = (nodes.clone(), all.clone(), Arc::clone(&at));
        async move {
            let before = at.load(Ordering::Relaxed);
            let now = step(before, nodes.len());
            if now != before {
                at.store(now, Ordering::Relaxed);
                nodes.list().iter().for_each(|node| all.add(ObjectKey::of(node.as_ref())));
            }
            let Some(node) = nodes.get(&key) else { return Ok(Outcome::AwaitChange) };
            let wanted = STEPS.get(now).map_or(0, |(.., seconds)| *seconds).to_string();
            if node.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION)) != Some(&wanted) {
                nodes.patch(&key, &Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: wanted}}}))).await?;
            }
            Ok(Outcome::AwaitChange)
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_between_two_sizes_stays_with_the_one_that_it_had() {
        let mut at = 0;
        for (nodes, seconds) in
            [(100, 0), (101, 15), (90, 15), (89, 0), (600, 30), (450, 30), (449, 15), (5000, 300), (1799, 60), (0, 0)]
        {
            at = step(at, nodes);
            assert_eq!(STEPS[at].2, seconds, "{nodes}");
        }
    }
}
