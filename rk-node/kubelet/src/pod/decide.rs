//! What to do for a pod now: spec, runtime, probe results, back-off and clock in; actions out. No IO, no waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::BackOff;
use super::round::{self, Round};
use super::spec::{self, Kind, RestartPolicy};
use crate::probes::{Outcome, ProbeKind, ProbeResults};
use crate::runtime::{RuntimeContainer, RuntimePod, State};

/// Why a container is killed while its pod lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Runtime's ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// For the Killing event.
    pub message: String,
    /// Grace period that overrides the pod's, seconds.
    pub grace: Option<i64>,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// From which list.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Number of this instance, zero for the first.
    pub attempt: u32,
    /// The round of the pod that it belongs to.
    pub round: u32,
    /// When the instance before it ended; its back-off is noted when this one starts.
    pub after: Option<Timestamp>,
}

/// Everything to be done now, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Kill at once what is to be killed, and do nothing else: the round of this number ends.
    pub end_round: Option<u32>,
    /// Stop every container and the sandbox.
    pub kill_pod: bool,
    /// Make a sandbox with this attempt number.
    pub create_sandbox: Option<u32>,
    /// Containers to kill.
    pub kill: Vec<Kill>,
    /// Containers to start, in order.
    pub start: Vec<Start>,
    /// Containers held back: name to (reason, message).
    pub waiting: BTreeMap<String, (String, String)>,
    /// Dead containers that nobody needs any more.
    pub prune_containers: Vec<String>,
    /// Dead sandboxes that nobody needs any more.
    pub prune_sandboxes: Vec<String>,
    /// Look again after this long though nothing happened.
    pub wake_after: Option<Duration>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        let begins = self.create_sandbox.is_some() || !self.start.is_empty();
        self.end_round.is_none() && !self.kill_pod && !begins && self.kill.is_empty()
    }

    /// Whether something ends so that something begins in its place.
    pub fn replaces(&self) -> bool {
        let ends = self.kill_pod || !self.kill.is_empty();
        ends && (self.create_sandbox.is_some() || (!self.kill_pod && !self.start.is_empty()))
    }
}

/// What a decision is made from.
pub struct Inputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// The pod as the runtime has it.
    pub runtime: &'a RuntimePod,
    /// Its newest round.
    pub round: Round,
    /// Latest probe results.
    pub probes: &'a ProbeResults,
    /// Restart back-off.
    pub back_off: &'a BackOff,
    /// The time.
    pub now: Timestamp,
}

/// Key of a container's restart back-off.
pub fn back_off_key(container: &Container) -> String {
    format!("{}/{}", container.name, spec::container_hash(container))
}

/// Decides.
pub fn decide(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    prune(inputs.runtime, &mut plan);
    if inputs.round.ends() {
        end_round(inputs, &mut plan);
        return plan;
    }
    if inputs.round.is_over() && wait_for_sources(inputs, &mut plan) {
        return plan;
    }
    let ready: Vec<_> = inputs.runtime.sandboxes.iter().filter(|s| s.ready).collect();
    let usable = inputs.runtime.active_sandbox().filter(|s| {
        ready.len() == 1 && s.host_network == spec::host_network(inputs.pod) && (s.host_network || !s.ips.is_empty())
    });
    match usable {
        Some(sandbox) => in_sandbox(inputs, &sandbox.id, &mut plan),
        None => without_sandbox(inputs, &mut plan),
    }
    plan
}

/// Kills what runs of a round that is to end: all at once, without grace and hooks, as KEP-5532 has it.
fn end_round(inputs: &Inputs<'_>, plan: &mut Plan) {
    plan.end_round = Some(inputs.round.number());
    plan.kill = inputs.round.left(inputs.pod, inputs.runtime).into_iter().map(kill_with_all).collect();
}

fn kill_with_all(container: &RuntimeContainer) -> Kill {
    let name = container.name.clone();
    let message = format!("Stopping container {name}, all containers will be restarted");
    Kill { id: container.id.clone(), name, message, grace: Some(0) }
}

