//! After a start: takes up what still runs, and clears what a crash left.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rk_shim_protocol::{ContainerState, Reply, Request};

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::runtime::{Runtime, boot_id};
use crate::tables::{Container, Sandbox};
use crate::{container, disk, sandbox, shim, signal};

/// How often a shim is asked again that is starting a container, and how long that is waited for each time: 10 s in all.
const STARTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Level-triggered: looks at disk, shims and kernel as they are, whatever happened before.
pub(crate) async fn recover(runtime: &Arc<Runtime>) -> Result<()> {
    let unread = load(runtime)?;
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
    orphans(runtime, &unread).await
}

/// Takes in all records. The ids of what the disk does not give one of now.
fn load(runtime: &Runtime) -> Result<BTreeSet<String>> {
    let mut unread = BTreeSet::new();
    let sandboxes = disk::load_all::<SandboxRecord>(&runtime.config.state_dir.join("sandboxes"))?;
    for (dir, record) in latest_first(sandboxes, |record| record.created_at) {
        if let Some(record) = taken(&dir, record, &mut unread)
            && runtime.tables.add_sandbox(Arc::new(Sandbox::new(dir.clone(), record))).is_err()
        {
            cleared("a sandbox in whose place is another", disk::remove(&dir));
        }
    }
    let containers = disk::load_all::<ContainerRecord>(&runtime.config.state_dir.join("containers"))?;
    for (dir, record) in latest_first(containers, |record| record.created_at) {
        if let Some(record) = taken(&dir, record, &mut unread)
            && runtime.tables.add_container(Arc::new(Container::new(dir.clone(), record))).is_err()
        {
            cleared("a container in whose place is another", disk::remove(&dir));
        }
    }
    Ok(unread)
}

/// Of two in one place the later one was made while the record of the other could not be read, and is what the kubelet knows.
fn latest_first<T>(mut found: Vec<disk::Found<T>>, created_at: impl Fn(&T) -> i64) -> Vec<disk::Found<T>> {
    found.sort_by_key(|(_, record)| Reverse(record.as_ref().ok().and_then(Option::as_ref).map(&created_at)));
    found
}

