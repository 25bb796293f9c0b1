//! Tells kubelets how long they may cache Secrets and ConfigMaps: longer in larger clusters.

use crate::context::Context;
use k8s_openapi::api::core::v1::Node;
use kube::api::Patch;
use rk_client::{ObjectKey, Outcome, Queue};
use serde_json::json;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Seconds for a number of nodes.
fn seconds(nodes: usize) -> u32 {
    match nodes {
        0..=100 => 0,
        101..=500 => 15,
        501..=1000 => 30,
        1001..=2000 => 60,
        _ => 300,
    }
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let nodes = ctx.informers.of::<Node>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    // Also of nodes that were there before: the cluster may have grown.
    nodes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    ctx.work("ttl", queue, 1, move |key| {
        let nodes = nodes.clone();
        async move {
            let Some(node) = nodes.get(&key) else { return Ok(Outcome::AwaitChange) };
            let wanted = seconds(nodes.len()).to_string();
            if node.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION)) != Some(&wanted) {
                nodes.patch(&key, &Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: wanted}}}))).await?;
            }
            Ok(Outcome::AwaitChange)
        }
    });
}
