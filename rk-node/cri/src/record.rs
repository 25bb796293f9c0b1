//! What is kept of sandboxes and containers, on disk and in memory.

use std::net::IpAddr;
use std::path::PathBuf;

use rk_cri_api::v1::{ContainerConfig, ContainerState, LinuxContainerResources, NamespaceMode, PodSandboxConfig};
use serde::{Deserialize, Serialize};

use crate::spec::User;

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Being made; found at start it is an attempt that a crash cut short.
    Creating,
    /// Ready for containers.
    Ready,
    /// Stopped, or lost its shim.
    Stopped,
}

/// A pod sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// 64 hex digits.
    pub id: String,
    /// As the kubelet gave it.
    pub config: PodSandboxConfig,
    /// Runtime handler asked for.
    pub runtime_handler: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Life.
    pub phase: Phase,
    /// The pinned network namespace; `None` for the node's.
    pub netns: Option<PathBuf>,
    /// Whether network plugins may have been asked to set it up, and not yet, with success, to undo it.
    pub network: bool,
    /// Addresses, the primary first.
    pub ips: Vec<IpAddr>,
    /// cgroup of the pod, from the hierarchy's root.
    pub cgroup_parent: PathBuf,
    /// Kernel's boot id when it was made: after a reboot nothing of it runs any more.
    pub boot_id: String,
}

impl SandboxRecord {
    /// The mode of one of the pod's namespaces.
    pub fn namespace(&self, of: impl Fn(&rk_cri_api::v1::NamespaceOption) -> NamespaceMode) -> NamespaceMode {
        let security = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        security.and_then(|s| s.namespace_options.as_ref()).map_or(NamespaceMode::Pod, of)
    }
}

