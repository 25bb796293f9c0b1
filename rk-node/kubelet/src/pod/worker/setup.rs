//! What a pod needs around its containers: cgroup, volumes, and resources that change while it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1::LinuxContainerResources;

use super::end::unless_called;
use super::{SETUP_RETRY, Stage, Worker};
use crate::admission::unexpected;
use crate::cgroups::Cgroups;
use crate::events::PodRef;
use crate::pod::resize::Resize;
use crate::pod::{resize, spec};
use crate::runtime::{RuntimeError, RuntimePod};
use crate::swap::SWAP_FILE;
use crate::volumes::{Grown, Outcome};

/// Why a pod is refused for whose volumes the node has no room.
const CROWDED: &str = "VolumeAttachmentLimitExceeded";

impl Worker {
    /// A change of the pod's cgroup, timed.
    pub(super) fn of_cgroup<T>(&self, what: &str, change: impl FnOnce(&Cgroups) -> T) -> T {
        let begun = Instant::now();
        let done = change(&self.context.cgroups);
        self.context.runtime.meters.cgroups.observe(&[what], begun.elapsed());
        done
    }

    /// Has plugins give the containers of a pod that is new here the devices that they ask for, before anything of it begins. Upstream's
    /// kubelet does not take a pod for which that fails. Whether the pod goes on.
    pub(super) async fn enter(&mut self, pod: &Pod, runtime: &RuntimePod) -> bool {
        if self.entered {
            return true;
        }
        let begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if !begun && runtime.sandboxes.is_empty() && runtime.containers.is_empty() {
            let (context, desired) = (self.context.clone(), self.desired.clone());
            let asking = context.devices.allocate(pod);
            let Some(given) = unless_called(&context.evictions, pod, &desired, asking).await else { return false };
            if let Err(problem) = given {
                self.failure = Some(context.refuse(pod, unexpected(&problem)));
                self.refused = true;
                self.stage = Stage::Terminating;
            }
        }
        self.entered = true;
        !self.refused
    }

    /// The pod's cgroup, volumes and claims.
    pub(super) async fn prepare(&mut self, pod: &Pod, ip: &str, runtime: &RuntimePod) -> Result<(), String> {
        if let Err(error) = self.of_cgroup("create", |cgroups| cgroups.ensure_pod(pod)) {
            let told = format!("unable to ensure pod container exists: {error}");
            self.context.recorder.warning(&PodRef::of(pod), "FailedCreatePodContainer", told);
            return Err(error.to_string());
        }
        self.mount(pod, ip, runtime).await?;
        self.claim(pod, runtime).await
    }

    /// Has the pod's claims prepared, unless it goes on with what was.
    async fn claim(&self, pod: &Pod, runtime: &RuntimePod) -> Result<(), String> {
        let (context, desired) = (&self.context, &self.desired);
        if runtime.active_sandbox().is_some() && context.claims.are_held(pod) {
            return Ok(());
        }
        match unless_called(&context.evictions, pod, desired, context.claims.prepare(pod)).await {
            Some(prepared) => prepared.inspect_err(|problem| {
                let told = format!("Failed to prepare dynamic resources: {problem}");
                context.recorder.warning(&PodRef::of(pod), "FailedPrepareDynamicResources", told);
            }),
            None => Err("it is to end".to_owned()),
        }
    }

    /// The pod's volumes: those that are known, unless something was wrong.
    pub(super) async fn mount(&mut self, pod: &Pod, ip: &str, runtime: &RuntimePod) -> Result<(), String> {
        let served = self.volumes.as_ref().is_some_and(|(volumes, _)| volumes.serve(pod));
        if served && runtime.active_sandbox().is_some() && self.setup_failures == 0 {
            return Ok(());
        }
        let fields = self.context.fields(self.ips(pod, ip));
        // What was asked for since the pod is known is as new as the pod can want; after a failure it is asked for anew.
        let known = self.unstarted.filter(|_| self.volumes.is_none() && self.setup_failures == 0);
        let age = known.map_or(Duration::ZERO, |since| since.elapsed());
        let mut grown = Vec::new();
        let placed = self.context.volumes.set_up(pod, &fields, age, &mut grown).await;
        self.tell_growth(pod, &grown, false);
        match placed {
            Ok(volumes) => {
                self.volumes = Some((volumes, Instant::now()));
                Ok(())
            }
            Err(error) => {
                self.context.recorder.warning(&PodRef::of(pod), "FailedMount", error.to_string());
                if error.crowded && !runtime.anything_running() {
                    let why = format!("Node has reached its volume attachment limit, rejecting pod: {error}");
                    self.failure = Some(self.context.refuse(pod, (CROWDED.to_owned(), why)));
                    self.refused = true;
                }
                Err(error.to_string())
            }
        }
    }

