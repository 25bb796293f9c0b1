//! Pod conditions from phase and container statuses.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::round::may_restart_all;
use super::spec;
use super::status::PREEMPTED;

/// Types that every pod has.
const ALWAYS: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Types that a pod has while they say something.
const SOMETIMES: [&str; 3] = ["PodResizePending", "PodResizeInProgress", RESTARTING];

/// Types that tell how a resize goes.
const RESIZES: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// Type of the condition that tells whether all containers are being ended to begin anew (KEP-5532).
const RESTARTING: &str = "AllContainersRestarting";

/// Whether the kubelet owns a condition; all others are left as their owners wrote them.
pub fn owned(type_: &str) -> bool {
    ALWAYS.contains(&type_) || SOMETIMES.contains(&type_)
}

/// Type of the condition that tells why a pod was ended from outside.
pub const DISRUPTION: &str = "DisruptionTarget";
/// Its reason when the kubelet did it.
const BY_KUBELET: &str = "TerminationByKubelet";

/// Whether the kubelet wrote this condition, whoever may write others of its type.
pub fn ours(condition: &PodCondition) -> bool {
    owned(&condition.type_) || (condition.type_ == DISRUPTION && condition.reason.as_deref() == Some(BY_KUBELET))
}

/// Whether a condition says what it said before, and since then. A resize that goes on for another reason is another turn of it.
pub fn lasts(before: &PodCondition, now: &PodCondition) -> bool {
    let same = before.type_ == now.type_ && before.status == now.status;
    same && (before.reason == now.reason || !RESIZES.contains(&now.type_.as_str()))
}

/// A condition as the API has it.
fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).find(|c| c.type_ == type_)
}

/// What the condition tells of a pod that made room for a more important one.
const MADE_ROOM: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";

/// The condition of a pod that the node needed gone, by what its status says of that.
pub fn disruption(pod: &Pod, reason: &str, message: &str, now: &Time) -> PodCondition {
    let message = if reason == PREEMPTED { MADE_ROOM } else { message };
    let old = condition(pod, DISRUPTION);
    PodCondition {
        type_: DISRUPTION.into(),
        status: "True".into(),
        reason: Some(BY_KUBELET.into()),
        message: Some(message.to_owned()),
        last_transition_time: old.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(now.clone())),
        last_probe_time: None,
        observed_generation: pod.metadata.generation,
    }
}

/// Where a resize stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// Not begun: reason and message.
    Pending(String, String),
    /// Begun and not everywhere in force; why it cannot be done now, if it cannot.
    InProgress(Option<String>),
}

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { status: false, reason: Some(reason), message }
    }
}

fn ended(phase: &str) -> Option<Verdict> {
    match phase {
        "Failed" => Some(Verdict::no("PodFailed", None)),
        "Succeeded" => Some(Verdict::no("PodCompleted", None)),
        _ => None,
    }
}

fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

/// Whether an app container runs or has run: its pod has been initialized, whatever sidecars do since.
fn has_started(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

fn initialized(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus], phase: &str) -> Verdict {
    let mut unknown = Vec::new();
    let mut incomplete = Vec::new();
    for container in spec::init_containers(pod) {
        match init.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if spec::is_sidecar(container) => {
                if status.started != Some(true) {
                    incomplete.push(container.name.as_str());
                }
            }
            Some(status) if !status.ready => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    if app.iter().any(has_started) {
        return Verdict::yes();
    }
    match unready_message("incomplete", &unknown, &incomplete) {
        Some(message) => Verdict::no("ContainersNotInitialized", Some(message)),
        None => Verdict::yes(),
    }
}

/// A pod whose init containers run again with all others has been initialized all the same.
fn stays_initialized(pod: &Pod, found: Verdict) -> Verdict {
    let was = condition(pod, "Initialized").is_some_and(|c| c.status == "True");
    if was && !found.status && may_restart_all(pod) { Verdict::yes() } else { found }
}

fn unready_message(word: &str, unknown: &[&str], unready: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with {word} status: {}", list(unready)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn containers_ready(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus], phase: &str) -> Verdict {
    if let Some(verdict) = ended(phase) {
        return verdict;
    }
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| (c, init));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, statuses) in sidecars.chain(spec::app_containers(pod).iter().map(|c| (c, app))) {
        match statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match unready_message("unready", &unknown, &unready) {
        Some(message) => Verdict::no("ContainersNotReady", Some(message)),
        None => Verdict::yes(),
    }
}

