//! Ending containers: preStop hook, TERM, grace period, KILL. The hooks of all containers start at once; sidecars get their TERM
//! after the app.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::decide::Kill;
use super::spec::{self, Kind};
use crate::context::Context;
use crate::events::PodRef;
use crate::probes::{FALLBACK, HandlerContext, HandlerError, lifecycle_handler};
use crate::runtime::{RuntimeContainer, RuntimeError, RuntimePod, State};

/// A container always gets this long to react to TERM, seconds, also after a preStop hook that took all of its time.
const LEAST_GRACE: i64 = 2;

/// How long a container has to react to TERM, seconds, when so much of its grace period is spent.
fn left(grace: i64, spent: Duration) -> i64 {
    grace.saturating_sub(i64::try_from(spent.as_secs()).unwrap_or(i64::MAX)).max(LEAST_GRACE)
}

/// The field path of a container for events.
pub fn about(pod: &Pod, name: &str) -> PodRef {
    let list = match spec::find_container(pod, name) {
        Some((Kind::Init, _)) => "spec.initContainers",
        Some((Kind::Ephemeral, _)) => "spec.ephemeralContainers",
        _ => "spec.containers",
    };
    PodRef::of(pod).container_named(name, list)
}

/// When a container may get its TERM: not before all that rank above it have ended.
struct Turn {
    /// Ranks of the containers that have not ended yet.
    left: watch::Receiver<Vec<usize>>,
    rank: usize,
}

impl Turn {
    async fn come(&mut self) {
        let rank = self.rank;
        if self.left.wait_for(|left| may_stop(left, rank)).await.is_err() {
            tracing::debug!(rank, "nobody tells any more whose turn it is");
        }
    }
}

/// Whether a container of this rank may get its TERM while containers of these ranks have not ended.
fn may_stop(left: &[usize], rank: usize) -> bool {
    left.iter().all(|other| *other <= rank)
}

/// Sidecars rank as they are listed, everything else above all of them.
fn rank_of(sidecars: &[&str], name: &str) -> usize {
    sidecars.iter().position(|sidecar| *sidecar == name).unwrap_or(sidecars.len())
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
    kill_in_turn(context, pod, container, pod_ip, grace, message, None).await
}

async fn kill_in_turn(
    context: &Context,
    pod: &Pod,
    container: &RuntimeContainer,
    pod_ip: &str,
    grace: i64,
    message: &str,
    turn: Option<Turn>,
) -> Result<(), RuntimeError> {
    let about = about(pod, &container.name);
    context.recorder.normal(&about, "Killing", message);
    let began = Instant::now();
    let limit = Duration::from_secs(grace.max(0).unsigned_abs());
    let mut hook = None;
    if let Some((_, spec_of)) = spec::find_container(pod, &container.name)
        && container.running()
        && grace > 0
    {
        hook = start_pre_stop(context, pod, spec_of, container, pod_ip);
    }
    if let Some(hook) = &mut hook {
        wait_for_pre_stop(context, hook, limit, &about).await;
    }
    if let Some(mut turn) = turn {
        // A container whose grace period is over does not wait for others.
        let over = tokio::time::timeout(limit.saturating_sub(began.elapsed()), turn.come()).await.is_err();
        tracing::debug!(container = %container.name, over, "the container's turn to stop");
    }
    let result = context.runtime.stop_container(&container.id, left(grace, began.elapsed())).await;
    // A hook that is not done ends with its container, not before it.
    drop(hook);
    result
}

/// A preStop hook that runs.
type Hook = AbortOnDropHandle<Result<Option<String>, HandlerError>>;

fn start_pre_stop(
    context: &Context,
    pod: &Pod,
    spec_of: Container,
    container: &RuntimeContainer,
    pod_ip: &str,
) -> Option<Hook> {
    let hook = spec_of.lifecycle.as_ref().and_then(|l| l.pre_stop.clone())?;
    let handler = HandlerContext {
        runtime: context.runtime.clone(),
        pod: spec::describe(pod),
        container_id: container.id.clone(),
        container: spec_of,
        pod_ip: pod_ip.to_owned(),
    };
    Some(AbortOnDropHandle::new(tokio::spawn(async move { lifecycle_handler(&handler, &hook).await }.boxed())))
}

