//! What a worker tells of its pod, also while something of it takes long: others rely on the pod for as long as it says that it is ready.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::{Stage, Worker};
use crate::pod::startup::startup;
use crate::pod::status::{StatusInputs, not_yet_final, pod_status};
use crate::pod::{ends, spec};
use crate::runtime::RuntimePod;

impl Worker {
    /// Tells the status of the pod as it is seen now, and answers with it.
    pub(super) fn publish(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &RuntimePod,
        terminal: bool,
        finished: bool,
    ) -> PodStatus {
        let (host_ips, node_memory) = {
            let node = self.context.node.borrow();
            (node.host_ips.clone(), node.memory)
        };
        let (probes, mut devices) = (self.probes.results(), self.context.devices.health(spec::uid(pod)));
        self.context.claims.add_health(pod, &mut devices);
        let known = self.as_told(pod);
        let inputs = StatusInputs {
            pod: &known,
            runtime,
            round: self.round(pod, runtime),
            probes: &probes,
            waiting: &self.waiting,
            host_ips: &host_ips,
            node_memory,
            terminal,
            failure: self.failure.as_ref(),
            disrupted: self.disrupted,
            refused: self.refused,
            resize_pending: self.resize_pending.as_ref(),
            resize_error: self.resize_error.as_deref(),
            devices: &devices,
            resizing: self.context.cgroups.is_behind(pod),
            now: Timestamp::now(),
        };
        let computed = pod_status(&inputs);
        self.note_resized(pod, &computed);
        let mut shown = computed.clone();
        let lasts = runtime.anything_running() || self.context.claims.has_any(spec::uid(pod));
        if spec::terminal_phase(shown.phase.as_deref()) && lasts {
            not_yet_final(&mut shown, pod.status.as_ref());
        }
        self.note_ends(pod, &shown);
        self.context.status.publish(pod, shown, finished);
        self.note_start(pod, &computed);
        computed
    }

    /// As [`Self::publish`], of a version of the pod that may be newer than the one that is acted upon. What it asks for beyond what the
    /// pod has is judged before: once the API says that it is allocated, nobody judges it any more.
    pub(super) fn publish_newest(&mut self, pod: &Arc<Pod>, runtime: &RuntimePod) {
        if self.stage == Stage::Syncing && pod.metadata.deletion_timestamp.is_none() {
            self.judge_resize(pod);
        }
        self.publish(pod, runtime, false, false);
    }

    /// Counts the ends of containers that were not told before.
    fn note_ends(&self, pod: &Pod, status: &PodStatus) {
        let told = self.context.status.latest(spec::uid(pod)).or_else(|| pod.status.clone()).unwrap_or_default();
        for (kind, end) in ends::newly_told(&told, status) {
            let (code, reason) = (end.exit_code.to_string(), end.reason.as_deref().unwrap_or_default());
            self.context.runtime.meters.terminated_containers.add(&[kind.label(), &code, reason]);
        }
    }

    /// Tells how long the pod took, once it runs; what ran before this kubelet did was not started by it.
    fn note_start(&mut self, pod: &Pod, status: &PodStatus) {
        if status.phase.as_deref() != Some("Running") {
            return;
        }
        let Some(seen) = self.unstarted.take() else { return };
        if pod.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Running") {
            self.context.runtime.meters.pod_starts.observe(&[], seen.elapsed());
        }
    }

    /// Tells how long the pod took to start, once the API tells that all of it runs.
    pub(super) fn note_observed(&mut self, pod: &Pod) {
        if !self.unobserved {
            return;
        }
        let pulling = self.context.images.pulling(spec::uid(pod));
        if let Some(took) = startup(pod, Timestamp::now(), pulling) {
            self.unobserved = false;
            self.context.runtime.meters.starts.started(took);
        }
    }

    /// Does what takes long and tells meanwhile what probes find, which upstream's kubelet tells beside its workers.
    pub(super) async fn while_telling<T>(&mut self, runtime: &RuntimePod, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut woken = false;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.heard.wake.notified() => {
                    woken = true;
                    self.tell_again(runtime);
                }
            }
        };
        if woken {
            // Whatever else it was woken for has its turn afterwards.
            self.heard.wake.notify_one();
        }
        done
    }

    /// Tells of the pod as it is wanted now and was seen by the look that is acted upon.
    pub(super) fn tell_again(&mut self, runtime: &RuntimePod) {
        let desired = self.desired.borrow().clone();
        if !desired.gone() {
            let pod = self.current(&desired);
            self.publish_newest(&pod, runtime);
        }
    }
}
