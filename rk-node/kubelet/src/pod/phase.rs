//! The phase of a pod from the statuses of its containers.

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};

use super::round;
use super::spec::{self, Kind};

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

/// How a pod's init containers stand.
#[derive(Default)]
struct InitCount {
    pending: usize,
    failed: usize,
    /// Sidecars that have not started.
    sidecars_pending: usize,
    /// One of those that failed is not to run again.
    over: bool,
}

impl InitCount {
    fn of(pod: &Pod, statuses: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for container in spec::init_containers(pod) {
            let status = find(statuses, &container.name);
            let state = status.and_then(|s| s.state.as_ref());
            if spec::is_sidecar(container) {
                let runs = state.is_some_and(|state| state.running.is_some());
                let up = runs && status.is_some_and(|s| s.started == Some(true));
                count.sidecars_pending += usize::from(!up);
                continue;
            }
            match state.and_then(|state| state.terminated.as_ref()) {
                Some(end) if end.exit_code == 0 => {}
                Some(end) => {
                    count.failed += 1;
                    count.over |= !spec::may_restart(pod, Kind::Init, container, end.exit_code);
                }
                None => count.pending += 1,
            }
        }
        count
    }
}

/// How a pod's app containers stand: each counts as one of the first four.
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
    fn of(pod: &Pod, statuses: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for container in spec::app_containers(pod) {
            count.add(pod, container, find(statuses, &container.name));
        }
        count
    }

    fn add(&mut self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) {
        let state = status.and_then(|s| s.state.clone()).unwrap_or_default();
        let before = status.and_then(|s| s.last_state.as_ref()?.terminated.as_ref());
        if state.running.is_some() {
            self.running += 1;
        } else if let Some(end) = &state.terminated {
            self.stop(pod, container, end);
            self.succeeded += usize::from(end.exit_code == 0);
        } else if state.waiting.is_none() {
            self.unknown += 1;
        } else if let Some(end) = before {
            self.stop(pod, container, end);
        } else {
            self.waiting += 1;
        }
    }

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
    let (init, count) = (InitCount::of(pod, init), Count::of(pod, app));
    if init.over || (init.failed > 0 && terminal) {
        return "Failed";
    }
    let still_initializing = init.pending + init.failed > 0 || (init.sidecars_pending > 0 && !initialized);
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

#[cfg(test)]
mod tests {
    use super::super::decide_tests::pod;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_sidecar_counts_until_the_pod_is_initialized_and_never_for_its_end() {
        let pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
            "initContainers": [{"name": "s", "restartPolicy": "Always"}]}));
        let status = |name: &str, started: bool, state: &Value| -> Vec<ContainerStatus> {
            let told = json!({"name": name, "image": "i", "imageID": "", "ready": started, "started": started,
                "restartCount": 0, "state": state});
            vec![serde_json::from_value(told).unwrap()]
        };
        let (waits, runs) = (json!({"waiting": {}}), json!({"running": {}}));
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        for (sidecar, started, app, terminal, want) in [
            (&waits, false, &waits, false, "Pending"),
            (&runs, false, &waits, false, "Pending"),
            (&ended(1), false, &waits, false, "Pending"),
            (&runs, true, &waits, false, "Pending"),
            (&runs, true, &runs, false, "Running"),
            (&ended(1), false, &runs, false, "Running"),
            (&runs, true, &ended(0), false, "Succeeded"),
            (&ended(137), false, &ended(0), true, "Succeeded"),
            (&ended(0), false, &ended(1), true, "Failed"),
        ] {
            let initialized = app.get("waiting").is_none();
            let told = phase(&pod, &status("s", started, sidecar), &status("a", true, app), terminal, initialized);
            assert_eq!(told, want, "{sidecar} {started} {app}");
        }
    }
}
