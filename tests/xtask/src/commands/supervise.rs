//! The process that owns a cluster after `up` has ended. It keeps the machines until a signal asks it to stop.

use super::SuperviseArgs;
use crate::paths::Paths;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use rk_qemu::Artifacts;
use rk_qemu::cluster::{Cluster, ClusterSpec};
use std::time::Duration;

/// What a clean power-off may take before machines are killed.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);

pub fn run(paths: &Paths, args: &SuperviseArgs) -> Result<()> {
    // Blocked before the first thread exists, so that `wait` alone takes them. Children start with an empty mask.
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().context("cannot block signals")?;
    // A session of its own: closing the terminal of `up` does not reach it.
    match nix::unistd::setsid() {
        // It leads a session already when somebody detached it.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error).context("cannot leave the terminal"),
    }
    let text = std::fs::read(paths.artifacts()).context("no list of artifacts; run `cargo xtask up`")?;
    let artifacts: Artifacts =
        serde_json::from_slice(&text).context("unreadable list of artifacts; run `cargo xtask up`")?;
    let mut spec = ClusterSpec::new(&args.name.name, &paths.cluster(&args.name.name), &artifacts);
    spec.workers = args.shape.workers;
    spec.memory_mib = args.shape.memory;
    if let Some(cpus) = args.shape.cpus {
        spec.cpus = cpus;
    }
    spec.api_port = Some(args.port);
    spec.rkctl = Some(artifacts.binaries.join("rkctl"));
    // Their operator may restart them.
    spec.restarts = true;
    let cluster = Cluster::start(&spec)?;
    let signal = signals.wait().context("waiting for signals")?;
    say!("{signal}: shutting down");
    for node in cluster.shutdown(SHUTDOWN_LIMIT) {
        say!("{node} did not power off within {SHUTDOWN_LIMIT:?} and was killed");
    }
    Ok(())
}
