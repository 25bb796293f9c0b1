//! What the API server does for all other pods is done here for static ones: defaults, and the rules that a new pod must keep.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Pod;
use rk_api::resources::{Registry, Resource};
use rk_api::{defaults, strategy};
use serde_json::Value;

/// What the API knows of pods.
fn pods() -> Option<&'static Arc<Resource>> {
    static PODS: OnceLock<Option<Arc<Resource>>> = OnceLock::new();
    PODS.get_or_init(|| Registry::builtin().get("", "v1", "pods").cloned()).as_ref()
}

/// The pod with all defaults, or which rules it breaks, in upstream's words.
pub(super) fn checked(pod: &Pod) -> Result<Pod, String> {
    let resource = pods().ok_or("pods are unknown")?;
    // By way of text, as every other pod comes.
    let text = serde_json::to_string(pod).map_err(|e| e.to_string())?;
    let mut whole: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    defaults::apply(&resource.gvk, &mut whole);
    let errors = strategy::validate_create(resource, &whole);
    if !errors.is_empty() {
        let all: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        return Err(format!("[{}]", all.join(" ")));
    }
    serde_json::from_str(&whole.to_string()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: Value) -> Result<Pod, String> {
        let pod = json!({"metadata": {"name": "web-n", "namespace": "default"}, "spec": spec});
        checked(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_static_pod_has_the_defaults_of_all_others() {
        let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}}});
        let spec =
            told(json!({"nodeName": "n", "hostNetwork": true, "containers": [container]})).unwrap().spec.unwrap();
        assert_eq!((spec.restart_policy.as_deref(), spec.termination_grace_period_seconds), (Some("Always"), Some(30)));
        let container = &spec.containers[0];
        assert_eq!(container.image_pull_policy.as_deref(), Some("Always"));
        assert_eq!(container.ports.as_ref().unwrap()[0].host_port, Some(80));
        assert_eq!(container.liveness_probe.as_ref().unwrap().period_seconds, Some(10));
    }

    #[test]
    fn a_static_pod_that_breaks_a_rule_is_refused_with_the_field() {
        for (spec, want) in [
            (json!({"containers": []}), "spec.containers: Required value"),
            (json!({"containers": [{"name": "C", "image": "i"}]}), "spec.containers[0].name: Invalid value"),
            (json!({"containers": [{"name": "c"}]}), "spec.containers[0].image: Required value"),
            (
                json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
                "spec.containers[0].volumeMounts[0].name: Not found",
            ),
            (
                json!({"containers": [{"name": "c", "image": "i"}], "ephemeralContainers": [{"name": "e", "image": "i"}]}),
                "spec.ephemeralContainers: Forbidden: cannot be set on create",
            ),
        ] {
            let problem = told(spec).unwrap_err();
            assert!(problem.starts_with('[') && problem.contains(want), "{problem}");
        }
    }
}
