//! The probe tasks of one pod: which should run is decided from spec and runtime; each runs until its container changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::handler::{Finding, HandlerContext, probe_once};
use super::pace::ProbePace;
use super::state::{Counter, Outcome, ProbeKind, ProbeResults, Thresholds};
use crate::clock;
use crate::events::Recorder;
use crate::pod::decide::started;
use crate::pod::{kill, spec};
use crate::runtime::{Runtime, RuntimeContainer, RuntimePod};

/// Results shared between the tasks and the pod's worker.
#[derive(Clone, Default)]
pub struct SharedResults(Arc<Mutex<ProbeResults>>);

impl SharedResults {
    fn with<T>(&self, f: impl FnOnce(&mut ProbeResults) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running probe tasks of one pod.
pub struct ProbeTasks {
    runtime: Runtime,
    recorder: Recorder,
    pace: ProbePace,
    results: SharedResults,
    wake: Arc<Notify>,
    tasks: HashMap<(String, ProbeKind), AbortOnDropHandle<()>>,
}

/// A probe that should be running.
struct Wanted<'a> {
    kind: ProbeKind,
    probe: &'a Probe,
    container: &'a Container,
    last: &'a RuntimeContainer,
}

fn wanted<'a>(pod: &'a Pod, runtime: &'a RuntimePod, results: &ProbeResults, stopping: bool) -> Vec<Wanted<'a>> {
    let mut list = Vec::new();
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    for container in sidecars.chain(spec::app_containers(pod)) {
        let Some(last) = runtime.container(&container.name).filter(|c| c.running()) else { continue };
        let up = started(container, last, results);
        let open = |kind: ProbeKind| !results.get(&last.id, kind).is_some_and(|outcome| kind.is_settled_by(outcome));
        let probes = [
            (ProbeKind::Startup, &container.startup_probe, !up && !stopping && open(ProbeKind::Startup)),
            (ProbeKind::Liveness, &container.liveness_probe, up && !stopping && open(ProbeKind::Liveness)),
            (ProbeKind::Readiness, &container.readiness_probe, up),
        ];
        for (kind, probe, due) in probes {
            if let Some(probe) = probe
                && due
            {
                list.push(Wanted { kind, probe, container, last });
            }
        }
    }
    list
}

impl ProbeTasks {
    /// No tasks yet; `wake` is notified when an outcome changes.
    pub fn new(runtime: Runtime, recorder: Recorder, pace: ProbePace, wake: Arc<Notify>) -> Self {
        Self { runtime, recorder, pace, results: SharedResults::default(), wake, tasks: HashMap::new() }
    }

    /// The outcomes so far.
    pub fn results(&self) -> ProbeResults {
        self.results.with(|r| r.clone())
    }

    /// Takes over what the API knew of containers that ran before this kubelet started, so that a restart makes no pod unready.
    pub fn adopt(&self, pod: &Pod, runtime: &RuntimePod) {
        let statuses = pod.status.as_ref();
        let lists = statuses.map(|s| [&s.container_statuses, &s.init_container_statuses]);
        for status in lists.into_iter().flatten().flatten().flatten() {
            let Some(last) = runtime.container(&status.name).filter(|c| c.running()) else { continue };
            if status.container_id.as_deref() != Some(&crate::pod::container_status::api_id(&last.id)) {
                continue;
            }
            self.results.with(|r| {
                if status.started == Some(true) {
                    r.set(&last.id, ProbeKind::Startup, Outcome::Success);
                }
                if status.ready {
                    r.set(&last.id, ProbeKind::Readiness, Outcome::Success);
                }
            });
        }
    }

    /// Starts what should run and stops what should not. `stopping`: the pod is terminating, only readiness goes on.
    pub fn reconcile(&mut self, pod: &Pod, runtime: &RuntimePod, pod_ip: &str, stopping: bool) {
        let ids: Vec<&str> = runtime.containers.iter().map(|c| c.id.as_str()).collect();
        self.results.with(|r| r.retain(&ids));
        let results = self.results();
        let wanted = wanted(pod, runtime, &results, stopping);
        self.tasks.retain(|(id, kind), _| wanted.iter().any(|w| w.last.id == *id && w.kind == *kind));
        for want in wanted {
            let key = (want.last.id.clone(), want.kind);
            if self.tasks.contains_key(&key) {
                continue;
            }
            let task = ProbeTask {
                context: HandlerContext {
                    runtime: self.runtime.clone(),
                    pod: spec::describe(pod),
                    container_id: want.last.id.clone(),
                    container: want.container.clone(),
                    pod_ip: pod_ip.to_owned(),
                },
                kind: want.kind,
                probe: want.probe.clone(),
                started_at: want.last.started_at,
                pod: kill::about(pod, &want.container.name),
                recorder: self.recorder.clone(),
                pace: self.pace.clone(),
                results: self.results.clone(),
                wake: self.wake.clone(),
            };
            self.tasks.insert(key, AbortOnDropHandle::new(tokio::spawn(task.run().boxed())));
        }
    }

    /// Stops the tasks of a container that is about to be killed, but for its readiness: others may still rely on it while its hook runs.
    pub fn stop_container(&mut self, id: &str) {
        self.tasks.retain(|(of, kind), _| of != id || *kind == ProbeKind::Readiness);
    }

