//! Ending containers: preStop hook, TERM, grace period, KILL; sidecars after the app.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec::{self, Kind};
use crate::context::Context;
use crate::events::PodRef;
use crate::probes::{HandlerContext, lifecycle_handler};
use crate::runtime::{RuntimeContainer, RuntimeError, RuntimePod, State};

/// After the preStop hook a container always gets this long to react to TERM, seconds.
const LEAST_GRACE: i64 = 2;

/// The field path of a container for events.
pub fn about(pod: &Pod, name: &str) -> PodRef {
    let list = match spec::find_container(pod, name) {
        Some((Kind::Init, _)) => "spec.initContainers",
        Some((Kind::Ephemeral, _)) => "spec.ephemeralContainers",
        _ => "spec.containers",
    };
    PodRef::of(pod).container_named(name, list)
}

/// Ends one container. `message` goes into its Killing event.
pub async fn kill_container(
    context: &Context,
    pod: &Pod,
    container: &RuntimeContainer,
    pod_ip: &str,
    grace: i64,
    message: &str,
) -> Result<(), RuntimeError> {
    let spec_of = spec::find_container(pod, &container.name).map(|(_, c)| c);
    let about = about(pod, &container.name);
    context.recorder.normal(&about, "Killing", message);
    let began = Instant::now();
    if let Some(c) = &spec_of
        && container.running()
        && grace > 0
    {
        pre_stop(context, c, container, pod_ip, grace, &about).await;
    }
    let spent = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let left = if grace == 0 { 0 } else { grace.saturating_sub(spent).max(LEAST_GRACE) };
    context.runtime.stop_container(&container.id, left).await
}

async fn pre_stop(
    context: &Context,
    spec_of: &Container,
    container: &RuntimeContainer,
    pod_ip: &str,
    grace: i64,
    about: &PodRef,
) {
    let Some(hook) = spec_of.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return };
    let handler = HandlerContext {
        runtime: context.runtime.clone(),
        container_id: container.id.clone(),
        container: spec_of.clone(),
        pod_ip: pod_ip.to_owned(),
    };
    let limit = Duration::from_secs(grace.unsigned_abs());
    match tokio::time::timeout(limit, lifecycle_handler(&handler, hook)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => context.recorder.warning(about, "FailedPreStopHook", format!("PreStopHook failed: {error}")),
        Err(_) => {
            context.recorder.warning(about, "FailedPreStopHook", "PreStopHook did not complete within the grace period")
        }
    }
}

fn alive(container: &RuntimeContainer) -> bool {
    matches!(container.state, State::Running | State::Unknown | State::Created)
}

/// Ends every container of the pod: the app first, then its sidecars in reverse order, all within one grace period.
pub async fn kill_all(context: &Context, pod: &Pod, runtime: &RuntimePod, grace: i64) -> Result<(), RuntimeError> {
    let pod_ip = runtime.sandboxes.first().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
    let began = Instant::now();
    let sidecars: Vec<&str> =
        spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let (last, first): (Vec<_>, Vec<_>) =
        runtime.containers.iter().filter(|c| alive(c)).partition(|c| sidecars.contains(&c.name.as_str()));
    let results = join_all(first.into_iter().map(|container| {
        let message = format!("Stopping container {}", container.name);
        let (pod_ip, grace) = (&pod_ip, grace);
        async move { kill_container(context, pod, container, pod_ip, grace, &message).await }
    }))
    .await;
    let mut outcome = results.into_iter().collect::<Result<Vec<_>, _>>().map(drop);
    for name in sidecars.iter().rev() {
        for container in last.iter().filter(|c| c.name == *name) {
            let spent = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
            let left = if grace == 0 { 0 } else { grace.saturating_sub(spent).max(LEAST_GRACE) };
            let message = format!("Stopping container {}", container.name);
            let result = kill_container(context, pod, container, &pod_ip, left, &message).await;
            outcome = outcome.and(result);
        }
    }
    outcome
}

/// Stops every sandbox of the pod.
pub async fn stop_sandboxes(context: &Context, runtime: &RuntimePod) -> Result<(), RuntimeError> {
    for sandbox in &runtime.sandboxes {
        context.runtime.stop_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
