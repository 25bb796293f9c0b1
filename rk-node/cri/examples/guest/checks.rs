//! The checks, in the order in which a node's life would bring them.

use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rk_cri_api::v1::VersionRequest;

use crate::client::{Cri, Pod};
use crate::{Result, confinement, crash, lifecycle, registry, streams};

/// Fails the check with what was seen.
#[macro_export]
macro_rules! must {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Err(format!("{} is false; saw {}", stringify!($condition), format!($($seen)+)).into());
        }
    };
}

struct Report {
    failed: u32,
}

impl Report {
    async fn check(&mut self, name: &str, work: impl Future<Output = Result<()>>) {
        let began = Instant::now();
        let outcome = match tokio::time::timeout(Duration::from_secs(90), work).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no end within 90 s".into()),
        };
        match outcome {
            Ok(()) => println!("ok {name} ({} ms)", began.elapsed().as_millis()),
            Err(error) => {
                self.failed += 1;
                println!("FAILED {name}: {error}");
            }
        }
    }
}

pub fn start_server() -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).arg("serve").spawn()?)
}

pub async fn answering(cri: &mut Cri) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while cri.runtime.version(VersionRequest::default()).await.is_err() {
        must!(Instant::now() < deadline, "no answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub async fn run(layout: PathBuf) -> Result<()> {
    std::fs::create_dir_all("/etc/cni/net.d")?;
    std::fs::write("/etc/cni/net.d/10-rk.conflist", CONFLIST)?;
    registry::serve(layout).await?;
    let mut server = start_server()?;
    let mut cri = Cri::new();
    let mut report = Report { failed: 0 };
    answering(&mut cri).await?;
    report.check("an image is pulled and listed under one id", lifecycle::pull(cri.clone())).await;
    let before = crash::leftovers();
    let mut pod = Pod::default();
    match cri.pod("main", |_| ()).await {
        Ok(made) => pod = made,
        Err(error) => println!("FAILED to run the first pod: {error}"),
    }
    report.check("a pod has an address and its own namespaces", lifecycle::pod_status(cri.clone(), pod.clone())).await;
    report.check("output is logged in CRI form and survives rotation", lifecycle::logs(cri.clone(), pod.clone())).await;
    report
        .check("a container is confined as RuntimeDefault says", confinement::confinement(cri.clone(), pod.clone()))
        .await;
    report
        .check("the container's identity is the one asked for", confinement::identity(cri.clone(), pod.clone()))
        .await;
    report
        .check("exec tells exit codes, time-outs and missing commands", lifecycle::exec(cri.clone(), pod.clone()))
        .await;
    report.check("exec and attach stream stdio and terminals", streams::run(cri.clone(), pod.clone())).await;
    report
        .check("a port of the pod is reached through the streaming server", streams::forward(cri.clone(), pod.clone()))
        .await;
    report
        .check(
            "a command that does not exist fails the start with its reason",
            lifecycle::missing(cri.clone(), pod.clone()),
        )
        .await;
    report
        .check("exit codes, signals and the OOM killer are told apart", lifecycle::exits(cri.clone(), pod.clone()))
        .await;
    report.check("stopping is graceful, then not", lifecycle::stopping(cri.clone(), pod.clone())).await;
    report
        .check(
            "limits reach the cgroup and can be changed; usage is reported",
            confinement::limits(cri.clone(), pod.clone()),
        )
        .await;
    report.check("a read-only root and mounts behave", confinement::mounts(cri.clone(), pod.clone())).await;
    report
        .check("a privileged container may do what others may not", confinement::privileged(cri.clone(), pod.clone()))
        .await;
    report.check("containers of a pod can share processes", lifecycle::shared_pid(cri.clone())).await;
    report.check("a pod in the node's namespaces has the node's", lifecycle::host_pod(cri.clone())).await;
    report.check("sysctls of a pod are set, those of the node refused", confinement::sysctls(cri.clone())).await;
    report
        .check(
            "a container outlives a kill of the server, and its end is known after",
            crash::restart(cri.clone(), pod.clone(), &mut server),
        )
        .await;
    report
        .check("a created container is removed without a trace", lifecycle::unstarted(cri.clone(), pod.clone()))
        .await;
    let main_only = crash::leftovers();
    report
        .check("a server killed at any moment leaks nothing", crash::storm(cri.clone(), &mut server, main_only))
        .await;
    report.check("pods are quick and shims small", lifecycle::speed(cri.clone())).await;
    report.check("nothing is left of pods that were removed", crash::clean(cri.clone(), pod, before)).await;
    let _ = server.kill();
    let _ = server.wait();
    println!("DONE {} failed", report.failed);
    Ok(())
}

const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "rk", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}}]}"#;