    /// Tells what came of volumes that were to grow, about the pod and about their claims. What could not be grown for a pod that is not
    /// `running` yet is what its volumes fail with.
    fn tell_growth(&self, pod: &Pod, grown: &[Grown], running: bool) {
        let (recorder, node) = (&self.context.recorder, &self.context.options.node_name);
        for Grown { volume, claim, uid, came } in grown {
            let both = [PodRef::of(pod), PodRef::claim(spec::namespace(pod), claim, uid)];
            match came {
                Ok(Outcome::Grown) => {
                    let told = format!("MountVolume.NodeExpandVolume succeeded for volume {volume:?} {node}");
                    both.iter().for_each(|about| recorder.normal(about, "FileSystemResizeSuccessful", told.clone()));
                }
                Ok(Outcome::ReadOnly) => {
                    let told = "requested read-only file system";
                    let told = format!("MountVolume.NodeExpandVolume failed for volume {volume:?} {told}");
                    both.iter().for_each(|about| recorder.warning(about, "FileSystemResizeFailed", told.clone()));
                }
                Err(problem) if running => {
                    let told = format!("NodeExpandVolume.NodeExpandVolume failed for volume {volume:?} : {problem}");
                    recorder.warning(&PodRef::of(pod), "VolumeResizeFailed", told);
                }
                Ok(Outcome::Left) | Err(_) => {}
            }
        }
    }

    pub(super) fn ips(&self, pod: &Pod, ip: &str) -> Vec<String> {
        if spec::host_network(pod) {
            return self.context.node.borrow().host_ips.clone();
        }
        Some(ip.to_owned()).filter(|ip| !ip.is_empty()).into_iter().collect()
    }

    /// The address at which the pod's probes ask.
    pub(super) fn probe_ip(&self, pod: &Pod, runtime: &RuntimePod) -> String {
        let found = match spec::host_network(pod) {
            true => self.context.node.borrow().host_ips.first().cloned(),
            false => runtime.active_sandbox().and_then(|s| s.ips.first()).cloned(),
        };
        found.unwrap_or_default()
    }

    pub(super) fn setup_failed(&mut self, pod: &Pod, problem: &str) -> Duration {
        tracing::info!(pod = %spec::describe(pod), "the pod is not set up yet: {problem}");
        self.setup_failures = self.setup_failures.saturating_add(1);
        (SETUP_RETRY.0 * 2_u32.saturating_pow(self.setup_failures.min(10))).min(SETUP_RETRY.1)
    }

    /// Holds a pod and its running containers to what their spec asks for now. `None` when there was nothing to do; else that was tried,
    /// with whatever success, and these containers are still to be restarted for it.
    pub(super) async fn resize(&mut self, pod: &Arc<Pod>, runtime: &RuntimePod) -> Option<Vec<Resize>> {
        let begun = Instant::now();
        let tried = self.try_resize(pod, runtime).await;
        if tried.is_some() {
            self.context.runtime.meters.resizes.done(self.resize_error.is_none(), begun.elapsed());
        }
        tried
    }

