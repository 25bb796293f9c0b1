//! The end of a pod: its containers, its volumes and cgroup, and at last what is left of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::{Desired, GRACE_OF_GONE, RESYNC, RETRY, Stage, Worker};
use crate::events::PodRef;
use crate::eviction::Orders;
use crate::pod::spec::RestartPolicy;
use crate::pod::{kill, spec};
use crate::runtime::RuntimeError;
use crate::static_pods::is_static;

/// Whether every app container of the pod starts again, however it ended.
fn starts_again(pod: &Pod) -> bool {
    spec::app_containers(pod).iter().all(|c| spec::container_restart_policy(pod, c) == RestartPolicy::Always)
}

/// Runs a kill of single containers, unless the pod as a whole is to end: that goes by its own grace period from then on, as
/// upstream's pod workers end a sync for it. `None` when that came before the kill was done.
pub(super) async fn unless_ending<T>(desired: &watch::Receiver<Desired>, kill: impl Future<Output = T>) -> Option<T> {
    // With a receiver of its own, so that the worker still sees the change as one.
    let mut desired = desired.clone();
    let ends = async move {
        if desired.wait_for(Desired::ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = ends => None,
        done = kill => Some(done),
    }
}

/// As [`unless_ending`], and unless the node needs the pod gone: that may give it less time than the kill does.
pub(super) async fn unless_called<T>(
    orders: &Orders,
    pod: &Pod,
    desired: &watch::Receiver<Desired>,
    kill: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = orders.given(spec::uid(pod)) => None,
        done = unless_ending(desired, kill) => done,
    }
}

impl Worker {
    /// Fails a pod that the node needs gone, or lets it rest. One that ends already may only have to hurry.
    pub(super) fn take_order(&mut self, pod: &Pod) {
        let Some(order) = self.context.evictions.take(spec::uid(pod)) else { return };
        if let Some(grace) = order.grace.map(|grace| grace.max(GRACE_OF_GONE)) {
            self.longest_grace = Some(self.longest_grace.map_or(grace, |longest| longest.min(grace)));
        }
        if order.again {
            self.rests |= self.stage == Stage::Syncing;
            return;
        }
        if self.failure.is_some() {
            return;
        }
        if let Some(signal) = order.signal {
            self.context.runtime.meters.evictions.add(&[signal]);
        }
        if order.event {
            let (about, message) = (PodRef::of(pod), order.message.clone());
            self.context.recorder.warning_with(&about, &order.reason, message, order.annotations.clone());
        }
        self.disrupted = order.disrupts();
        self.failure = Some((order.reason, order.message));
    }

    pub(super) async fn terminate(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let pod = self.current(desired);
        self.take_order(&pod);
        let runtime = self.gather(&pod).await?;
        let probe_ip = self.probe_ip(&pod, &runtime);
        self.probes.reconcile(&pod, &runtime, &probe_ip, true);
        self.publish(&pod, &runtime, false, false);
        let grace = self.longest_grace.map_or(desired.grace(), |longest| desired.grace().min(longest));
        let (context, mut newer) = (self.context.clone(), self.desired.clone());
        let killing = async {
            tokio::select! {
                result = kill::kill_all(&context, &pod, &runtime, grace) => Some(result),
                // A shorter grace period takes the place of the one that runs.
                () = Self::shorter_grace(&mut newer, grace) => None,
                () = context.evictions.hurries(spec::uid(&pod), grace) => None,
            }
        };
        match self.while_telling(&runtime, killing).await {
            Some(result) => result.inspect_err(|error| self.not_killed(&pod, error))?,
            None => return Ok(Duration::ZERO),
        }
        // One that left it as much time says no less why it is gone.
        self.take_order(&pod);
        let stopped = kill::stop_sandboxes(&self.context, &runtime).await;
        stopped.inspect_err(|error| self.not_killed(&pod, error))?;
        let runtime = self.gather(&pod).await?;
        if runtime.anything_running() {
            return Ok(RETRY);
        }
        self.probes.stop();
        if self.rests && self.failure.is_none() && !desired.ending() {
            // Its volumes stay as well: what is in them is its own when it begins again.
            self.publish(&pod, &runtime, false, false);
            self.stage = Stage::Resting;
            return Ok(Duration::ZERO);
        }
        // Nothing of it runs any more, and nobody is told so before: whoever hears it may give its devices to others.
        if let Err(problem) = self.context.claims.unprepare(spec::uid(&pod)).await {
            tracing::warn!(pod = %spec::describe(&pod), "{problem}");
            return Ok(RETRY);
        }
        self.publish(&pod, &runtime, true, false);
        if let Err(problem) = self.context.volumes.tear_down(spec::uid(&pod)).await {
            tracing::warn!(pod = %spec::describe(&pod), "taking volumes down: {problem}");
            return Ok(RETRY);
        }
        if let Err(error) = self.of_cgroup("destroy", |cgroups| cgroups.remove_pod(&pod)) {
            tracing::warn!(pod = %spec::describe(&pod), "{error}");
            return Ok(RETRY);
        }
        self.stage = Stage::Terminated;
        Ok(Duration::ZERO)
    }

