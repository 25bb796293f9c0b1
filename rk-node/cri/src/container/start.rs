use std::sync::Arc;

use rk_cri_api::v1::ContainerState;
use rk_shim_protocol::{Reply, Request, StartContainer};

use crate::clock::now_ns;
use crate::error::{Error, Result};
use crate::kept::locked;
use crate::record::{Ended, NOT_STARTED, Phase};
use crate::runtime::Runtime;
use crate::tables::{Container, Told};
use crate::{cgroup, shim};

/// Exit code of a container whose program could not be started.
const START_ERROR: i32 = 128;

/// Starts a created container; on return its program runs. One that cannot be started has ended with reason `StartError`.
pub(crate) async fn start(runtime: &Arc<Runtime>, id: &str) -> Result<()> {
    let container = runtime.tables.container(id)?;
    let _step = container.step.lock().await;
    let record = container.get();
    // One that was removed meanwhile is not to be saved again.
    runtime.tables.container(&record.id)?;
    if record.state() != ContainerState::ContainerCreated {
        return Err(Error::State(format!("container {:?} is in state {}", record.id, record.state().as_str_name())));
    }
    if runtime.tables.sandbox(&record.sandbox)?.get().phase != Phase::Ready {
        return Err(Error::State(format!("sandbox {:?} of container {:?} is not running", record.sandbox, record.id)));
    }
    *locked(&container.told) = Told::NotStart;
    match launch(runtime, &container).await {
        Ok((pid, started_at)) => {
            // Not flushed: that it was to run is, and the rest ends with the boot or is saved with its end. It runs, saved or not.
            let saved = container.refine(|record| {
                record.pid = pid;
                record.started_at = started_at;
            });
            if let Err(error) = saved {
                tracing::error!(container = %record.id, %error, "a container's start was not saved");
            }
            runtime.tell_start(&container, true);
            Ok(())
        }
        Err(error) => {
            cgroup::remove(&record.cgroup).await;
            let ended = Ended {
                code: START_ERROR,
                finished_at: now_ns(),
                reason: NOT_STARTED.into(),
                message: error.to_string(),
            };
            runtime.container_ended(&record.id, ended);
            runtime.tell_start(&container, false);
            Err(error)
        }
    }
}

async fn launch(runtime: &Runtime, container: &Container) -> Result<(i32, i64)> {
    // Flushed before anything of it runs: after a loss of power nobody else knows that it may have.
    let record = container.update(|record| record.launched_at = now_ns())?;
    cgroup::create(&record.cgroup, record.resources())?;
    let request = Request::Start(StartContainer {
        id: record.id.clone(),
        bundle: runtime.bundle(&record.sandbox, &record.id),
        log_path: record.log_path.clone(),
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        tty: record.config.tty,
    });
    match shim::call(&runtime.run_dir(&record.sandbox), &request).await? {
        Reply::Started { pid, started_at } => Ok((pid, started_at)),
        other => Err(Error::Internal(format!("the shim answered {other:?} to a start"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig;

    #[tokio::test]
    async fn what_is_removed_before_its_turn_to_start_is_not_there() {
        let heard = rig::removed_before_its_turn(|runtime| async move { start(&runtime, "c").await }).await;
        assert!(matches!(heard, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_container_that_ends_at_once_is_told_to_start_first() {
        use rk_cri_api::v1::ContainerEventType::{ContainerStartedEvent, ContainerStoppedEvent};
        let dir = tempfile::tempdir().unwrap();
        let runtime = rig::runtime(dir.path()).await;
        rig::sandbox(&runtime, "s");
        for (id, started, ends_first, told) in [
            ("early", true, true, vec![ContainerStartedEvent, ContainerStoppedEvent]),
            ("late", true, false, vec![ContainerStartedEvent, ContainerStoppedEvent]),
            ("never", false, true, vec![ContainerStoppedEvent]),
        ] {
            let container = rig::running(&runtime, "s", id);
            let mut events = runtime.events.subscribe();
            *locked(&container.told) = Told::NotStart;
            if ends_first {
                runtime.container_ended(id, Ended::default());
            }
            assert!(events.try_recv().is_err(), "{id}: its end is told before its start");
            runtime.tell_start(&container, started);
            // Once, however often it is heard.
            runtime.container_ended(id, Ended::default());
            let heard: Vec<_> =
                std::iter::from_fn(|| events.try_recv().ok()).map(|e| e.container_event_type()).collect();
            assert_eq!(heard, told, "{id}");
        }
    }
}