fn ready(pod: &Pod, containers: &Verdict, conditions: &[PodCondition], phase: &str) -> Verdict {
    if !containers.status {
        return Verdict::no(containers.reason.unwrap_or("ContainersNotReady"), containers.message.clone());
    }
    if let Some(verdict) = ended(phase) {
        return verdict;
    }
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    let mut unmet = Vec::new();
    for gate in gates {
        match conditions.iter().find(|c| c.type_ == gate.condition_type) {
            None => unmet.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(c) if c.status != "True" => {
                unmet.push(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                    gate.condition_type, c.status
                ));
            }
            Some(_) => {}
        }
    }
    if unmet.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", Some(unmet.join(", "))) }
}

/// All conditions of a pod: the kubelet's, with transition times kept where nothing changed, and everybody else's untouched.
pub fn conditions(
    pod: &Pod,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    phase: &str,
    sandbox_ready: bool,
    now: &Time,
) -> Vec<PodCondition> {
    let old = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let containers = containers_ready(pod, init, app, phase);
    let ready = ready(pod, &containers, old, phase);
    let sandbox = Verdict { status: sandbox_ready, reason: None, message: None };
    let verdicts =
        [sandbox, stays_initialized(pod, initialized(pod, init, app, phase)), ready, containers, Verdict::yes()];
    let mut all: Vec<PodCondition> = ALWAYS
        .iter()
        .zip(verdicts)
        .map(|(type_, verdict)| {
            let status = if verdict.status { "True" } else { "False" };
            let before = old.iter().find(|c| c.type_ == *type_);
            let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
            PodCondition {
                type_: (*type_).into(),
                status: status.into(),
                reason: verdict.reason.map(str::to_owned),
                message: verdict.message,
                last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
                last_probe_time: None,
                observed_generation: pod.metadata.generation,
            }
        })
        .collect();
    all.extend(old.iter().filter(|c| !owned(&c.type_)).cloned());
    all
}

/// The condition that tells whether what runs of a round is being ended.
pub fn restarting(pod: &Pod, phase: &str, ends: bool, now: &Time) -> PodCondition {
    let verdict = ended(phase).unwrap_or_else(|| Verdict {
        status: ends,
        reason: ends.then_some("RestartAllContainersStarted"),
        message: ends.then(|| "container exited with restart policy rule".to_owned()),
    });
    let status = if verdict.status { "True" } else { "False" };
    let old = condition(pod, RESTARTING).filter(|c| c.status == status);
    PodCondition {
        type_: RESTARTING.into(),
        status: status.into(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: old.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(now.clone())),
        last_probe_time: None,
        observed_generation: None,
    }
}

/// The condition that tells of a resize.
pub fn resizing(pod: &Pod, state: &Resizing, now: &Time) -> PodCondition {
    let (type_, reason, message) = match state {
        Resizing::Pending(reason, message) => ("PodResizePending", Some(reason.clone()), Some(message.clone())),
        Resizing::InProgress(error) => {
            ("PodResizeInProgress", error.as_ref().map(|_| "Error".to_owned()), error.clone())
        }
    };
    let mut told = PodCondition {
        type_: type_.into(),
        status: "True".into(),
        reason,
        message,
        last_transition_time: Some(now.clone()),
        last_probe_time: None,
        observed_generation: pod.metadata.generation,
    };
    if let Some(before) = condition(pod, type_).filter(|before| lasts(before, &told)) {
        told.last_transition_time.clone_from(&before.last_transition_time);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::status::EVICTED;

    #[test]
    fn who_makes_room_for_a_critical_pod_hears_so() {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        for (reason, want) in [(PREEMPTED, MADE_ROOM), (EVICTED, "why")] {
            let told = disruption(&Pod::default(), reason, "why", &now);
            assert_eq!((told.reason.as_deref(), told.message.as_deref()), (Some(BY_KUBELET), Some(want)));
        }
    }
}
