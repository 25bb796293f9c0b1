//! What this node declares that it can do, and the pods that need more (KEP-5328).

use k8s_openapi::api::core::v1::Pod;

use crate::admission::Refusal;
use crate::pod::spec;

/// `status.declaredFeatures`, sorted: WebSockets of clients may be passed on as they are; a pod is resized as a whole; so are init
/// containers that are no sidecars.
const DECLARED: [&str; 3] =
    ["ExtendWebSocketsToKubelet", "InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"];
/// All containers start again when one ends in a way that its rules name (KEP-5532).
const RESTART_ALL: &str = "RestartAllContainersOnContainerExits";

/// What the node declares.
pub fn declared() -> Vec<String> {
    DECLARED.map(str::to_owned).into()
}

/// Refuses a pod that needs what is not declared: the scheduler did not choose the node for pods that name it.
pub fn features(pod: &Pod) -> Result<(), Refusal> {
    let containers = spec::init_containers(pod).iter().chain(spec::app_containers(pod));
    let mut rules = containers.flat_map(|container| container.restart_policy_rules.iter().flatten());
    if DECLARED.contains(&RESTART_ALL) || !rules.any(|rule| rule.action == "RestartAllContainers") {
        return Ok(());
    }
    let why = format!("Pod requires node features that are not available: {RESTART_ALL}");
    Err(("PodFeatureUnsupported".to_owned(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_needs_what_is_not_declared_is_refused() {
        let pod = |action: &str| -> Pod {
            let rules = json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
            let container = json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": rules});
            serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap()
        };
        assert_eq!(features(&pod("Restart")), Ok(()));
        let (reason, message) = features(&pod("RestartAllContainers")).unwrap_err();
        assert_eq!(reason, "PodFeatureUnsupported");
        assert_eq!(message, "Pod requires node features that are not available: RestartAllContainersOnContainerExits");
        assert!(declared().is_sorted(), "as clients find it on every node");
    }
}
