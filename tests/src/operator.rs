//! `rkctl`, run as an operator runs it.

use crate::{Kubectl, Running, artifacts, eventually};
use rk_qemu::Artifacts;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a run of `rkctl` came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit code; -1 when it was killed.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Outcome {
    /// What it printed, when it succeeded; panics with what it said otherwise.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "rkctl failed:\n{}{}", self.out, self.err);
        self.out
    }
}

/// An operator with their files.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    dir: PathBuf,
}

impl Operator {
    /// One who works in this folder.
    pub fn new(artifacts: &Artifacts, dir: &Path) -> Operator {
        Operator { program: artifacts.binaries.join("rkctl"), dir: dir.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).env_remove("RKCTL_CONFIG").env("HOME", &self.dir);
        command
    }

    /// Starts `rkctl` with these arguments and lets it run, such as `logs --follow`; output goes to `log`.
    pub fn start(&self, args: &[&str], log: &Path) -> Running {
        Running::start(self.command(args), log)
    }

    /// Runs `rkctl` with these arguments.
    pub fn run(&self, args: &[&str]) -> Outcome {
        let output = self
            .command(args)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|err| panic!("{}: {err}", self.program.display()));
        Outcome {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// kubectl in `dir` against a control plane in a guest, whose API server is reached at `api`; `ask` asks the guest for its admin's kubeconfig.
/// Panics when it does not serve within `limit`.
pub fn admin(dir: &Path, api: SocketAddr, limit: Duration, ask: impl Fn() -> Outcome) -> Kubectl {
    let text = eventually("the admin's kubeconfig", limit, || {
        let outcome = ask();
        if outcome.code == 0 { Ok(outcome.out) } else { Err(outcome.err) }
    });
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).expect("server").to_owned();
    let ours = format!("https://{api}\n    tls-server-name: 10.0.2.15");
    let path = dir.join("admin.kubeconfig");
    std::fs::write(&path, text.replace(&server, &ours)).expect("kubeconfig");
    let kubectl = Kubectl::new(&artifacts().kubectl, &path);
    // A control plane that has just begun makes it a moment after it serves.
    eventually("the default service account", limit, || {
        let answer = kubectl.run(&["get", "serviceaccount", "default"]);
        if answer.success { Ok(()) } else { Err(answer.err) }
    });
    kubectl
}
