//! What can be measured without a machine: sizes, and `rk-control` alone.

use super::table::Row;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use rk_qemu::process::Bound;
use rk_qemu::registry::free_port;
use rk_qemu::{Accel, Artifacts, kube::Api};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// More than this and `rk-control` is broken, not slow.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The machine that measures, for the head of the table.
pub fn machine(accel: Accel) -> String {
    format!("{}, guests under {accel}", processor())
}

/// Its processor.
pub fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.unwrap_or_else(|| "an unnamed processor".into()))
}

/// Sizes of what boots.
pub fn sizes(artifacts: &Artifacts) -> Result<Vec<Row>> {
    let (kernel, initramfs) = (bytes(&artifacts.kernel)?, bytes(&artifacts.initramfs)?);
    let mut rows = vec![
        Row::new("kernel", mb(kernel), "—"),
        Row::new("initramfs with the whole root", mb(initramfs), "—"),
        Row::new("kernel + initramfs", mb(kernel + initramfs), "≤ 20 MB"),
    ];
    for name in ["rk-init", "rk", "rk-shim"] {
        rows.push(Row::new(format!("binary {name}"), mb(bytes(&artifacts.binaries.join(name))?), "—"));
    }
    Ok(rows)
}

/// Start and idle memory of `rk-control` as a plain program.
pub fn control(paths: &Paths, artifacts: &Artifacts) -> Result<Vec<Row>> {
    let dir = paths.rk.join("bench-control");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    // Keys and tables are made on the first start; the second is what an operator waits for.
    let binary = dir.join("rk-control");
    symlink(artifacts.binaries.join("rk"), &binary).context("naming the program")?;
    let first = start(&binary, &dir)?.0;
    let (again, mut process) = start(&binary, &dir)?;
    std::thread::sleep(Duration::from_secs(5));
    let idle = resident_kib(process.id()).unwrap_or(0);
    process.kill();
    Ok(vec![
        Row::new("rk-control: first start to /readyz", ms(first), "—"),
        Row::new("rk-control: start to /readyz", ms(again), "≤ 100 ms"),
        Row::new("rk-control: resident, idle", mb(idle * 1024), "≤ 60 MB"),
    ])
}

/// Starts a server on a folder; answers how long it took until it was ready.
pub fn start(binary: &Path, dir: &Path) -> Result<(Duration, Bound)> {
    let bind = free_port()?;
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(dir).arg("--bind").arg(bind.to_string());
    let kubeconfig = dir.join("admin.kubeconfig");
    let _ = std::fs::remove_file(&kubeconfig);
    let begin = Instant::now();
    let mut process = Bound::spawn_logged("rk-control", &command, &dir.join("log"))?;
    loop {
        if Api::from_kubeconfig(&kubeconfig).and_then(|api| api.ready()).is_ok() {
            return Ok((begin.elapsed(), process));
        }
        if process.ended().is_some() || begin.elapsed() > START_LIMIT {
            bail!("rk-control did not become ready; see {}", dir.join("log").display());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Resident memory of a process.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

fn bytes(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("size of {}", path.display()))?.len())
}

pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

pub fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
