//! The whole `PodStatus` of a pod, from values.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::conditions::Resizing;
use super::container_status::{Source, container_status};
use super::decide::started;
use super::round::{Round, may_restart_all};
use super::spec::{self, Kind};
use super::termination::{cut_last_words, settle};
use super::{conditions, phase};
use crate::clock;
use crate::devices::DeviceHealth;
use crate::probes::{Outcome, ProbeKind, ProbeResults};
use crate::resources::qos_class;
use crate::runtime::{RuntimePod, State};

/// Reason of a pod that the node needed gone.
pub const EVICTED: &str = "Evicted";
/// Reason of a pod that made room for a more important one.
pub const PREEMPTED: &str = "Preempting";

/// What a status is made from.
pub struct StatusInputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// The pod as the runtime has it.
    pub runtime: &'a RuntimePod,
    /// Its newest round.
    pub round: Round,
    /// Latest probe results.
    pub probes: &'a ProbeResults,
    /// Why containers are held back: name to (reason, message).
    pub waiting: &'a BTreeMap<String, (String, String)>,
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The node's memory in bytes.
    pub node_memory: i64,
    /// Whether the kubelet has ended the pod for good.
    pub terminal: bool,
    /// Set when the kubelet itself failed the pod: (reason, message).
    pub failure: Option<&'a (String, String)>,
    /// Whether that is none of the pod's own doing.
    pub disrupted: bool,
    /// Whether the node has not taken the pod at all.
    pub refused: bool,
    /// Why a resize that the spec asks for is not begun.
    pub resize_pending: Option<&'a (String, String)>,
    /// Why a resize that was begun is not done.
    pub resize_error: Option<&'a str>,
    /// How the devices of its containers are.
    pub devices: &'a DeviceHealth,
    /// Whether the pod as a whole is held to something else than its spec asks for.
    pub resizing: bool,
    /// The time.
    pub now: Timestamp,
}

/// Builds the status.
pub fn pod_status(inputs: &StatusInputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let old = pod.status.clone().unwrap_or_default();
    let now = clock::seconds(inputs.now);
    let sandbox = inputs.runtime.active_sandbox();
    let initialized = app_started(inputs);
    let mut init = statuses(inputs, Kind::Init, initialized, old.init_container_statuses.as_deref());
    let mut app = statuses(inputs, Kind::App, initialized, old.container_statuses.as_deref());
    let mut ephemeral = statuses(inputs, Kind::Ephemeral, initialized, old.ephemeral_container_statuses.as_deref());
    let mut phase = phase::phase(pod, &init, &app, inputs.terminal, initialized);
    if inputs.failure.is_some() {
        phase = "Failed";
    }
    // A phase that was final stays final, whatever the runtime has forgotten since.
    if let Some(before) = old.phase.as_deref().filter(|p| spec::terminal_phase(Some(p))) {
        phase = if before == "Failed" { "Failed" } else { "Succeeded" };
    }
    let sandbox_ready = sandbox.is_some_and(|s| s.host_network || !s.ips.is_empty());
    let mut conditions = conditions::conditions(pod, &init, &app, phase, sandbox_ready, &now);
    if let Some((reason, message)) = inputs.failure.filter(|_| inputs.disrupted) {
        conditions.retain(|c| c.type_ != conditions::DISRUPTION);
        conditions.push(conditions::disruption(pod, reason, message, &now));
    }
    if may_restart_all(pod) {
        conditions.push(conditions::restarting(pod, phase, inputs.round.ends(), &now));
    }
    conditions.extend(resize_state(inputs).map(|state| conditions::resizing(pod, &state, &now)));
    if never_began(inputs, &old) {
        [&mut init, &mut app, &mut ephemeral].into_iter().for_each(Vec::clear);
    } else if inputs.terminal {
        settle(pod, &mut init, &mut app);
    }
    cut_last_words(pod, init.iter_mut().chain(&mut app).chain(&mut ephemeral));
    let ips = pod_ips(inputs, &old);
    let (allocated_resources, resources) = as_a_whole(inputs, &old);
    let (reason, message) = match inputs.failure {
        Some((reason, message)) => (Some(reason.clone()), Some(message.clone()).filter(|m| !m.is_empty())),
        None => (old.reason.clone(), old.message.clone()),
    };
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions),
        reason,
        message,
        host_ip: inputs.host_ips.first().cloned(),
        host_ips: Some(inputs.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect::<Vec<_>>())
            .filter(|l| !l.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|l| !l.is_empty()),
        start_time: Some(old.start_time.clone().unwrap_or(now)),
        init_container_statuses: Some(init).filter(|l| !l.is_empty()),
        container_statuses: Some(app).filter(|l| !l.is_empty()),
        ephemeral_container_statuses: Some(ephemeral).filter(|l| !l.is_empty()),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(pod).as_str().into())),
        observed_generation: pod.metadata.generation,
        allocated_resources,
        resources,
        ..old
    }
}

/// Takes a final phase back, and why it came: it promises that nothing runs any more (KEP-3329), and that devices are free. Until then what
/// was told `before` is kept.
pub fn not_yet_final(status: &mut PodStatus, before: Option<&PodStatus>) {
    let phase = before.and_then(|before| before.phase.clone());
    status.phase = phase.or_else(|| Some("Running".into()));
    status.reason = before.and_then(|before| before.reason.clone());
    status.message = before.and_then(|before| before.message.clone());
    let disrupts = |condition: &PodCondition| condition.type_ == conditions::DISRUPTION && conditions::ours(condition);
    let told = before.is_some_and(|before| before.conditions.iter().flatten().any(disrupts));
    if !told {
        status.conditions.iter_mut().for_each(|all| all.retain(|condition| !disrupts(condition)));
    }
}

