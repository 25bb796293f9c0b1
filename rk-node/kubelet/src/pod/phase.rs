//! The phase of a pod from the statuses of its containers.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::round;
use super::spec::{self, Kind};

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

#[derive(Default)]
struct Count {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    /// Of those that stopped: they are to run again.
    restarting: usize,
    succeeded: usize,
}

impl Count {
    fn stop(&mut self, pod: &Pod, container: &Container, end: &ContainerStateTerminated) {
        let set_aside = end.reason.as_deref() == Some(round::REASON);
        self.stopped += 1;
        self.restarting += usize::from(set_aside || spec::may_restart(pod, Kind::App, container, end.exit_code));
    }
}

/// The phase. `terminal` says that the kubelet has ended the pod for good; `initialized` that app containers were started.
pub fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    terminal: bool,
    initialized: bool,
) -> &'static str {
    let (mut pending_init, mut failed_init, mut sidecars_pending) = (0, 0, 0);
    let mut over = false;
    for container in spec::init_containers(pod) {
        let state = find(init, &container.name).and_then(|s| s.state.as_ref().map(|state| (s, state)));
        if spec::is_sidecar(container) {
            let up = state.is_some_and(|(s, state)| state.running.is_some() && s.started == Some(true));
            sidecars_pending += usize::from(!up);
            continue;
        }
        match state {
            Some((_, ContainerState { terminated: Some(end), .. })) if end.exit_code == 0 => {}
            Some((_, ContainerState { terminated: Some(end), .. })) => {
                failed_init += 1;
                over |= !spec::may_restart(pod, Kind::Init, container, end.exit_code);
            }
            _ => pending_init += 1,
        }
    }
    let mut count = Count::default();
    for container in spec::app_containers(pod) {
        let Some(status) = find(app, &container.name) else {
            count.unknown += 1;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        let before = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        if state.running.is_some() {
            count.running += 1;
        } else if let Some(end) = &state.terminated {
            count.stop(pod, container, end);
            count.succeeded += usize::from(end.exit_code == 0);
        } else if state.waiting.is_some()
            && let Some(end) = before
        {
            count.stop(pod, container, end);
        } else if state.waiting.is_some() {
            count.waiting += 1;
        } else {
            count.unknown += 1;
        }
    }
    if over || (failed_init > 0 && terminal) {
        return "Failed";
    }
    let still_initializing = pending_init + failed_init > 0 || (sidecars_pending > 0 && !initialized);
    if !terminal && !initialized && still_initializing {
        return "Pending";
    }
    if count.waiting > 0 {
        return if terminal { ended(&count, pod) } else { "Pending" };
    }
    if count.running > 0 && count.unknown == 0 {
        return "Running";
    }
    if count.running == 0 && count.stopped > 0 && count.unknown == 0 {
        if terminal {
            return ended(&count, pod);
        }
        return after_all_stopped(&count);
    }
    if terminal { ended(&count, pod) } else { "Pending" }
}

fn ended(count: &Count, pod: &Pod) -> &'static str {
    if count.succeeded == spec::app_containers(pod).len() && count.succeeded > 0 { "Succeeded" } else { "Failed" }
}

fn after_all_stopped(count: &Count) -> &'static str {
    if count.restarting > 0 {
        return "Running";
    }
    if count.stopped == count.succeeded { "Succeeded" } else { "Failed" }
}
