//! The one `rk-control` that the tests of this tier share.

use rk_qemu::process::Bound;
use rk_qemu::registry::free_port;
use rk_tests::{Kubectl, artifacts, eventually};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The start of `rk-control`, and what its controllers take to act.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A server with its folder.
pub struct Control {
    pub process: Option<Bound>,
    pub dir: PathBuf,
    pub bind: String,
    pub kubectl: Kubectl,
}

impl Control {
    /// Starts it on what its folder holds and waits until it is ready.
    pub fn start(&mut self) {
        let mut command = Command::new(artifacts().binaries.join("rk-control"));
        command.arg("--data-dir").arg(&self.dir).args(["--bind", &self.bind]);
        self.process = Some(Bound::spawn_logged("rk-control", &command, &self.dir.join("log")).expect("rk-control"));
        let log = self.dir.join("log");
        eventually("rk-control to be ready", LIMIT, || {
            let answer = self.kubectl.run(&["get", "--raw", "/readyz"]);
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            if answer.success { Ok(()) } else { Err(format!("{}\n{}", answer.err, log())) }
        });
    }

    /// Where its operator's kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }
}

/// The server, for one test at a time.
pub fn control() -> MutexGuard<'static, Control> {
    static CONTROL: OnceLock<Mutex<Control>> = OnceLock::new();
    let control = CONTROL.get_or_init(|| {
        let artifacts = artifacts();
        let dir = artifacts.work.join("api");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("folder");
        let kubectl = Kubectl::new(&artifacts.kubectl, &dir.join("admin.kubeconfig"));
        let bind = free_port().expect("port").to_string();
        let mut control = Control { process: None, dir, bind, kubectl };
        control.start();
        Mutex::new(control)
    });
    control.lock().unwrap_or_else(PoisonError::into_inner)
}
