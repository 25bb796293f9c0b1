use std::sync::Arc;

use futures::future::join_all;
use rk_cri_api::v1::ContainerEventType;
use rk_shim_protocol::Request;

use super::files;
use crate::error::{Error, Result};
use crate::record::{Phase, SandboxRecord};
use crate::runtime::{Runtime, attachment};
use crate::tables::Sandbox;
use crate::{container, disk, shim, view};

/// Ends every process of the sandbox and gives back its network. Idempotent; unknown sandboxes are stopped.
pub(crate) async fn stop(runtime: &Arc<Runtime>, id: &str) -> Result<()> {
    let sandbox = match runtime.tables.sandbox(id) {
        Ok(sandbox) => sandbox,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let _step = sandbox.step.lock().await;
    if is_gone(runtime, &sandbox.get().id) {
        return Ok(());
    }
    tear_down(runtime, &sandbox).await
}

/// Whether a sandbox was removed while its step was waited for: what is saved of it now would be found again at the next start.
fn is_gone(runtime: &Runtime, id: &str) -> bool {
    runtime.tables.sandbox(id).is_err()
}

/// As [`stop`], for a caller that holds the sandbox's step. Goes on after a failure and reports the first.
pub(crate) async fn tear_down(runtime: &Arc<Runtime>, sandbox: &Sandbox) -> Result<()> {
    let record = sandbox.get();
    let containers = runtime.tables.containers_of(&record.id);
    // What is being started is killed once it runs, and nothing begins any more.
    let _steps = join_all(containers.iter().map(|one| container::step(one))).await;
    // All at once: one that hangs in the kernel keeps none of the others alive.
    let killed = join_all(containers.iter().map(|one| container::kill(runtime, one))).await;
    killed.into_iter().collect::<Result<()>>()?;
    let mut failure = None;
    if record.network
        && let Some(pod) = attachment(&record)
        && let Err(reason) = runtime.config.network.delete(pod).await
    {
        failure = Some(Error::Network { sandbox: record.id.clone(), reason });
    }
    let dir = runtime.run_dir(&record.id);
    // A shim that does not answer is dead or about to be; what it pinned is removed here.
    let _ = shim::call(&dir, &Request::Shutdown).await;
    if failure.is_none() {
        shim::unpin(&dir, record.netns.as_deref());
        files::unmount_shm(runtime, &record.id);
    }
    // Until this is saved the plugins may be asked again, which is nothing to them. It may have stopped and still hold its network.
    stopped(runtime, sandbox, |record| record.network &= failure.is_some())?;
    failure.map_or(Ok(()), Err)
}

/// Notes that a sandbox has stopped, with what else changes by that, and tells it once: who stops it and who follows its shim both note it.
pub(super) fn stopped(runtime: &Runtime, sandbox: &Sandbox, change: impl FnOnce(&mut SandboxRecord)) -> Result<()> {
    let mut first = false;
    let saved = sandbox.update(|record| {
        change(record);
        first = std::mem::replace(&mut record.phase, Phase::Stopped) == Phase::Ready;
    });
    if first {
        let id = sandbox.look(|record| record.id.clone());
        runtime.publish(ContainerEventType::ContainerStoppedEvent, &id, &id);
    }
    saved.map(drop)
}

/// Removes the sandbox and its containers. Idempotent.
pub(crate) async fn remove(runtime: &Arc<Runtime>, id: &str) -> Result<()> {
    let sandbox = match runtime.tables.sandbox(id) {
        Ok(sandbox) => sandbox,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let _step = sandbox.step.lock().await;
    let id = sandbox.get().id;
    if is_gone(runtime, &id) {
        return Ok(());
    }
    tear_down(runtime, &sandbox).await?;
    for container in runtime.tables.containers_of(&id) {
        container::remove(runtime, &container.get().id).await?;
    }
    // Who hears of it asks no more whose it was.
    let last = sandbox.look(view::sandbox_status);
    forget(runtime, &id)?;
    runtime.publish_of(ContainerEventType::ContainerDeletedEvent, &id, &id, Some(last));
    Ok(())
}

/// Drops a torn-down sandbox from disk and memory.
pub(super) fn forget(runtime: &Runtime, id: &str) -> Result<()> {
    disk::remove(&runtime.run_dir(id))?;
    disk::remove(&runtime.sandbox_state(id))?;
    runtime.tables.drop_sandbox(id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use rk_shim_protocol::{Reply, socket};
    use tokio::net::UnixListener;
    use tokio::time::timeout;

    use super::*;
    use crate::record::Ended;
    use crate::rig;

    #[tokio::test]
    async fn containers_of_a_pod_are_killed_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let sandbox = rig::sandbox(&runtime, "s");
        for id in ["a", "b"] {
            rig::running(&runtime, "s", id);
        }
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let (by, of) = (runtime.clone(), sandbox.clone());
        let stopping = tokio::spawn(async move { tear_down(&by, &of).await });
        let mut killed = BTreeSet::new();
        while killed.len() < 2 {
            // Sooner than whoever waits for the end of the first gives it up.
            let asked = timeout(Duration::from_secs(25), listener.accept()).await;
            let (mut client, _) = asked.expect("one is killed while another has not ended").unwrap();
            if let Request::Signal { container, signal: 9, .. } = rig::request(&mut client).await {
                killed.insert(container);
            }
            rig::say(&mut client, &Reply::Ok).await;
        }
        for id in killed {
            runtime.container_ended(&id, Ended::default());
        }
        let (mut client, _) = listener.accept().await.unwrap();
        assert_eq!(rig::request(&mut client).await, Request::Shutdown);
        rig::say(&mut client, &Reply::Ok).await;
        stopping.await.unwrap().unwrap();
        assert_eq!(sandbox.get().phase, Phase::Stopped);
    }
    #[tokio::test]
    async fn what_is_being_started_ends_with_its_pod_once_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let sandbox = rig::sandbox(&runtime, "s");
        let container = rig::running(&runtime, "s", "c");
        container.refine(|record| record.started_at = 0).unwrap();
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let starting = container.step.lock().await;
        let (by, of) = (runtime.clone(), sandbox.clone());
        let stopping = tokio::spawn(async move { tear_down(&by, &of).await });
        // It has found it, besides this test and the table.
        while Arc::strong_count(&container) < 3 {
            tokio::task::yield_now().await;
        }
        container.refine(|record| record.started_at = 1).unwrap();
        drop(starting);
        for request in [Request::Signal { container: "c".into(), signal: 9, all: true }, Request::Shutdown] {
            let asked = timeout(Duration::from_secs(25), listener.accept()).await;
            let (mut client, _) = asked.expect("it is not stopped yet").unwrap();
            assert_eq!(rig::request(&mut client).await, request);
            rig::say(&mut client, &Reply::Ok).await;
            runtime.container_ended("c", Ended::default());
        }
        stopping.await.unwrap().unwrap();
    }
    #[tokio::test]
    async fn who_waited_for_a_removal_brings_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let sandbox = rig::sandbox(&runtime, "s");
        let held = sandbox.step.lock().await;
        let (one, other) = (runtime.clone(), runtime.clone());
        let stopping = tokio::spawn(async move { stop(&one, "s").await });
        let removing = tokio::spawn(async move { remove(&other, "s").await });
        // Both have found it, besides this test and the table.
        while Arc::strong_count(&sandbox) < 4 {
            tokio::task::yield_now().await;
        }
        forget(&runtime, "s").unwrap();
        drop(held);
        stopping.await.unwrap().unwrap();
        removing.await.unwrap().unwrap();
        assert!(!runtime.sandbox_state("s").exists());
    }
    #[tokio::test]
    async fn the_end_of_a_pod_is_told_once_though_its_network_cannot_be_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let sandbox = rig::sandbox(&runtime, "s");
        let netns = runtime.config.netns_dir.join("s");
        sandbox.refine(|record| (record.network, record.netns) = (true, Some(netns))).unwrap();
        let mut events = runtime.events.subscribe();
        for _ in 0..2 {
            assert!(matches!(stop(&runtime, "s").await, Err(Error::Network { .. })));
        }
        let told = events.try_recv().unwrap();
        assert_eq!(told.container_event_type(), ContainerEventType::ContainerStoppedEvent);
        assert!(events.try_recv().is_err(), "it is told again");
    }
    #[tokio::test]
    async fn the_end_of_a_pod_whose_shim_goes_before_it_has_stopped_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        let sandbox = rig::sandbox(&runtime, "s");
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let mut events = runtime.events.subscribe();
        let by = runtime.clone();
        let stopping = tokio::spawn(async move { stop(&by, "s").await });
        let (mut client, _) = listener.accept().await.unwrap();
        assert_eq!(rig::request(&mut client).await, Request::Shutdown);
        // Who follows it has given it up meanwhile.
        super::super::watch::shim_lost(&runtime, &sandbox);
        rig::say(&mut client, &Reply::Ok).await;
        stopping.await.unwrap().unwrap();
        let told = events.try_recv().unwrap();
        assert_eq!(told.container_event_type(), ContainerEventType::ContainerStoppedEvent);
        assert!(events.try_recv().is_err(), "it is told again");
    }
}
