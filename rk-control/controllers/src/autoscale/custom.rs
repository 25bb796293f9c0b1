//! What the custom metrics API says of pods and of other objects.

use super::ask::{Apis, Question, millis};
use super::group::{Sample, Samples, grouped, ready};
use super::metrics::{Target, Told, Unusable, average, selected, shown, whole};
use super::plan::{Goal, Measured, Whole, by_metric};
use crate::discovery::{Served, group_of};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, MetricStatus, MetricValueStatus, ObjectMetricSource, ObjectMetricStatus,
    PodsMetricSource, PodsMetricStatus,
};
use rk_client::{message, parse_milli};
use serde_json::Value;

const GROUP: &str = "custom.metrics.k8s.io";
/// Versions of the API that are understood; they differ in nothing that matters here.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// Reads a metric that each pod has.
pub(super) async fn of_pods(apis: &Apis<'_>, target: &Target<'_>, own: &PodsMetricSource) -> Result<Told, Unusable> {
    let measured = read_pods(apis, target, own).await.map_err(|error| Unusable {
        reason: "FailedGetPodsMetric",
        chain: format!("failed to get pods metric value: {error}"),
        error,
    })?;
    let status = PodsMetricStatus { current: average(measured.counted().average()), metric: own.metric.clone() };
    Ok(Told {
        wanted: by_metric(target.current, &measured, |ratio| target.pace.tolerates(ratio)),
        status: MetricStatus { type_: "Pods".to_owned(), pods: Some(status), ..MetricStatus::default() },
        name: format!("pods metric {}", own.metric.name),
    })
}

async fn read_pods(apis: &Apis<'_>, target: &Target<'_>, own: &PodsMetricSource) -> Result<Measured, String> {
    let selector = selected(&own.metric)?;
    let question = Question {
        group: GROUP,
        namespace: target.namespace,
        resource: "pods",
        name: "*",
        metric: &own.metric.name,
        parameters: &[("labelSelector", target.selector), ("metricLabelSelector", selector.as_str())],
        ..Question::default()
    };
    let items = ask(apis, question).await.and_then(|items| match items.as_slice() {
        [] => Err("no metrics returned from custom metrics API".to_owned()),
        items => samples(items),
    });
    let samples = items.map_err(|error| format!("unable to get metric {}: {error}", own.metric.name))?;
    let goal = Goal::Average(own.target.average_value.as_ref().map_or(0, parse_milli));
    grouped(goal, target.pods, &samples, |_, _| true, |_| Ok(0))
}

fn samples(items: &[Value]) -> Result<Samples, String> {
    let sample = |item: &Value| -> Result<(String, Sample), String> {
        let name = item["describedObject"]["name"].as_str().unwrap_or_default();
        let used = millis(&item["value"]).map_err(failed)?;
        Ok((name.to_owned(), Sample { used, at: Timestamp::UNIX_EPOCH, window: SignedDuration::ZERO }))
    };
    items.iter().map(sample).collect()
}

fn failed(error: String) -> String {
    format!("unable to fetch metrics from custom metrics API: {error}")
}

/// Asks in the version that is served.
async fn ask(apis: &Apis<'_>, question: Question<'_>) -> Result<Vec<Value>, String> {
    let served = apis.discovery.served().await.map_err(|error| failed(message(&error)))?;
    let version = version(&served).map_err(failed)?;
    Question { version, ..question }.ask(apis.client).await.map_err(failed)
}

/// The version to ask in: the preferred one if it is understood.
fn version(served: &Served) -> Result<&str, String> {
    let versions = served.versions(GROUP).ok_or_else(|| format!("no custom metrics API ({GROUP}) registered"))?;
    let known = versions.iter().map(String::as_str).find(|version| VERSIONS.contains(version));
    known.ok_or_else(|| "no known available metric versions found".to_owned())
}

