//! What the resource metrics API says about pods.

use super::plan::{Goal, Group, Measured};
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::{parse_milli, try_parse_milli};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// What a pod uses of the processor says nothing for this long after its start, unless it is ready.
const WARMS_UP: SignedDuration = SignedDuration::from_mins(5);
/// Who stops being ready within this time after its start never was.
const FIRST_READY: SignedDuration = SignedDuration::from_secs(30);

/// Why a metric cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Of the condition and the event.
    pub(super) reason: &'static str,
    /// What was to be had, such as `cpu resource`.
    pub(super) what: String,
    /// Why it was not.
    pub(super) error: String,
}

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) measured: Measured,
    pub(super) status: MetricStatus,
    /// As events and conditions call it.
    pub(super) name: String,
}

/// What the pods of a target are chosen by, and those that it chooses.
pub(super) struct Chosen<'a> {
    pub(super) namespace: &'a str,
    /// As text.
    pub(super) selector: &'a str,
    pub(super) pods: &'a [Arc<Pod>],
}

/// Use of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// Thousandths.
    used: i64,
    at: Timestamp,
    /// Over how long it was measured.
    window: SignedDuration,
}

type Samples = HashMap<String, Sample>;

/// A resource of pods, or of one container of each.
struct Source<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

/// Reads one metric over the pods of a target.
pub(super) async fn measure(client: &kube::Client, chosen: &Chosen<'_>, metric: &MetricSpec) -> Result<Told, Unusable> {
    let source = match (&metric.resource, &metric.container_resource) {
        (Some(own), _) => Source { resource: &own.name, container: None, target: &own.target },
        (None, Some(own)) => Source { resource: &own.name, container: Some(&own.container), target: &own.target },
        (None, None) => return Err(unsupported(metric)),
    };
    let goal = goal(source.target).ok_or_else(|| {
        source.unusable(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
                .to_owned(),
        )
    })?;
    let measured = read(client, chosen, &source, goal).await.map_err(|error| {
        let what = if matches!(goal, Goal::Utilization(_)) { "utilization" } else { "usage" };
        source.unusable(format!("failed to get {} {what}: {error}", source.resource))
    })?;
    let (status, name) = (source.status(&metric.type_, &measured), source.name(goal));
    Ok(Told { measured, status, name })
}

async fn read(client: &kube::Client, chosen: &Chosen<'_>, source: &Source<'_>, goal: Goal) -> Result<Measured, String> {
    let answer = fetch(client, chosen, source.resource).await?;
    if chosen.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    grouped(source, goal, chosen.pods, &samples(&answer, source)?, Timestamp::now())
}

fn unsupported(metric: &MetricSpec) -> Unusable {
    let (reason, what) = match metric.type_.as_str() {
        "Pods" => ("FailedGetPodsMetric", "pods".to_owned()),
        "Object" => ("FailedGetObjectMetric", "object".to_owned()),
        "External" => {
            let name = metric.external.as_ref().map(|own| own.metric.name.as_str());
            ("FailedGetExternalMetric", format!("{} external", name.unwrap_or_default()))
        }
        _ => ("InvalidMetricSourceType", "unknown".to_owned()),
    };
    Unusable { reason, what, error: format!("no metrics API serves metrics of type {}", metric.type_) }
}

fn goal(target: &MetricTarget) -> Option<Goal> {
    let average = target.average_value.as_ref().map(|value| Goal::Average(parse_milli(value)));
    average.or_else(|| target.average_utilization.map(|percents| Goal::Utilization(percents.into())))
}