    async fn try_resize(&mut self, pod: &Arc<Pod>, runtime: &RuntimePod) -> Option<Vec<Resize>> {
        let memory = self.context.node.borrow().memory;
        let changes = resize::resizes(pod, runtime, memory);
        let alone = changes.is_empty();
        if self.resize_pending.is_some() || (alone && !self.context.cgroups.is_behind(pod)) {
            self.resize_error = None;
            return None;
        }
        if let Some(problem) = self.below_usage(&changes, runtime).await {
            self.resize_failed(pod, runtime, problem);
            return Some(Vec::new());
        }
        // The pod grows before its containers do and shrinks after them: a pod below its containers' use would be killed.
        if let Err(error) = self.of_cgroup("update", |cgroups| cgroups.grow_pod(pod)) {
            tracing::warn!(pod = %spec::describe(pod), "{error}");
        }
        let (restarts, in_place): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.restart);
        for mut change in in_place {
            let spec_of = spec::find_container(pod, &change.name);
            if let Some(bytes) = spec_of.and_then(|(_, container)| self.context.swap.limit(pod, &container)) {
                // A share of the memory that is asked for, which may just have changed.
                change.resources.unified.insert(SWAP_FILE.to_owned(), bytes.to_string());
            }
            tracing::info!(pod = %spec::describe(pod), container = %change.name, "resizing a container");
            if let Err(error) = self.context.runtime.update_resources(&change.id, change.resources).await {
                self.resize_failed(pod, runtime, format!("resizing container {}: {error}", change.name));
                return Some(Vec::new());
            }
        }
        self.resize_error = None;
        if !restarts.is_empty() {
            // The pod shrinks when they have ended, before they begin anew.
            return Some(restarts);
        }
        if let Err(error) = self.of_cgroup("update", |cgroups| cgroups.ensure_pod(pod)) {
            tracing::warn!(pod = %spec::describe(pod), "{error}");
            self.tell_resize_error(pod, &error.to_string());
        }
        if alone {
            // No container changes: the runtime has nothing new to tell.
            self.publish(pod, runtime, false, false);
        } else {
            // The next look sees what the runtime made of it.
            self.heard.wake.notify_one();
        }
        Some(restarts)
    }

    /// Why memory limits cannot be lowered now, if one is to be. That nobody knows what is used keeps the pod from nothing else.
    async fn below_usage(&self, changes: &[Resize], runtime: &RuntimePod) -> Option<String> {
        if !changes.iter().any(|change| resize::lowers_memory(change, runtime)) {
            return None;
        }
        let stats = match self.context.runtime.container_stats().await {
            Ok(stats) => stats.into_iter(),
            Err(error) => return Some(format!("unable to read memory usage: {}: {error}", error.call)),
        };
        let used: HashMap<String, u64> =
            stats.filter_map(|one| Some((one.attributes?.id, one.memory?.working_set_bytes?.value))).collect();
        resize::below_usage(changes, runtime, &used)
    }

    /// Tells why a resize cannot be done now; it is tried again with every look, and an event tells of the first failure.
    fn resize_failed(&mut self, pod: &Arc<Pod>, runtime: &RuntimePod, problem: String) {
        if self.resize_error.is_none() {
            self.tell_resize_error(pod, &problem);
        }
        self.resize_error = Some(problem);
        self.publish(pod, runtime, false, false);
    }

    /// Holds running containers to their CPUs, which others may have made fewer or more; whether all had them already.
    pub(super) async fn hold_cpus(&self, pod: &Pod, runtime: &RuntimePod) -> Result<bool, RuntimeError> {
        let mut held_all = true;
        for container in runtime.containers.iter().filter(|c| c.running()) {
            let Some(cpus) = self.context.cpus.of(spec::uid(pod), &container.name) else { break };
            let cpuset_cpus = cpus.to_string();
            if container.resources.as_ref().is_some_and(|held| held.cpuset_cpus != cpuset_cpus) {
                let resources = LinuxContainerResources { cpuset_cpus, ..Default::default() };
                self.context.runtime.update_resources(&container.id, resources).await?;
                held_all = false;
            }
        }
        Ok(held_all)
    }

    /// Brings new content into the volumes of a running pod now and then.
    pub(super) async fn refresh_volumes(&mut self, pod: &Pod, runtime: &RuntimePod) {
        if self.volumes.as_ref().is_some_and(|(_, at)| at.elapsed() < Duration::from_secs(20))
            && !self.labels_changed(pod)
        {
            return;
        }
        let ip = runtime.active_sandbox().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
        let fields = self.context.fields(self.ips(pod, &ip));
        let mut grown = Vec::new();
        let refreshed = self.context.volumes.refresh(pod, &fields, &mut grown).await;
        self.tell_growth(pod, &grown, true);
        match refreshed {
            Ok(volumes) => self.volumes = Some((volumes, Instant::now())),
            Err(error) => {
                self.context.recorder.warning(&PodRef::of(pod), "FailedMount", error.to_string());
                tracing::debug!(pod = %spec::describe(pod), "refreshing volumes: {error}");
            }
        }
    }

    /// Whether downward API volumes may show something old.
    pub(super) fn labels_changed(&self, pod: &Pod) -> bool {
        pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| {
            v.downward_api.is_some()
                || v.projected.as_ref().is_some_and(|p| p.sources.iter().flatten().any(|s| s.downward_api.is_some()))
        })
    }
}
