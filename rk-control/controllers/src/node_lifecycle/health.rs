//! Whether a node still speaks. Ages are measured by our own clock from the last change seen, so clocks of nodes do
//! not matter.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use std::time::{Duration, Instant};

/// Conditions that only the kubelet can vouch for.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Speaking,
    Silent,
}

/// The last sign of life of one node.
#[derive(Debug)]
pub(super) struct Heartbeat {
    seen: Instant,
    renewed: Option<MicroTime>,
    reported: Option<Time>,
}

impl Heartbeat {
    pub(super) fn new(now: Instant) -> Self {
        Self { seen: now, renewed: None, reported: None }
    }

    /// Notes a renewed Lease or a new status report.
    pub(super) fn observe(&mut self, node: &Node, lease: Option<&Lease>, now: Instant) {
        let renewed = lease.and_then(|l| l.spec.as_ref()?.renew_time.clone());
        let reported = condition(node, "Ready").and_then(|c| c.last_heartbeat_time.clone());
        if renewed != self.renewed || reported != self.reported {
            self.seen = now;
            self.renewed = renewed;
            self.reported = reported;
        }
    }

    pub(super) fn judge(&self, grace: Duration, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.seen) > grace { Verdict::Silent } else { Verdict::Speaking }
    }
}

pub(super) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == type_)
}

/// `True`, `False` or `Unknown`; `None` while a new node has not reported yet.
pub(super) fn ready_status(node: &Node) -> Option<&str> {
    condition(node, "Ready").map(|c| c.status.as_str())
}

/// The node with all kubelet conditions Unknown; `None` when they are already.
pub(super) fn mark_unknown(node: &Node, now: Timestamp) -> Option<Node> {
    let mut node = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for type_ in KUBELET_CONDITIONS {
        match conditions.iter_mut().find(|c| c.type_ == type_) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                changed = true;
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            None => {
                changed = true;
                conditions.push(NodeCondition {
                    type_: type_.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: created.clone(),
                    last_transition_time: Some(Time(now)),
                });
            }
        }
    }
    changed.then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(at: &str) -> Node {
        serde_json::from_value(
            json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]}}),
        )
        .expect("valid")
    }

    #[test]
    fn silence_is_measured_from_the_last_change_that_was_seen() {
        let (start, grace) = (Instant::now(), Duration::from_secs(40));
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.observe(&node("2020-01-01T00:00:00Z"), None, start);
        assert_eq!(heartbeat.judge(grace, start + Duration::from_secs(40)), Verdict::Speaking);
        assert_eq!(heartbeat.judge(grace, start + Duration::from_secs(41)), Verdict::Silent);
        heartbeat.observe(&node("2020-01-01T00:00:10Z"), None, start + Duration::from_secs(50));
        assert_eq!(heartbeat.judge(grace, start + Duration::from_secs(60)), Verdict::Speaking);
    }

    #[test]
    fn a_silent_node_becomes_unknown_once() {
        let unknown = mark_unknown(&node("2020-01-01T00:00:00Z"), Timestamp::now()).expect("changed");
        assert_eq!(ready_status(&unknown), Some("Unknown"));
        assert_eq!(unknown.status.as_ref().and_then(|s| s.conditions.as_ref()).map(Vec::len), Some(4));
        assert!(mark_unknown(&unknown, Timestamp::now()).is_none());
    }
}
