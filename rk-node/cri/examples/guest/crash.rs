//! What remains when processes die, and what does not.

use std::process::{Child, Command};
use std::time::Duration;

use rk_cri_api::v1::*;

use crate::checks::{answering, start_server};
use crate::client::{Cri, Pod};
use crate::{Result, must};

pub async fn restart(mut cri: Cri, pod: Pod, server: &mut Child) -> Result<()> {
    let stays = cri.run(&pod, "stays", "while :; do echo tick; sleep 0.2; done", |_| ()).await?;
    let ends = cri.run(&pod, "ends", "sleep 1; exit 5", |_| ()).await?;
    let pid_before = cri.sh(&stays, "echo $PPID; cat /proc/1/stat | cut -d' ' -f22").await?.0;
    server.kill()?;
    server.wait()?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    *server = start_server()?;
    answering(&mut cri).await?;
    let status = cri.ended(&ends).await?;
    must!(status.exit_code == 5 && status.reason == "Error", "{status:?}");
    must!(cri.status(&stays).await?.state() == ContainerState::ContainerRunning, "the container died with the server");
    let after = cri.sh(&stays, "echo $PPID; cat /proc/1/stat | cut -d' ' -f22").await?.0;
    must!(after == pid_before, "{pid_before:?} became {after:?}");
    cri.runtime.stop_container(StopContainerRequest { container_id: stays, timeout: 0 }).await?;
    Ok(())
}

/// What a pod may leave behind: mounts, namespaces, cgroups, directories.
pub fn leftovers() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut all: Vec<String> = mounts.lines().filter_map(|l| l.split_whitespace().nth(1)).map(str::to_owned).collect();
    for dir in [
        "/run/netns",
        "/run/rk/sandboxes",
        "/var/lib/rk/cri/sandboxes",
        "/var/lib/rk/cri/containers",
        "/var/lib/rk/images/snapshots",
        "/sys/class/net",
    ] {
        all.extend(
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path().to_string_lossy().into_owned()),
        );
    }
    all.sort();
    all
}

pub async fn clean(mut cri: Cri, pod: Pod, before: Vec<String>) -> Result<()> {
    cri.remove_pod(&pod).await?;
    cri.remove_pod(&pod).await?;
    let after: Vec<_> =
        leftovers().into_iter().filter(|path| !before.contains(path) && !path.ends_with("/cni0")).collect();
    must!(after.is_empty(), "{after:#?}");
    let shims = Command::new("/bin/busybox").args(["pgrep", "rk-shim"]).output()?;
    must!(shims.stdout.is_empty(), "shims live: {}", String::from_utf8_lossy(&shims.stdout));
    let listed = cri.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    must!(listed.is_empty(), "{listed:?}");
    Ok(())
}

/// Pods are made and removed while the server is killed at ever other moments; afterwards all that is known can be removed.
pub async fn storm(mut cri: Cri, server: &mut Child, before: Vec<String>) -> Result<()> {
    for round in 0..8u64 {
        let work = |n: u64| {
            let mut cri = cri.clone();
            async move {
                let pod = cri.pod(&format!("storm{round}-{n}"), |_| ()).await?;
                cri.run(&pod, "one", "sleep 1000", |_| ()).await?;
                cri.remove_pod(&pod).await
            }
        };
        let killer = async {
            tokio::time::sleep(Duration::from_millis(150 + 450 * round)).await;
            server.kill()
        };
        // What the server does not live to answer fails; only what is left counts.
        let (_, _, killed) = tokio::join!(work(0), work(1), killer);
        killed?;
        server.wait()?;
        *server = start_server()?;
        answering(&mut cri).await?;
    }
    let known = cri.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    for sandbox in known.iter().filter(|s| s.metadata.as_ref().is_some_and(|m| m.name.starts_with("storm"))) {
        cri.remove_pod(&Pod { id: sandbox.id.clone(), ..Default::default() }).await?;
    }
    let after: Vec<_> = leftovers().into_iter().filter(|path| !before.contains(path)).collect();
    must!(after.is_empty(), "{after:#?}");
    Ok(())
}
