//! Making a pod run: turn by turn, until nothing is to be done for a while.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Desired, RESYNC, RETRY, Stage, Worker};
use crate::clock;
use crate::events::PodRef;
use crate::pod::decide::{self, Inputs, Plan};
use crate::pod::{kill, resize, spec};
use crate::runtime::{RuntimeError, RuntimePod};
use crate::static_pods::is_static;

/// Each turn may enable the next step (sandbox, init containers, apps); the bound keeps a confused runtime from spinning.
const MOST_TURNS: u32 = 64;

/// What follows a turn.
enum Next {
    /// Another one: this one has changed what the pod has.
    Turn,
    /// A pause of so long, unless something happens.
    Rest(Duration),
}

impl Worker {
    /// Brings the pod to what its spec asks for, as far as that goes now; answers with how long nothing is due.
    pub(super) async fn sync(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let mut pod = self.current(desired);
        let mut pause = RESYNC;
        for _ in 0..MOST_TURNS {
            if let Next::Rest(rest) = self.turn(desired, &mut pod, &mut pause).await? {
                return Ok(rest);
            }
        }
        Ok(RETRY)
    }

    /// Looks, decides, tells and acts, once each. Afterwards a static `pod` has the status that was told of it, which nobody else keeps, and
    /// `pause` is no longer than it is until something is due.
    async fn turn(
        &mut self,
        desired: &Desired,
        pod: &mut Arc<Pod>,
        pause: &mut Duration,
    ) -> Result<Next, RuntimeError> {
        let runtime = self.gather(pod).await?;
        self.seen = runtime.states();
        let probe_ip = self.probe_ip(pod, &runtime);
        self.probes.reconcile(pod, &runtime, &probe_ip, false);
        self.take_order(pod);
        if let Some(left) = self.check_deadline(pod) {
            *pause = left.min(*pause);
        }
        let over = spec::terminal_phase(pod.status.as_ref().and_then(|s| s.phase.as_deref()));
        if over || self.rests || self.failure.is_some() {
            return Ok(self.begin_end());
        }
        if !self.enter(pod, &runtime).await {
            return Ok(Next::Rest(Duration::ZERO));
        }
        let plan = self.plan(pod, &runtime);
        self.note_waiting(pod, &plan, &runtime);
        self.judge_resize(pod);
        let status = self.publish(pod, &runtime, false, false);
        if is_static(pod) {
            *pod = self.current(desired);
        }
        if spec::terminal_phase(status.phase.as_deref()) {
            return Ok(self.begin_end());
        }
        if let Some(wake) = plan.wake_after {
            *pause = wake.min(*pause);
        }
        self.carry_out(desired, pod, runtime, plan, *pause).await
    }

    fn begin_end(&mut self) -> Next {
        self.stage = Stage::Terminating;
        Next::Rest(Duration::ZERO)
    }

    fn plan(&self, pod: &Pod, runtime: &RuntimePod) -> Plan {
        let probes = self.probes.results();
        decide::decide(&Inputs {
            pod,
            runtime,
            round: self.round(pod, runtime),
            probes: &probes,
            back_off: &self.back_off,
            now: Timestamp::now(),
        })
    }

    /// Does what is planned, and what a resize asks for besides. `pause` is how long nothing else is due.
    async fn carry_out(
        &mut self,
        desired: &Desired,
        pod: &Arc<Pod>,
        mut runtime: RuntimePod,
        mut plan: Plan,
        pause: Duration,
    ) -> Result<Next, RuntimeError> {
        self.prune(&plan).await;
        let resized = self.resize(pod, &runtime).await;
        let (tried, restarts) = (resized.is_some(), resized.unwrap_or_default());
        if !restarts.is_empty() {
            // The end of a container may take its whole grace period: meanwhile its neighbours tell what they have.
            runtime = self.gather(pod).await?;
            self.publish(pod, &runtime, false, false);
            resize::restart(&mut plan, pod, &runtime, restarts);
        }
        let held = self.hold_cpus(pod, &runtime).await?;
        if plan.is_idle() {
            self.refresh_volumes(pod, &runtime).await;
            // Whatever became of a resize, the runtime may tell something else by now.
            if held && !tried {
                self.quiet.keep(runtime);
            }
            return Ok(Next::Rest(pause));
        }
        if let Some(retry) = self.act(pod, &runtime, plan).await? {
            let newest = self.desired.borrow().clone();
            let pod = self.current(&newest);
            let runtime = self.gather(&pod).await?;
            self.publish_newest(&pod, &runtime);
            return Ok(Next::Rest(pause.min(retry)));
        }
        // A newer version may have been seen, and acknowledged, while a container started.
        let unseen = self.desired.has_changed().unwrap_or(false);
        let newer = unseen || !Arc::ptr_eq(desired.pod(), self.desired.borrow().pod());
        Ok(if newer { Next::Rest(Duration::ZERO) } else { Next::Turn })
    }

    /// Fails a pod that is past its `activeDeadlineSeconds`; else says how long it still has.
    fn check_deadline(&mut self, pod: &Pod) -> Option<Duration> {
        let limit = pod.spec.as_ref().and_then(|s| s.active_deadline_seconds)?;
        let latest = self.context.status.latest(spec::uid(pod));
        let start =
            latest.and_then(|s| s.start_time).or_else(|| pod.status.as_ref().and_then(|s| s.start_time.clone()))?;
        let limit = Duration::from_secs(limit.max(0).unsigned_abs());
        let ran = clock::elapsed(Timestamp::now(), start.0);
        if ran < limit {
            return Some(limit - ran);
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.context.recorder.normal(&PodRef::of(pod), "DeadlineExceeded", message);
        self.failure = Some(("DeadlineExceeded".into(), message.into()));
        None
    }

    /// Keeps the reasons of containers that do not run, and drops those of containers that do.
    fn note_waiting(&mut self, pod: &Pod, plan: &Plan, runtime: &RuntimePod) {
        self.waiting.retain(|name, _| !runtime.container(name).is_some_and(|c| c.running()));
        for (name, (reason, message)) in &plan.waiting {
            let news = self.waiting.get(name).is_none_or(|(r, _)| r != reason);
            self.waiting.insert(name.clone(), (reason.clone(), message.clone()));
            if news {
                let text = format!("Back-off restarting failed container {name} in pod {}", spec::describe(pod));
                self.context.recorder.warning(&kill::about(pod, name), "BackOff", text);
            }
        }
    }
}
