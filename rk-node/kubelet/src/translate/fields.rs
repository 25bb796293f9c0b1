//! The downward API: fields and resources of a pod as text.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::spec;
use crate::quantity;

/// What fields may refer to beyond the pod object.
#[derive(Clone, Debug, Default)]
pub struct FieldContext {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// The node's allocatable resources, the default of limits.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// One field as text, or an error that names the path.
pub fn field_value(pod: &Pod, context: &FieldContext, path: &str) -> Result<String, String> {
    if let Some((base, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match base {
            "metadata.annotations" => &pod.metadata.annotations,
            "metadata.labels" => &pod.metadata.labels,
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let spec_of = || pod.spec.clone().unwrap_or_default();
    Ok(match path {
        "metadata.name" => spec::name(pod).to_owned(),
        "metadata.namespace" => spec::namespace(pod).to_owned(),
        "metadata.uid" => spec::uid(pod).to_owned(),
        "metadata.labels" => map_text(pod.metadata.labels.as_ref()),
        "metadata.annotations" => map_text(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => spec_of().node_name.unwrap_or_else(|| context.node_name.clone()),
        "spec.serviceAccountName" => spec_of().service_account_name.unwrap_or_default(),
        "status.hostIP" => context.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => context.host_ips.join(","),
        "status.podIP" => context.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => context.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A map as lines of `key="value"`, sorted by key.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(k, v)| format!("{k}={}", quoted(v))).collect::<Vec<_>>().join("\n")
}

/// A string in double quotes with Go's escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_some(quantity: &Quantity) -> bool {
    quantity::milli(&quantity.0).is_some_and(|v| v > 0)
}

/// What holds a container that has no limit of its own: its pod's, else what the node has for pods. It has no huge pages that it does not
/// ask for.
fn outer_limit<'a>(pod: &'a Pod, context: &'a FieldContext, name: &str) -> Option<&'a Quantity> {
    if !["cpu", "memory", "ephemeral-storage"].contains(&name) {
        return None;
    }
    let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref()?.limits.as_ref()?.get(name));
    whole.filter(|q| is_some(q)).or_else(|| context.allocatable.get(name))
}

/// One resource of a container as a whole number of divisors, rounded up.
pub fn resource_value(
    pod: &Pod,
    context: &FieldContext,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => Some(spec::find_container(pod, name).ok_or_else(|| format!("container {name} not found"))?.1),
        None => own.cloned(),
    };
    let container = container.ok_or_else(|| format!("no container for resource {}", selector.resource))?;
    let resources = container.resources.unwrap_or_default();
    let (list, name) = match selector.resource.split_once('.') {
        Some(("limits", name)) => ("limits", name),
        Some(("requests", name)) => ("requests", name),
        _ => return Err(format!("unsupported container resource: {}", selector.resource)),
    };
    let limit = resources.limits.as_ref().and_then(|l| l.get(name)).filter(|q| is_some(q));
    let value = match list {
        "limits" => limit.or_else(|| outer_limit(pod, context, name)),
        _ => resources.requests.as_ref().and_then(|r| r.get(name)).or(limit),
    };
    let value = value.and_then(|q| quantity::milli(&q.0)).unwrap_or(0);
    let divisor = selector.divisor.as_ref().and_then(|d| quantity::milli(&d.0)).filter(|d| *d > 0).unwrap_or(1000);
    Ok((value / divisor + i128::from(value % divisor != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "1\""}, "annotations": {"x/y": "z"}},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "c", "resources": {
                "limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}]}}))
        .unwrap()
    }

    #[test]
    fn fields_read_as_the_downward_api_says() {
        let context = FieldContext {
            host_ips: vec!["1.2.3.4".into()],
            pod_ips: vec!["10.0.0.1".into(), "fd::1".into()],
            ..Default::default()
        };
        for (path, want) in [
            ("metadata.name", Ok("p")),
            ("metadata.labels", Ok("a=\"1\\\"\"\nb=\"2\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.annotations['x/y']", Ok("z")),
            ("metadata.annotations['none']", Ok("")),
            ("spec.serviceAccountName", Ok("sa")),
            ("status.hostIP", Ok("1.2.3.4")),
            ("status.podIPs", Ok("10.0.0.1,fd::1")),
            ("spec.containers", Err("unsupported fieldPath: spec.containers")),
        ] {
            assert_eq!(field_value(&pod(), &context, path).as_deref().map_err(String::as_str), want, "{path}");
        }
        assert_eq!(quoted("\u{7}\u{1}\u{85}\n"), "\"\\a\\x01\\u0085\\n\"");
    }

    #[test]
    fn resources_are_divided_upwards_and_limits_default_to_the_node() {
        let pod = pod();
        let context =
            FieldContext { allocatable: BTreeMap::from([("cpu".into(), Quantity("2".into()))]), ..Default::default() };
        let own = spec::app_containers(&pod).first();
        for (resource, divisor, want) in [
            ("limits.cpu", None, "2"),
            ("requests.cpu", None, "1"),
            ("requests.cpu", Some("1m"), "250"),
            ("limits.memory", Some("1Mi"), "64"),
            ("requests.memory", None, "67108864"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: divisor.map(|d| Quantity(d.into())),
                container_name: None,
            };
            assert_eq!(resource_value(&pod, &context, own, &selector).unwrap(), want, "{resource}");
        }
    }

    #[test]
    fn a_container_without_a_limit_has_that_of_its_pod_and_no_huge_pages() {
        let mut pod = pod();
        let allocatable = [("cpu", "8"), ("memory", "8Gi"), ("hugepages-2Mi", "4Mi")];
        let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), Quantity(amount.into()))).into();
        let context = FieldContext { allocatable, ..Default::default() };
        let limits = json!({"limits": {"cpu": "1500m", "memory": "1Gi"}});
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(limits).unwrap();
        for (resource, want) in [
            ("limits.cpu", "2"),
            ("limits.memory", "67108864"),
            ("limits.hugepages-2Mi", "0"),
            ("requests.hugepages-2Mi", "0"),
        ] {
            let selector = ResourceFieldSelector { resource: resource.into(), ..Default::default() };
            let own = spec::app_containers(&pod).first();
            assert_eq!(resource_value(&pod, &context, own, &selector).unwrap(), want, "{resource}");
        }
    }
}
