//! Pods that were placed by what this node has not heard of itself yet.
//!
//! A label may be milliseconds old when a pod is placed by it, and the pod may come before the label does, since they come by two watches.
//! Who does not suit the node as it was heard of last is judged by the object that the API has now.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use rk_watch::Event;
use tokio::time::Instant;

use super::newcomers::is_to_admit;
use super::{Fresh, Manager};
use crate::admission::suits;
use crate::context::NodeFacts;
use crate::pod::spec;
use crate::static_pods::is_mirror;

/// How long the API may take to tell of the node; pods that come meanwhile wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an API that took longer nobody asks for so long: else every pod that comes would keep all others of the node waiting.
const SPARED: Duration = Duration::from_secs(30);

/// The node as the API has it now.
#[derive(Default)]
pub(super) struct Newest {
    /// There while pods are admitted that the node did not suit as it was heard of last.
    node: Option<Node>,
    /// Until when the API is not asked.
    spared: Option<Instant>,
}

impl Newest {
    /// The node, if it was looked at for what is being admitted.
    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// What was looked at has served.
    pub(super) fn forget(&mut self) {
        self.node = None;
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.spared.is_none_or(|until| until <= now)
    }

    /// Takes what the API told; `None` when it took too long.
    fn take(&mut self, told: Option<Result<Node, kube::Error>>, now: Instant) {
        match told {
            Some(Ok(node)) => self.node = Some(node),
            Some(Err(error)) => {
                tracing::warn!("the node cannot be looked at for a new pod: {}", crate::api_error::chain(&error));
            }
            None => {
                tracing::warn!("looking at the node for a new pod took too long");
                self.spared = Some(now + SPARED);
            }
        }
    }
}

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
    is_to_admit(pod) && !is_mirror(pod) && !suits(pod, node)
}

impl Manager {
    /// Asks the API for the node where an event brings a pod that does not suit it as it was heard of last.
    pub(super) async fn look_anew(&mut self, event: &Event<Pod>, fresh: &Fresh) {
        // While the machine goes down nobody is taken, whatever the node is like.
        if self.leaving.is_some() || !self.newest.may_ask(Instant::now()) || !self.doubts(event, fresh) {
            return;
        }
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        let name = self.context.options.node_name.clone();
        let told = tokio::time::timeout(PATIENCE, nodes.get(&name)).await.ok();
        self.newest.take(told, Instant::now());
    }

    fn doubts(&self, event: &Event<Pod>, fresh: &Fresh) -> bool {
        let node = self.context.node.borrow();
        let mut new = brought(event, fresh).iter().filter(|pod| !self.workers.contains_key(spec::uid(pod)));
        new.any(|pod| is_doubtful(pod, &node))
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
    fn an_api_that_keeps_the_node_waiting_is_not_asked_for_every_pod() {
        let (mut newest, now) = (Newest::default(), Instant::now());
        assert!(newest.may_ask(now));
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        newest.take(Some(Err(kube::Error::Service(gone.into()))), now);
        assert!(newest.may_ask(now) && newest.node().is_none(), "that cost no time");
        newest.take(None, now);
        let asked = [now, now + SPARED / 2, now + SPARED].map(|at| newest.may_ask(at));
        assert_eq!(asked, [false, false, true]);
        newest.take(Some(Ok(Node::default())), now + SPARED);
        assert!(newest.node().is_some() && newest.may_ask(now + SPARED));
        newest.forget();
        assert!(newest.node().is_none(), "who comes next is looked at anew");
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
