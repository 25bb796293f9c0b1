//! After a start: takes up what still runs, and clears what a crash left.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::runtime::{Runtime, boot_id};
use crate::tables::{Container, Sandbox};
use crate::{container, disk, sandbox, shim};

/// Level-triggered: looks at disk, shims and kernel as they are, whatever happened before.
pub(crate) async fn recover(runtime: &Arc<Runtime>) -> Result<()> {
    load(runtime)?;
    let boot = boot_id();
    for sandbox in runtime.tables.sandboxes() {
        let record = sandbox.get();
        match record.phase {
            Phase::Creating => discard(runtime, &record.id).await,
            Phase::Ready => take_up(runtime, &sandbox, record.boot_id == boot).await,
            // Stopping may have been cut short anywhere; it is repeated.
            Phase::Stopped => {
                for container in runtime.tables.containers_of(&record.id) {
                    sandbox::settle(runtime, &container.get());
                }
                if let Err(error) = sandbox::tear_down(runtime, &sandbox).await {
                    tracing::warn!(sandbox = %record.id, %error, "a stopped sandbox could not be cleared yet");
                }
            }
        }
    }
    orphans(runtime).await
}

fn load(runtime: &Runtime) -> Result<()> {
    for (dir, record) in disk::load_all::<SandboxRecord>(&runtime.config.state_dir.join("sandboxes"))? {
        match record {
            Some(record) => drop(runtime.tables.add_sandbox(Arc::new(Sandbox::new(dir, record)))),
            None => cleared("what holds no record", disk::remove(&dir)),
        }
    }
    for (dir, record) in disk::load_all::<ContainerRecord>(&runtime.config.state_dir.join("containers"))? {
        match record {
            Some(record) => drop(runtime.tables.add_container(Arc::new(Container::new(dir, record)))),
            None => cleared("what holds no record", disk::remove(&dir)),
        }
    }
    Ok(())
}

/// What could not be cleared is tried again at the next start: it keeps no pod of this node from running.
fn cleared(what: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(what, %error, "could not be cleared yet");
    }
}

/// An attempt that nobody was told of: it goes.
async fn discard(runtime: &Arc<Runtime>, id: &str) {
    if let Err(error) = sandbox::remove(runtime, id).await {
        tracing::warn!(sandbox = id, %error, "a sandbox that was never finished could not be removed yet");
    }
}

/// A sandbox that was ready: its shim tells what happened meanwhile; without one it is lost.
async fn take_up(runtime: &Arc<Runtime>, sandbox: &Arc<Sandbox>, same_boot: bool) {
    let id = sandbox.get().id;
    if same_boot
        && let Ok(rk_shim_protocol::Reply::State { containers }) =
            shim::call(&runtime.run_dir(&id), &rk_shim_protocol::Request::Subscribe).await
    {
        for container in runtime.tables.containers_of(&id) {
            reconcile(runtime, &container, containers.iter().find(|state| state.id == container.get().id)).await;
        }
        sandbox::watch(runtime.clone(), sandbox.clone());
        return;
    }
    for container in runtime.tables.containers_of(&id) {
        sandbox::settle(runtime, &container.get());
    }
    if let Err(error) = sandbox::tear_down(runtime, sandbox).await {
        tracing::warn!(sandbox = %id, %error, "a lost sandbox could not be cleared yet");
    }
}

/// Brings a record in line with what the shim knows of its container.
async fn reconcile(runtime: &Arc<Runtime>, container: &Container, state: Option<&rk_shim_protocol::ContainerState>) {
    let record = container.get();
    match state {
        // Started, but the crash came before that was saved.
        Some(state) if record.started_at == 0 && state.pid > 0 => {
            let saved = container.update(|record| {
                record.pid = state.pid;
                record.started_at = state.started_at;
            });
            if let Err(error) = saved {
                tracing::error!(container = %record.id, %error, "a container's start was not saved");
            }
        }
        Some(_) => {}
        None if record.started_at > 0 => sandbox::settle(runtime, &record),
        // Without its bundle it was never finished.
        None if !runtime.bundle(&record.sandbox, &record.id).join("spec.json").exists() => {
            if let Err(error) = container::remove(runtime, &record.id).await {
                tracing::warn!(container = %record.id, %error, "a container that was never finished could not be removed yet");
            }
        }
        None => {}
    }
    if let Some(exit) = state.and_then(|state| state.exit.as_ref()) {
        runtime.container_ended(&record.id, crate::runtime::ended(exit));
    }
}

/// Things without a record: containers of no sandbox, snapshots of no container, shims of no sandbox, networks of nobody.
async fn orphans(runtime: &Arc<Runtime>) -> Result<()> {
    let sandboxes: BTreeSet<String> = runtime.tables.sandboxes().iter().map(|s| s.get().id).collect();
    for container in runtime.tables.containers() {
        let record = container.get();
        if !sandboxes.contains(&record.sandbox) {
            sandbox::settle(runtime, &record);
            cleared("a container of no sandbox", container::remove(runtime, &record.id).await);
        }
    }
    for key in runtime.config.images.snapshots() {
        let owner = key.split("-volume-").next().unwrap_or(&key);
        if runtime.tables.container(owner).is_err() {
            tracing::info!(snapshot = %key, "a snapshot of no container goes");
            cleared("a snapshot of no container", runtime.config.images.release(&key).await.map_err(Error::from));
        }
    }
    std::fs::create_dir_all(&runtime.config.run_dir).map_err(|source| crate::Error::Io {
        action: "create",
        path: runtime.config.run_dir.clone(),
        source,
    })?;
    for entry in std::fs::read_dir(&runtime.config.run_dir).into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !sandboxes.contains(&id) {
            let dir = entry.path();
            tracing::info!(sandbox = %id, "ended a shim of no sandbox");
            let _ = shim::call(&dir, &rk_shim_protocol::Request::Shutdown).await;
            shim::unpin(&dir, Some(&runtime.config.netns_dir.join(&id)));
            let _ = rustix::mount::unmount(dir.join("shm"), rustix::mount::UnmountFlags::DETACH);
            cleared("a directory of no sandbox", disk::remove(&dir));
        }
    }
    let attached = runtime.tables.sandboxes().iter().map(|s| s.get()).filter(|s| s.network).map(|s| s.id).collect();
    if let Err(error) = runtime.config.network.keep_only(attached).await {
        tracing::warn!(error, "networks of pods that are gone could not be cleared yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rig;

    #[tokio::test]
    async fn what_cannot_be_cleared_keeps_no_node_from_its_pods() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let state = runtime.config.state_dir.clone();
        // What is no directory does not go as one.
        for place in [runtime.config.run_dir.clone(), state.join("sandboxes"), state.join("containers")] {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("stray"), "").unwrap();
        }
        recover(&runtime).await.unwrap();
        assert!(runtime.tables.sandboxes().is_empty() && runtime.tables.containers().is_empty());
    }
}
