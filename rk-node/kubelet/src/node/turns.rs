//! What of the node's state took a turn, told by events with upstream's names.

use k8s_openapi::api::core::v1::{Node, NodeStatus};

use crate::events::{PodRef, Recorder};

/// A condition, its event when it becomes true, its event otherwise, and whether the first state of a new node is told as well.
const CONDITIONS: [(&str, &str, &str, bool); 4] = [
    ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory", true),
    ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure", true),
    ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID", true),
    ("Ready", "NodeReady", "NodeNotReady", false),
];

/// What was told last, and who tells it.
pub struct Turns {
    recorder: Recorder,
    node: String,
    told: Option<NodeStatus>,
}

impl Turns {
    /// Nothing was told so far.
    pub fn new(recorder: Recorder, node: String) -> Self {
        Self { recorder, node, told: None }
    }

    /// Somebody else has said something of the node, or its object is gone: what counts is what the API has.
    pub fn forget(&mut self) {
        self.told = None;
    }

    /// Tells how this status differs from the one before, which is `known` when there is none of this process.
    pub fn status(&mut self, known: Option<&NodeStatus>, now: &NodeStatus) {
        let before = self.told.as_ref().or(known);
        for event in conditions(before, now) {
            self.tell(event);
        }
        if let Some(boot) = rebooted(before, now) {
            let message = format!("Node {} has been rebooted, boot id: {boot}", self.node);
            self.recorder.warning(&PodRef::node(&self.node), "Rebooted", message);
        }
        let (conditions, node_info) = (now.conditions.clone(), now.node_info.clone());
        self.told = Some(NodeStatus { conditions, node_info, ..Default::default() });
    }

    /// Tells that the scheduler was told to pass the node over, or not to any more.
    pub fn schedulable(&self, before: Option<&Node>, now: &Node) {
        match (before.is_some_and(cordoned), cordoned(now)) {
            (false, true) => self.tell("NodeNotSchedulable"),
            (true, false) => self.tell("NodeSchedulable"),
            _ => {}
        }
    }

    fn tell(&self, event: &str) {
        let message = format!("Node {} status is now: {event}", self.node);
        self.recorder.normal(&PodRef::node(&self.node), event, message);
    }
}

fn cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// The events of conditions that are others now.
fn conditions(before: Option<&NodeStatus>, now: &NodeStatus) -> Vec<&'static str> {
    let state = |status: &NodeStatus, type_: &str| {
        let found = status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
        found.map(|condition| condition.status.clone())
    };
    let mut events = Vec::new();
    for (type_, when_true, otherwise, at_first) in CONDITIONS {
        let Some(now) = state(now, type_) else { continue };
        let turned = match before.and_then(|before| state(before, type_)) {
            Some(before) => before != now,
            None => at_first,
        };
        if turned {
            events.push(if now == "True" { when_true } else { otherwise });
        }
    }
    events
}

/// The boot of now, when the one before was another.
fn rebooted<'a>(before: Option<&NodeStatus>, now: &'a NodeStatus) -> Option<&'a str> {
    let now = now.node_info.as_ref()?.boot_id.as_str();
    let before = before?.node_info.as_ref()?.boot_id.as_str();
    (!before.is_empty() && before != now).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(memory: &str, ready: &str, boot: &str) -> NodeStatus {
        let info = ["architecture", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion"];
        let more = ["machineID", "operatingSystem", "osImage", "systemUUID"];
        let mut node_info: serde_json::Map<String, serde_json::Value> =
            info.into_iter().chain(more).map(|key| (key.to_owned(), json!(""))).collect();
        node_info.insert("bootID".to_owned(), json!(boot));
        serde_json::from_value(json!({"nodeInfo": node_info, "conditions": [
            {"type": "MemoryPressure", "status": memory}, {"type": "Ready", "status": ready}]}))
        .unwrap()
    }

    #[test]
    fn turns_of_conditions_are_told_once_and_those_of_a_new_node_but_for_ready() {
        let calm = status("False", "True", "a");
        for (before, now, want) in [
            (None, &calm, "NodeHasSufficientMemory"),
            (Some(&calm), &calm, ""),
            (Some(&calm), &status("True", "False", "a"), "NodeHasInsufficientMemory NodeNotReady"),
            (Some(&status("Unknown", "Unknown", "a")), &calm, "NodeHasSufficientMemory NodeReady"),
            (Some(&NodeStatus::default()), &calm, "NodeHasSufficientMemory"),
        ] {
            assert_eq!(conditions(before, now).join(" "), want);
        }
    }

    #[test]
    fn another_boot_is_told_where_one_was_known() {
        let (one, other) = (status("False", "True", "a"), status("False", "True", "b"));
        for (before, want) in
            [(None, None), (Some(&one), Some("b")), (Some(&other), None), (Some(&NodeStatus::default()), None)]
        {
            assert_eq!(rebooted(before, &other), want);
        }
    }

    #[test]
    fn a_node_is_cordoned_when_its_spec_says_so() {
        let node = |spec: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        for (spec, want) in
            [(json!({}), false), (json!({"unschedulable": true}), true), (json!({"unschedulable": false}), false)]
        {
            assert_eq!(cordoned(&node(spec)), want);
        }
    }
}
