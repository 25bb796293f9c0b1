//! What a pod is given of what it asks for, and the events that tell how a resize goes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};

use super::{Stage, Worker};
use crate::events::PodRef;
use crate::pod::{given, resize, spec, summary};

/// Where the worker's pod stands between what it was given and what it asks for.
#[derive(Debug, Default)]
pub struct Allocation {
    /// What it was given last; nothing before the first look.
    given: Option<Vec<Option<ResourceRequirements>>>,
    /// The generation of the spec whose resize has begun and is not done.
    begun: Option<i64>,
    /// The generation of the spec of which was told last that its resize waits.
    waits: Option<i64>,
}

impl Allocation {
    /// Takes what a pod is given now; true when that begins a resize.
    fn give(&mut self, now: Vec<Option<ResourceRequirements>>, generation: i64) -> bool {
        let begins = self.given.as_ref().is_some_and(|before| *before != now);
        self.given = Some(now);
        if begins {
            self.begun = Some(generation);
        }
        begins
    }

    /// What a pod asks for is not given: whatever it had is something else.
    fn withhold(&mut self) {
        if self.given.is_none() {
            self.given = Some(Vec::new());
        }
    }
}

fn generation(pod: &Pod) -> i64 {
    pod.metadata.generation.unwrap_or_default()
}

impl Worker {
    /// Whether the node can give what the pod asks for now.
    pub(super) fn judge_resize(&mut self, pod: &Arc<Pod>) {
        let known = self.as_told(pod);
        let pod: &Pod = &known;
        let before = self.resize_pending.take();
        let context = self.context.clone();
        let mut withheld = context.withheld.lock();
        withheld.remove(spec::uid(pod));
        let rules = resize::Rules {
            exclusive_cpus: context.cpus.exclusive_policy(),
            exclusive_memory: context.memory.exclusive_policy(),
            swap: context.swap,
        };
        let allocatable = context.node.borrow().allocatable.clone();
        let judged =
            |pod: &Pod, rest: &[&Pod]| resize::fixed(pod, &rules).or_else(|| resize::pending(pod, rest, &allocatable));
        let others = given::beside(pod, &withheld, &context.pods.all(), |first, rest| judged(first, rest).is_none());
        let others: Vec<&Pod> = others.iter().map(AsRef::as_ref).collect();
        self.resize_pending = judged(pod, &others);
        if self.resize_pending.is_some() {
            withheld.insert(spec::uid(pod).to_owned());
        }
        drop(withheld);
        let Some((reason, message)) = &self.resize_pending else { return self.begin_resize(pod) };
        self.allocation.withhold();
        // What is asked for anew is answered anew, if only in the same words.
        let asked_anew = self.allocation.waits.replace(generation(pod)) != Some(generation(pod));
        if asked_anew || before.as_ref() != self.resize_pending.as_ref() {
            if reason == "Infeasible" {
                self.context.runtime.meters.resizes.infeasible(resize::detail(message));
            }
            let told = summary::told(pod, reason, generation(pod), message);
            self.context.recorder.warning(&PodRef::of(pod), &format!("Resize{reason}"), told);
        }
    }

    /// The pod as what begins in it is held to: while its resize waits, with what it was given before.
    pub(super) fn as_given(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.resize_pending.is_some() { given::as_given(&self.as_told(pod)) } else { pod.clone() }
    }

    /// The pod with what was told last of what it is given.
    pub(super) fn as_told(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let told = self.context.status.latest(spec::uid(pod));
        told.map_or_else(|| pod.clone(), |told| given::as_told(pod, &told))
    }

    fn begin_resize(&mut self, pod: &Pod) {
        if self.allocation.give(summary::resizable(pod), generation(pod)) {
            self.context.withheld.tell_given();
            let told = summary::told(pod, "started", generation(pod), "");
            self.context.recorder.normal(&PodRef::of(pod), "ResizeStarted", told);
        }
    }

    /// Tells that a resize is done, once nothing of the pod is held to anything else.
    pub(super) fn note_resized(&mut self, pod: &Pod, status: &PodStatus) {
        let open = |type_: &str| type_ == "PodResizePending" || type_ == "PodResizeInProgress";
        let lasts = self.stage != Stage::Syncing || status.conditions.iter().flatten().any(|c| open(&c.type_));
        if lasts || pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        if let Some(generation) = self.allocation.begun.take() {
            let told = summary::told(pod, "completed", generation, "");
            self.context.recorder.normal(&PodRef::of(pod), "ResizeCompleted", told);
        }
    }

    /// Tells that a resize cannot go on now.
    pub(super) fn tell_resize_error(&self, pod: &Pod, problem: &str) {
        let told = summary::told(pod, "error", generation(pod), problem);
        self.context.recorder.warning(&PodRef::of(pod), "ResizeError", told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resize_begins_when_what_is_given_changes_and_not_with_the_first_look() {
        let amounts = |cpu: &str| -> Vec<Option<ResourceRequirements>> {
            vec![serde_json::from_value(serde_json::json!({"requests": {"cpu": cpu}})).unwrap()]
        };
        let mut allocation = Allocation::default();
        assert!(!allocation.give(amounts("1"), 1) && allocation.begun.is_none());
        allocation.withhold();
        assert!(!allocation.give(amounts("1"), 2), "what could not be had is not asked for any more");
        assert!(allocation.give(amounts("2"), 3) && allocation.begun == Some(3));
        let mut late = Allocation::default();
        late.withhold();
        assert!(late.give(amounts("2"), 4), "it waited when this kubelet began");
    }
}
