//! Container statuses of the API from what the runtime says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, ResourceStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::round;
use super::spec::{self, Kind};
use super::termination::{WHEN_DELETED, WHEN_TERMINATED, forgotten, unseen};
use crate::clock;
use crate::runtime::{RuntimeContainer, State, UNKNOWN_REASON};
use crate::volumes::is_read_only_all_the_way;

/// Scheme of container IDs in the API.
pub const ID_SCHEME: &str = "rk://";

/// What one status is made from.
pub struct Source<'a> {
    /// From which list.
    pub kind: Kind,
    /// The spec.
    pub container: &'a Container,
    /// The newest instance, unless its round is over.
    pub last: Option<&'a RuntimeContainer>,
    /// The newest instance when its round is over.
    pub past: Option<&'a RuntimeContainer>,
    /// Whether nothing of the next round was made yet.
    pub between: bool,
    /// The instance before it.
    pub previous: Option<&'a RuntimeContainer>,
    /// Why it is held back, from the last attempt.
    pub waiting: Option<&'a (String, String)>,
    /// The status that the API has.
    pub old: Option<&'a ContainerStatus>,
    /// Whether the pod has (still unfinished) init containers.
    pub initializing: bool,
    /// Whether the pod's work is over for good.
    pub terminal: bool,
    /// Whether a container in this state would be started again.
    pub restarts: bool,
    /// Passed its startup probe.
    pub started: bool,
    /// Passed its readiness probe.
    pub ready: bool,
    /// The runtime holds it to other resources than the spec asks for.
    pub resizing: bool,
    /// What the spec asks for is not allocated.
    pub pending: bool,
    /// How the devices are that it holds.
    pub devices: Option<&'a Vec<ResourceStatus>>,
}

fn time(at: Option<Timestamp>) -> Option<Time> {
    at.map(clock::seconds)
}

/// The API's ID of a container.
pub fn api_id(id: &str) -> String {
    format!("{ID_SCHEME}{id}")
}

/// The terminated state of an ended instance.
pub fn terminated(c: &RuntimeContainer) -> ContainerStateTerminated {
    let reason = match (c.reason.as_str(), c.state, c.exit_code) {
        ("", State::Exited, 0) => "Completed",
        ("", State::Exited, _) => "Error",
        ("", _, _) => UNKNOWN_REASON,
        (reason, _, _) => reason,
    };
    ContainerStateTerminated {
        container_id: Some(api_id(&c.id)),
        exit_code: c.exit_code,
        finished_at: time(c.finished_at),
        message: Some(c.message.clone()).filter(|m| !m.is_empty()),
        reason: Some(reason.to_owned()),
        signal: None,
        started_at: time(c.started_at),
    }
}

/// The end of an instance whose round is over: what the runtime knows of it, in the words of the restart of all.
fn set_aside(past: &RuntimeContainer) -> ContainerStateTerminated {
    let end = terminated(past);
    let message = end.message.or_else(|| Some(round::MESSAGE.into()));
    ContainerStateTerminated { reason: Some(round::REASON.into()), message, ..end }
}

fn waiting_state(reason: &str, message: Option<&str>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.into()), message: message.map(str::to_owned) };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn terminated_state(state: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(state), ..Default::default() }
}

/// Builds one status.
pub fn container_status(source: &Source<'_>) -> ContainerStatus {
    let mut status = base(source);
    let Some(last) = source.last else {
        match source.past {
            Some(past) => not_yet_again(source, past, &mut status),
            None => never_seen(source, &mut status),
        }
        keep_given(source, &mut status);
        return status;
    };
    status.container_id = Some(api_id(&last.id));
    status.restart_count = i32::try_from(last.restart_count).unwrap_or(i32::MAX);
    status.image_id.clone_from(&last.image_id);
    if !last.image.is_empty() {
        status.image.clone_from(&last.image);
    }
    status.last_state = source.previous.filter(|p| p.state == State::Exited).map(|before| {
        let end = if before.round < last.round { set_aside(before) } else { terminated(before) };
        terminated_state(end)
    });
    match last.state {
        State::Running => {
            let running = ContainerStateRunning { started_at: time(last.started_at) };
            status.state = Some(ContainerState { running: Some(running), ..Default::default() });
        }
        State::Exited => status.state = Some(terminated_state(terminated(last))),
        State::Unknown => status.state = Some(terminated_state(terminated(last))),
        State::Created => {
            status.state = Some(waiting_state("ContainerCreating", None));
        }
    }
    // What it was begun with, also once it has ended.
    status.user = user(last);
    status.stop_signal = last.stop_signal.map(str::to_owned);
    resources(source, &mut status);
    hold_back(source, &mut status);
    status.started = Some(source.started);
    status.ready = source.ready;
    status
}

fn base(source: &Source<'_>) -> ContainerStatus {
    let mounts: Vec<VolumeMountStatus> = source
        .container
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| VolumeMountStatus {
            mount_path: m.mount_path.clone(),
            name: m.name.clone(),
            read_only: m.read_only.filter(|r| *r),
            recursive_read_only: (m.read_only == Some(true))
                .then(|| if is_read_only_all_the_way(m) { "Enabled" } else { "Disabled" }.to_owned()),
            volume_status: None,
        })
        .collect();
    ContainerStatus {
        name: source.container.name.clone(),
        image: source.container.image.clone().unwrap_or_default(),
        started: Some(false),
        allocated_resources_status: source.devices.cloned().filter(|resources| !resources.is_empty()),
        volume_mounts: Some(mounts).filter(|m| !m.is_empty()),
        ..Default::default()
    }
}

