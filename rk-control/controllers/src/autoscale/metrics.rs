//! What the resource metrics API says about pods.

use super::plan::Measured;
use crate::pods;
use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};
use k8s_openapi::api::core::v1::Pod;
use rk_client::{parse_milli, try_parse_milli};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a metric cannot be used: (reason of the condition, text).
pub(super) type Unusable = (&'static str, String);

/// Use in thousandths, by pod and container.
type Use = HashMap<String, HashMap<String, i64>>;

/// Reads one metric over the ready pods of a workload.
pub(super) async fn measure(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    metric: &MetricSpec,
    all: &[Arc<Pod>],
) -> Result<Measured, Unusable> {
    let (resource, container, target) = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) => (&source.name, None, &source.target),
        (None, Some(source)) => (&source.name, Some(source.container.as_str()), &source.target),
        (None, None) => return Err(unsupported(&metric.type_)),
    };
    let failed = |text: String| {
        (
            "FailedGetResourceMetric",
            format!("the HPA was unable to compute the replica count: failed to get {resource} utilization: {text}"),
        )
    };
    let used = fetch(client, namespace, selector, resource).await.map_err(failed)?;
    let ready: Vec<&Arc<Pod>> = all.iter().filter(|p| pods::is_active(p) && pods::is_ready(p)).collect();
    let mut measured = Measured { used: 0.0, target: 0.0, reporting: 0, silent: 0 };
    for pod in ready {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(containers) = used.get(&name) else {
            measured.silent += 1;
            continue;
        };
        let own: i64 = containers
            .iter()
            .filter(|(c, _)| container.is_none_or(|wanted| wanted == c.as_str()))
            .map(|(_, n)| n)
            .sum();
        measured.target += wanted(pod, resource, container, target).map_err(failed)?;
        measured.used += own as f64;
        measured.reporting += 1;
    }
    if measured.reporting == 0 {
        return Err(failed("no metrics returned from resource metrics API".to_owned()));
    }
    Ok(measured)
}

fn unsupported(type_: &str) -> Unusable {
    let reason = match type_ {
        "Pods" => "FailedGetPodsMetric",
        "Object" => "FailedGetObjectMetric",
        "External" => "FailedGetExternalMetric",
        _ => "InvalidMetricSourceType",
    };
    (reason, format!("the HPA was unable to compute the replica count: no metrics API serves metrics of type {type_}"))
}

/// What one pod should use, in thousandths.
fn wanted(pod: &Pod, resource: &str, container: Option<&str>, target: &MetricTarget) -> Result<f64, String> {
    if let Some(value) = &target.average_value {
        return Ok(parse_milli(value) as f64);
    }
    let percent = f64::from(
        target.average_utilization.ok_or("invalid target: neither a utilization target nor a value target was set")?,
    );
    let mut requested = 0;
    let containers =
        pod.spec.iter().flat_map(|s| &s.containers).filter(|c| container.is_none_or(|wanted| wanted == c.name));
    for c in containers {
        let request = c.resources.as_ref().and_then(|r| r.requests.as_ref()?.get(resource));
        let request = request.ok_or_else(|| {
            format!(
                "missing request for {resource} in container {} of Pod {}",
                c.name,
                pod.metadata.name.as_deref().unwrap_or_default()
            )
        })?;
        requested += parse_milli(request);
    }
    Ok(requested as f64 * percent / 100.0)
}

async fn fetch(client: &kube::Client, namespace: &str, selector: &str, resource: &str) -> Result<Use, String> {
    let encoded: String = selector
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={encoded}");
    let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
    let answer: Value = client.request(request).await.map_err(|e| {
        format!(
            "unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {}",
            rk_client::message(&e)
        )
    })?;
    let mut used = Use::new();
    for item in answer["items"].as_array().into_iter().flatten() {
        let of_pod = used.entry(item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).or_default();
        for container in item["containers"].as_array().into_iter().flatten() {
            if let Some(amount) = container["usage"][resource].as_str().and_then(try_parse_milli) {
                of_pod.insert(container["name"].as_str().unwrap_or_default().to_owned(), amount);
            }
        }
    }
    Ok(used)
}
