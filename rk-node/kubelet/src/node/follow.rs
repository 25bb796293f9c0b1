//! Following the own Node object.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::{mpsc, watch};

use crate::context::NodeFacts;

/// Watches the node and tells of every event. What pods are admitted by is noted first and at once, whatever the listener does
/// meanwhile: a pod may have been placed by a label that is milliseconds old.
pub(super) async fn follow(
    api: Api<Node>,
    name: String,
    facts: watch::Sender<NodeFacts>,
    tell: mpsc::UnboundedSender<watcher::Event<Node>>,
) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api, config).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if let watcher::Event::Apply(node) | watcher::Event::InitApply(node) = &event {
                    note(&facts, node);
                }
                if tell.send(event).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => tracing::debug!("watching the own node: {}", crate::api_error::chain(&error)),
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