impl Source<'_> {
    fn unusable(&self, error: String) -> Unusable {
        match self.container {
            None => Unusable { reason: "FailedGetResourceMetric", what: format!("{} resource", self.resource), error },
            Some(name) => {
                Unusable { reason: "FailedGetContainerResourceMetric", what: format!("{name} container"), error }
            }
        }
    }

    fn name(&self, goal: Goal) -> String {
        match goal {
            Goal::Utilization(_) => format!("{} resource utilization (percentage of request)", self.resource),
            Goal::Average(_) => format!("{} resource", self.resource),
        }
    }

    fn status(&self, type_: &str, measured: &Measured) -> MetricStatus {
        let reporting = measured.reporting;
        let is_relative = matches!(measured.goal, Goal::Utilization(_));
        let current = MetricValueStatus {
            average_utilization: is_relative.then(|| i32::try_from(reporting.utilization()).unwrap_or(i32::MAX)),
            average_value: Some(Quantity(rk_api::meta::Quantity::from_millis(reporting.average()).to_string())),
            value: None,
        };
        let mut status = MetricStatus { type_: type_.to_owned(), ..MetricStatus::default() };
        let name = self.resource.to_owned();
        match self.container {
            None => status.resource = Some(ResourceMetricStatus { current, name }),
            Some(container) => {
                let container = container.to_owned();
                status.container_resource = Some(ContainerResourceMetricStatus { container, current, name });
            }
        }
        status
    }

    fn is_of(&self, container: &str) -> bool {
        self.container.is_none_or(|own| own == container)
    }

    /// What a pod requests, in thousandths.
    fn requested(&self, pod: &Pod) -> Result<i64, String> {
        let mut requested = 0_i64;
        for container in pod.spec.iter().flat_map(|spec| &spec.containers).filter(|own| self.is_of(&own.name)) {
            let request = container.resources.as_ref().and_then(|own| own.requests.as_ref()?.get(self.resource));
            let request = request.ok_or_else(|| {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                format!("missing request for {} in container {} of Pod {name}", self.resource, container.name)
            })?;
            requested = requested.saturating_add(parse_milli(request));
        }
        Ok(requested)
    }
}

async fn fetch(client: &kube::Client, chosen: &Chosen<'_>, resource: &str) -> Result<Value, String> {
    let encoded: String = chosen
        .selector
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={encoded}", chosen.namespace);
    let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
    let failed = |why: String| format!("unable to get metrics for resource {resource}: {why}");
    let answer: Value = client.request(request).await.map_err(|error| {
        failed(format!("unable to fetch metrics from resource metrics API: {}", rk_client::message(&error)))
    })?;
    if answer["items"].as_array().is_none_or(Vec::is_empty) {
        return Err(failed("no metrics returned from resource metrics API".to_owned()));
    }
    Ok(answer)
}

