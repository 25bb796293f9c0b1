//! What the node said of itself last, and whether somebody has said otherwise since.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};

/// A status that was written.
#[derive(Clone, Debug)]
pub struct Reported {
    at: Instant,
    /// The status as the node meant it.
    pub status: NodeStatus,
    /// The object's version after the write; versions are numbers that can be compared (KEP-5504).
    version: Option<u64>,
}

impl Reported {
    /// A status that is on the server since now, in this state of the object.
    pub fn now(status: NodeStatus, written: Option<&Node>) -> Self {
        Self { at: Instant::now(), status, version: written.and_then(version) }
    }

    /// Whether this status should be written: it is another one, or the last was written so long ago.
    pub fn is_due(&self, status: &NodeStatus, again: Duration) -> bool {
        self.at.elapsed() >= again || !same(&self.status, status)
    }

    /// Whether the object, in a state after the write, says otherwise of a condition of the node's own.
    ///
    /// The node lifecycle controller does so when heartbeats fail to arrive: it sets the conditions to `Unknown`.
    pub fn is_denied_by(&self, node: &Node) -> bool {
        let since = match (version(node), self.version) {
            (Some(seen), Some(written)) => seen > written,
            _ => true,
        };
        let on_server = |own: &&NodeCondition| {
            let seen = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            seen.clone().any(|other| other.type_ == own.type_ && other.status == own.status)
        };
        since && !self.status.conditions.iter().flatten().all(|own| on_server(&own))
    }
}

fn version(node: &Node) -> Option<u64> {
    node.metadata.resource_version.as_ref()?.parse().ok()
}

/// Whether two statuses say the same, heartbeat times aside.
fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let bare = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: &str) -> NodeStatus {
        let own = NodeCondition { type_: "Ready".into(), status: ready.into(), ..Default::default() };
        NodeStatus { conditions: Some(vec![own]), ..Default::default() }
    }

    fn node(version: &str, ready: &str) -> Node {
        let mut node = Node { status: Some(status(ready)), ..Default::default() };
        node.metadata.resource_version = Some(version.into());
        node
    }

    #[test]
    fn only_a_later_state_denies_what_was_reported() {
        let reported = Reported::now(status("True"), Some(&node("7", "True")));
        for (version, ready, denied) in [
            ("8", "True", false),
            ("8", "Unknown", true),
            ("8", "False", true),
            ("6", "False", false),
            ("x", "False", true),
        ] {
            assert_eq!(reported.is_denied_by(&node(version, ready)), denied, "{version} {ready}");
        }
        let mut others = node("9", "True");
        let foreign = NodeCondition { type_: "NetworkUnavailable".into(), status: "True".into(), ..Default::default() };
        others.status.get_or_insert_default().conditions.get_or_insert_default().push(foreign);
        assert!(!reported.is_denied_by(&others), "conditions of others are theirs");
        let emptied = Node { metadata: others.metadata.clone(), ..Default::default() };
        assert!(reported.is_denied_by(&emptied), "a condition that is gone is denied too");
    }

    #[test]
    fn a_heartbeat_alone_is_no_news() {
        let reported = Reported::now(status("True"), None);
        let mut later = status("True");
        for condition in later.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = Some(crate::clock::now_seconds());
        }
        assert!(!reported.is_due(&later, Duration::from_secs(300)));
        assert!(reported.is_due(&status("False"), Duration::from_secs(300)));
    }
}
