//! The end of a pod: its containers, its volumes and cgroup, and at last what is left of it.

use std::time::Duration;

use tokio::sync::watch;

use super::{Desired, RESYNC, RETRY, Stage, Worker};
use crate::pod::{kill, spec};
use crate::runtime::RuntimeError;

impl Worker {
    pub(super) async fn terminate(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let pod = self.current(desired);
        let runtime = self.gather(&pod).await?;
        let ip = runtime.active_sandbox().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
        self.probes.reconcile(&pod, &runtime, &ip, true);
        self.publish(&pod, &runtime, false, false);
        let grace = desired.grace_of(self.failure.as_ref(), self.eviction_grace);
        let context = self.context.clone();
        tokio::select! {
            result = kill::kill_all(&context, &pod, &runtime, grace) => result?,
            // A shorter grace period takes the place of the one that runs.
            () = Self::shorter_grace(&mut self.desired, grace) => return Ok(Duration::ZERO),
        }
        kill::stop_sandboxes(&self.context, &runtime).await?;
        let runtime = self.gather(&pod).await?;
        if runtime.anything_running() {
            return Ok(RETRY);
        }
        self.probes.stop();
        self.publish(&pod, &runtime, true, false);
        if let Err(problem) = self.context.volumes.tear_down(spec::uid(&pod)).await {
            tracing::warn!(pod = %spec::describe(&pod), "taking volumes down: {problem}");
            return Ok(RETRY);
        }
        if let Err(error) = self.context.cgroups.remove_pod(&pod) {
            tracing::warn!(pod = %spec::describe(&pod), "{error}");
            return Ok(RETRY);
        }
        self.stage = Stage::Terminated;
        Ok(Duration::ZERO)
    }

    pub(super) async fn shorter_grace(desired: &mut watch::Receiver<Desired>, grace: i64) {
        if desired.wait_for(|d| d.grace() < grace).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn after_end(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let pod = self.current(desired);
        let runtime = self.gather(&pod).await?;
        if runtime.anything_running() {
            self.stage = Stage::Terminating;
            return Ok(Duration::ZERO);
        }
        if !desired.gone() {
            self.publish(&pod, &runtime, true, true);
            return Ok(RESYNC);
        }
        // With the object gone, nobody can ask for its logs any more.
        for sandbox in &runtime.sandboxes {
            self.context.runtime.remove_sandbox(&sandbox.id).await?;
        }
        for container in self.gather(&pod).await?.containers {
            self.context.runtime.remove_container(&container.id).await?;
        }
        if let Err(problem) = self.context.volumes.remove_pod_dir(spec::uid(&pod)).await {
            tracing::warn!(pod = %spec::describe(&pod), "removing the pod's directory: {problem}");
            return Ok(RETRY);
        }
        self.context.users.forget(spec::uid(&pod));
        crate::cleanup::remove_logs(&self.context.options.dirs, &pod);
        self.stage = Stage::Removed;
        Ok(Duration::ZERO)
    }
}
