//! Carrying a plan out.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use super::end::{unless_called, unless_ending};
use crate::events::PodRef;
use crate::pod::decide::{self, Kill, Plan};
use crate::pod::start::{self, Launch, StartError};
use crate::pod::{kill, spec};
use crate::runtime::{RuntimeError, RuntimePod};

/// How long the next round of a pod waits for the API to hear that the one before ends.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);
/// Pause after a container that did not start for a reason without a pace of its own: upstream's pod workers come back as late.
const START_RETRY: Duration = Duration::from_secs(10);

/// What was heard while containers started.
#[derive(Default)]
struct Meanwhile {
    /// Something of the node asks for a look.
    called: bool,
    /// The API has a newer version of the pod.
    newer: bool,
}

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
        if !self.kill_victims(pod, runtime, &ip, &plan.kill).await? {
            return Ok(Some(Duration::ZERO));
        }
        let given = self.as_given(pod);
        if let Err(problem) = self.prepare(&given, &ip, runtime).await {
            return Ok(Some(self.setup_failed(pod, &problem)));
        }
        if let Some(attempt) = plan.create_sandbox {
            return self.make_sandbox(&given, attempt).await;
        }
        self.setup_failures = 0;
        self.start_containers(pod, runtime, &plan).await
    }

    /// Kills single containers; false when the pod as a whole is to end, or is needed gone, before that is done.
    async fn kill_victims(
        &mut self,
        pod: &Pod,
        runtime: &RuntimePod,
        ip: &str,
        victims: &[Kill],
    ) -> Result<bool, RuntimeError> {
        let (context, desired) = (self.context.clone(), self.desired.clone());
        for victim in victims {
            self.probes.stop_container(&victim.id);
            let Some(container) = runtime.containers.iter().find(|c| c.id == victim.id) else { continue };
            let grace = victim.grace.unwrap_or_else(|| spec::grace_seconds(pod));
            let killing = kill::kill_container(&context, pod, container, ip, grace, &victim.message);
            match self.while_telling(runtime, unless_called(&context.evictions, pod, &desired, killing)).await {
                Some(result) => result?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Makes a sandbox for the pod as it is given, and tells its address: what containers read of it must be there before them.
    async fn make_sandbox(&mut self, given: &Pod, attempt: u32) -> Result<Option<Duration>, RuntimeError> {
        if let Err(problem) = start::start_sandbox(&self.context, given, attempt).await {
            return Ok(Some(self.setup_failed(given, &problem)));
        }
        self.setup_failures = 0;
        // The API takes the status for that of the version which is the newest by now.
        let newest = self.desired.borrow().clone();
        let pod = self.current(&newest);
        let runtime = self.gather(&pod).await?;
        self.publish_newest(&pod, &runtime);
        // The turn that follows at once need not ask again.
        self.seen = runtime.states();
        self.quiet.keep(runtime);
        Ok(None)
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

    /// Starts containers one after the other. `Some(pause)` when one did not start, or the pod is to end before all have.
    async fn start_containers(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &RuntimePod,
        plan: &Plan,
    ) -> Result<Option<Duration>, RuntimeError> {
        let Some(sandbox) = runtime.active_sandbox() else { return Ok(None) };
        let volumes = self.volumes.as_ref().map(|(v, _)| v.clone()).unwrap_or_default();
        let (context, given) = (self.context.clone(), self.as_given(pod));
        let mut retry: Option<Duration> = None;
        let mut heard = Meanwhile::default();
        for item in &plan.start {
            let item = start::numbered(&context, pod, item);
            let launch = Launch { context: &context, pod: &given, start: &item, sandbox, runtime, volumes: &volumes };
            let Some(started) = self.launch(pod, &launch, &mut heard).await else { return Ok(Some(Duration::ZERO)) };
            if let (Some(event), Some((_, container))) = (item.after, spec::find_container(pod, &item.name)) {
                self.back_off.note(&decide::back_off_key(&container), event, Timestamp::now());
            }
            let pause = self.note_launched(pod, &item.name, started);
            retry = [retry, pause].into_iter().flatten().min();
            // The others are started by what the pod is now.
            if heard.newer {
                break;
            }
        }
        if heard.called || heard.newer {
            // Whatever it was woken for has its turn afterwards.
            self.heard.wake.notify_one();
        }
        Ok(retry)
    }

    /// Starts one container, and tells meanwhile of its neighbours. `None` when the pod is to end first: neither that nor a node that needs
    /// it gone waits for a slow pull or hook.
    async fn launch(
        &mut self,
        pod: &Pod,
        launch: &Launch<'_>,
        heard: &mut Meanwhile,
    ) -> Option<Result<(), StartError>> {
        let context = self.context.clone();
        let mut running = std::pin::pin!(launch.run());
        loop {
            tokio::select! {
                result = &mut running => return Some(result),
                () = context.evictions.given(spec::uid(pod)) => return None,
                // What probes of its neighbours find is told at once.
                () = self.heard.wake.notified() => {
                    heard.called = true;
                    self.tell_again(launch.runtime);
                }
                changed = self.desired.changed() => match changed {
                    _ if self.desired.borrow().ends(&self.began) => return None,
                    // Another status is shown by the look that follows.
                    Ok(()) if spec::same_but_status(self.desired.borrow().pod(), pod) => {}
                    // That a newer version was seen is told at once; it is acted upon afterwards.
                    Ok(()) => {
                        heard.newer = true;
                        self.tell_again(launch.runtime);
                    }
                    Err(_) => return Some(running.await),
                },
            }
        }
    }

    /// Keeps why a container does not run; answers with when to try again.
    fn note_launched(&mut self, pod: &Pod, name: &str, started: Result<(), StartError>) -> Option<Duration> {
        let Err(error) = started else {
            self.waiting.remove(name);
            return None;
        };
        tracing::info!(pod = %spec::describe(pod), container = %name, reason = %error.reason, "a container does not run: {}", error.message);
        self.waiting.insert(name.to_owned(), (error.reason, error.message));
        Some(error.retry.unwrap_or(START_RETRY))
    }
}