/// Reads a metric that one object has.
pub(super) async fn of_object(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ObjectMetricSource,
) -> Result<Told, Unusable> {
    let (metric, name) = (&own.metric, &own.metric.name);
    let unusable = |error: String, chain: String| Unusable {
        reason: "FailedGetObjectMetric",
        chain: format!("failed to get object metric value: {chain}"),
        error,
    };
    let plain = |error: String| unusable(error.clone(), error);
    let tolerates = |ratio| target.pace.tolerates(ratio);
    let selector = selected(metric).map_err(plain)?;
    let told = |wanted: i32, current: MetricValueStatus, name: String| {
        let described_object = own.described_object.clone();
        let status = ObjectMetricStatus { current, described_object, metric: metric.clone() };
        let status = MetricStatus { type_: "Object".to_owned(), object: Some(status), ..MetricStatus::default() };
        Told { wanted, status, name }
    };
    match (own.target.type_.as_str(), &own.target.value, &own.target.average_value) {
        ("Value", Some(goal), _) => {
            let value = read_object(apis, target, own, &selector).await.map_err(plain)?;
            let all = Whole { value, goal: parse_milli(goal) };
            let wanted = all.by_ready(target.current, tolerates, || ready(target.pods)).map_err(plain)?;
            Ok(told(wanted, whole(value), format!("{} metric {name}", own.described_object.kind)))
        }
        ("AverageValue", _, Some(goal)) => {
            let value = read_object(apis, target, own, &selector).await.map_err(|error| {
                let chain = format!("failed to get {name} object metric: {error}");
                unusable(error, chain)
            })?;
            let (wanted, part) = Whole { value, goal: parse_milli(goal) }.by_part(target.present, tolerates);
            // Upstream calls it external here.
            Ok(told(wanted, average(part), format!("external metric {name}({})", shown(metric))))
        }
        _ => Err(plain(
            "invalid object metric source: neither a value target nor an average value target was set".to_owned(),
        )),
    }
}

async fn read_object(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ObjectMetricSource,
    selector: &str,
) -> Result<i64, String> {
    let object = &own.described_object;
    value(apis, target.namespace, own, selector).await.map_err(|error| {
        let (metric, namespace) = (&own.metric.name, target.namespace);
        format!("unable to get metric {metric}: {} on {namespace} {}/{error}", object.kind, object.name)
    })
}

async fn value(apis: &Apis<'_>, namespace: &str, own: &ObjectMetricSource, selector: &str) -> Result<i64, String> {
    let (object, metric) = (&own.described_object, own.metric.name.as_str());
    let question =
        Question { group: GROUP, namespace, parameters: &[("metricLabelSelector", selector)], ..Question::default() };
    let items = if is_namespace(object) {
        // It is always that of the autoscaler, whatever name is told.
        ask(apis, Question { resource: "metrics", name: metric, ..question }).await?
    } else {
        let served = apis.discovery.served().await.map_err(|error| failed(message(&error)))?;
        let resource = resource(&served, object).map_err(failed)?;
        ask(apis, Question { resource: &resource, name: &object.name, metric, ..question }).await?
    };
    only(&items).map_err(failed)
}

fn is_namespace(object: &CrossVersionObjectReference) -> bool {
    object.kind == "Namespace" && group_of(object.api_version.as_deref().unwrap_or_default()).is_empty()
}

/// The resource of an object as the API names it: with its group.
fn resource(served: &Served, object: &CrossVersionObjectReference) -> Result<String, String> {
    let api_version = object.api_version.as_deref().unwrap_or_default();
    let mapped = served.mapped(api_version, &object.kind).map(|resource| resource.name());
    mapped.map_err(|error| {
        let kind = match group_of(api_version) {
            "" => object.kind.clone(),
            group => format!("{}.{group}", object.kind),
        };
        format!("unable to map kind {kind} to resource: {error}")
    })
}

/// The value of the one item that there must be.
fn only(items: &[Value]) -> Result<i64, String> {
    match items {
        [item] => millis(&item["value"]),
        _ => {
            let count = items.len();
            Err(format!("the custom metrics API server returned {count} results when we asked for exactly one"))
        }
    }
}
