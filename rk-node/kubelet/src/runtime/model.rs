//! What the runtime says about one pod, as values.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use rk_cri_api::v1 as cri;

use super::labels;
use crate::clock;

/// Reason of a container whose end nobody saw.
pub const UNKNOWN_REASON: &str = "ContainerStatusUnknown";

/// States of a pod's sandboxes and containers by ID, as numbers of CRI.
pub type States = BTreeMap<String, i32>;

/// State of a container in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// The runtime lost it.
    Unknown,
}

impl From<i32> for State {
    fn from(value: i32) -> Self {
        match cri::ContainerState::try_from(value) {
            Ok(cri::ContainerState::ContainerCreated) => Self::Created,
            Ok(cri::ContainerState::ContainerRunning) => Self::Running,
            Ok(cri::ContainerState::ContainerExited) => Self::Exited,
            Ok(cri::ContainerState::ContainerUnknown) | Err(_) => Self::Unknown,
        }
    }
}

impl State {
    /// As CRI names it.
    fn named(self) -> cri::ContainerState {
        match self {
            Self::Created => cri::ContainerState::ContainerCreated,
            Self::Running => cri::ContainerState::ContainerRunning,
            Self::Exited => cri::ContainerState::ContainerExited,
            Self::Unknown => cri::ContainerState::ContainerUnknown,
        }
    }
}

/// One instance of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeContainer {
    /// Runtime's ID.
    pub id: String,
    /// Name within the pod.
    pub name: String,
    /// The sandbox it belongs to; empty when the runtime does not tell.
    pub sandbox_id: String,
    /// State.
    pub state: State,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Exit code; meaningful when exited.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, …
    pub reason: String,
    /// The runtime's words, or the termination message.
    pub message: String,
    /// The image as asked for.
    pub image: String,
    /// The image as resolved (digest).
    pub image_id: String,
    /// How many instances came before.
    pub restart_count: u32,
    /// The round of the pod that it was made in, zero for the first.
    pub round: u32,
    /// Hash of the spec it was made from.
    pub hash: String,
    /// Absolute path of its log.
    pub log_path: String,
    /// Resources that the runtime holds it to.
    pub resources: Option<cri::LinuxContainerResources>,
    /// User that its first process runs as.
    pub user: Option<cri::LinuxContainerUser>,
    /// Signal that stops it, by its name; none when the runtime does not tell.
    pub stop_signal: Option<&'static str>,
    /// Host path of the termination message file.
    pub termination_file: Option<String>,
    /// The grace period noted when it was made, seconds.
    pub grace: Option<i64>,
}

impl RuntimeContainer {
    /// From a CRI status.
    pub fn from_status(status: cri::ContainerStatus, sandbox_id: String) -> Self {
        let signal = Some(status.stop_signal()).filter(|signal| *signal != cri::Signal::RuntimeDefault);
        let metadata = status.metadata.unwrap_or_default();
        let annotation = |key: &str| status.annotations.get(key).cloned();
        let message_path = annotation(labels::TERMINATION_MESSAGE_PATH).filter(|p| !p.is_empty());
        let termination_file = message_path
            .and_then(|path| status.mounts.iter().find(|m| m.container_path == path).map(|m| m.host_path.clone()));
        Self {
            name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
            sandbox_id,
            state: status.state.into(),
            created_at: clock::from_nanos(status.created_at),
            started_at: clock::from_nanos(status.started_at),
            finished_at: clock::from_nanos(status.finished_at),
            exit_code: status.exit_code,
            image: status
                .image
                .map(|i| if i.user_specified_image.is_empty() { i.image } else { i.user_specified_image })
                .unwrap_or_default(),
            image_id: if status.image_ref.is_empty() { status.image_id } else { status.image_ref },
            restart_count: annotation(labels::RESTART_COUNT).and_then(|n| n.parse().ok()).unwrap_or(metadata.attempt),
            round: annotation(labels::ROUND).and_then(|n| n.parse().ok()).unwrap_or(0),
            hash: annotation(labels::HASH).unwrap_or_default(),
            grace: annotation(labels::GRACE_PERIOD).and_then(|n| n.parse().ok()),
            id: status.id,
            reason: status.reason,
            message: status.message,
            log_path: status.log_path,
            resources: status.resources.and_then(|r| r.linux),
            user: status.user.and_then(|u| u.linux),
            stop_signal: signal.map(|signal| signal.as_str_name()),
            termination_file,
        }
    }

    /// Exited with code zero.
    pub fn succeeded(&self) -> bool {
        self.state == State::Exited && self.exit_code == 0
    }

    /// Its process runs.
    pub fn running(&self) -> bool {
        self.state == State::Running
    }
}

/// One sandbox of a pod; a pod has several when one died.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSandbox {
    /// Runtime's ID.
    pub id: String,
    /// How many sandboxes came before.
    pub attempt: u32,
    /// Whether it can hold running containers.
    pub ready: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Addresses, the primary first; empty in the host's network.
    pub ips: Vec<String>,
    /// Whether it uses the host's network.
    pub host_network: bool,
}

impl RuntimeSandbox {
    /// From a CRI status.
    pub fn from_status(status: cri::PodSandboxStatus) -> Self {
        let network = status.network.unwrap_or_default();
        let ips = std::iter::once(network.ip)
            .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
            .filter(|ip| !ip.is_empty())
            .collect();
        let namespaces = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).unwrap_or_default();
        Self {
            id: status.id,
            attempt: status.metadata.map_or(0, |m| m.attempt),
            ready: status.state == cri::PodSandboxState::SandboxReady as i32,
            created_at: clock::from_nanos(status.created_at),
            ips,
            host_network: namespaces.network == cri::NamespaceMode::Node as i32,
        }
    }
}

/// Everything that the runtime holds of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimePod {
    /// The pod's UID.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Sandboxes, newest first.
    pub sandboxes: Vec<RuntimeSandbox>,
    /// Containers, newest first.
    pub containers: Vec<RuntimeContainer>,
}

impl RuntimePod {
    /// Puts the newest first.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|s| Reverse((s.attempt, s.created_at)));
        self.containers.sort_by_key(|c| Reverse((c.created_at, c.restart_count)));
    }

    /// The states of everything, as the runtime lists them.
    pub fn states(&self) -> States {
        let of_sandbox =
            |ready| if ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready };
        let sandboxes = self.sandboxes.iter().map(|s| (s.id.clone(), of_sandbox(s.ready) as i32));
        sandboxes.chain(self.containers.iter().map(|c| (c.id.clone(), c.state.named() as i32))).collect()
    }

    /// The newest sandbox, when it is ready.
    pub fn active_sandbox(&self) -> Option<&RuntimeSandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// The newest instance of a container.
    pub fn container(&self, name: &str) -> Option<&RuntimeContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest instance of a container within a sandbox.
    pub fn container_in(&self, name: &str, sandbox: &str) -> Option<&RuntimeContainer> {
        self.containers.iter().find(|c| c.name == name && (c.sandbox_id == sandbox || c.sandbox_id.is_empty()))
    }

    /// The instance before the newest.
    pub fn previous(&self, name: &str) -> Option<&RuntimeContainer> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    /// Whether any process may still run.
    pub fn anything_running(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.state, State::Running | State::Unknown))
    }
}