/// Whether the next round has to wait: the back-off of a container that ends rounds is that of all of them then.
fn wait_for_sources(inputs: &Inputs<'_>, plan: &mut Plan) -> bool {
    for (container, last) in inputs.round.sources(inputs.pod, inputs.runtime) {
        hold_back(inputs, plan, container, end_of(inputs, last));
    }
    !plan.waiting.is_empty()
}

fn without_sandbox(inputs: &Inputs<'_>, plan: &mut Plan) {
    let (pod, runtime, round) = (inputs.pod, inputs.runtime, inputs.round);
    // Leftovers of a dead or doubled sandbox go first.
    plan.kill_pod = runtime.anything_running() || runtime.sandboxes.iter().any(|s| s.ready);
    let attempt = runtime.sandboxes.first().map_or(0, |s| s.attempt.saturating_add(1));
    let ran_before = !runtime.containers.is_empty();
    if attempt > 0 && ran_before && !round.is_over() && spec::restart_policy(pod) == RestartPolicy::Never {
        let any_rule = spec::app_containers(pod).iter().any(|c| c.restart_policy.is_some());
        if !any_rule {
            return;
        }
    }
    let done = |container: &Container| {
        let last = runtime.container(&container.name).filter(|l| l.state == State::Exited && !round.is_past(l));
        last.is_some_and(|l| !spec::restarts_after(pod, Kind::App, container, l.exit_code))
    };
    if spec::app_containers(pod).iter().all(done) {
        return;
    }
    plan.create_sandbox = Some(attempt);
    if spec::init_containers(pod).is_empty() {
        for container in spec::app_containers(pod).iter().filter(|c| !done(c)) {
            start(inputs, plan, Kind::App, container, runtime.container(&container.name));
        }
    } else if let Some(first) = spec::init_containers(pod).first() {
        start(inputs, plan, Kind::Init, first, runtime.container(&first.name));
    }
    // A sandbox without a container to start in it now would only be idle: wait with it as well.
    if plan.start.is_empty() && attempt > 0 {
        plan.create_sandbox = None;
    }
}

fn in_sandbox(inputs: &Inputs<'_>, sandbox: &str, plan: &mut Plan) {
    let (pod, runtime) = (inputs.pod, inputs.runtime);
    for ephemeral in spec::ephemeral_containers(pod) {
        if runtime.container(&ephemeral.name).is_none() {
            let (attempt, round) = (0, inputs.round.number_of_new());
            let name = ephemeral.name.clone();
            plan.start.push(Start { kind: Kind::Ephemeral, name, attempt, round, after: None });
        }
    }
    let made = |c: &Container| inputs.round.container_in(runtime, &c.name, sandbox).is_some();
    let app_started = spec::app_containers(pod).iter().any(made);
    match init_step(inputs, sandbox, app_started, plan) {
        InitStep::Done => {}
        InitStep::Wait => return,
        InitStep::Failed => {
            plan.start.clear();
            plan.kill_pod = true;
            return;
        }
    }
    let mut kept = 0;
    for container in spec::app_containers(pod) {
        kept += usize::from(app_container(inputs, sandbox, container, plan));
    }
    let busy = kept > 0
        || !plan.kill.is_empty()
        || plan.waiting.keys().any(|n| spec::app_containers(pod).iter().any(|c| c.name == *n));
    let starting = plan.start.iter().any(|s| s.kind == Kind::App);
    if !busy && !starting {
        // Every app container has ended for good: sidecars and the sandbox follow.
        plan.start.clear();
        plan.waiting.clear();
        plan.kill_pod = true;
    }
}

/// How far init containers let a pod come.
enum InitStep {
    /// To its app containers.
    Done,
    /// No further for now.
    Wait,
    /// To its end: one has failed for good.
    Failed,
}

