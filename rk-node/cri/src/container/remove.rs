use std::sync::Arc;

use rk_cri_api::v1::ContainerEventType;
use rk_shim_protocol::Request;

use crate::error::{Error, Result};
use crate::runtime::Runtime;
use crate::{cgroup, disk, shim};

/// Removes a container, killing it if it runs. Idempotent.
pub(crate) async fn remove(runtime: &Arc<Runtime>, id: &str) -> Result<()> {
    let container = match runtime.tables.container(id) {
        Ok(container) => container,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let _step = container.step.lock().await;
    // Another may have removed it while this one waited.
    if runtime.tables.container(&container.look(|record| record.id.clone())).is_err() {
        return Ok(());
    }
    super::kill(runtime, &container).await?;
    let record = container.get();
    // A shim that is gone has nothing to forget.
    let _ = shim::call(&runtime.run_dir(&record.sandbox), &Request::Remove { container: record.id.clone() }).await;
    cgroup::remove(&record.cgroup).await;
    for key in record.volume_snapshots.iter().chain([&record.id]) {
        runtime.config.images.release(key).await?;
    }
    clean(runtime, &record.id, &record.sandbox).await;
    runtime.publish(ContainerEventType::ContainerDeletedEvent, &record.id, &record.sandbox);
    Ok(())
}

/// Drops a container that has no process from disk and memory, with its snapshots.
pub(crate) async fn clean(runtime: &Runtime, id: &str, sandbox: &str) {
    for key in runtime.config.images.snapshots() {
        let own = key == id || key.starts_with(&format!("{id}-volume-"));
        if own && let Err(error) = runtime.config.images.release(&key).await {
            tracing::warn!(container = id, %error, "a snapshot could not be released; it is tried again at the next start");
        }
    }
    let _ = std::fs::remove_dir_all(runtime.bundle(sandbox, id));
    if let Err(error) = disk::remove(&runtime.container_state(id)) {
        tracing::warn!(container = id, %error, "a container's record could not be removed");
    }
    runtime.tables.drop_container(id);
    runtime.forget_samples(id);
}
