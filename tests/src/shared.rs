//! One cluster per test binary, started by the first test that asks. The machines die with the process.

use crate::{Kubectl, artifacts};
use rk_qemu::cluster::{Cluster, ClusterSpec, label_control_plane, wait_ready};
use rk_qemu::console::Console;
use rk_qemu::oci::{Archive, push};
use rk_qemu::registry::Registry;
use rk_qemu::{Artifacts, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// From power-on to all nodes Ready under KVM.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Logs of the consoles of this binary's cluster, and of what QEMU said.
static LOGS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// The ends of these logs, for whoever waited in vain; nothing where there is no cluster.
pub(crate) fn consoles() -> String {
    let end = |log: &PathBuf| format!("\n--- {}\n{}", log.display(), Console::new("", log).tail());
    LOGS.get().into_iter().flatten().map(end).collect()
}

/// A cluster whose nodes were Ready, with a kubectl for it.
pub struct Shared {
    /// The machines.
    pub cluster: Cluster,
    /// kubectl as the operator.
    pub kubectl: Kubectl,
    /// The files that it is made of.
    pub artifacts: Artifacts,
}

/// The cluster of this test binary, for one test at a time. A start that failed is not tried again by the next test.
pub fn shared(name: &str, workers: u8) -> MutexGuard<'static, Shared> {
    shared_with(name, workers, |_| {})
}

/// As [`shared`], of a cluster that differs from the usual.
pub fn shared_with(name: &str, workers: u8, change: fn(&mut ClusterSpec)) -> MutexGuard<'static, Shared> {
    static CLUSTER: OnceLock<Result<Mutex<Shared>, String>> = OnceLock::new();
    let started = CLUSTER.get_or_init(|| start(name, workers, change).map(Mutex::new).map_err(|e| chain(&e)));
    match started {
        // A test that failed says nothing about the cluster: the next one looks for itself.
        Ok(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner),
        Err(error) => panic!("the cluster did not start: {error}{}", consoles()),
    }
}

/// A limit written for KVM, as long as it takes with the accelerator in use.
pub fn limit(seconds: u64) -> Duration {
    artifacts().accel.scale(Duration::from_secs(seconds))
}

/// How many times a test does its worst: as a variable of the environment says, else `long` where `RK_LONG` is set, else `usual`.
pub fn number(variable: &str, usual: usize, long: usize) -> usize {
    let otherwise = if std::env::var_os("RK_LONG").is_some() { long } else { usual };
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A registry with `rk.local/busybox:demo` in it, for a machine alone, and what its config says of it below `registries.mirrors`.
pub fn registry(dir: &Path) -> (Registry, String) {
    let artifacts = artifacts();
    let registry = Registry::start(&artifacts.registry, &dir.join("registry"), dir).expect("registry");
    let archive = Archive::open(&artifacts.images.join("busybox"), None).expect("image");
    push(&registry.client(), &archive).expect("push");
    let mirror = format!("{{match: '*', endpoints: ['{}'], includeHost: true}}", registry.url_from_guest());
    (registry, mirror)
}

fn start(name: &str, workers: u8, change: fn(&mut ClusterSpec)) -> Result<Shared> {
    let artifacts = artifacts();
    let mut spec = ClusterSpec::new(name, &artifacts.work.join(name), &artifacts);
    spec.workers = workers;
    change(&mut spec);
    let mut cluster = Cluster::start(&spec)?;
    let nodes = &cluster.state().nodes;
    let logs = |name: &str, console: &Path| [console.to_owned(), console.with_file_name(format!("{name}.qemu.log"))];
    let _ = LOGS.set(nodes.iter().flat_map(|node| logs(&node.name, &node.console_log)).collect());
    let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let api = cluster.api()?;
    let alive = || names.iter().try_for_each(|name| runs(&mut cluster, name));
    wait_ready(&api, usize::from(workers) + 1, artifacts.accel.scale(READY_LIMIT), |_| {}, alive)?;
    label_control_plane(&api)?;
    let kubectl = Kubectl::new(&artifacts.kubectl, cluster.kubeconfig());
    let shared = Shared { cluster, kubectl, artifacts };
    ["busybox", "nginx"].into_iter().try_for_each(|image| shared.push(image))?;
    Ok(shared)
}

/// Whether a machine has not ended, as one does whose port of the host is taken.
fn runs(cluster: &mut Cluster, name: &str) -> Result<()> {
    let vm = cluster.vm(name)?;
    match vm.ended() {
        None => Ok(()),
        Some(_) => Err(Error::MachineEnded { name: name.to_owned(), tail: vm.console().tail() }),
    }
}

impl Shared {
    /// Puts one of the images that `cargo xtask` made into the cluster's registry, as `rk.local/IMAGE:demo`.
    ///
    /// # Errors
    /// There is no such image, or the registry does not take it.
    pub fn push(&self, image: &str) -> Result<()> {
        push(&self.cluster.registry().client(), &Archive::open(&self.artifacts.images.join(image), None)?)?;
        Ok(())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
