//! Watches over nodes: silent ones become Unknown, taints follow conditions, pods on lost nodes become not ready.

mod health;
mod taints;

use crate::context::Context;
use crate::pods;
use health::{Heartbeat, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::api::Patch;
use rk_client::{BoxError, Change, EventType, Informer, ObjectKey, Outcome, Queue, Recorder, is_not_found};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(5);
const LEASE_NAMESPACE: &str = "kube-node-lease";

struct Controller {
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    recorder: Recorder,
    grace: Duration,
    heartbeats: Mutex<HashMap<String, Heartbeat>>,
}

/// Starts the loop: every change of a node, and all nodes every few seconds, as silence is no change.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        leases: ctx.informers.selected("metadata.namespace=kube-node-lease"),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("node-controller"),
        grace: ctx.config.node_grace,
        heartbeats: Mutex::default(),
    });
    pods::index_by_node(&controller.pods);
    let queue: Queue<ObjectKey> = Queue::default();
    let (q, events) = (queue.clone(), Arc::clone(&controller));
    controller.nodes.on_change(move |change| {
        events.announce(change);
        q.add(ObjectKey::of(change.object().as_ref()));
    });
    let (q, nodes) = (queue.clone(), controller.nodes.clone());
    ctx.every(PERIOD, move || {
        nodes.list().iter().for_each(|node| q.add(ObjectKey::of(node.as_ref())));
        std::future::ready(())
    });
    ctx.work("node_lifecycle_controller", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    fn announce(&self, change: &Change<Node>) {
        let (reason, verb) = match change {
            Change::Added(_) => ("RegisteredNode", "Registered"),
            Change::Deleted(_) => ("RemovingNode", "Removing"),
            Change::Updated { .. } => return,
        };
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let preposition = if verb == "Removing" { "from" } else { "in" };
        self.recorder.about(
            reference(change.object()),
            EventType::Normal,
            reason,
            "",
            format!("Node {name} event: {verb} Node {name} {preposition} Controller"),
            None,
        );
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(node) = self.nodes.get(key) else {
            self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name);
            return Ok(Outcome::AwaitChange);
        };
        let lease = self.leases.get(&ObjectKey::new(LEASE_NAMESPACE, key.name.clone()));
        let verdict = {
            let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
            let heartbeat = heartbeats.entry(key.name.clone()).or_insert_with(|| Heartbeat::new(Instant::now()));
            heartbeat.observe(&node, lease.as_deref(), Instant::now());
            heartbeat.judge(self.grace, Instant::now())
        };
        let mut current = Node::clone(&node);
        if verdict == Verdict::Silent
            && let Some(changed) = health::mark_unknown(&current, Timestamp::now())
        {
            tracing::warn!(node = key.name, "node is silent; its conditions become Unknown");
            current = self.nodes.replace_status(&changed).await?;
        }
        let ready = health::ready_status(&current).is_none_or(|status| status == "True");
        if let Some(wanted) = taints::wanted(&current, self.all_nodes_down(), Timestamp::now()) {
            let present = &mut current.spec.get_or_insert_default().taints;
            let begins = taints::evicts(&wanted) && !taints::evicts(present.as_deref().unwrap_or_default());
            *present = Some(wanted).filter(|t| !t.is_empty());
            self.nodes.replace(&current).await?;
            if begins {
                rk_client::count("node_collector_evictions_total", &[("zone", zone(&current).as_str())]);
            }
        }
        if !ready {
            self.mark_pods(&node).await?;
        }
        Ok(Outcome::AwaitChange)
    }

    /// When no node is ready at all the fault is more likely ours or the network's: evicting would only add damage.
    fn all_nodes_down(&self) -> bool {
        let nodes = self.nodes.list();
        !nodes.is_empty() && nodes.iter().all(|node| health::ready_status(node) != Some("True"))
    }

    /// Services must not send traffic to pods that nobody vouches for.
    async fn mark_pods(&self, node: &Node) -> Result<(), BoxError> {
        let name = node.metadata.name.clone().unwrap_or_default();
        for pod in self.pods.by_index(pods::BY_NODE, &name) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let mut conditions = json!(pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default());
            for condition in conditions.as_array_mut().into_iter().flatten() {
                if condition["type"] == "Ready" {
                    condition["status"] = json!("False");
                    condition["lastTransitionTime"] = json!(now);
                }
            }
            let patch = json!({"metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}, "status": {"conditions": conditions}});
            match self.pods.patch_status(&ObjectKey::of(pod.as_ref()), &Patch::Merge(patch)).await {
                Ok(_) => self.recorder.warning(pod.as_ref(), "NodeNotReady", "Node is not ready"),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Region and zone of a node as upstream joins them; nothing where it has neither.
fn zone(node: &Node) -> String {
    let label =
        |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str);
    match (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone")) {
        ("", "") => String::new(),
        (region, zone) => format!("{region}:\0:{zone}"),
    }
}

/// How events name a node.
fn reference(node: &Node) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        name: node.metadata.name.clone(),
        uid: node.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_in_a_zone_of_a_region() {
        let node = |labels: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {"labels": labels}})).expect("valid")
        };
        assert_eq!(zone(&node(json!({"other": "x"}))), "");
        let labels = json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"});
        assert_eq!(zone(&node(labels)), "r:\0:z");
    }
}
