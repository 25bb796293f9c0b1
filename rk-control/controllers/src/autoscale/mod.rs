//! HorizontalPodAutoscalers on the metrics APIs: of resources, of pods and other objects, and of what is outside of the cluster. What an
//! API that is not there does not tell, their conditions do.

mod ask;
mod conditions;
mod custom;
mod external;
mod group;
mod memory;
mod metrics;
mod pace;
mod plan;
mod resource;

use crate::context::Context;
use crate::discovery::Discovery;
use ask::Apis;
use conditions::{ABLE, ACTIVE, LIMITED, set};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::DynamicObject;
use memory::{Memory, is_selected};
use metrics::{Target, Told, Unusable};
use pace::{Ask, Pace};
use rk_api::selector::LabelSelector;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, Recorder, is_not_found, message};
use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(15);

struct Controller {
    client: kube::Client,
    scalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    discovery: Discovery,
    recorder: Recorder,
    memory: Mutex<Memory>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        scalers: ctx.informers.of(),
        pods: ctx.informers.of(),
        discovery: Discovery::new(ctx.client.clone()),
        recorder: ctx.recorders.of("horizontal-pod-autoscaler"),
        memory: Mutex::default(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.scalers.on_change(move |change| {
        if change.previous().is_none_or(|old| old.spec != change.object().spec) {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    // As many as upstream has: one whose metrics API is slow keeps nobody else waiting.
    ctx.work("horizontalpodautoscaler", queue, 5, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// Reason and text of why a target's pods cannot be told.
type Unclear = (&'static str, String);

/// The selector that a scale tells of its pods.
fn selected_by(text: &str) -> Result<LabelSelector, Unclear> {
    if text.is_empty() {
        return Err(("InvalidSelector", "the HPA target's scale is missing a selector".to_owned()));
    }
    LabelSelector::parse(text).map_err(|error| {
        let text = format!("couldn't convert selector into a corresponding internal selector object: {}", error.0);
        ("InvalidSelector", text)
    })
}

/// What all metrics of an autoscaler say together.
#[derive(Debug, PartialEq)]
struct Verdict {
    /// The largest number that any of them asks for, and the name of that metric.
    wanted: Result<(i32, String), Unusable>,
    /// How many metrics cannot be used.
    unusable: usize,
    /// How many there are.
    all: usize,
}

/// Puts together what each metric says. With some missing a target may grow, but not shrink.
fn verdict(current: i32, told: &[Result<Told, Unusable>]) -> Verdict {
    let mut wanted: Option<(i32, &str)> = None;
    for told in told.iter().flatten() {
        if wanted.is_none_or(|(most, _)| most == 0 || told.wanted > most) {
            wanted = Some((told.wanted, told.name.as_str()));
        }
    }
    let first = told.iter().find_map(|told| told.as_ref().err());
    let shown = |size: i32, name: &str| Ok((size, name.to_owned()));
    let wanted = match (wanted, first) {
        (Some((size, _)), Some(why)) if size < current => Err(why.clone()),
        (Some((size, name)), _) => shown(size, name),
        (None, Some(why)) => Err(why.clone()),
        (None, None) => shown(current, ""),
    };
    Verdict { wanted, unusable: told.iter().filter(|told| told.is_err()).count(), all: told.len() }
}

/// The statuses of metrics, in their order, by which clients find them: of one that cannot be used there is an empty one.
fn current_metrics(told: &[Result<Told, Unusable>]) -> Option<Vec<MetricStatus>> {
    let status = |told: &Result<Told, Unusable>| told.as_ref().map(|told| told.status.clone()).unwrap_or_default();
    Some(told.iter().map(status).collect()).filter(|all: &Vec<_>| !all.is_empty())
}

/// A size that a target is to have, and why.
struct Change {
    size: i32,
    why: String,
}

impl Controller {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(scaler) = self.scalers.get(key) else {
            self.memory().forget(key);
            return Ok(Outcome::AwaitChange);
        };
        let mut status = scaler.status.clone().unwrap_or_default();
        status.observed_generation = scaler.metadata.generation;
        self.turn(&scaler, &mut status).await;
        if scaler.status.as_ref() != Some(&status) {
            let told = HorizontalPodAutoscaler { status: Some(status), ..HorizontalPodAutoscaler::clone(&scaler) };
            // The next turn tells it anew; one before its time would scale once more on the same measurements.
            if let Err(error) = self.scalers.replace_status(&told).await
                && !is_not_found(&error)
            {
                self.recorder.warning(scaler.as_ref(), "FailedUpdateStatus", message(&error));
            }
        }
        Ok(Outcome::RequeueAfter(PERIOD))
    }

    /// One look at a target, which gets the size that it should have. What fails is told in the status and by events, and tried again at
    /// the next turn.
    async fn turn(&self, scaler: &HorizontalPodAutoscaler, status: &mut HorizontalPodAutoscalerStatus) {
        let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
        let found = async {
            let path = self.scale_path(namespace, &scaler.spec.scale_target_ref).await?;
            let scale = self.read_scale(&path).await?;
            Ok::<_, String>((path, scale))
        };
        let (path, scale) = match found.await {
            Ok(found) => found,
            Err(error) => {
                self.recorder.warning(scaler, "FailedGetScale", error.clone());
                let text = format!("the HPA controller was unable to get the target's current scale: {error}");
                return set(status, ABLE, false, "FailedGetScale", text);
            }
        };
        let text = "the HPA controller was able to get the target's current scale";
        set(status, ABLE, true, "SucceededGetScale", text);
        let current = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        status.current_replicas = Some(current);
        self.memory().past(scaler).begin(current, Timestamp::now());
        let Ok(change) = self.change(scaler, &scale, current, status).await else { return };
        let size = change.as_ref().map_or(current, |change| change.size);
        if let Some(change) = change
            && !self.rescale(scaler, &path, scale, current, &change, status).await
        {
            return;
        }
        status.desired_replicas = size;
    }

    /// The size that a target is to get, `None` where it has it already; fails where nobody can tell, which the status says then.
    async fn change(
        &self,
        scaler: &HorizontalPodAutoscaler,
        scale: &Scale,
        current: i32,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Result<Option<Change>, ()> {
        let (min, max) = (scaler.spec.min_replicas.unwrap_or(1), scaler.spec.max_replicas);
        // Bounds hold also without metrics, of which nothing is told then.
        let bound = |size: i32, why: &str| Ok(Some(Change { size, why: why.to_owned() }));
        if (current == 0 && min != 0) || current > max || current < min {
            status.current_metrics = None;
        }
        if current == 0 && min != 0 {
            let text = "scaling is disabled since the replica count of the target is zero";
            set(status, ACTIVE, false, "ScalingDisabled", text);
            return Ok(None);
        }
        if current > max {
            return bound(max, "Current number of replicas above Spec.MaxReplicas");
        }
        if current < min {
            return bound(min, "Current number of replicas below Spec.MinReplicas");
        }
        let pace = Pace::of(scaler.spec.behavior.as_ref());
        let (wanted, metric) = self.wanted(scaler, scale, current, &pace, status).await?;
        let size = self.paced(scaler, &pace, &Ask { current, wanted, min, max }, status);
        let why = match wanted.cmp(&current) {
            Ordering::Greater => format!("{metric} above target"),
            Ordering::Less => "All metrics below target".to_owned(),
            Ordering::Equal => String::new(),
        };
        Ok((size != current).then_some(Change { size, why }))
    }

    /// Holds a wanted size to the bounds and the pace of an autoscaler, and says so in its status.
    fn paced(
        &self,
        scaler: &HorizontalPodAutoscaler,
        pace: &Pace,
        ask: &Ask,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> i32 {
        let now = Timestamp::now();
        let mut memory = self.memory();
        let past = memory.past(scaler);
        let decision = pace.decide(ask, past, now);
        past.recommend(ask.wanted, pace.window(), now);
        let ((able, able_text), (bounds, bounds_text)) = (decision.able, decision.bounds);
        set(status, ABLE, true, able, able_text);
        set(status, LIMITED, decision.is_limited, bounds, bounds_text);
        decision.size
    }

    /// What metrics ask for, and the name of the one that asks for most.
    async fn wanted(
        &self,
        scaler: &HorizontalPodAutoscaler,
        scale: &Scale,
        current: i32,
        pace: &Pace,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Result<(i32, String), ()> {
        let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
        let selector = scale.status.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        let pods = match self.chosen(scaler, namespace, &selector) {
            Ok(pods) => pods,
            Err((reason, text)) => {
                status.current_metrics = None;
                // Events have words of their own for a selector that is missing.
                let (event, error) = match selector.is_empty() {
                    true => ("SelectorRequired", "selector is required"),
                    false => (reason, text.as_str()),
                };
                self.recorder.warning(scaler, event, error);
                self.recorder.warning(scaler, "FailedComputeMetricsReplicas", error);
                set(status, ACTIVE, false, reason, text);
                return Err(());
            }
        };
        let present = scale.status.as_ref().map_or(0, |status| status.replicas);
        let target = Target { namespace, selector: &selector, pods: &pods, current, present, pace };
        let apis = Apis { client: &self.client, discovery: &self.discovery };
        let mut told = Vec::new();
        for metric in scaler.spec.metrics.iter().flatten() {
            let answer = metrics::measure(&apis, &target, metric).await;
            if let Err(why) = &answer {
                self.recorder.warning(scaler, why.reason, why.error.clone());
            }
            told.push(answer);
        }
        status.current_metrics = current_metrics(&told);
        let Verdict { wanted, unusable, all } = verdict(current, &told);
        let (size, name) = wanted.map_err(|Unusable { reason, error, chain }| {
            let all = format!("invalid metrics ({unusable} invalid out of {all}), first error is: {chain}");
            self.recorder.warning(scaler, "FailedComputeMetricsReplicas", all);
            set(status, ACTIVE, false, reason, format!("the HPA was unable to compute the replica count: {error}"));
        })?;
        let text = format!("the HPA was able to successfully calculate a replica count from {name}");
        set(status, ACTIVE, true, "ValidMetricFound", text);
        Ok((size, name))
    }

    /// The pods that the selector of a target's scale chooses; fails where other autoscalers' targets have some of them, too.
    fn chosen(
        &self,
        scaler: &HorizontalPodAutoscaler,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Arc<Pod>>, Unclear> {
        let selected = selected_by(selector)?;
        let mut pods = self.pods.in_namespace(namespace);
        pods.retain(|pod| is_selected(&selected, pod));
        let keys = self.memory().selecting(scaler, &selected, &pods);
        if keys.len() > 1 {
            let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let names = names.join(" ");
            let text = format!("pods by selector {selector} are controlled by multiple HPAs: [{names}]");
            return Err(("AmbiguousSelector", text));
        }
        Ok(pods)
    }

    /// Where the scale of a target is read and written.
    async fn scale_path(&self, namespace: &str, target: &CrossVersionObjectReference) -> Result<String, String> {
        let api_version = target.api_version.as_deref().unwrap_or_default();
        let served = self.discovery.served().await.map_err(|error| message(&error))?;
        let resource = served.mapped(api_version, &target.kind)?;
        Ok(format!("{}/{}/scale", DynamicObject::url_path(&resource.api, Some(namespace)), target.name))
    }

    async fn read_scale(&self, path: &str) -> Result<Scale, String> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
        self.client.request(request).await.map_err(|e| message(&e))
    }

    /// Gives a target its new size, and tells of it; false where that failed.
    async fn rescale(
        &self,
        scaler: &HorizontalPodAutoscaler,
        path: &str,
        scale: Scale,
        current: i32,
        change: &Change,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> bool {
        let Change { size, why } = change;
        if let Err(error) = self.write_scale(path, scale, *size).await {
            let text = format!("New size: {size}; reason: {why}; error: {error}");
            self.recorder.warning(scaler, "FailedRescale", text);
            let text = format!("the HPA controller was unable to update the target scale: {error}");
            set(status, ABLE, false, "FailedUpdateScale", text);
            return false;
        }
        let text = format!("the HPA controller was able to update the target scale to {size}");
        set(status, ABLE, true, "SucceededRescale", text);
        self.recorder.normal(scaler, "SuccessfulRescale", format!("New size: {size}; reason: {why}"));
        let now = Timestamp::now();
        let keep = Pace::of(scaler.spec.behavior.as_ref()).period();
        self.memory().past(scaler).rescaled(current, *size, keep, now);
        status.last_scale_time = Some(Time(now));
        true
    }

    async fn write_scale(&self, path: &str, mut scale: Scale, size: i32) -> Result<(), String> {
        scale.spec.get_or_insert_default().replicas = Some(size);
        let body = serde_json::to_vec(&scale).map_err(|e| e.to_string())?;
        let request = http::Request::put(path).header("content-type", "application/json").body(body);
        let written: kube::Result<Scale> = self.client.request(request.map_err(|e| e.to_string())?).await;
        written.map(|_| ()).map_err(|e| message(&e))
    }
}

#[cfg(test)]
mod tests;