fn init_step(inputs: &Inputs<'_>, sandbox: &str, app_started: bool, plan: &mut Plan) -> InitStep {
    let all = spec::init_containers(inputs.pod);
    let made = |c: &Container| inputs.round.container_in(inputs.runtime, &c.name, sandbox).is_some();
    let newest = all.iter().rposition(made);
    for (at, container) in all.iter().enumerate() {
        // What another one has followed has done its part, though the runtime may have forgotten it.
        let followed = app_started || newest.is_some_and(|newest| at < newest);
        if followed && !spec::is_sidecar(container) {
            continue;
        }
        match init_container(inputs, sandbox, container, plan) {
            InitStep::Done => {}
            // A sidecar that begins again keeps nobody waiting who has begun already.
            InitStep::Wait if followed => {}
            step => return step,
        }
    }
    InitStep::Done
}

/// Plans one init container, and tells whether those after it may begin.
fn init_container(inputs: &Inputs<'_>, sandbox: &str, container: &Container, plan: &mut Plan) -> InitStep {
    let sidecar = spec::is_sidecar(container);
    let Some(last) = inputs.round.container_in(inputs.runtime, &container.name, sandbox) else {
        start(inputs, plan, Kind::Init, container, inputs.runtime.container(&container.name));
        return InitStep::Wait;
    };
    match last.state {
        State::Running => match kill_running(inputs, Kind::Init, container, last) {
            Some(kill) => plan.kill.push(kill),
            None if sidecar && started(container, last, inputs.probes) => return InitStep::Done,
            None => return InitStep::Wait,
        },
        State::Exited if !sidecar && last.exit_code == 0 => return InitStep::Done,
        State::Exited if !spec::restarts_after(inputs.pod, Kind::Init, container, last.exit_code) => {
            return InitStep::Failed;
        }
        State::Unknown => plan.kill.push(lost(Kind::Init, last)),
        State::Created | State::Exited => {}
    }
    start(inputs, plan, Kind::Init, container, Some(last));
    InitStep::Wait
}

/// Plans one app container; true when it stays as it is and runs.
fn app_container(inputs: &Inputs<'_>, sandbox: &str, container: &Container, plan: &mut Plan) -> bool {
    let Some(last) = inputs.round.container_in(inputs.runtime, &container.name, sandbox) else {
        let earlier = inputs.runtime.container(&container.name);
        if earlier.is_none_or(|e| {
            e.state != State::Exited
                || inputs.round.is_past(e)
                || spec::restarts_after(inputs.pod, Kind::App, container, e.exit_code)
        }) {
            start(inputs, plan, Kind::App, container, earlier);
        }
        return false;
    };
    match last.state {
        State::Running => match kill_running(inputs, Kind::App, container, last) {
            None => return true,
            Some(mut kill) => {
                // A killed container has failed by definition. With a policy of Never, its rules are asked once it has ended.
                let changed = last.hash != spec::container_hash(container);
                let again = changed || spec::container_restart_policy(inputs.pod, container) != RestartPolicy::Never;
                if again {
                    kill.message.push_str(", will be restarted");
                    start(inputs, plan, Kind::App, container, Some(last));
                }
                plan.kill.push(kill);
            }
        },
        State::Exited => {
            if spec::restarts_after(inputs.pod, Kind::App, container, last.exit_code) {
                start(inputs, plan, Kind::App, container, Some(last));
            }
        }
        State::Created => start(inputs, plan, Kind::App, container, Some(last)),
        State::Unknown => {
            plan.kill.push(lost(Kind::App, last));
            start(inputs, plan, Kind::App, container, Some(last));
        }
    }
    false
}

/// How events call a container of this kind.
fn noun(kind: Kind) -> &'static str {
    if kind == Kind::Init { "Init container" } else { "Container" }
}

fn lost(kind: Kind, container: &RuntimeContainer) -> Kill {
    let message = format!("{} is in \"unknown\" state, try killing it before restart", noun(kind));
    Kill { id: container.id.clone(), name: container.name.clone(), message, grace: None }
}

