//! `down`: asks the owner of a cluster to shut its machines down.

use super::option;
use super::supervise::SHUTDOWN_LIMIT;
use crate::paths::Paths;
use crate::report::Report;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rk_qemu::cluster::ClusterState;
use rk_qemu::process::alive;
use std::time::{Duration, Instant};

pub fn run(paths: &Paths, name: &str) -> Result<()> {
    let Some(state) = ClusterState::load(&paths.cluster(name))? else {
        say!("no cluster named {name} runs{}", if name == "rk" { "" } else { " (see `cargo xtask status`)" });
        return Ok(());
    };
    Report::new().step(&format!("down{}", option(name)), |_| {
        stop(&state)?;
        Ok(((), format!("logs stay in {}", paths.show(&paths.cluster(name)))))
    })
}

fn stop(state: &ClusterState) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(state.pid).context("process id in the cluster's state")?);
    match kill(pid, Signal::SIGTERM) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(error) => bail!("cannot signal the owner of the cluster (process {pid}): {error}"),
    }
    let start = Instant::now();
    while alive(state.pid) {
        if start.elapsed() > SHUTDOWN_LIMIT + Duration::from_secs(10) {
            // Its machines die with it: each has a parent-death signal.
            kill(pid, Signal::SIGKILL).context("cannot kill the owner of the cluster")?;
            bail!("the owner of the cluster hung and was killed, and its machines with it");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
