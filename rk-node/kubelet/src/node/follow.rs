//! Following the own Node object.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use rk_watch::{Event, Selection, follow as watched};
use tokio::sync::{mpsc, watch};

use crate::context::NodeFacts;

/// Watches the node and tells of every event. What pods are admitted by is noted first and at once, whatever the listener does
/// meanwhile: a pod may have been placed by a label that is milliseconds old.
pub(super) async fn follow(
    client: Client,
    name: String,
    facts: watch::Sender<NodeFacts>,
    tell: mpsc::UnboundedSender<Event<Node>>,
) {
    let mut events = watched::<Node>(client, Selection::fields(format!("metadata.name={name}")));
    while let Some(event) = events.next().await {
        if let Event::Applied(node) | Event::Listed(node) = &event {
            note(&facts, node);
        }
        if let Event::Complete = &event {
            hear(&facts);
        }
        if tell.send(event).is_err() {
            return;
        }
    }
}

/// From now on it is the API that gives the node its pod CIDR: nobody waits for this alone.
fn hear(facts: &watch::Sender<NodeFacts>) {
    facts.send_if_modified(|facts| {
        facts.heard = true;
        false
    });
}

/// The node's pod CIDRs with commas between them, the primary first, as the runtime is told of them.
fn pod_cidr(node: &Node) -> Option<String> {
    let spec = node.spec.as_ref()?;
    let several = spec.pod_cidrs.as_deref().unwrap_or_default().join(",");
    let one = || spec.pod_cidr.clone().unwrap_or_default();
    let text = if several.is_empty() { one() } else { several };
    Some(text).filter(|text| !text.is_empty())
}

fn note(facts: &watch::Sender<NodeFacts>, node: &Node) {
    let pod_cidr = pod_cidr(node);
    facts.send_if_modified(|facts| {
        let labels = facts.labels.clone();
        facts.admit_by(node);
        let news = (facts.pod_cidr != pod_cidr && pod_cidr.is_some()) || facts.labels != labels;
        if pod_cidr.is_some() {
            facts.pod_cidr = pod_cidr;
        }
        news
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_pod_cidr_is_heard_of_all_the_same() {
        let (facts, mut seen) = watch::channel(NodeFacts::default());
        hear(&facts);
        assert!(facts.borrow().heard && !seen.has_changed().unwrap());
        let taints = serde_json::json!([{"key": "k", "effect": "NoExecute"}]);
        let node =
            serde_json::json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.1.0/24", "taints": taints}});
        note(&facts, &serde_json::from_value(node).unwrap());
        assert_eq!(facts.borrow().taints.len(), 1);
        assert_eq!(seen.borrow_and_update().pod_cidr.as_deref(), Some("10.244.1.0/24"));
    }

    #[test]
    fn a_node_may_have_a_pod_cidr_of_each_family() {
        for (spec, wanted) in [
            (serde_json::json!({}), None),
            (serde_json::json!({"podCIDR": ""}), None),
            (serde_json::json!({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}), Some("10.244.1.0/24")),
            (
                serde_json::json!({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]}),
                Some("10.244.1.0/24,fd00:10:244:1::/64"),
            ),
        ] {
            let node = serde_json::json!({"metadata": {"name": "n"}, "spec": spec});
            assert_eq!(pod_cidr(&serde_json::from_value(node).unwrap()).as_deref(), wanted);
        }
    }
}
