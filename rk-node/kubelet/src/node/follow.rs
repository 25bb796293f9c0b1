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
        if tell.send(event).is_err() {
            return;
        }
    }
}

fn note(facts: &watch::Sender<NodeFacts>, node: &Node) {
    let pod_cidr = node.spec.as_ref().and_then(|s| s.pod_cidr.clone()).filter(|c| !c.is_empty());
    let labels = node.metadata.labels.clone().unwrap_or_default();
    facts.send_if_modified(|facts| {
        let news = (facts.pod_cidr != pod_cidr && pod_cidr.is_some()) || facts.labels != labels;
        if pod_cidr.is_some() {
            facts.pod_cidr = pod_cidr;
        }
        facts.labels = labels;
        news
    });
}