/// Whether nothing of a pod that has failed was ever tried: there is nothing to tell of its containers.
fn never_began(inputs: &StatusInputs<'_>, old: &PodStatus) -> bool {
    let untold = old.container_statuses.is_none() && inputs.runtime.containers.is_empty();
    untold && (inputs.refused || spec::terminal_phase(old.phase.as_deref()))
}

/// Where a resize of the pod stands, when there is one.
fn resize_state(inputs: &StatusInputs<'_>) -> Option<Resizing> {
    if inputs.terminal || inputs.pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some((reason, message)) = inputs.resize_pending {
        return Some(Resizing::Pending(reason.clone(), message.clone()));
    }
    let begun = || !super::resize::resizes(inputs.pod, inputs.runtime, inputs.node_memory).is_empty();
    (inputs.resizing || begun()).then(|| Resizing::InProgress(inputs.resize_error.map(str::to_owned)))
}

/// What a pod that asks for something as a whole is given and what it is held to (KEP-5419). Until a resize has taken effect, those
/// that were in force before are shown.
fn as_a_whole(
    inputs: &StatusInputs<'_>,
    old: &PodStatus,
) -> (Option<BTreeMap<String, Quantity>>, Option<ResourceRequirements>) {
    let Some(own) = inputs.pod.spec.as_ref().and_then(|s| s.resources.clone()) else { return (None, None) };
    let pending = inputs.resize_pending.is_some();
    let requests = own.requests.clone().filter(|requests| !requests.is_empty());
    let allocated = old.allocated_resources.clone().filter(|_| pending).or(requests);
    let in_force = old.resources.clone().filter(|_| pending || inputs.resizing).unwrap_or(own);
    (allocated, Some(in_force))
}

/// Whether any app container was ever made in the pod's current sandbox and round.
fn app_started(inputs: &StatusInputs<'_>) -> bool {
    let Some(sandbox) = inputs.runtime.sandboxes.first() else { return false };
    let made = |c: &Container| inputs.round.container_in(inputs.runtime, &c.name, &sandbox.id).is_some();
    spec::app_containers(inputs.pod).iter().any(made)
}

fn pod_ips(inputs: &StatusInputs<'_>, old: &PodStatus) -> Vec<String> {
    if spec::host_network(inputs.pod) {
        return if inputs.runtime.sandboxes.is_empty() { Vec::new() } else { inputs.host_ips.to_vec() };
    }
    match inputs.runtime.sandboxes.first().filter(|s| !s.ips.is_empty()) {
        Some(sandbox) => sandbox.ips.clone(),
        // An address outlives its sandbox in the status, so that its last use can be traced.
        None => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    }
}

fn statuses(
    inputs: &StatusInputs<'_>,
    kind: Kind,
    initialized: bool,
    old: Option<&[ContainerStatus]>,
) -> Vec<ContainerStatus> {
    let pod = inputs.pod;
    let has_init = !spec::init_containers(pod).is_empty();
    let resizing = super::resize::resizes(pod, inputs.runtime, inputs.node_memory);
    let mut containers: Vec<_> = match kind {
        Kind::Init => spec::init_containers(pod).to_vec(),
        Kind::App => spec::app_containers(pod).to_vec(),
        Kind::Ephemeral => spec::ephemeral_containers(pod).iter().map(spec::as_container).collect(),
    };
    // Who takes the first one has always had the first by name; init containers are told in their order.
    if kind != Kind::Init {
        containers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    containers
        .iter()
        .map(|container| {
            let newest = inputs.runtime.container(&container.name);
            let (past, last) = match kind {
                Kind::Ephemeral => (None, newest),
                Kind::Init | Kind::App => {
                    (newest.filter(|c| inputs.round.is_past(c)), newest.filter(|c| !inputs.round.is_past(c)))
                }
            };
            let started = last.is_some_and(|l| started(container, l, inputs.probes));
            let restarts = match last {
                Some(l) if l.state == State::Exited => spec::restarts_after(pod, kind, container, l.exit_code),
                _ => pod.metadata.deletion_timestamp.is_none(),
            };
            let ready = match (kind, last) {
                (_, None) | (Kind::Ephemeral, _) => false,
                (Kind::Init, Some(l)) if !spec::is_sidecar(container) => l.succeeded(),
                (_, Some(l)) => {
                    started
                        && (container.readiness_probe.is_none()
                            || inputs.probes.get(&l.id, ProbeKind::Readiness) == Some(Outcome::Success))
                }
            };
            container_status(&Source {
                kind,
                container,
                last,
                past,
                between: inputs.round.is_over(),
                previous: inputs.runtime.previous(&container.name),
                waiting: inputs.waiting.get(&container.name),
                old: old.and_then(|l| l.iter().find(|s| s.name == container.name)),
                initializing: has_init && !initialized,
                terminal: inputs.terminal,
                restarts,
                started,
                ready,
                resizing: resizing.iter().any(|r| r.name == container.name),
                pending: inputs.resize_pending.is_some(),
                devices: inputs.devices.get(&container.name).filter(|_| kind == Kind::App),
            })
        })
        .collect()
}