async fn wait_for_pre_stop(context: &Context, hook: &mut Hook, limit: Duration, about: &PodRef) {
    let [namespace, name, _] = about.identity();
    let problem = match tokio::time::timeout(limit, hook).await {
        Ok(Ok(Ok(None))) => return,
        Ok(Ok(Ok(Some(told)))) => return context.recorder.warning(about, FALLBACK, told),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => return tracing::info!(namespace, name, "a preStop hook is not done within the grace period"),
    };
    tracing::warn!(namespace, name, "a preStop hook failed: {problem}");
    // Not why: what a server answers, or a command prints, may be a secret of the pod.
    context.recorder.warning(about, "FailedPreStopHook", "PreStopHook failed");
}

/// Kills containers side by side, without grace and without their hooks.
pub async fn kill_at_once(
    context: &Context,
    pod: &Pod,
    runtime: &RuntimePod,
    victims: &[Kill],
) -> Result<(), RuntimeError> {
    let mut kills = Vec::new();
    for victim in victims {
        if let Some(container) = runtime.containers.iter().find(|c| c.id == victim.id) {
            context.recorder.normal(&about(pod, &container.name), "Killing", victim.message.clone());
            kills.push(context.runtime.stop_container(&container.id, 0));
        }
    }
    join_all(kills).await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}

fn alive(container: &RuntimeContainer) -> bool {
    matches!(container.state, State::Running | State::Unknown | State::Created)
}

/// Ends every container of the pod within one grace period: the hooks of all start at once, then the app is stopped, then its
/// sidecars in reverse order.
pub async fn kill_all(context: &Context, pod: &Pod, runtime: &RuntimePod, grace: i64) -> Result<(), RuntimeError> {
    let pod_ip = runtime.sandboxes.first().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
    let sidecars: Vec<&str> =
        spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let doomed: Vec<(&RuntimeContainer, usize)> =
        runtime.containers.iter().filter(|c| alive(c)).map(|c| (c, rank_of(&sidecars, &c.name))).collect();
    let (ended, left) = watch::channel(doomed.iter().map(|(_, rank)| *rank).collect::<Vec<usize>>());
    let results = join_all(doomed.into_iter().map(|(container, rank)| {
        let message = format!("Stopping container {}", container.name);
        let turn = Turn { left: left.clone(), rank };
        let (pod_ip, grace, ended) = (&pod_ip, grace, &ended);
        async move {
            let result = kill_in_turn(context, pod, container, pod_ip, grace, &message, Some(turn)).await;
            // One that could not be stopped holds nobody up.
            ended.send_modify(|left| {
                if let Some(at) = left.iter().position(|other| *other == rank) {
                    left.swap_remove(at);
                }
            });
            result
        }
    }))
    .await;
    results.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}

/// Stops every sandbox of the pod.
pub async fn stop_sandboxes(context: &Context, runtime: &RuntimePod) -> Result<(), RuntimeError> {
    for sandbox in &runtime.sandboxes {
        context.runtime.stop_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_list_that_its_container_is_in() {
        let spec = serde_json::json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "c"}],
            "ephemeralContainers": [{"name": "e"}]});
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        for (name, list) in [("i", "spec.initContainers"), ("c", "spec.containers"), ("e", "spec.ephemeralContainers")]
        {
            assert_eq!(about(&pod, name), PodRef::of(&pod).container_named(name, list));
        }
    }

    #[test]
    fn whatever_its_grace_a_container_has_a_moment_to_react() {
        for (grace, spent, want) in [(30, 0, 30), (30, 10, 20), (30, 29, 2), (30, 99, 2), (1, 0, 2), (0, 0, 2)] {
            assert_eq!(left(grace, Duration::from_secs(spent)), want, "{grace} {spent}");
        }
    }

    #[test]
    fn sidecars_stop_after_the_app_the_last_one_first() {
        let sidecars = ["log", "net"];
        let (app, log, net) = (rank_of(&sidecars, "app"), rank_of(&sidecars, "log"), rank_of(&sidecars, "net"));
        for (left, may) in [
            (vec![app, app, net, log], [true, false, false]),
            (vec![app, net, log], [true, false, false]),
            (vec![net, log], [true, true, false]),
            (vec![log], [true, true, true]),
            (vec![], [true, true, true]),
        ] {
            assert_eq!([app, net, log].map(|rank| may_stop(&left, rank)), may, "{left:?}");
        }
    }

    #[test]
    fn a_turn_comes_when_those_above_have_ended() {
        let (ended, left) = watch::channel(vec![1, 0]);
        let mut turn = Turn { left, rank: 0 };
        assert!(turn.come().now_or_never().is_none());
        ended.send_modify(|left| left.retain(|rank| *rank != 1));
        assert!(turn.come().now_or_never().is_some());
    }
}