/// Why a container that runs is to be killed, if it is: another image is asked for, or a probe has failed. A sidecar gets another image
/// once it has started; other init containers end by themselves.
fn kill_running(inputs: &Inputs<'_>, kind: Kind, container: &Container, last: &RuntimeContainer) -> Option<Kill> {
    let name = &container.name;
    let failed = |kind| inputs.probes.get(&last.id, kind) == Some(Outcome::Failure);
    let sidecar = kind == Kind::Init && spec::is_sidecar(container);
    let exchanged = kind == Kind::App || (sidecar && started(container, last, inputs.probes));
    let (why, probe) = if exchanged && !last.hash.is_empty() && last.hash != spec::container_hash(container) {
        ("definition changed", None)
    } else if failed(ProbeKind::Liveness) {
        ("failed liveness probe", container.liveness_probe.as_ref())
    } else if failed(ProbeKind::Startup) {
        ("failed startup probe", container.startup_probe.as_ref())
    } else {
        return None;
    };
    let grace = probe.and_then(|p| p.termination_grace_period_seconds);
    Some(Kill { id: last.id.clone(), name: name.clone(), message: format!("{} {name} {why}", noun(kind)), grace })
}

/// Whether a running container has passed its startup probe.
pub fn started(container: &Container, last: &RuntimeContainer, probes: &ProbeResults) -> bool {
    last.running()
        && (container.startup_probe.is_none() || probes.get(&last.id, ProbeKind::Startup) == Some(Outcome::Success))
}

fn start(inputs: &Inputs<'_>, plan: &mut Plan, kind: Kind, container: &Container, last: Option<&RuntimeContainer>) {
    let attempt = last.map_or(0, |l| l.restart_count.saturating_add(1));
    // One that only went along with the end of a round has not failed.
    let failed = last.filter(|l| !inputs.round.is_past(l) || round::restarts_all(container, l));
    // One that is being killed now waits after the end before: a container that lives on until a probe fails is no quick crash.
    let ended = failed.and_then(|l| match l.state {
        State::Running => inputs.runtime.previous(&container.name).and_then(|p| p.finished_at),
        _ => Some(end_of(inputs, l)),
    });
    if let Some(event) = ended
        && hold_back(inputs, plan, container, event)
    {
        return;
    }
    let after = failed.map(|_| ended.unwrap_or(inputs.now));
    let round = inputs.round.number_of_new();
    plan.start.push(Start { kind, name: container.name.clone(), attempt, round, after });
}

fn end_of(inputs: &Inputs<'_>, instance: &RuntimeContainer) -> Timestamp {
    instance.finished_at.or(instance.created_at).unwrap_or(inputs.now)
}

/// Holds a container back while the pause after its end at `event` lasts; false when there is none.
fn hold_back(inputs: &Inputs<'_>, plan: &mut Plan, container: &Container, event: Timestamp) -> bool {
    let key = back_off_key(container);
    let Some(left) = inputs.back_off.remaining(&key, event, inputs.now) else { return false };
    let (pause, name) = (go_duration(inputs.back_off.pause(&key)), &container.name);
    let message = format!("back-off {pause} restarting failed container={name} pod={}", spec::describe(inputs.pod));
    plan.waiting.insert(name.clone(), ("CrashLoopBackOff".into(), message));
    plan.wake_after = Some(plan.wake_after.map_or(left, |w| w.min(left)));
    true
}

/// A duration in Go's notation, as `kubectl` users know it (`10s`, `2m40s`).
pub fn go_duration(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    if minutes > 0 { format!("{minutes}m{seconds}s") } else { format!("{seconds}s") }
}

fn prune(runtime: &RuntimePod, plan: &mut Plan) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for container in &runtime.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        // The newest shows the state, the one before it `lastState` and `logs --previous`.
        if *count > 2 && matches!(container.state, State::Exited | State::Created) {
            plan.prune_containers.push(container.id.clone());
        }
    }
    for sandbox in runtime.sandboxes.iter().skip(1).filter(|s| !s.ready) {
        let held =
            runtime.containers.iter().any(|c| c.sandbox_id == sandbox.id && !plan.prune_containers.contains(&c.id));
        if !held {
            plan.prune_sandboxes.push(sandbox.id.clone());
        }
    }
}