/// Why a container ended that could not be started.
pub(crate) const NOT_STARTED: &str = "StartError";

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Exit code.
    pub code: i32,
    /// Nanoseconds since the epoch.
    pub finished_at: i64,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`.
    pub reason: String,
    /// More for the user.
    pub message: String,
}

/// A container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// 64 hex digits.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// As the kubelet gave it, resources as updated since.
    pub config: ContainerConfig,
    /// Digest of the image's config.
    pub image_id: String,
    /// A digested name of the image.
    pub image_ref: String,
    /// A name of the image with a tag; empty where it had none.
    #[serde(default)]
    pub image_tag: String,
    /// Linux number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Who it runs as.
    pub user: User,
    /// cgroup from the hierarchy's root.
    pub cgroup: PathBuf,
    /// Where its log is; `None` if none was asked for.
    pub log_path: Option<PathBuf>,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// When its start was asked for, nanoseconds since the epoch; 0 before. On disk before anything of it runs: what a loss of power cuts
    /// short here may have run.
    #[serde(default)]
    pub launched_at: i64,
    /// Nanoseconds since the epoch; 0 before it is started.
    pub started_at: i64,
    /// Host pid of the first process while it runs.
    pub pid: i32,
    /// Whether it got its stop signal.
    #[serde(default)]
    pub asked_to_stop: bool,
    /// Set once it ended or could not be started.
    pub ended: Option<Ended>,
    /// Snapshots besides the root, of images mounted as volumes.
    pub volume_snapshots: Vec<String>,
}

impl ContainerRecord {
    /// Its state as CRI names it.
    pub fn state(&self) -> ContainerState {
        match (&self.ended, self.started_at) {
            (Some(_), _) => ContainerState::ContainerExited,
            (None, 0) => ContainerState::ContainerCreated,
            (None, _) => ContainerState::ContainerRunning,
        }
    }

    /// Whether it ran, or may have while nobody could tell.
    pub fn may_have_run(&self) -> bool {
        self.started_at > 0 || self.launched_at > 0
    }

    /// Takes it for started when it was asked to, where nobody heard whether it did.
    pub fn presume_started(&mut self) {
        if self.started_at == 0 {
            self.started_at = self.launched_at;
        }
    }

    /// Notes how it ended; `false` where that is known already, which stands. Of one that ends at once this may be heard before that it was
    /// started: nothing that ran is told without a start.
    pub fn end(&mut self, ended: Ended) -> bool {
        if self.ended.is_some() {
            return false;
        }
        if ended.reason != NOT_STARTED {
            self.presume_started();
        }
        self.ended = Some(ended);
        true
    }

    /// Whether this is the first time that it is asked to stop, as it is once: some programs take the same signal again for an order to
    /// leave all as it is.
    pub fn ask_to_stop(&mut self) -> bool {
        !std::mem::replace(&mut self.asked_to_stop, true)
    }

    /// Resources in force.
    pub fn resources(&self) -> Option<&LinuxContainerResources> {
        self.config.linux.as_ref().and_then(|linux| linux.resources.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use rk_cri_api::v1::KeyValue;
    use serde_json::{from_value, json, to_value};

    use super::*;

    fn record() -> ContainerRecord {
        ContainerRecord { id: "c".to_owned(), sandbox: "s".to_owned(), created_at: 1, ..Default::default() }
    }

    #[test]
    fn what_was_asked_to_start_may_have_run_and_is_taken_for_started() {
        assert!(!record().may_have_run());
        for (launched_at, started_at, told) in [(5, 0, 5), (5, 6, 6), (0, 6, 6)] {
            let mut record = ContainerRecord { launched_at, started_at, ..record() };
            assert!(record.may_have_run());
            record.presume_started();
            assert_eq!(record.started_at, told);
        }
    }

    #[test]
    fn what_ends_at_once_is_told_with_its_start() {
        let ended = |reason: &str| Ended { finished_at: 9, reason: reason.to_owned(), ..Ended::default() };
        for (launched_at, started_at, reason, told) in
            [(5, 0, "Completed", 5), (5, 6, "Error", 6), (5, 0, NOT_STARTED, 0), (0, 0, "Unknown", 0)]
        {
            let mut record = ContainerRecord { launched_at, started_at, ..record() };
            assert!(record.end(ended(reason)) && !record.end(ended("Other")), "{reason}: it ends once");
            assert_eq!(record.ended, Some(ended(reason)));
            assert_eq!((record.started_at, record.state()), (told, ContainerState::ContainerExited), "{reason}");
        }
    }

    #[test]
    fn a_container_is_asked_to_stop_once_also_by_a_runtime_that_begins_anew() {
        let mut first = record();
        assert!(first.ask_to_stop());
        let mut later: ContainerRecord = from_value(to_value(first).unwrap()).unwrap();
        assert!(!later.ask_to_stop() && !later.ask_to_stop());
    }

    #[test]
    fn a_record_tells_variables_as_text_and_keeps_their_bytes() {
        let mut raw = record();
        raw.config.envs = vec![KeyValue { key: "A".to_owned(), value: b"b\xff".to_vec() }];
        let mut told = to_value(&raw).unwrap();
        assert_eq!(told["config"]["envs"][0]["value"], "b\u{10feff}");
        assert_eq!(from_value::<ContainerRecord>(told.clone()).unwrap().config.envs, raw.config.envs);
        // As earlier releases wrote it.
        told["config"]["envs"][0]["value"] = json!("plain");
        assert_eq!(from_value::<ContainerRecord>(told).unwrap().config.envs[0].value, b"plain");
    }

    #[test]
    fn it_is_not_running_before_it_is_known_to() {
        let launched = ContainerRecord { launched_at: 5, ..record() };
        assert_eq!(launched.state(), ContainerState::ContainerCreated);
    }

    #[test]
    fn a_record_from_before_starts_were_noted_is_read() {
        let mut old = to_value(record()).unwrap();
        for late in ["launched_at", "asked_to_stop", "image_tag"] {
            old.as_object_mut().unwrap().remove(late).unwrap();
        }
        assert_eq!(from_value::<ContainerRecord>(old.clone()).unwrap().launched_at, 0);
        old["launched_at"] = json!(7);
        assert_eq!(from_value::<ContainerRecord>(old).unwrap().launched_at, 7);
    }
}
