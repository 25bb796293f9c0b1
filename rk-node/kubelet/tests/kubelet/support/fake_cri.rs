//! The state of the fake runtime: sandboxes and containers whose "programs" are named by their command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rk_cri_api::v1 as cri;
use rk_cri_api::{ImageServiceServer, RuntimeServiceServer};
use tokio::sync::Notify;
use tonic::Status;

/// What a container does once started.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// Runs until it is stopped.
    Run,
    /// Runs, and ignores TERM.
    Stubborn,
    /// Ends at once with this code.
    Exit(i32),
    /// Cannot be started.
    Missing,
}

impl Program {
    fn of(command: &[String]) -> Self {
        match command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["exit", code] => Self::Exit(code.parse().unwrap_or(255)),
            ["stubborn"] => Self::Stubborn,
            ["missing"] => Self::Missing,
            _ => Self::Run,
        }
    }
}

pub struct Sandbox {
    pub id: String,
    pub config: cri::PodSandboxConfig,
    pub ready: bool,
    pub created_at: i64,
    pub ip: String,
}

pub struct Container {
    pub id: String,
    pub sandbox: String,
    pub config: cri::ContainerConfig,
    pub state: cri::ContainerState,
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub reason: String,
    pub log_path: PathBuf,
    pub stopped: Arc<Notify>,
}

#[derive(Default)]
pub struct State {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
    pub images: Vec<String>,
    /// Images that were to be removed. They stay.
    pub removed_images: Vec<String>,
    /// Names whose pull fails.
    pub broken_images: Vec<String>,
    /// Calls by name.
    pub calls: HashMap<String, usize>,
    /// Commands that ran by ExecSync, and the exit codes of those that fail.
    pub execs: Vec<(String, Vec<String>)>,
    pub failing_execs: HashMap<String, i32>,
    pub network_ready: bool,
    /// The status of a sandbox is told without its containers, as by runtimes that have no events.
    pub terse: bool,
    next: u32,
}

/// The fake runtime; clones share the state.
#[derive(Clone)]
pub struct FakeCri(Arc<Mutex<State>>);

pub fn nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

impl FakeCri {
    /// Serves on this socket until the test ends.
    pub fn serve(socket: &Path) -> Self {
        let state = State { network_ready: true, ..Default::default() };
        let fake = Self(Arc::new(Mutex::new(state)));
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(fake.clone()))
            .add_service(ImageServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        fake
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a running container as if its process had exited.
    pub fn exit(&self, pod: &str, container: &str, code: i32) {
        let mut state = self.state();
        let found = state.containers.iter_mut().find(|c| {
            c.config.labels["io.kubernetes.pod.name"] == pod
                && c.config.labels["io.kubernetes.container.name"] == container
                && c.state == cri::ContainerState::ContainerRunning
        });
        finish(found.expect("a running container"), code);
    }

    /// IDs and start times of the running containers of a pod.
    pub fn running(&self, pod: &str) -> Vec<(String, i64)> {
        let state = self.state();
        let of_pod = state.containers.iter().filter(|c| c.config.labels["io.kubernetes.pod.name"] == pod);
        of_pod
            .filter(|c| c.state == cri::ContainerState::ContainerRunning)
            .map(|c| (c.id.clone(), c.started_at))
            .collect()
    }

    pub fn fresh_id(&self, prefix: &str) -> String {
        let mut state = self.state();
        state.next += 1;
        format!("{prefix}{:08}", state.next)
    }

    pub fn count(&self, call: &str) {
        *self.state().calls.entry(call.to_owned()).or_default() += 1;
    }

    pub fn start(&self, id: &str) -> Result<(), Status> {
        let mut state = self.state();
        let container =
            state.containers.iter_mut().find(|c| c.id == id).ok_or_else(|| Status::not_found(id.to_owned()))?;
        container.started_at = nanos();
        let program = Program::of(&container.config.command);
        if program == Program::Missing {
            container.reason = "StartError".into();
            finish(container, 128);
            return Err(Status::unknown("exec: \"missing\": executable file not found in $PATH"));
        }
        let line = format!("{} stdout F hello from {}\n", jiff::Timestamp::now(), container.config.command.join(" "));
        std::fs::create_dir_all(container.log_path.parent().unwrap()).unwrap();
        std::fs::write(&container.log_path, line).unwrap();
        if let Some(file) = container.config.mounts.iter().find(|m| m.container_path == "/dev/termination-log") {
            std::fs::write(&file.host_path, "last words").unwrap();
        }
        container.state = cri::ContainerState::ContainerRunning;
        if let Program::Exit(code) = program {
            finish(container, code);
        }
        Ok(())
    }

    /// Stops a container; one that ignores it is killed after `timeout` seconds, unless the test ends it before.
    pub async fn stop(&self, id: &str, timeout: i64) {
        let ended = {
            let mut state = self.state();
            let Some(container) = state.containers.iter_mut().find(|c| c.id == id) else { return };
            if container.state != cri::ContainerState::ContainerRunning {
                return;
            }
            match Program::of(&container.config.command) {
                Program::Stubborn => container.stopped.clone().notified_owned(),
                _ => return finish(container, 0),
            }
        };
        let patience = Duration::from_secs(timeout.max(0).unsigned_abs());
        if tokio::time::timeout(patience, ended).await.is_err() {
            let mut state = self.state();
            if let Some(container) = state.containers.iter_mut().find(|c| c.id == id) {
                finish(container, 137);
            }
        }
    }
}

pub fn finish(container: &mut Container, code: i32) {
    if container.state == cri::ContainerState::ContainerExited {
        return;
    }
    container.state = cri::ContainerState::ContainerExited;
    container.finished_at = nanos();
    container.exit_code = code;
    if container.reason.is_empty() {
        container.reason = if code == 0 { "Completed" } else { "Error" }.into();
    }
    container.stopped.notify_waiters();
}
