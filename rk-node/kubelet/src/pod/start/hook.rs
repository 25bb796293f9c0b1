//! The postStart hook of a container that has just begun.

use k8s_openapi::api::core::v1::Container;

use super::{Launch, StartError};
use crate::events::PodRef;
use crate::pod::{kill, spec};
use crate::probes::{FALLBACK, HandlerContext, lifecycle_handler};
use crate::runtime::RuntimeError;

impl Launch<'_> {
    /// Runs it to its end; a container whose hook fails is ended.
    pub(super) async fn post_start(&self, container: &Container, id: &str, about: &PodRef) -> Result<(), StartError> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
        let handler = HandlerContext {
            runtime: self.context.runtime.clone(),
            pod: spec::describe(self.pod),
            container_id: id.to_owned(),
            container: container.clone(),
            pod_ip: self.pod_ips().first().cloned().unwrap_or_default(),
        };
        let error = match lifecycle_handler(&handler, hook).await {
            Ok(None) => return Ok(()),
            Ok(Some(told)) => {
                self.context.recorder.warning(about, FALLBACK, told);
                return Ok(());
            }
            Err(error) => error,
        };
        tracing::warn!(pod = %handler.pod, container = %container.name, "a postStart hook failed: {error}");
        // Not why: what a server answers, or a command prints, may be a secret of the pod.
        self.context.recorder.warning(about, "FailedPostStartHook", "PostStartHook failed");
        if let Err(error) = self.undo(id, &handler.pod_ip).await {
            tracing::warn!(container = %container.name, "stopping after a failed postStart hook: {error}");
        }
        Err(StartError::new("PostStartHookError", error.to_string()))
    }

    /// Ends a container that has just begun, as any other that runs: with its preStop hook.
    async fn undo(&self, id: &str, pod_ip: &str) -> Result<(), RuntimeError> {
        let (context, grace) = (self.context, spec::grace_seconds(self.pod));
        let found = context.runtime.pod(spec::uid(self.pod)).await?;
        let Some(container) = found.containers.iter().find(|c| c.id == id) else { return Ok(()) };
        kill::kill_container(context, self.pod, container, pod_ip, grace, "FailedPostStartHook").await
    }
}
