use futures::FutureExt as _;
use std::sync::Arc;
use std::time::Duration;

use rk_shim_protocol::{Exit, Reply, exit_file};

use super::stop::stopped;
use crate::record::{ContainerRecord, Phase};
use crate::runtime::{Runtime, ended, lost};
use crate::tables::Sandbox;
use crate::{cgroup, shim};

/// A shim that refuses for a moment is asked again this often before it counts as dead.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Follows a sandbox's shim until the sandbox is stopped or the shim is gone.
pub(crate) fn watch(runtime: Arc<Runtime>, sandbox: Arc<Sandbox>) {
    let task = async move {
        let id = sandbox.get().id;
        let dir = runtime.run_dir(&id);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if let Err(error) = follow(&runtime, &dir).await {
                tracing::debug!(sandbox = %id, %error, "connection to a shim");
            }
            if sandbox.get().phase != Phase::Ready {
                return;
            }
        }
        shim_lost(&runtime, &sandbox);
    };
    tokio::spawn(task.boxed());
}

/// Hears exits until the connection ends.
async fn follow(runtime: &Runtime, dir: &std::path::Path) -> crate::Result<()> {
    let mut connection = shim::subscribe(dir).await?;
    while let Some(reply) = connection.receive().await? {
        match reply {
            Reply::State { containers } => {
                for container in containers {
                    if let Some(exit) = container.exit {
                        runtime.container_ended(&container.id, ended(&exit));
                    }
                }
            }
            Reply::Exited { container, exit } => runtime.container_ended(&container, ended(&exit)),
            _ => {}
        }
    }
    Ok(())
}

/// The shim died: its pod alone is lost, and reported so.
pub(super) fn shim_lost(runtime: &Runtime, sandbox: &Sandbox) {
    let record = sandbox.get();
    tracing::error!(sandbox = %record.id, "a pod's shim died: its containers are killed");
    for container in runtime.tables.containers_of(&record.id) {
        settle(runtime, &container.get());
    }
    if let Err(error) = stopped(runtime, sandbox, |_| ()) {
        tracing::error!(sandbox = %record.id, %error, "the loss of a sandbox was not saved");
    }
}

/// Notes the end of a container that no shim looks after any more: as the shim wrote it, or as unknown.
pub(crate) fn settle(runtime: &Runtime, record: &ContainerRecord) {
    if !record.may_have_run() || record.ended.is_some() {
        return;
    }
    cgroup::kill(&record.cgroup);
    if record.started_at == 0
        && let Ok(container) = runtime.tables.container(&record.id)
    {
        // Saved with its end.
        let _ = container.refine(ContainerRecord::presume_started);
    }
    let file = exit_file(&runtime.run_dir(&record.sandbox), &record.id);
    let written = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Exit>(&text).ok());
    let end =
        written.map_or_else(|| lost("the container's shim was gone, so its exit was not seen"), |exit| ended(&exit));
    runtime.container_ended(&record.id, end);
}
