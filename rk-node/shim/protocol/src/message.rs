use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a shim is told at birth, in `config.json` of its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// Sandbox id.
    pub id: String,
    /// Where to pin a new network namespace; `None` stays in the host's.
    pub netns: Option<PathBuf>,
    /// Whether the pod has its own IPC namespace.
    pub ipc: bool,
    /// Host name for a UTS namespace of the pod; `None` stays in the host's.
    pub hostname: Option<String>,
    /// Whether containers share one PID namespace, whose PID 1 is the shim's pause process.
    pub shared_pid: bool,
    /// Namespaced sysctls by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// User namespace of the pod, which then owns all of its other namespaces; `None` stays in the host's.
    pub user: Option<UserMapping>,
    /// cgroup directory that the shim moves itself into, so that its life does not hang on its starter's cgroup.
    pub cgroup: Option<PathBuf>,
}

/// Which ids of the host the users and groups of a pod are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMapping {
    /// Users.
    pub uids: IdRange,
    /// Groups.
    pub gids: IdRange,
}

/// Ids `0..length` of a pod and where they begin on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// Id 0 on the host.
    pub host: u32,
    /// How many.
    pub length: u32,
}

/// A container to create and start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartContainer {
    /// Container id.
    pub id: String,
    /// Directory with `spec.json`, the full OCI runtime spec (namespaces already point at the pod's).
    pub bundle: PathBuf,
    /// Where to write the log in CRI form; `None` discards the output.
    pub log_path: Option<PathBuf>,
    /// Whether the container gets a stdin that clients can attach to.
    pub stdin: bool,
    /// Whether that stdin is closed when the first attached client's ends.
    pub stdin_once: bool,
    /// Whether stdio is a terminal. Must agree with the spec.
    pub tty: bool,
}

/// A process to run inside a running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Container id.
    pub container: String,
    /// The OCI runtime `process` object.
    pub process: serde_json::Value,
    /// Whether stdio is a new terminal, whose master comes back with [`Reply::Started`].
    pub tty: bool,
    /// Initial size of that terminal.
    pub size: Option<WindowSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// From the CRI server to the shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Create and start a container. Answered by `Started` or `Failed` (kind `Start`).
    Start(StartContainer),
    /// Send a signal to a container's first process, or to all of its processes.
    Signal {
        /// Container id.
        container: String,
        /// Linux signal number.
        signal: i32,
        /// Whether every process in the container's cgroup gets it.
        all: bool,
    },
    /// Run a process. Without a terminal, carries three descriptors: stdin (read end), stdout and stderr (write ends).
    Exec(Box<Process>),
    /// Kill an exec'd process by the pid that `Started` told.
    KillExec {
        /// Host pid.
        pid: i32,
    },
    /// Copy output from now on to two carried descriptors (stdout, stderr). `Attached` brings back the container's stdin pipe or
    /// terminal master, if it has one.
    Attach {
        /// Container id.
        container: String,
    },
    /// An attached client's stdin ended: closes the container's when it was made with `stdin_once`.
    StdinEnded {
        /// Container id.
        container: String,
    },
    /// Open the log file anew after it was renamed.
    ReopenLog {
        /// Container id.
        container: String,
    },
    /// Forget an ended container and its runtime state.
    Remove {
        /// Container id.
        container: String,
    },
    /// All containers, then every exit.
    Subscribe,
    /// Kill every container, drop the namespaces, answer and exit.
    Shutdown,
}

/// What is known of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Container id.
    pub id: String,
    /// Host pid of the first process.
    pub pid: i32,
    /// Start, nanoseconds since the epoch.
    pub started_at: i64,
    /// Set once it ended.
    pub exit: Option<Exit>,
}

/// How a container or an exec'd process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal when killed by one.
    pub code: i32,
    /// The signal that killed it, 0 when none.
    pub signal: i32,
    /// End, nanoseconds since the epoch.
    pub finished_at: i64,
    /// Whether the kernel's OOM killer struck in its cgroup.
    pub oom_killed: bool,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No such container.
    NotFound,
    /// The container's state does not allow it.
    State,
    /// The process could not be started.
    Start,
    /// Anything else.
    Internal,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Class, for mapping to a gRPC status.
    pub kind: FailureKind,
    /// Sentence for the user.
    pub message: String,
}

/// From the shim to the CRI server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Ok,
    /// The process runs. For an exec with a terminal, carries its master.
    Started {
        /// Host pid.
        pid: i32,
        /// Nanoseconds since the epoch.
        started_at: i64,
    },
    /// Attached; carries one descriptor when `stdin` is set.
    Attached {
        /// Whether a descriptor for stdin (pipe or terminal master) comes along.
        stdin: bool,
    },
    /// Answer to `Subscribe`.
    State {
        /// Every container that was not removed.
        containers: Vec<ContainerState>,
    },
    /// A container ended; its exit file is already on disk.
    Exited {
        /// Container id.
        container: String,
        /// How.
        exit: Exit,
    },
    /// The process of this connection's `Exec` ended.
    ExecExited(Exit),
    /// The request failed.
    Failed(Failure),
}