/// A record, if there is one. What has none goes; what may have one is left as it is, with all that was written by it.
fn taken<T>(dir: &Path, record: io::Result<Option<T>>, unread: &mut BTreeSet<String>) -> Option<T> {
    match record {
        Ok(Some(record)) => return Some(record),
        Ok(None) => cleared("what holds no record", disk::remove(dir)),
        Err(error) => {
            tracing::error!(path = %dir.display(), %error, "a record cannot be read: what it is of is left as it is");
            unread.extend(dir.file_name().map(|id| id.to_string_lossy().into_owned()));
        }
    }
    None
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
    if same_boot && let Some(containers) = states(&runtime.run_dir(&id)).await {
        for container in runtime.tables.containers_of(&id) {
            reconcile(runtime, &container, containers.iter().find(|state| state.id == container.get().id)).await;
        }
        kill_strays(runtime, &id, &containers).await;
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

/// Kills what a sandbox's shim has that nobody knows any more: it is not to run beside what takes its place.
async fn kill_strays(runtime: &Runtime, sandbox: &str, containers: &[ContainerState]) {
    for stray in containers.iter().filter(|state| runtime.tables.container(&state.id).is_err()) {
        let kill = Request::Signal { container: stray.id.clone(), signal: signal::KILL, all: true };
        let _ = shim::call(&runtime.run_dir(sandbox), &kill).await;
    }
}

/// What a shim knows of its containers, once it starts none any more: whoever asked for that hears no answer. `None` without a shim.
async fn states(dir: &Path) -> Option<Vec<ContainerState>> {
    let mut attempt = 1;
    loop {
        let Ok(Reply::State { containers }) = shim::call(dir, &Request::Subscribe).await else { return None };
        if attempt == STARTS || containers.iter().all(|state| state.pid > 0) {
            return Some(containers);
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Brings a record in line with what the shim knows of its container.
async fn reconcile(runtime: &Arc<Runtime>, container: &Container, state: Option<&ContainerState>) {
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
        // Nobody will tell how that ends.
        Some(state) if state.pid == 0 => sandbox::settle(runtime, &record),
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
async fn orphans(runtime: &Arc<Runtime>, unread: &BTreeSet<String>) -> Result<()> {
    let known = runtime.tables.sandboxes().into_iter().map(|s| s.get().id);
    let sandboxes: BTreeSet<String> = known.chain(unread.iter().cloned()).collect();
    for container in runtime.tables.containers() {
        let record = container.get();
        if runtime.tables.sandbox(&record.sandbox).is_ok() {
            continue;
        }
        // Nobody follows its shim: whoever stops it would wait for its end in vain.
        sandbox::settle(runtime, &record);
        if !unread.contains(&record.sandbox) {
            cleared("a container of no sandbox", container::remove(runtime, &record.id).await);
        }
    }
    for id in unread {
        if let Some(containers) = states(&runtime.run_dir(id)).await {
            kill_strays(runtime, id, &containers).await;
        }
    }
    for key in runtime.config.images.snapshots() {
        let owner = key.split("-volume-").next().unwrap_or(&key);
        if runtime.tables.container(owner).is_err() && !unread.contains(owner) {
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
            let _ = shim::call(&dir, &Request::Shutdown).await;
            shim::unpin(&dir, Some(&runtime.config.netns_dir.join(&id)));
            let _ = rustix::mount::unmount(dir.join("shm"), rustix::mount::UnmountFlags::DETACH);
            cleared("a directory of no sandbox", disk::remove(&dir));
        }
    }
    let attached = runtime.tables.sandboxes().into_iter().map(|s| s.get()).filter(|s| s.network).map(|s| s.id);
    if let Err(error) = runtime.config.network.keep_only(attached.chain(unread.iter().cloned()).collect()).await {
        tracing::warn!(error, "networks of pods that are gone could not be cleared yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rk_shim_protocol::socket;
    use tokio::net::UnixListener;

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
    #[tokio::test]
    async fn what_has_a_record_that_cannot_be_read_now_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let objects = [runtime.sandbox_state("s"), runtime.container_state("c"), runtime.run_dir("s")];
        for object in &objects {
            fs::create_dir_all(object).unwrap();
            // Neither is it there, nor is it not.
            std::os::unix::fs::symlink("record.json", object.join("record.json")).unwrap();
        }
        recover(&runtime).await.unwrap();
        assert!(objects.iter().all(|object| object.join("record.json").is_symlink()));
    }

    #[tokio::test]
    async fn of_two_in_one_place_the_later_one_is_known_after_a_start() {
        for (earlier, later) in [("a", "b"), ("b", "a")] {
            let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let runtime = rig::runtime(dir.path()).await;
            let other = rig::runtime(elsewhere.path()).await;
            let sandbox = rig::sandbox(&other, "s").get();
            for (id, created_at) in [(earlier, 1), (later, 2)] {
                let sandbox = SandboxRecord { id: id.to_owned(), created_at, ..sandbox.clone() };
                disk::save(&runtime.sandbox_state(id), &sandbox).unwrap();
                let container = ContainerRecord { id: id.to_owned(), created_at, ..ContainerRecord::default() };
                disk::save(&runtime.container_state(id), &container).unwrap();
            }
            load(&runtime).unwrap();
            assert!(runtime.tables.sandbox(later).is_ok() && runtime.tables.container(later).is_ok());
            assert!(runtime.tables.sandbox(earlier).is_err() && runtime.tables.container(earlier).is_err());
            assert!(!runtime.sandbox_state(earlier).exists() && !runtime.container_state(earlier).exists());
        }
    }

    #[tokio::test]
    async fn what_a_shim_alone_knows_does_not_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        rig::sandbox(&runtime, "s").refine(|record| record.boot_id = boot_id()).unwrap();
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let (recovered, ()) = tokio::join!(recover(&runtime), stray_is_killed(&listener, &["stray"]));
        recovered.unwrap();
    }

    #[tokio::test]
    async fn what_is_of_a_pod_whose_record_cannot_be_read_now_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let record = runtime.sandbox_state("s").join("record.json");
        fs::create_dir_all(runtime.sandbox_state("s")).unwrap();
        std::os::unix::fs::symlink("record.json", &record).unwrap();
        fs::create_dir_all(runtime.run_dir("s")).unwrap();
        let container = rig::running(&runtime, "s", "c");
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let (recovered, ()) = tokio::join!(recover(&runtime), stray_is_killed(&listener, &["c", "stray"]));
        recovered.unwrap();
        assert!(container.look(|record| record.ended.is_some()) && runtime.tables.container("c").is_ok());
        assert!(record.is_symlink());
    }

    /// Plays a shim that has these containers, and that is to kill the one of them that is called so.
    async fn stray_is_killed(listener: &UnixListener, ids: &[&str]) {
        let (mut client, _) = listener.accept().await.unwrap();
        assert_eq!(rig::request(&mut client).await, Request::Subscribe);
        let state = |id: &&str| ContainerState { id: (*id).to_owned(), pid: 1, started_at: 1, exit: None };
        rig::say(&mut client, &Reply::State { containers: ids.iter().map(state).collect() }).await;
        let (mut client, _) = listener.accept().await.unwrap();
        let kill = Request::Signal { container: "stray".into(), signal: signal::KILL, all: true };
        assert_eq!(rig::request(&mut client).await, kill);
        rig::say(&mut client, &Reply::Ok).await;
    }

    #[tokio::test]
    async fn a_start_that_was_under_way_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        rig::sandbox(&runtime, "s").refine(|record| record.boot_id = boot_id()).unwrap();
        let container = rig::running(&runtime, "s", "c");
        container.refine(|record| record.started_at = 0).unwrap();
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let shim = async {
            for pid in [0, 7] {
                let (mut client, _) = listener.accept().await.unwrap();
                assert_eq!(rig::request(&mut client).await, Request::Subscribe);
                let state = ContainerState { id: "c".into(), pid, started_at: pid.into(), exit: None };
                rig::say(&mut client, &Reply::State { containers: vec![state] }).await;
            }
        };
        let (recovered, ()) = tokio::join!(recover(&runtime), shim);
        recovered.unwrap();
        assert_eq!(container.look(|record| (record.pid, record.started_at, record.ended.is_none())), (7, 7, true));
    }
}
