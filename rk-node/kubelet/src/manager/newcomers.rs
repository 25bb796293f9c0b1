//! Whether the node takes a pod that comes to it, and who goes in its favour.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;

use super::Manager;
use crate::admission::{Refusal, admit, app_armor, pressure, sysctls};
use crate::eviction::Order;
use crate::pod::spec;
use crate::pod::status::PREEMPTED;
use crate::preemption;
use crate::shutdown::{NODE_SHUTDOWN, REFUSED_MESSAGE};

/// Whether the pod is yet to be admitted: what runs here already was before this kubelet started, and what ends takes nothing.
pub(super) fn is_to_admit(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let known = status.is_some_and(|s| s.start_time.is_some());
    let over =
        spec::terminal_phase(status.and_then(|s| s.phase.as_deref())) || pod.metadata.deletion_timestamp.is_some();
    !known && !over
}

impl Manager {
    /// Whether the node takes the pod, and what it is given then.
    pub(super) fn admission(&mut self, pod: &Pod) -> Result<(), Refusal> {
        if !is_to_admit(pod) {
            return Ok(());
        }
        if self.leaving.is_some() {
            return Err((NODE_SHUTDOWN.to_owned(), REFUSED_MESSAGE.to_owned()));
        }
        let others = self.workers.values().filter(|h| self.takes(h) && !h.is_forgotten());
        let others = self.context.withheld.counted(others.map(|h| h.desired.borrow().pod().clone()));
        let others: Vec<&Pod> = others.iter().map(AsRef::as_ref).collect();
        let (mut node, max_pods) = (self.context.node.borrow().clone(), self.context.options.max_pods);
        node.lapsed = self.context.devices.lapsed();
        if let Some(newest) = self.newest.node() {
            node.admit_by(newest);
        }
        let options = &self.context.options;
        let short = self.context.shortages.told(options.pressure_transition, Instant::now());
        let rules =
            pressure(pod, short).and_then(|()| sysctls(pod, &options.unsafe_sysctls)).and_then(|()| app_armor(pod));
        let rules = rules.and_then(|()| self.could_have_devices(pod));
        let Err(refusal) = rules.clone().and_then(|()| admit(pod, &others, &node, max_pods)) else {
            return self.give_own(pod);
        };
        // A pod that keeps the cluster going takes the place of others, if that is all that it lacks.
        let victims = rules.is_ok().then(|| preemption::victims(pod, &others, &node, max_pods)).flatten();
        if let Some(victims) = victims {
            let lacks = preemption::lacks(pod, &others, &node, max_pods);
            for victim in victims {
                self.context.runtime.meters.entry.preemptions.add(&[lacks.as_str()]);
                self.preempt(victim, pod);
            }
            return self.give_own(pod);
        }
        Err(refusal)
    }

    /// Ends a pod in favour of `critical`; from now on it takes nothing.
    fn preempt(&mut self, victim: &Pod, critical: &Pod) {
        tracing::warn!(pod = %spec::describe(victim), "the pod goes to make room for {}", spec::describe(critical));
        let uid = spec::uid(victim);
        self.context.evictions.give(uid, Order::in_favour(PREEMPTED, preemption::MESSAGE.to_owned()));
        if let Some(handle) = self.workers.get_mut(uid) {
            (handle.refused, handle.preempted) = (true, true);
            handle.wake.notify_one();
        }
    }
}
