//! `rk-shim`: one process per pod sandbox, parent of its containers.
//!
//! ```text
//! rk-shim run DIR     read DIR/config.json, make and pin the pod's namespaces, listen on DIR/shim.sock, detach; returns when ready
//! rk-shim pause DIR   PID 1 of a pod's shared PID namespace (started by `run`)
//! ```
//!
//! Single-threaded by design: libcontainer clones raw and runs Rust code in the child. The loop in [`supervisor`] polls; everything
//! that may block or that changes process-wide state (libcontainer does both) runs in a forked [`worker`] whose children become
//! children of the shim, so that it alone reaps them.
//!
//! Invariants: an exit file is on disk before anybody hears of the exit; a seccomp profile or device rule that was asked for and
//! cannot be applied fails the container; nothing here grows with time or with a client's slowness.

mod attach;
mod cgroup;
mod client;
mod clock;
mod console;
mod container;
mod daemon;
mod devices;
mod executor;
mod exits;
mod join;
mod late;
mod launch;
mod logfile;
mod lookup;
mod namespaces;
mod output;
mod pause;
mod place;
mod propagation;
mod requests;
mod scratch;
mod seccomp;
mod stage;
mod supervisor;
mod syscalls;
mod userns;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

/// Held by a test that starts a program, which has every pipe of this process then, and by those that wait for the end of a pipe.
#[cfg(test)]
static PROGRAMS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn main() -> ExitCode {
    rk_panics::end_the_process();
    let mut args = std::env::args_os().skip(1);
    let (verb, dir) = (args.next(), args.next().map(PathBuf::from));
    let result = match (verb.as_deref().and_then(|v| v.to_str()), dir) {
        (Some("run"), Some(dir)) => daemon::run(&dir),
        (Some("pause"), Some(dir)) => pause::run(&dir),
        _ => Err(anyhow::anyhow!("usage: rk-shim run DIR")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rk-shim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
