//! The worker of one pod: gather, decide, publish, act, wait. One task per pod; everything it decides with is in `decide` and
//! `status`, everything it does is in `start` and `kill`. `turn` makes a pod run, `end` ends it, the other modules are what they share.

mod act;
mod allocation;
mod end;
mod look;
mod quiet;
mod setup;
mod tell;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::backoff::BackOff;
use super::round::Round;
use super::spec;
use crate::context::Shared;
use crate::probes::ProbeTasks;
use crate::runtime::{RuntimeError, RuntimePod, States};
use crate::static_pods::{is_static, same_edition};
use crate::volumes::Volumes;
use allocation::Allocation;
pub use look::Heard;
use quiet::Quiet;

/// Look again when nothing happens: refreshes volumes and catches what events missed.
const RESYNC: Duration = Duration::from_secs(60);
/// Pause after a failure that has no pace of its own.
const RETRY: Duration = Duration::from_secs(2);
/// First and longest pause after failed volumes or sandboxes.
const SETUP_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));
/// Grace of pods whose object is gone already, and the least of all, seconds.
const GRACE_OF_GONE: i64 = 1;

/// What the API says of a pod.
#[derive(Clone)]
pub enum Desired {
    /// It should be here.
    Present(Arc<Pod>),
    /// Its object is gone.
    Gone(Arc<Pod>),
}

impl Desired {
    /// The latest object.
    pub fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Present(pod) | Self::Gone(pod) => pod,
        }
    }

    /// Whether its object is gone.
    pub fn gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }

    /// Whether the manifest of the static pod that the worker began with was taken away and put back since.
    pub fn put_back(&self, began: &Pod) -> bool {
        !self.gone() && is_static(self.pod()) && !same_edition(began, self.pod())
    }

    /// Whether it tells nothing but another status than `before`, which is no reason to ask the runtime: mostly the kubelet wrote it.
    pub fn only_tells(&self, before: &Self) -> bool {
        matches!((self, before), (Self::Present(now), Self::Present(then)) if spec::same_but_status(now, then))
    }

    /// Whether the pod that the worker began with is to end: for good, or to begin again from a manifest that was put back.
    fn ends(&self, began: &Pod) -> bool {
        self.ending() || self.put_back(began)
    }

    /// Whether its object is gone or goes.
    pub fn ending(&self) -> bool {
        self.gone() || self.pod().metadata.deletion_timestamp.is_some()
    }

    fn grace(&self) -> i64 {
        let pod = self.pod();
        let grace = match (self.gone(), pod.metadata.deletion_grace_period_seconds) {
            (true, None) => pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(GRACE_OF_GONE),
            _ => spec::grace_seconds(pod),
        };
        grace.max(GRACE_OF_GONE)
    }
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Made to run.
    Syncing,
    /// Being ended.
    Terminating,
    /// Nothing of it runs any more; waits for its object to go.
    Terminated,
    /// Nothing of it runs until its machine is back.
    Resting,
    /// Nothing of it is left.
    Removed,
}

/// What a worker tells of itself.
#[derive(Clone)]
pub struct Told {
    /// Where its pod is in its life.
    pub stage: watch::Sender<Stage>,
    /// The pod that it began with.
    pub began: watch::Sender<Arc<Pod>>,
}

/// One pod's worker.
pub struct Worker {
    context: Shared,
    desired: watch::Receiver<Desired>,
    /// The pod that it was made for.
    began: Arc<Pod>,
    heard: Heard,
    /// What the last look saw that the pod was acted upon by.
    seen: States,
    stage: Stage,
    told: Told,
    probes: ProbeTasks,
    adopted: bool,
    back_off: BackOff,
    waiting: BTreeMap<String, (String, String)>,
    /// Set when the kubelet itself failed the pod: reason and message.
    failure: Option<(String, String)>,
    /// Whether that is none of the pod's own doing.
    disrupted: bool,
    /// Whether the node has not taken the pod at all.
    refused: bool,
    /// Whether it has what plugins bring, as far as it had to ask.
    entered: bool,
    /// How long the pod has to end when the node cannot wait for longer, seconds.
    longest_grace: Option<i64>,
    /// Whether it is to end only until its machine is back.
    rests: bool,
    volumes: Option<(Volumes, Instant)>,
    setup_failures: u32,
    /// Why a resize is not begun: reason and message.
    resize_pending: Option<(String, String)>,
    /// Why a resize that was begun is not done.
    resize_error: Option<String>,
    allocation: Allocation,
    quiet: Quiet,
    /// The last round of the pod whose end was carried out and told.
    announced: Option<u32>,
    /// When the pod was seen first, until it runs.
    unstarted: Option<Instant>,
    /// Whether the API has yet to tell that all of a pod runs that began with this kubelet.
    unobserved: bool,
}

