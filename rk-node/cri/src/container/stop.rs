use std::sync::Arc;
use std::time::Duration;

use rk_cri_api::v1::ContainerState;
use rk_shim_protocol::Request;

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Phase};
use crate::runtime::Runtime;
use crate::tables::Container;
use crate::{sandbox, shim, signal};

/// How long a killed process may take to go: longer ones hang in the kernel, mostly on a dead disk or server.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// Asks a container to stop, once however often this is called, and, after `grace`, kills it. Idempotent; unknown containers are stopped.
pub(crate) async fn stop(runtime: &Arc<Runtime>, id: &str, grace: Duration) -> Result<()> {
    let container = match runtime.tables.container(id) {
        Ok(container) => container,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
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
}
