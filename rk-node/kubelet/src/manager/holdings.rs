//! What pods have of the node for themselves: given when they are taken, taken back when they have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use rk_watch::Event;
use tokio_util::task::AbortOnDropHandle;

use super::{Handle, Manager};
use crate::admission::{Refusal, unexpected};
use crate::context::Shared;
use crate::numa::TopologyPolicy;
use crate::pod::spec;

/// With those that come: a pod of a manifest that has no worker yet may have run before this kubelet did, and goes on with what it has.
fn with_comers(
    holders: &BTreeSet<String>,
    asked: &BTreeMap<String, Arc<Pod>>,
    is_here: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let comers = asked.keys().filter(|uid| !is_here(uid.as_str()));
    holders.iter().chain(comers).cloned().collect()
}

/// Has drivers take back what a pod without a worker claimed, unless something of it runs.
async fn release(context: &Shared, uid: &str) {
    if context.runtime.pod(uid).await.is_ok_and(|pod| !pod.anything_running())
        && let Err(problem) = context.claims.unprepare(uid).await
    {
        tracing::info!(uid, "what a pod claimed that is gone stays for now: {problem}");
    }
}

/// Whether room may have come free: a pod has ended or is gone, or a list lacks one that went while nobody watched.
pub(super) fn frees(event: &Event<Pod>) -> bool {
    match event {
        Event::Applied(pod) => spec::terminal_phase(pod.status.as_ref().and_then(|s| s.phase.as_deref())),
        Event::Deleted(_) | Event::Vanished(_) | Event::Complete => true,
        Event::Begin | Event::Listed(_) | Event::Unread(_) => false,
    }
}

impl Manager {
    /// Gives the pod what it wants for itself; the containers of all others make room at once.
    pub(super) fn give_own(&self, pod: &Pod) -> Result<(), Refusal> {
        self.take_back();
        if self.context.give_own(pod)? {
            self.workers.values().for_each(|handle| handle.wake.notify_one());
        }
        Ok(())
    }

    /// Whether the devices are there that the pod asks for. Upstream's kubelet gives them before it counts what else a pod asks for, and
    /// ends nobody to have more of them.
    pub(super) fn could_have_devices(&self, pod: &Pod) -> Result<(), Refusal> {
        self.take_back();
        let aligned = self.context.options.topology.policy != TopologyPolicy::None;
        self.context.devices.could(pod, aligned).map_err(|problem| unexpected(&problem))
    }

    /// Whether the pod of a worker takes something of the node: until it has ended, and beyond if it runs again then.
    pub(super) fn takes(&self, handle: &Handle) -> bool {
        let on = !handle.refused && !handle.task.is_finished();
        on && (handle.returns() || !self.has_ended(handle.desired.borrow().pod()))
    }

    /// Takes back what pods had for themselves that have ended or are gone.
    pub(super) fn take_back(&self) {
        // Before the first list is here, and the first answer of an address, pods that run may have no worker yet.
        if !self.knows_all() {
            return;
        }
        let holders = self.workers.iter().filter(|(_, h)| self.takes(h)).map(|(uid, _)| uid.clone()).collect();
        self.keep(&holders);
    }

    /// Before any of these pods is admitted: what the resizes ask for that wait is free for the others.
    pub(super) fn recall_waiting(&self, pods: &[Pod]) {
        let new = pods.iter().filter(|pod| !self.workers.contains_key(spec::uid(pod)));
        self.context.withheld.recall(new);
    }

    pub(super) fn keep(&self, holders: &BTreeSet<String>) {
        let holders = &with_comers(holders, &self.statics.borrow().pods, |uid| self.workers.contains_key(uid));
        // What goes in favour of another leaves it the CPUs that both may run on for a while, but no device is ever two pods'.
        let lasts = |h: &Handle| h.preempted && !h.task.is_finished() && !self.has_ended(h.desired.borrow().pod());
        let ending = self.workers.iter().filter(|(_, handle)| lasts(handle)).map(|(uid, _)| uid.clone());
        self.context.devices.keep(&holders.iter().cloned().chain(ending).collect());
        self.context.memory.keep(holders);
        if self.context.cpus.keep(holders) {
            self.workers.values().for_each(|handle| handle.wake.notify_one());
        }
    }

    /// Has drivers take back what pods claimed that went while nobody watched.
    pub(super) fn release_claims(&mut self) {
        // Before all pods are known, one without a worker may run.
        if !self.knows_all() || self.releasing.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let holders = self.context.claims.holders();
        let gone: Vec<String> = holders.into_iter().filter(|uid| !self.workers.contains_key(uid)).collect();
        if gone.is_empty() {
            return;
        }
        let context = self.context.clone();
        // Drivers may take their time, which is nobody else's.
        self.releasing = Some(AbortOnDropHandle::new(tokio::spawn(
            async move {
                for uid in gone {
                    release(&context, &uid).await;
                }
            }
            .boxed(),
        )));
    }

    /// Has the pods look at themselves that hold devices: some have begun or ceased to work.
    pub(super) fn wake_holders(&self) {
        let claimants = self.context.claims.holders();
        let holds = |uid: &str| claimants.contains(uid) || !self.context.devices.of_pod(uid).is_empty();
        let holders = self.workers.iter().filter(|(uid, _)| holds(uid));
        holders.for_each(|(_, handle)| handle.wake.notify_one());
    }

    /// Has the pods look at themselves whose resize waits: room may have come free.
    pub(super) fn wake_waiting(&self) {
        let waiting = self.context.withheld.lock();
        let waiting = self.workers.iter().filter(|(uid, _)| waiting.contains(*uid));
        waiting.for_each(|(_, handle)| handle.wake.notify_one());
    }

    pub(super) fn has_ended(&self, pod: &Pod) -> bool {
        let phase = |s: &k8s_openapi::api::core::v1::PodStatus| spec::terminal_phase(s.phase.as_deref());
        pod.status.as_ref().is_some_and(phase) || self.context.status.latest(spec::uid(pod)).as_ref().is_some_and(phase)
    }
}

#[cfg(test)]
mod tests {
    use rk_watch::ObjectKey;
    use serde_json::json;

    use super::*;

    #[test]
    fn room_comes_free_with_the_end_of_a_pod_or_a_list_that_may_lack_one() {
        let pod = |phase: &str| -> Pod { serde_json::from_value(json!({"status": {"phase": phase}})).unwrap() };
        let key = || ObjectKey::of(&pod("Running"));
        for (event, expected) in [
            (Event::Applied(pod("Running")), false),
            (Event::Applied(pod("Succeeded")), true),
            (Event::Applied(pod("Failed")), true),
            (Event::Deleted(pod("Running")), true),
            (Event::Vanished(key()), true),
            (Event::Begin, false),
            (Event::Listed(pod("Failed")), false),
            (Event::Unread(key()), false),
            (Event::Complete, true),
        ] {
            assert_eq!(frees(&event), expected, "{event:?}");
        }
    }

    #[test]
    fn a_pod_of_a_manifest_that_has_yet_to_come_keeps_what_it_has() {
        let set = |uids: &[&str]| -> BTreeSet<String> { uids.iter().map(|uid| (*uid).to_owned()).collect() };
        let asked: BTreeMap<String, Arc<Pod>> =
            ["comes", "runs", "ended"].map(|uid| (uid.to_owned(), Arc::<Pod>::default())).into();
        let kept = with_comers(&set(&["runs", "of-api"]), &asked, |uid| ["runs", "ended", "of-api"].contains(&uid));
        assert_eq!(kept, set(&["comes", "of-api", "runs"]), "one that has ended here has nothing any more");
    }
}
