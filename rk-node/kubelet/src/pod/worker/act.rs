//! Carrying a plan out.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use super::end::{unless_called, unless_ending};
use crate::events::PodRef;
use crate::pod::decide::{self, Kill, Plan};
use crate::pod::start::{self, Launch};
use crate::pod::{kill, spec};
use crate::runtime::{RuntimeError, RuntimePod};

/// How long the next round of a pod waits for the API to hear that the one before ends.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn prune(&self, plan: &Plan) {
        for id in &plan.prune_containers {
            if let Err(error) = self.context.runtime.remove_container(id).await {
                tracing::debug!(id, "removing an old container: {error}");
            }
        }
        for id in &plan.prune_sandboxes {
            let removed = match self.context.runtime.stop_sandbox(id).await {
                Ok(()) => self.context.runtime.remove_sandbox(id).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::debug!(id, "removing an old sandbox: {error}");
            }
        }
    }

    /// Carries a plan out. `Some(pause)` when something failed and is to be tried again after it.
    pub(super) async fn act(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &RuntimePod,
        plan: Plan,
    ) -> Result<Option<Duration>, RuntimeError> {
        if let Some(round) = plan.end_round {
            return self.end_round(pod, runtime, round, &plan.kill).await;
        }
        let (context, desired) = (self.context.clone(), self.desired.clone());
        let ip = runtime.active_sandbox().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
        if plan.replaces() {
            // What cannot come back is not ended: its volumes come first, as upstream's do.
            let given = self.as_given(pod);
            if let Err(problem) = self.mount(&given, &ip, runtime).await {
                return Ok(Some(self.setup_failed(pod, &problem)));
            }
            self.setup_failures = 0;
        }
        if plan.kill_pod {
            if plan.create_sandbox.is_some() {
                let message = "Pod sandbox changed, it will be killed and re-created.";
                self.context.recorder.normal(&PodRef::of(pod), "SandboxChanged", message);
            }
            let killing = kill::kill_all(&context, pod, runtime, spec::grace_seconds(pod));
            match self.while_telling(runtime, unless_called(&context.evictions, pod, &desired, killing)).await {
                Some(result) => result?,
                None => return Ok(Some(Duration::ZERO)),
            }
            kill::stop_sandboxes(&self.context, runtime).await?;
            if plan.create_sandbox.is_none() {
                return Ok(None);
            }
        }
        for victim in &plan.kill {
            self.probes.stop_container(&victim.id);
            if let Some(container) = runtime.containers.iter().find(|c| c.id == victim.id) {
                let grace = victim.grace.unwrap_or_else(|| spec::grace_seconds(pod));
                let killing = kill::kill_container(&context, pod, container, &ip, grace, &victim.message);
                match self.while_telling(runtime, unless_called(&context.evictions, pod, &desired, killing)).await {
                    Some(result) => result?,
                    None => return Ok(Some(Duration::ZERO)),
                }
            }
        }
        let given = self.as_given(pod);
        if let Err(problem) = self.prepare(&given, &ip, runtime).await {
            return Ok(Some(self.setup_failed(pod, &problem)));
        }
        if let Some(attempt) = plan.create_sandbox {
            if let Err(problem) = start::start_sandbox(&self.context, &given, attempt).await {
                return Ok(Some(self.setup_failed(pod, &problem)));
            }
            self.setup_failures = 0;
            // The status with its address comes before any container: what they read of it must be there. The API takes it for the version
            // that is the newest by now.
            let newest = self.desired.borrow().clone();
            let pod = self.current(&newest);
            let runtime = self.gather(&pod).await?;
            self.publish_newest(&pod, &runtime);
            // The round that follows at once need not ask again.
            self.seen = runtime.states();
            self.quiet.keep(runtime);
            return Ok(None);
        }
        self.setup_failures = 0;
        self.start_containers(pod, runtime, &plan).await
    }

    /// Ends a round of the pod: its condition says so by now, and whoever watches may see it.
    async fn end_round(
        &mut self,
        pod: &Pod,
        runtime: &RuntimePod,
        round: u32,
        victims: &[Kill],
    ) -> Result<Option<Duration>, RuntimeError> {
        for victim in victims {
            self.probes.stop_container(&victim.id);
        }
        let ending = async {
            let ended = kill::kill_at_once(&self.context, pod, runtime, victims).await;
            self.context.status.heard(spec::uid(pod), ANNOUNCEMENT).await;
            ended
        };
        match unless_ending(&self.desired, ending).await {
            Some(ended) => ended?,
            None => return Ok(Some(Duration::ZERO)),
        }
        self.announced = Some(round);
        // What they waited for is over as well.
        self.waiting.clear();
        Ok(None)
    }

    pub(super) async fn start_containers(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &RuntimePod,
        plan: &Plan,
    ) -> Result<Option<Duration>, RuntimeError> {
        let Some(sandbox) = runtime.active_sandbox() else { return Ok(None) };
        let volumes = self.volumes.as_ref().map(|(v, _)| v.clone()).unwrap_or_default();
        let (context, given) = (self.context.clone(), self.as_given(pod));
        let mut retry: Option<Duration> = None;
        let mut woken = false;
        for item in &plan.start {
            let launch = Launch { context: &context, pod: &given, start: item, sandbox, runtime, volumes: &volumes };
            let mut outdated = false;
            let mut running = std::pin::pin!(launch.run());
            let result = loop {
                tokio::select! {
                    result = &mut running => break result,
                    // One that the node needs gone does not wait for a slow pull or hook.
                    () = context.evictions.given(spec::uid(pod)) => return Ok(Some(Duration::ZERO)),
                    // What probes of its neighbours find is told at once.
                    () = self.heard.wake.notified() => {
                        woken = true;
                        self.tell_again(runtime);
                    }
                    changed = self.desired.changed() => match changed {
                        // A pod that is to end does not wait for a slow pull or hook.
                        _ if self.desired.borrow().ending() => return Ok(Some(Duration::ZERO)),
                        _ if self.desired.borrow().put_back(&self.began) => return Ok(Some(Duration::ZERO)),
                        // Another status is shown by the look that follows.
                        Ok(()) if spec::same_but_status(self.desired.borrow().pod(), pod) => {}
                        // That a newer version was seen is told at once; it is acted upon afterwards.
                        Ok(()) => {
                            outdated = true;
                            self.tell_again(runtime);
                        }
                        Err(_) => break running.await,
                    },
                }
            };
            if let (Some(event), Some((_, container))) = (item.after, spec::find_container(pod, &item.name)) {
                self.back_off.note(&decide::back_off_key(&container), event, Timestamp::now());
            }
            match result {
                Ok(()) => drop(self.waiting.remove(&item.name)),
                Err(error) => {
                    tracing::info!(pod = %spec::describe(pod), container = %item.name, reason = %error.reason, "a container does not run: {}", error.message);
                    let wait = error.retry.unwrap_or(Duration::from_secs(10));
                    retry = Some(retry.map_or(wait, |r| r.min(wait)));
                    self.waiting.insert(item.name.clone(), (error.reason, error.message));
                }
            }
            // The others are started by what the pod is now.
            woken |= outdated;
            if outdated {
                break;
            }
        }
        if woken {
            self.heard.wake.notify_one();
        }
        Ok(retry)
    }
}