/// It ran in a round that is over, and its turn in the next one has not come.
fn not_yet_again(source: &Source<'_>, past: &RuntimeContainer, status: &mut ContainerStatus) {
    status.restart_count = i32::try_from(past.restart_count).unwrap_or(i32::MAX).saturating_add(1);
    status.last_state = (past.state != State::Created).then(|| terminated_state(set_aside(past)));
    status.state = Some(match source.between {
        true => waiting_state(round::REASON, Some(round::MESSAGE)),
        false => waiting_state(not_made(source), None),
    });
    hold_back(source, status);
}

/// While a resize waits, a container that is not here keeps what it was given before: it begins with that, and with what it asks for only
/// once that is allocated. Without it nobody could tell that it asks for more.
fn keep_given(source: &Source<'_>, status: &mut ContainerStatus) {
    let Some(old) = source.old.filter(|_| source.pending && source.kind != Kind::Ephemeral) else { return };
    status.allocated_resources.clone_from(&old.allocated_resources);
    status.resources.clone_from(&old.resources);
}

/// Why a container waits that nobody has tried to make yet.
fn not_made(source: &Source<'_>) -> &'static str {
    if source.initializing { "PodInitializing" } else { "ContainerCreating" }
}

/// The runtime has no instance: either it never ran, or the runtime lost it.
fn never_seen(source: &Source<'_>, status: &mut ContainerStatus) {
    status.state = Some(waiting_state(not_made(source), None));
    if was_followed(source) {
        status.restart_count = source.old.map_or(0, |old| old.restart_count);
        status.state = Some(terminated_state(forgotten()));
        status.ready = true;
        return;
    }
    if let Some(old) = source.old {
        status.restart_count = old.restart_count;
        status.last_state.clone_from(&old.last_state);
        let old_state = old.state.clone().unwrap_or_default();
        if let Some(ended) = old_state.terminated {
            // Removed after it ended: what was known stays known.
            status.container_id.clone_from(&old.container_id);
            status.image_id.clone_from(&old.image_id);
            status.state = Some(terminated_state(ended));
            status.ready = old.ready && source.kind == Kind::Init;
        } else if old_state.running.is_some() {
            status.container_id.clone_from(&old.container_id);
            status.image_id.clone_from(&old.image_id);
            if source.terminal || !source.restarts {
                status.state = Some(terminated_state(unseen(WHEN_TERMINATED)));
            } else {
                status.last_state = Some(terminated_state(unseen(WHEN_DELETED)));
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
    }
    hold_back(source, status);
}

/// Whether it is an init container that app containers have followed, and nobody knows its end any more: neither the runtime nor the API,
/// as of a static pod after the kubelet began anew.
fn was_followed(source: &Source<'_>) -> bool {
    let known = source.old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.terminated.is_some());
    source.kind == Kind::Init && !spec::is_sidecar(source.container) && !source.initializing && !known
}

/// Shows why a container does not run, and moves its end to `lastState`.
fn hold_back(source: &Source<'_>, status: &mut ContainerStatus) {
    let Some((reason, message)) = source.waiting else { return };
    if source.terminal || !source.restarts || status.state.as_ref().is_some_and(|s| s.running.is_some()) {
        return;
    }
    if let Some(ended) = status.state.take().and_then(|s| s.terminated) {
        status.last_state = Some(terminated_state(ended));
    }
    status.state = Some(waiting_state(reason, Some(message).filter(|m| !m.is_empty()).map(String::as_str)));
}

fn user(last: &RuntimeContainer) -> Option<ContainerUser> {
    let user = last.user.as_ref()?;
    Some(ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: Some(user.supplemental_groups.clone()).filter(|g| !g.is_empty()),
        }),
    })
}

/// Resources of a container that was made (KEP-1287): one that has ended has what the next instance of it will. Until a resize has taken
/// effect, those that were in force before are shown.
fn resources(source: &Source<'_>, status: &mut ContainerStatus) {
    if source.kind == Kind::Ephemeral {
        return;
    }
    let spec = source.container.resources.clone().unwrap_or_default();
    status.allocated_resources = spec.requests.clone().filter(|r: &BTreeMap<_, _>| !r.is_empty());
    if let Some(had) = source.old.and_then(|old| old.allocated_resources.clone()).filter(|_| source.pending) {
        status.allocated_resources = Some(had);
    }
    let before = source.old.and_then(|old| old.resources.clone());
    status.resources = if source.resizing || source.pending { before.or(Some(spec)) } else { Some(spec) };
}

#[cfg(test)]
mod tests {
    use super::super::decide_tests::{pod, runtime, sandbox};
    use super::super::status::pod_status;
    use super::super::status_tests::inputs;

    #[test]
    fn who_a_container_ran_as_is_told_after_its_end_too() {
        let pod = pod(serde_json::json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
        for state in ["a:running", "a:exited:1"] {
            let mut runtime = runtime(&pod, &[sandbox(0, true)], &[state]);
            let user = rk_cri_api::v1::LinuxContainerUser { uid: 7, gid: 8, supplemental_groups: vec![9] };
            runtime.containers[0].user = Some(user);
            let told = pod_status(&inputs(&pod, &runtime)).container_statuses.unwrap().remove(0).user;
            let told = told.and_then(|user| user.linux).map(|user| (user.uid, user.gid, user.supplemental_groups));
            assert_eq!(told, Some((7, 8, Some(vec![9]))), "{state}");
        }
    }
}