impl Worker {
    /// A worker; `refusal` makes it only report that the node does not take the pod.
    pub fn new(
        context: Shared,
        desired: watch::Receiver<Desired>,
        heard: Heard,
        told: Told,
        refusal: Option<(String, String)>,
    ) -> Self {
        let (recorder, wake) = (context.recorder.clone(), heard.wake.clone());
        let probes = ProbeTasks::new(context.runtime.clone(), recorder, context.probes.clone(), wake);
        let began = desired.borrow().pod().clone();
        told.began.send_replace(began.clone());
        // Nobody creates static pods, they are found.
        let unobserved = !is_static(&began) && began.status.as_ref().is_none_or(|status| status.start_time.is_none());
        Self {
            back_off: BackOff::up_to(context.options.pace.longest_restart),
            context,
            desired,
            began,
            heard,
            seen: States::default(),
            stage: if refusal.is_some() { Stage::Terminating } else { Stage::Syncing },
            told,
            probes,
            adopted: false,
            waiting: BTreeMap::new(),
            disrupted: false,
            refused: refusal.is_some(),
            failure: refusal,
            entered: false,
            longest_grace: None,
            rests: false,
            volumes: None,
            setup_failures: 0,
            resize_pending: None,
            resize_error: None,
            allocation: Allocation::default(),
            quiet: Quiet::default(),
            announced: None,
            unstarted: Some(Instant::now()),
            unobserved,
        }
    }

    /// Runs until nothing of the pod is left.
    pub async fn run(mut self) {
        let uid = spec::uid(self.desired.borrow().pod()).to_owned();
        let mut why = "create";
        loop {
            let desired = self.desired.borrow_and_update().clone();
            self.note_observed(desired.pod());
            let begun = Instant::now();
            let stepped = self.step(&desired).await;
            self.context.runtime.meters.pod_workers.observe(&[why], begun.elapsed());
            let pause = match stepped {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(pod = %spec::describe(desired.pod()), "{}: {error}", error.call);
                    RETRY
                }
            };
            if self.stage == Stage::Removed {
                break;
            }
            self.quiet.rest(pause);
            why = "sync";
            tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => {
                        if !self.desired.borrow().only_tells(&desired) {
                            self.quiet.forget();
                        }
                        why = "update";
                    }
                    Err(_) => break,
                },
                () = self.heard.wake.notified() => self.quiet.forget(),
                () = look::news(&mut self.heard.states, &self.seen) => self.quiet.forget(),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.told.stage.send_replace(Stage::Removed);
        self.context.status.forget(&uid);
        self.context.images.forget(&uid);
        self.probes.stop();
        self.context.runtime.meters.forget_probes(spec::namespace(&self.began), spec::name(&self.began), &uid);
    }

    async fn step(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let ends = match self.stage {
            Stage::Syncing => desired.ends(&self.began),
            Stage::Resting => desired.ending(),
            Stage::Terminating | Stage::Terminated | Stage::Removed => false,
        };
        if ends {
            self.stage = Stage::Terminating;
        }
        self.told.stage.send_replace(self.stage);
        match self.stage {
            Stage::Syncing => self.sync(desired).await,
            Stage::Terminating => self.terminate(desired).await,
            Stage::Terminated => self.after_end(desired).await,
            Stage::Resting | Stage::Removed => Ok(RESYNC),
        }
    }

    /// The pod with what is known of its status: nobody writes that into the manifest of a static pod.
    fn current(&self, desired: &Desired) -> Arc<Pod> {
        let pod = desired.pod();
        if !is_static(pod) {
            return pod.clone();
        }
        let status = self.context.status.latest(spec::uid(pod));
        Arc::new(Pod { status, ..(**pod).clone() })
    }

    /// The newest round of the pod; one that ends begins no other.
    fn round(&self, pod: &Pod, runtime: &RuntimePod) -> Round {
        match self.stage {
            Stage::Syncing => Round::of(pod, runtime, self.announced),
            _ => Round::settled(runtime),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_pod_is_without_time_to_end() {
        let pod = |own: Option<i64>, asked: Option<i64>| -> Arc<Pod> {
            let spec = json!({"containers": [], "terminationGracePeriodSeconds": own});
            let pod = json!({"metadata": {"deletionGracePeriodSeconds": asked}, "spec": spec});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        for (own, asked, present, gone) in [
            (Some(7), None, 7, 7),
            (Some(7), Some(3), 3, 3),
            (Some(7), Some(0), 1, 1),
            (Some(0), None, 1, 1),
            (None, None, spec::DEFAULT_GRACE, 1),
        ] {
            let told = [Desired::Present(pod(own, asked)), Desired::Gone(pod(own, asked))].map(|of| of.grace());
            assert_eq!(told, [present, gone], "{own:?} {asked:?}");
        }
    }
}
