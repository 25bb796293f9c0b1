//! HorizontalPodAutoscalers on the resource metrics API. Without that API their conditions say so.

mod metrics;
mod plan;

use crate::context::Context;
use crate::discovery::Discovery;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::DynamicObject;
use rk_api::selector::LabelSelector;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, Recorder, message};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(15);

struct Controller {
    client: kube::Client,
    scalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    discovery: Discovery,
    recorder: Recorder,
    /// Recent recommendations, by autoscaler.
    recent: Mutex<HashMap<ObjectKey, Vec<(Timestamp, i32)>>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        scalers: ctx.informers.of(),
        pods: ctx.informers.of(),
        discovery: Discovery::new(ctx.client.clone()),
        recorder: ctx.recorders.of("horizontal-pod-autoscaler"),
        recent: Mutex::default(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.scalers.on_change(move |change| {
        if change.previous().is_none_or(|old| old.spec != change.object().spec) {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("horizontalpodautoscaler", queue, 1, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn set(status: &mut HorizontalPodAutoscalerStatus, type_: &str, value: &str, reason: &str, text: String) {
    let all = status.conditions.get_or_insert_default();
    let since = all.iter().find(|c| c.type_ == type_ && c.status == value).and_then(|c| c.last_transition_time.clone());
    let condition = HorizontalPodAutoscalerCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(text),
        last_transition_time: since.or(Some(Time(Timestamp::now()))),
    };
    match all.iter_mut().find(|c| c.type_ == type_) {
        Some(known) => *known = condition,
        None => all.push(condition),
    }
}

fn no_scale(text: String) -> metrics::Unusable {
    ("FailedGetScale", format!("the HPA controller was unable to get the target's current scale: {text}"))
}

/// The selector that a scale tells of its pods.
fn selected_by(text: &str) -> Result<LabelSelector, metrics::Unusable> {
    let invalid = |text: String| ("InvalidSelector", text);
    if text.is_empty() {
        return Err(invalid("the HPA target's scale is missing a selector".to_owned()));
    }
    LabelSelector::parse(text).map_err(|error| {
        invalid(format!("couldn't convert selector into a corresponding internal selector object: {}", error.0))
    })
}

fn is_selected(selector: &LabelSelector, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.matches_values(|key| labels.and_then(|all| all.get(key)).map(String::as_str))
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(scaler) = self.scalers.get(key) else {
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Ok(Outcome::AwaitChange);
        };
        let spec = &scaler.spec;
        let mut status = scaler.status.clone().unwrap_or_default();
        status.observed_generation = scaler.metadata.generation;
        if let Err((reason, text)) = self.run(&scaler, spec, &mut status).await {
            self.recorder.warning(scaler.as_ref(), reason, text.clone());
            let type_ = if reason == "FailedGetScale" { "AbleToScale" } else { "ScalingActive" };
            set(&mut status, type_, "False", reason, text);
        }
        if scaler.status.as_ref() != Some(&status) {
            self.scalers
                .replace_status(&HorizontalPodAutoscaler {
                    status: Some(status),
                    ..HorizontalPodAutoscaler::clone(&scaler)
                })
                .await?;
        }
        Ok(Outcome::RequeueAfter(PERIOD))
    }

    async fn run(
        &self,
        scaler: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Result<(), metrics::Unusable> {
        let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
        let path = self.scale_path(namespace, &spec.scale_target_ref).await?;
        let scale = self.read_scale(&path).await.map_err(no_scale)?;
        set(
            status,
            "AbleToScale",
            "True",
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale".to_owned(),
        );
        let current = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        status.current_replicas = Some(scale.status.as_ref().map_or(current, |s| s.replicas));
        let (min, max) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        if current == 0 && min != 0 {
            set(
                status,
                "ScalingActive",
                "False",
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero".to_owned(),
            );
            status.desired_replicas = 0;
            return Ok(());
        }
        let wanted = self.wanted(namespace, &scale, spec, current).await;
        let wanted = match wanted {
            // Bounds hold also without metrics.
            Err(_) if current < min => min,
            Err(_) if current > max => max,
            Err(unusable) => {
                status.desired_replicas = current;
                return Err(unusable);
            }
            Ok(wanted) => {
                set(
                    status,
                    "ScalingActive",
                    "True",
                    "ValidMetricFound",
                    "the HPA was able to successfully calculate a replica count from the metrics".to_owned(),
                );
                wanted
            }
        };
        let size = self.limited(scaler, current, wanted, min, max, status);
        status.desired_replicas = size;
        if size != current {
            self.write_scale(scaler, &path, scale, current, size).await?;
            status.last_scale_time = Some(Time(Timestamp::now()));
        }
        Ok(())
    }

    /// Where the scale of a target is read and written.
    async fn scale_path(
        &self,
        namespace: &str,
        target: &CrossVersionObjectReference,
    ) -> Result<String, metrics::Unusable> {
        let api_version = target.api_version.as_deref().unwrap_or_default();
        let served = self.discovery.served().await.map_err(|e| no_scale(message(&e)))?;
        let resource = served
            .of_kind(api_version, &target.kind)
            .ok_or_else(|| no_scale(format!("no matches for kind {:?} in group {api_version:?}", target.kind)))?;
        Ok(format!("{}/{}/scale", DynamicObject::url_path(&resource.api, Some(namespace)), target.name))
    }

    /// Holds a wanted size to the bounds and the pace of an autoscaler, and says so in its status.
    fn limited(
        &self,
        scaler: &HorizontalPodAutoscaler,
        current: i32,
        wanted: i32,
        min: i32,
        max: i32,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> i32 {
        let now = Timestamp::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let own = recent.entry(ObjectKey::of(scaler)).or_default();
        own.retain(|(at, _)| now.duration_since(*at) < plan::SHRINK_WINDOW);
        let (size, why) = plan::limit(current, wanted, min, max, own, now);
        own.push((now, wanted));
        let text = match why {
            "TooManyReplicas" => "the desired replica count is more than the maximum replica count",
            "TooFewReplicas" => "the desired replica count is less than the minimum replica count",
            "ScaleUpLimit" => "the desired replica count is increasing faster than the maximum scale rate",
            _ => "the desired count is within the acceptable range",
        };
        set(status, "ScalingLimited", if why == "DesiredWithinRange" { "False" } else { "True" }, why, text.to_owned());
        size
    }

    /// The largest number that any metric asks for; fails when none can be read.
    async fn wanted(
        &self,
        namespace: &str,
        scale: &Scale,
        spec: &HorizontalPodAutoscalerSpec,
        current: i32,
    ) -> Result<i32, metrics::Unusable> {
        let selector = scale.status.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        let mut all: Vec<Arc<Pod>> = self.pods.in_namespace(namespace);
        let selected = selected_by(&selector)?;
        all.retain(|pod| is_selected(&selected, pod));
        let (mut highest, mut unusable) = (None, None);
        for metric in spec.metrics.iter().flatten() {
            match metrics::measure(&self.client, namespace, &selector, metric, &all).await {
                Ok(measured) => highest = highest.max(Some(plan::by_metric(current, measured))),
                Err(error) => {
                    unusable.get_or_insert(error);
                }
            }
        }
        match (highest, unusable) {
            // With some metrics missing it may grow, but not shrink.
            (Some(wanted), Some(error)) if wanted < current => Err(error),
            (Some(wanted), _) => Ok(wanted),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(current),
        }
    }

    async fn read_scale(&self, path: &str) -> Result<Scale, String> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
        self.client.request(request).await.map_err(|e| message(&e))
    }

    async fn write_scale(
        &self,
        scaler: &HorizontalPodAutoscaler,
        path: &str,
        mut scale: Scale,
        current: i32,
        size: i32,
    ) -> Result<(), metrics::Unusable> {
        let failed = |text: String| ("FailedRescale", format!("New size: {size}; error: {text}"));
        scale.spec.get_or_insert_default().replicas = Some(size);
        let body = serde_json::to_vec(&scale).map_err(|e| failed(e.to_string()))?;
        let request = http::Request::put(path)
            .header("content-type", "application/json")
            .body(body)
            .map_err(|e| failed(e.to_string()))?;
        let written: kube::Result<Scale> = self.client.request(request).await;
        written.map_err(|e| failed(message(&e)))?;
        let reason = if size > current { "metrics are above target" } else { "All metrics below target" };
        self.recorder.normal(scaler, "SuccessfulRescale", format!("New size: {size}; reason: {reason}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_chosen_by_the_whole_selector_of_a_scale() {
        let pod = |labels: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"labels": labels}})).expect("valid")
        };
        let web = pod(json!({"app": "web", "tier": "a"}));
        for (selector, expected) in [
            ("app=web", true),
            ("app=db", false),
            ("app in (web,db),tier notin (b)", true),
            ("tier in (b,c)", false),
            ("app!=db", true),
            ("app=web,!tier", false),
            ("tier", true),
        ] {
            let selector = selected_by(selector).expect("valid");
            assert_eq!(is_selected(&selector, &web), expected, "{selector:?}");
            assert!(!is_selected(&selected_by("app").expect("valid"), &Pod::default()));
        }
        for bad in ["", "app in ("] {
            assert_eq!(selected_by(bad).err().map(|(reason, _)| reason), Some("InvalidSelector"), "{bad:?}");
        }
    }
}
