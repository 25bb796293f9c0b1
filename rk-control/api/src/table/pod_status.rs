//! A pod's state in one word, and how often its containers were restarted.

use jiff::Timestamp;
use serde_json::Value;

use super::age::human;
use super::column::Context;
use crate::meta::{self, parse_time};

/// What the cells of a pod say.
pub(super) struct Summary {
    pub(super) ready: usize,
    pub(super) total: usize,
    pub(super) reason: String,
    restarts: i64,
    restarted: Option<Timestamp>,
}

impl Summary {
    pub(super) fn of(pod: &Context<'_>) -> Self {
        let statuses = pod.list(&["status", "initContainerStatuses"]);
        let sidecars = pod.list(&["spec", "initContainers"]).iter().filter(|c| is_sidecar(c)).count();
        let mut summary = Self {
            ready: 0,
            total: pod.list(&["spec", "containers"]).len() + sidecars,
            reason: first_word(pod),
            restarts: 0,
            restarted: None,
        };
        let initializing = summary.init(pod, statuses);
        if !initializing || condition(pod, "Initialized") {
            summary.main(pod);
        }
        if meta::is_deleting(pod.object) {
            let lost = pod.text(&["status", "reason"]) == "NodeLost";
            let over = matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed");
            if lost {
                summary.reason = "Unknown".into();
            } else if !over {
                summary.reason = "Terminating".into();
            }
        }
        summary
    }

    /// `3`, or `3 (2m ago)`.
    pub(super) fn restarts(&self, now: Timestamp) -> String {
        match self.restarted {
            Some(time) if self.restarts > 0 => {
                format!("{} ({} ago)", self.restarts, human(now.as_second() - time.as_second()))
            }
            _ => self.restarts.to_string(),
        }
    }

    /// Looks at the init containers; whether the first one that is not done yet sets the reason.
    fn init(&mut self, pod: &Context<'_>, statuses: &[Value]) -> bool {
        let specs = pod.list(&["spec", "initContainers"]);
        let spec_of = |name: &str| specs.iter().find(|spec| meta::text(spec, &["name"]) == name);
        for (index, status) in statuses.iter().enumerate() {
            self.restarts += meta::at(status, &["restartCount"]).as_i64().unwrap_or(0);
            self.note_restart(status);
            let sidecar = spec_of(meta::text(status, &["name"])).is_some_and(is_sidecar);
            let terminated = meta::at(status, &["state", "terminated"]);
            let code = meta::at(terminated, &["exitCode"]).as_i64();
            if code == Some(0) {
                continue;
            }
            if sidecar && meta::at(status, &["started"]) == true {
                self.ready += usize::from(meta::at(status, &["ready"]) == true);
                continue;
            }
            let waiting = meta::text(status, &["state", "waiting", "reason"]);
            self.reason = match () {
                () if !terminated.is_null() => format!("Init:{}", ended(terminated)),
                () if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                () => format!("Init:{index}/{}", specs.len()),
            };
            return true;
        }
        false
    }

    fn main(&mut self, pod: &Context<'_>) {
        let mut running = false;
        // Upstream counts the restarts of init containers only until the pod is initialized.
        self.restarts_of_sidecars(pod);
        for status in pod.list(&["status", "containerStatuses"]).iter().rev() {
            self.restarts += meta::at(status, &["restartCount"]).as_i64().unwrap_or(0);
            self.note_restart(status);
            let waiting = meta::text(status, &["state", "waiting", "reason"]);
            let terminated = meta::at(status, &["state", "terminated"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if !terminated.is_null() {
                self.reason = ended(terminated);
            } else if meta::at(status, &["ready"]) == true && !meta::at(status, &["state", "running"]).is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if condition(pod, "Ready") { "Running".into() } else { "NotReady".into() };
        }
    }

    fn restarts_of_sidecars(&mut self, pod: &Context<'_>) {
        let specs = pod.list(&["spec", "initContainers"]);
        let sidecar = |status: &&Value| {
            let name = meta::text(status, &["name"]);
            specs.iter().any(|spec| meta::text(spec, &["name"]) == name && is_sidecar(spec))
        };
        (self.restarts, self.restarted) = (0, None);
        for status in pod.list(&["status", "initContainerStatuses"]).iter().filter(sidecar) {
            self.restarts += meta::at(status, &["restartCount"]).as_i64().unwrap_or(0);
            self.note_restart(status);
        }
    }

    fn note_restart(&mut self, status: &Value) {
        let finished = parse_time(meta::text(status, &["lastState", "terminated", "finishedAt"]));
        self.restarted = self.restarted.max(finished);
    }
}

fn is_sidecar(container: &Value) -> bool {
    meta::text(container, &["restartPolicy"]) == "Always"
}

/// The phase, or the more telling reason that stands beside it.
fn first_word(pod: &Context<'_>) -> String {
    let reason = pod.text(&["status", "reason"]);
    let gated = pod.list(&["status", "conditions"]).iter().any(|condition| {
        meta::text(condition, &["type"]) == "PodScheduled" && meta::text(condition, &["reason"]) == "SchedulingGated"
    });
    match () {
        () if gated => "SchedulingGated".into(),
        () if !reason.is_empty() => reason.into(),
        () => pod.text(&["status", "phase"]).into(),
    }
}

fn condition(pod: &Context<'_>, name: &str) -> bool {
    let mut conditions = pod.list(&["status", "conditions"]).iter();
    conditions.any(|c| meta::text(c, &["type"]) == name && meta::text(c, &["status"]) == "True")
}

/// The reason of a container's end, or its signal or exit code.
fn ended(terminated: &Value) -> String {
    let reason = meta::text(terminated, &["reason"]);
    let signal = meta::at(terminated, &["signal"]).as_i64().unwrap_or(0);
    match () {
        () if !reason.is_empty() => reason.to_owned(),
        () if signal != 0 => format!("Signal:{signal}"),
        () => format!("ExitCode:{}", meta::at(terminated, &["exitCode"]).as_i64().unwrap_or(0)),
    }
}
