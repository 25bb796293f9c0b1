//! What events of a resize tell: what each container is to have, as JSON.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;

use super::spec;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Amounts<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Amounts<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Amounts<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

fn amounts(containers: &[Container]) -> Vec<Amounts<'_>> {
    let of = |container: &Container| container.resources.clone().unwrap_or_default();
    containers.iter().map(|container| Amounts { name: &container.name, resources: of(container) }).collect()
}

/// The message of an event: a resize has come to `step`, as the spec of this generation asks for it; with why it cannot go on, if it cannot.
pub fn told(pod: &Pod, step: &str, generation: i64, error: &str) -> String {
    let (init_containers, containers) = (amounts(spec::init_containers(pod)), amounts(spec::app_containers(pod)));
    let text = serde_json::to_string(&Summary { init_containers, containers, generation, error });
    format!("Pod resize {step}: {}", text.unwrap_or_default())
}

/// What a resize may change, to be compared.
pub fn resizable(pod: &Pod) -> Vec<Option<ResourceRequirements>> {
    let containers = spec::init_containers(pod).iter().chain(spec::app_containers(pod));
    let whole = pod.spec.as_ref().and_then(|s| s.resources.clone());
    containers.map(|container| container.resources.clone()).chain([whole]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Pod {
        let resources = json!({"limits": {"cpu": cpu, "memory": "1Gi"}, "requests": {"cpu": cpu}});
        serde_json::from_value(json!({"spec": {"initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "resources": resources}]}}))
        .unwrap()
    }

    #[test]
    fn a_resize_is_told_with_what_each_container_is_to_have() {
        let containers = r#""initContainers":[{"name":"i","resources":{}}],"containers":[{"name":"a","resources":{"limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"2"}}}]"#;
        let want = format!("Pod resize started: {{{containers},\"generation\":3}}");
        assert_eq!(told(&pod("2"), "started", 3, ""), want);
        let want = format!("Pod resize Deferred: {{{containers},\"generation\":4,\"error\":\"no \\\"cpu\\\"\"}}");
        assert_eq!(told(&pod("2"), "Deferred", 4, "no \"cpu\""), want);
    }

    #[test]
    fn another_amount_is_another_allocation() {
        assert_eq!(resizable(&pod("2")), resizable(&pod("2")));
        assert_ne!(resizable(&pod("2")), resizable(&pod("3")));
    }
}
