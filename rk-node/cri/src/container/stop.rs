use std::sync::Arc;
use std::time::Duration;

use rk_cri_api::v1::ContainerState;
use rk_shim_protocol::Request;
use tokio::sync::MutexGuard;

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};
use crate::runtime::Runtime;
use crate::tables::Container;
use crate::{sandbox, shim, signal};

/// How long a killed process may take to go: longer ones hang in the kernel, mostly on a dead disk or server.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// How long whoever ends a container waits for what is being done with it, such as its start.
const STEP_PATIENCE: Duration = Duration::from_secs(30);

/// The container's step, for whoever ends it: what is about to run cannot be asked to end yet, and would run afterwards. `None` when that
/// takes too long: it is ended as far as it has come.
pub(crate) async fn step(container: &Container) -> Option<MutexGuard<'_, ()>> {
    let step = tokio::time::timeout(STEP_PATIENCE, container.step.lock()).await;
    if step.is_err() {
        let id = container.look(|record| record.id.clone());
        tracing::warn!(container = %id, "it is ended while something else is done with it");
    }
    step.ok()
}

/// Asks a container to stop, once however often this is called, and, after `grace`, kills it. Idempotent; unknown containers are stopped.
pub(crate) async fn stop(runtime: &Arc<Runtime>, id: &str, grace: Duration) -> Result<()> {
    let container = match runtime.tables.container(id) {
        Ok(container) => container,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if container.look(ContainerRecord::state) == ContainerState::ContainerCreated {
        drop(step(&container).await);
    }
    let record = container.get();
    if record.state() == ContainerState::ContainerRunning && !grace.is_zero() {
        let mut first = false;
        // Where that is not saved, the next runtime asks again.
        let _ = container.refine(|record| first = record.ask_to_stop());
        if first {
            send(runtime, &record, record.stop_signal, false).await;
        }
        if ended_within(&container, grace).await {
            return Ok(());
        }
    }
    kill(runtime, &container).await
}

/// Kills a container, if it runs, and waits until it is gone.
pub(crate) async fn kill(runtime: &Arc<Runtime>, container: &Arc<Container>) -> Result<()> {
    let record = container.get();
    if record.state() != ContainerState::ContainerRunning {
        return Ok(());
    }
    send(runtime, &record, signal::KILL, true).await;
    if ended_within(container, KILL_PATIENCE).await {
        Ok(())
    } else {
        Err(Error::Deadline(format!(
            "container {:?} did not end within {} s of being killed",
            record.id,
            KILL_PATIENCE.as_secs()
        )))
    }
}

async fn send(runtime: &Runtime, record: &ContainerRecord, signal: i32, all: bool) {
    let request = Request::Signal { container: record.id.clone(), signal, all };
    let Err(error) = shim::call(&runtime.run_dir(&record.sandbox), &request).await else { return };
    tracing::warn!(container = %record.id, %error, "a signal could not be sent through the shim");
    // Without a shim nobody will report the end; while the sandbox is ready its watcher does.
    let watched = runtime.tables.sandbox(&record.sandbox).is_ok_and(|sandbox| sandbox.get().phase == Phase::Ready);
    if !watched {
        sandbox::settle(runtime, record);
    }
}

async fn ended_within(container: &Container, patience: Duration) -> bool {
    let mut ended = container.ended.subscribe();
    tokio::time::timeout(patience, ended.wait_for(|ended| *ended)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use rk_shim_protocol::{Reply, socket};
    use tokio::net::UnixListener;

    use super::*;
    use crate::record::Ended;
    use crate::rig;

    #[tokio::test]
    async fn of_two_who_stop_a_container_one_asks_and_who_waits_for_less_kills() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        rig::sandbox(&runtime, "s");
        rig::running(&runtime, "s", "c");
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let mut stops = Vec::new();
        for (patience, signal, all) in [(600_000, signal::TERM, false), (50, signal::KILL, true)] {
            let by = runtime.clone();
            stops.push(tokio::spawn(async move { stop(&by, "c", Duration::from_millis(patience)).await }));
            let (mut client, _) = listener.accept().await.unwrap();
            assert_eq!(rig::request(&mut client).await, Request::Signal { container: "c".into(), signal, all });
            rig::say(&mut client, &Reply::Ok).await;
        }
        runtime.container_ended("c", Ended::default());
        for stop in stops {
            stop.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_being_started_is_asked_to_stop_once_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        rig::sandbox(&runtime, "s");
        let container = rig::running(&runtime, "s", "c");
        container.refine(|record| record.started_at = 0).unwrap();
        let listener = UnixListener::bind(socket(&runtime.run_dir("s"))).unwrap();
        let starting = container.step.lock().await;
        let by = runtime.clone();
        let stopping = tokio::spawn(async move { stop(&by, "c", Duration::from_secs(600)).await });
        // It has found it, besides this test and the table.
        while Arc::strong_count(&container) < 3 && !stopping.is_finished() {
            tokio::task::yield_now().await;
        }
        container.refine(|record| record.started_at = 1).unwrap();
        drop(starting);
        let asked = tokio::time::timeout(Duration::from_secs(25), listener.accept()).await;
        let (mut client, _) = asked.expect("it is asked to stop").unwrap();
        let request = Request::Signal { container: "c".into(), signal: signal::TERM, all: false };
        assert_eq!(rig::request(&mut client).await, request);
        rig::say(&mut client, &Reply::Ok).await;
        runtime.container_ended("c", Ended::default());
        stopping.await.unwrap().unwrap();
    }
}
