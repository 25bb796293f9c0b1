//! The phase of a pod from the statuses of its containers.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::spec::{self, RestartPolicy};

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

#[derive(Default)]
struct Count {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
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
    for container in spec::init_containers(pod) {
        let state = find(init, &container.name).and_then(|s| s.state.as_ref().map(|state| (s, state)));
        if spec::is_sidecar(container) {
            let up = state.is_some_and(|(s, state)| state.running.is_some() && s.started == Some(true));
            sidecars_pending += usize::from(!up);
            continue;
        }
        match state {
            Some((_, state)) if state.terminated.as_ref().is_some_and(|t| t.exit_code == 0) => {}
            Some((_, state)) if state.terminated.is_some() => failed_init += 1,
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
        let ended_before = status.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
        if state.running.is_some() {
            count.running += 1;
        } else if let Some(end) = state.terminated {
            count.stopped += 1;
            count.succeeded += usize::from(end.exit_code == 0);
        } else if state.waiting.is_some() && ended_before {
            count.stopped += 1;
        } else if state.waiting.is_some() {
            count.waiting += 1;
        } else {
            count.unknown += 1;
        }
    }
    if failed_init > 0 && (terminal || spec::restart_policy(pod) == RestartPolicy::Never) {
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
        return after_all_stopped(&count, pod);
    }
    if terminal { ended(&count, pod) } else { "Pending" }
}

fn ended(count: &Count, pod: &Pod) -> &'static str {
    if count.succeeded == spec::app_containers(pod).len() && count.succeeded > 0 { "Succeeded" } else { "Failed" }
}

fn after_all_stopped(count: &Count, pod: &Pod) -> &'static str {
    let restarts =
        spec::app_containers(pod).iter().any(|c| spec::container_restart_policy(pod, c) == RestartPolicy::Always);
    if restarts {
        return "Running";
    }
    if count.stopped == count.succeeded {
        return "Succeeded";
    }
    if spec::restart_policy(pod) == RestartPolicy::Never { "Failed" } else { "Running" }
}
