//! Pods that were placed by what this node has not heard of itself yet.
//!
//! A label may be milliseconds old when a pod is placed by it, and the pod may come before the label does, since they come by two watches.
//! Who does not suit the node as it was heard of last is judged by the object that the API has now.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use rk_watch::Event;

use super::{Fresh, Manager};
use crate::admission::suits;
use crate::context::{NodeFacts, Shared};
use crate::pod::spec;
use crate::static_pods::is_mirror;

/// How long the API may take to tell of the node; pods that come meanwhile wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pods that an event brings to be admitted.
fn brought<'a>(event: &'a Event<Pod>, fresh: &'a Fresh) -> &'a [Pod] {
    match event {
        Event::Applied(pod) => std::slice::from_ref(pod),
        Event::Complete => &fresh.pods,
        _ => &[],
    }
}

/// Whether a pod that has not begun would be refused for its node's labels or taints.
fn is_doubtful(pod: &Pod, node: &NodeFacts) -> bool {
    let status = pod.status.as_ref();
    let begun = status.is_some_and(|s| s.start_time.is_some());
    let over =
        spec::terminal_phase(status.and_then(|s| s.phase.as_deref())) || pod.metadata.deletion_timestamp.is_some();
    !begun && !over && !is_mirror(pod) && !suits(pod, node)
}

impl Manager {
    /// Asks the API for the node where an event brings a pod that does not suit it as it was heard of last.
    pub(super) async fn look_anew(&mut self, event: &Event<Pod>, fresh: &Fresh) {
        self.newest = if self.doubts(event, fresh) { ask(self.context.clone()).await } else { None };
    }

    fn doubts(&self, event: &Event<Pod>, fresh: &Fresh) -> bool {
        let node = self.context.node.borrow();
        let mut new = brought(event, fresh).iter().filter(|pod| !self.workers.contains_key(spec::uid(pod)));
        new.any(|pod| is_doubtful(pod, &node))
    }
}

async fn ask(context: Shared) -> Option<Node> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    match tokio::time::timeout(PATIENCE, nodes.get(&context.options.node_name)).await {
        Ok(Ok(node)) => Some(node),
        Ok(Err(error)) => {
            tracing::warn!("the node cannot be looked at for a new pod: {}", crate::api_error::chain(&error));
            None
        }
        Err(_) => {
            tracing::warn!("looking at the node for a new pod took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(selector: &str, status: Value, annotations: Value) -> Pod {
        let spec = json!({"containers": [], "nodeSelector": {selector: "yes"}});
        let meta = json!({"name": "p", "uid": "u", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn only_who_has_not_begun_and_does_not_suit_the_node_is_doubted() {
        let heard = json!({"metadata": {"labels": {"known": "yes"}}});
        let mut node = NodeFacts::default();
        node.admit_by(&serde_json::from_value(heard).unwrap());
        let none = || Value::Null;
        for (pod, doubted) in [
            (pod("known", none(), none()), false),
            (pod("young", none(), none()), true),
            (pod("young", json!({"phase": "Pending"}), none()), true),
            (pod("young", json!({"startTime": "2026-01-01T00:00:00Z"}), none()), false),
            (pod("young", json!({"phase": "Failed"}), none()), false),
            (pod("young", none(), json!({"kubernetes.io/config.mirror": "x"})), false),
        ] {
            assert_eq!(is_doubtful(&pod, &node), doubted, "{pod:?}");
        }
        let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        node.admit_by(&serde_json::from_value(tainted).unwrap());
        let free: Pod = serde_json::from_value(json!({"spec": {"containers": []}})).unwrap();
        assert!(is_doubtful(&free, &node) && node.labels.is_empty());
    }

    #[test]
    fn pods_come_one_by_one_or_with_the_end_of_a_list() {
        let one = || pod("young", Value::Null, Value::Null);
        let fresh = Fresh { pods: vec![one(), one()], ..Fresh::default() };
        for (event, count) in [
            (Event::Applied(one()), 1),
            (Event::Complete, 2),
            (Event::Listed(one()), 0),
            (Event::Deleted(one()), 0),
            (Event::Begin, 0),
        ] {
            assert_eq!(brought(&event, &fresh).len(), count);
        }
    }
}
