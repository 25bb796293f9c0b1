//! `/metrics/resources`: what pods are scheduled and run by, pod by pod, as upstream's scheduler tells it.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Pod;
use rk_api::status::Status;
use rk_quota::Usage;
use serde_json::Value;

use crate::metrics::{escape, help};
use crate::server::Core;

/// The page.
///
/// # Errors
/// Pods cannot be read.
pub(super) async fn page(core: &Core) -> Result<String, Status> {
    let pods = core.objects("", "v1", "pods", "").await?;
    // They may be many: no request is to wait for this one.
    tokio::task::spawn_blocking(move || render(pods)).await.map_err(Status::internal)
}

fn render(pods: Vec<Value>) -> String {
    let (mut requests, mut limits) = (String::new(), String::new());
    help(&mut requests, "kube_pod_resource_request", "gauge", "What pods ask for.");
    help(&mut limits, "kube_pod_resource_limit", "gauge", "What pods may take at most.");
    for pod in pods.into_iter().filter_map(|pod| serde_json::from_value::<Pod>(pod).ok()).filter(|pod| !is_over(pod)) {
        let (asked, most) = rk_quota::held_amounts(&pod);
        write(&mut requests, "kube_pod_resource_request", &pod, &asked);
        write(&mut limits, "kube_pod_resource_limit", &pod, &most);
    }
    requests + &limits
}

/// Whether a pod that had a node has done its work there.
fn is_over(pod: &Pod) -> bool {
    let placed = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    placed && matches!(phase, Some("Succeeded" | "Failed"))
}

fn write(out: &mut String, name: &str, pod: &Pod, amounts: &Usage) {
    let word = |text: Option<&String>| text.map(|text| escape(text)).unwrap_or_default();
    let spec = pod.spec.as_ref();
    let (namespace, own) = (word(pod.metadata.namespace.as_ref()), word(pod.metadata.name.as_ref()));
    let node = word(spec.and_then(|spec| spec.node_name.as_ref()));
    let scheduler = word(spec.and_then(|spec| spec.scheduler_name.as_ref()));
    let priority = spec.and_then(|spec| spec.priority).map(|priority| priority.to_string()).unwrap_or_default();
    for (resource, amount) in amounts.iter().filter(|(_, amount)| !amount.is_zero()) {
        let labels = format!(
            "namespace=\"{namespace}\",node=\"{node}\",pod=\"{own}\",priority=\"{priority}\",resource=\"{}\",\
             scheduler=\"{scheduler}\",unit=\"{}\"",
            escape(resource),
            unit(resource)
        );
        let _ = writeln!(out, "{name}{{{labels}}} {}", amount.as_f64());
    }
}

/// Upstream's name of what a resource is counted in; none where it is just counted.
fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "cores",
        "memory" | "storage" | "ephemeral-storage" => "bytes",
        other if other.starts_with("hugepages-") => "bytes",
        other if other.starts_with("attachable-volumes-") => "integer",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_told_by_what_it_asks_for_until_it_is_over() {
        let resources = json!({"requests": {"cpu": "250m", "memory": "1Ki", "example.com/x": "0"}, "limits": {"hugepages-2Mi": "2Mi"}});
        let pod = |name: &str, node: &str, phase: &str| {
            json!({"metadata": {"namespace": "n", "name": name}, "status": {"phase": phase}, "spec": {"nodeName": node,
                "schedulerName": "s", "priority": 7, "overhead": {"cpu": "50m"},
                "containers": [{"name": "c", "resources": resources}]}})
        };
        let text = render(vec![pod("p", "a", "Running"), pod("over", "a", "Succeeded"), json!({"spec": 7})]);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = |resource: &str, unit: &str| {
            format!(
                "namespace=\"n\",node=\"a\",pod=\"p\",priority=\"7\",resource=\"{resource}\",scheduler=\"s\",unit=\"{unit}\""
            )
        };
        assert_eq!(
            samples,
            [
                format!("kube_pod_resource_request{{{}}} 0.3", labels("cpu", "cores")),
                format!("kube_pod_resource_request{{{}}} 1024", labels("memory", "bytes")),
                format!("kube_pod_resource_limit{{{}}} 2097152", labels("hugepages-2Mi", "bytes")),
            ]
        );
        assert!(text.starts_with("# HELP kube_pod_resource_request [STABLE] "), "{text}");
    }
}