    /// Stops all tasks.
    pub fn stop(&mut self) {
        self.tasks.clear();
    }
}

struct ProbeTask {
    context: HandlerContext,
    kind: ProbeKind,
    probe: Probe,
    started_at: Option<Timestamp>,
    pod: crate::events::PodRef,
    recorder: Recorder,
    pace: ProbePace,
    results: SharedResults,
    wake: Arc<Notify>,
}

/// Upstream's kubelet comes to probe a container about this long after its start. What is found bad before is looked at again then
/// and not counted, or a server that takes a moment to listen would stay unready for a whole period, or be restarted.
const YOUTH: Duration = Duration::from_secs(1);

impl ProbeTask {
    /// How long the container runs.
    fn age(&self) -> Duration {
        self.started_at.map_or(Duration::ZERO, |at| clock::elapsed(Timestamp::now(), at))
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.probe.period_seconds.filter(|s| *s > 0).unwrap_or(10).unsigned_abs().into())
    }

    /// One probe, counted.
    async fn try_once(&self) -> Finding {
        let _turn = match self.probe.exec {
            Some(_) => self.pace.turn(self.period()).await,
            None => None,
        };
        let begun = Instant::now();
        let finding = probe_once(&self.context, &self.probe).await;
        let result = match &finding {
            Finding::Good | Finding::Odd(_) => "successful",
            Finding::Bad(_) => "failed",
            Finding::Errored { .. } => "unknown",
            Finding::Gone => return finding,
        };
        let ([namespace, pod, uid], meters) = (self.pod.identity(), &self.context.runtime.meters);
        let (container, kind) = (self.context.container.name.as_str(), self.kind.as_str());
        meters.probes.add(&[container, namespace, pod, uid, kind, result]);
        meters.probe_durations.observe(&[container, namespace, pod, kind], begun.elapsed());
        finding
    }

    async fn look(&self) -> Finding {
        let finding = self.try_once().await;
        let left = self.started_at.map_or(Duration::ZERO, |_| YOUTH.saturating_sub(self.age()));
        if left.is_zero() || !matches!(finding, Finding::Bad(_)) {
            return finding;
        }
        tokio::time::sleep(left).await;
        self.try_once().await
    }

    async fn run(self) {
        let initial = Duration::from_secs(self.probe.initial_delay_seconds.unwrap_or(0).max(0).unsigned_abs().into());
        tokio::time::sleep(initial.saturating_sub(self.age())).await;
        let period = self.period();
        tokio::time::sleep(self.pace.first_wait(period, self.age())).await;
        let thresholds = Thresholds::of(&self.probe);
        let mut counter = Counter::default();
        let mut ticks = tokio::time::interval(period);
        // A slow probe delays the next one instead of making up for it in a burst.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (good, message) = match self.look().await {
                Finding::Good => (true, None),
                Finding::Odd(message) => {
                    let text = format!("{} probe warning: {message}", self.kind.as_str());
                    self.recorder.warning(&self.pod, "ProbeWarning", text);
                    (true, None)
                }
                Finding::Bad(message) => (false, Some(format!("{} probe failed: {message}", self.kind.as_str()))),
                Finding::Errored { state, error } => {
                    let text = format!("{} probe errored and resulted in {state} state: {error}", self.kind.as_str());
                    self.recorder.warning(&self.pod, "Unhealthy", text);
                    continue;
                }
                Finding::Gone => continue,
            };
            if let Some(message) = message {
                self.recorder.warning(&self.pod, "Unhealthy", message);
            }
            if let Some(outcome) = counter.add(good, thresholds) {
                let news = self.results.with(|r| r.set(&self.context.container_id, self.kind, outcome));
                if news {
                    self.wake.notify_one();
                }
                // The worker may be busy for long with something else of the pod.
                if self.kind.is_settled_by(outcome) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::decide_tests::{pod, runtime, sandbox};

    #[test]
    fn who_has_not_started_is_asked_for_that_alone_and_who_ends_whether_it_is_ready() {
        let all = json!({"name": "a", "startupProbe": {}, "livenessProbe": {}, "readinessProbe": {}});
        let pod = pod(json!({"containers": [all, {"name": "b", "livenessProbe": {}}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "readinessProbe": {}}, {"name": "i"}]}));
        let up = [sandbox(0, true)];
        let (none, mut begun) = (ProbeResults::default(), ProbeResults::default());
        begun.set("a-0", ProbeKind::Startup, Outcome::Success);
        let mut stuck = ProbeResults::default();
        stuck.set("a-0", ProbeKind::Startup, Outcome::Failure);
        let mut ill = begun.clone();
        ill.set("a-0", ProbeKind::Liveness, Outcome::Failure);
        let runs = ["s:running", "i:exited:0", "a:running", "b:running"];
        for (results, containers, stopping, want) in [
            (&none, &runs[..2], false, "s Readiness"),
            (&none, &runs, false, "s Readiness, a Startup, b Liveness"),
            (&begun, &runs, false, "s Readiness, a Liveness, a Readiness, b Liveness"),
            (&begun, &runs, true, "s Readiness, a Readiness"),
            (&none, &runs, true, "s Readiness"),
            (&stuck, &runs, false, "s Readiness, b Liveness"),
            (&ill, &runs, false, "s Readiness, a Readiness, b Liveness"),
            (&begun, &["s:exited:1", "a:exited:1", "b:created"], false, ""),
        ] {
            let found = runtime(&pod, &up, containers);
            let asked = wanted(&pod, &found, results, stopping);
            let asked: Vec<_> = asked.iter().map(|w| format!("{} {}", w.container.name, w.kind.as_str())).collect();
            assert_eq!(asked.join(", "), want, "{containers:?} {stopping}");
        }
    }
}