    fn not_killed(&self, pod: &Pod, error: &RuntimeError) {
        self.context.recorder.warning(&PodRef::of(pod), "FailedKillPod", format!("error killing pod: {error}"));
    }

    pub(super) async fn shorter_grace(desired: &mut watch::Receiver<Desired>, grace: i64) {
        if desired.wait_for(|d| d.grace() < grace).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs the pod anew beside the ended containers of before, so that restarts are counted on.
    fn begin_again(&mut self) {
        // Before the manager hears of it: a pod that has ended and does not return holds nothing.
        self.context.status.forget(spec::uid(&self.began));
        self.context.runtime.meters.restarted_pods.add(&["true"]);
        let told = self.told.clone();
        *self = Self::new(self.context.clone(), self.desired.clone(), self.heard.clone(), told, None);
    }

    pub(super) async fn after_end(&mut self, desired: &Desired) -> Result<Duration, RuntimeError> {
        let pod = self.current(desired);
        let runtime = self.gather(&pod).await?;
        self.seen = runtime.states();
        if runtime.anything_running() {
            self.stage = Stage::Terminating;
            return Ok(Duration::ZERO);
        }
        let back = desired.put_back(&self.began);
        // What was refused, failed or taken over has to be admitted first.
        if back && self.failure.is_none() && is_static(&self.began) && starts_again(&pod) {
            self.begin_again();
            return Ok(Duration::ZERO);
        }
        // What is put back and cannot go on from what is left begins from nothing, with a worker of its own.
        if !desired.gone() && !back {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::eviction::Order;

    fn present(name: &str, deleted: bool) -> Desired {
        let mut meta = json!({"name": name, "uid": "1"});
        if deleted {
            meta["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
            meta["deletionGracePeriodSeconds"] = json!(1);
        }
        Desired::Present(Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap()))
    }

    #[test]
    fn the_end_of_a_pod_takes_the_place_of_a_kill_that_a_probe_began() {
        let (tell, desired) = watch::channel(present("a", false));
        let mut kill = std::pin::pin!(unless_ending(&desired, std::future::pending::<()>()));
        assert_eq!(kill.as_mut().now_or_never(), None, "nothing ends yet");
        tell.send_replace(present("b", false));
        assert_eq!(kill.as_mut().now_or_never(), None, "a change is no end");
        tell.send_replace(present("b", true));
        assert_eq!(kill.as_mut().now_or_never(), Some(None));
        assert!(desired.has_changed().unwrap(), "the worker has not seen it yet");
        assert_eq!(unless_ending(&desired, async {}).now_or_never(), Some(None), "a pod that ends already");
        tell.send_replace(present("b", false));
        assert_eq!(unless_ending(&desired, async { 7 }).now_or_never(), Some(Some(7)));
        drop(tell);
        assert_eq!(unless_ending(&desired, async { 7 }).now_or_never(), Some(Some(7)), "nobody can tell any more");
    }

    #[test]
    fn an_order_of_the_node_takes_the_place_of_a_kill_that_a_probe_began() {
        let (_tell, desired) = watch::channel(present("a", false));
        let pod = desired.borrow().pod().clone();
        let orders = Orders::default();
        let mut kill = std::pin::pin!(unless_called(&orders, &pod, &desired, std::future::pending::<()>()));
        assert_eq!(kill.as_mut().now_or_never(), None, "nobody needs it gone");
        orders.give("2", Order::of_shutdown(3));
        assert_eq!(kill.as_mut().now_or_never(), None, "another pod is called");
        orders.give("1", Order::of_shutdown(3));
        assert_eq!(kill.as_mut().now_or_never(), Some(None));
        assert!(orders.take("1").is_some(), "the worker takes it afterwards");
        assert_eq!(unless_called(&orders, &pod, &desired, async { 7 }).now_or_never(), Some(Some(7)));
    }
}