/// Use by pod, of those that report it for all their containers.
fn samples(answer: &Value, source: &Source<'_>) -> Result<Samples, String> {
    let mut samples = Samples::new();
    for item in answer["items"].as_array().into_iter().flatten() {
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let containers: &[Value] = item["containers"].as_array().map_or(&[], Vec::as_slice);
        let own: Vec<&Value> =
            containers.iter().filter(|own| source.is_of(own["name"].as_str().unwrap_or_default())).collect();
        if let (true, Some(container)) = (own.is_empty(), source.container) {
            let namespace = item["metadata"]["namespace"].as_str().unwrap_or_default();
            return Err(format!("container {container} not present in metrics for pod {namespace}/{name}"));
        }
        let used: Option<Vec<i64>> =
            own.iter().map(|own| own["usage"][source.resource].as_str().and_then(try_parse_milli)).collect();
        let Some(used) = used.filter(|used| !used.is_empty()) else { continue };
        let at = item["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        let window = item["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or(SignedDuration::ZERO);
        let used = used.into_iter().fold(0, i64::saturating_add);
        samples.insert(name.to_owned(), Sample { used, at, window });
    }
    Ok(samples)
}

fn grouped(
    source: &Source<'_>,
    goal: Goal,
    pods: &[Arc<Pod>],
    samples: &Samples,
    now: Timestamp,
) -> Result<Measured, String> {
    let (mut reporting, mut silent, mut unready) = (Group::default(), Group::default(), Group::default());
    for pod in pods.iter().filter(|pod| !pods::is_terminating(pod) && pods::phase(pod) != "Failed") {
        let sample = samples.get(pod.metadata.name.as_deref().unwrap_or_default());
        let group = match sample {
            _ if pods::phase(pod) == "Pending" => &mut unready,
            None => &mut silent,
            Some(sample) if source.resource == "cpu" && !is_telling(pod, sample, now) => &mut unready,
            Some(sample) => {
                reporting.used = reporting.used.saturating_add(sample.used);
                &mut reporting
            }
        };
        group.pods += 1;
        if matches!(goal, Goal::Utilization(_)) {
            group.requested = group.requested.saturating_add(source.requested(pod)?);
        }
    }
    match reporting.pods {
        0 => Err("did not receive metrics for targeted pods (pods might be unready)".to_owned()),
        _ => Ok(Measured { goal, reporting, silent, unready }),
    }
}

/// Whether what a pod uses of the processor tells how busy it is: not what it takes to start.
fn is_telling(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let begun = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(begun)) = (pods::condition(pod, "Ready"), begun) else { return false };
    let turned = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    if now.duration_since(begun) < WARMS_UP {
        return ready.status != "False" && sample.at.duration_since(turned) >= sample.window;
    }
    ready.status != "False" || turned.duration_since(begun) >= FIRST_READY
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(target: Value) -> MetricTarget {
        serde_json::from_value(target).expect("valid")
    }

    fn pod(name: &str, phase: &str, begun: &str, ready: &str, turned: &str) -> Arc<Pod> {
        let ready = json!([{"type": "Ready", "status": ready, "lastTransitionTime": turned}]);
        let resources = json!({"requests": {"cpu": "100m"}});
        let containers = json!([{"name": "app", "resources": resources}, {"name": "proxy", "resources": resources}]);
        let pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"containers": containers},
            "status": {"phase": phase, "startTime": begun, "conditions": ready}});
        Arc::new(serde_json::from_value(pod).expect("valid"))
    }

    fn answer(names: &[&str]) -> Value {
        let item = |name: &&str| {
            json!({"metadata": {"name": name, "namespace": "n"}, "timestamp": "2026-01-01T01:00:00Z", "window": "30s",
                "containers": [{"name": "app", "usage": {"cpu": "60m"}}, {"name": "proxy", "usage": {"cpu": "20m"}}]})
        };
        json!({"items": names.iter().map(item).collect::<Vec<_>>()})
    }

    #[test]
    fn pods_count_by_what_is_known_of_them() {
        let now: Timestamp = "2026-01-01T01:00:10Z".parse().expect("a time");
        let target = target(json!({"type": "Utilization", "averageUtilization": 50}));
        let long_ago = "2026-01-01T00:00:00Z";
        let mut pods = vec![
            pod("old", "Running", long_ago, "True", long_ago),
            pod("silent", "Running", long_ago, "True", long_ago),
            pod("pending", "Pending", long_ago, "False", long_ago),
            pod("failed", "Failed", long_ago, "False", long_ago),
            pod("young", "Running", "2026-01-01T00:59:00Z", "True", "2026-01-01T00:59:30Z"),
            pod("younger", "Running", "2026-01-01T00:59:00Z", "True", "2026-01-01T00:59:31Z"),
            pod("never-ready", "Running", long_ago, "False", "2026-01-01T00:00:29Z"),
            pod("ready-once", "Running", long_ago, "False", "2026-01-01T00:00:30Z"),
        ];
        let told = answer(&["old", "pending", "failed", "young", "younger", "never-ready", "ready-once"]);
        let source = Source { resource: "cpu", container: None, target: &target };
        let goal = goal(source.target).expect("a goal");
        let all = samples(&told, &source).expect("readable");
        let measured = grouped(&source, goal, &pods, &all, now).expect("measured");
        let group = |pods, used| Group { pods, used, requested: 200 * pods };
        assert_eq!(measured.reporting, group(3, 240), "old, young and ready-once");
        assert_eq!((measured.silent, measured.unready), (group(1, 0), group(3, 0)));
        let status = serde_json::to_value(source.status("Resource", &measured)).expect("JSON");
        let current = json!({"averageUtilization": 40, "averageValue": "80m"});
        assert_eq!(status, json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));

        let source = Source { container: Some("app"), ..source };
        let all = samples(&told, &source).expect("readable");
        let measured = grouped(&source, goal, &pods, &all, now).expect("measured");
        assert_eq!(measured.reporting, Group { pods: 3, used: 180, requested: 300 });
        let source = Source { container: Some("other"), ..source };
        assert_eq!(samples(&told, &source), Err("container other not present in metrics for pod n/old".to_owned()));

        pods.retain(|pod| pod.metadata.name.as_deref() != Some("old"));
        let source = Source { container: None, ..source };
        let nobody = grouped(&source, goal, &pods, &Samples::new(), now);
        assert_eq!(nobody, Err("did not receive metrics for targeted pods (pods might be unready)".to_owned()));
    }

    #[test]
    fn what_cannot_be_had_is_told_as_upstream_tells_it() {
        let target = target(json!({"type": "AverageValue", "averageValue": "1500m"}));
        assert_eq!(goal(&target), Some(Goal::Average(1500)));
        assert_eq!(goal(&MetricTarget::default()), None);
        let source = Source { resource: "cpu", container: Some("app"), target: &target };
        let why = source.unusable("why".to_owned());
        assert_eq!((why.reason, why.what.as_str()), ("FailedGetContainerResourceMetric", "app container"));
        assert_eq!(source.name(Goal::Average(1)), "cpu resource");
        let external =
            json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value"}}});
        let why = unsupported(&serde_json::from_value(external).expect("valid"));
        assert_eq!((why.reason, why.what.as_str()), ("FailedGetExternalMetric", "queue external"));
    }
}
