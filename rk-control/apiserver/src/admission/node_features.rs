//! NodeDeclaredFeatureValidator: a pod on a node changes only in ways for which the node says that it can do them (KEP-5328).

use std::collections::BTreeMap;

use rk_api::meta::{self, Quantity};
use rk_api::status::Status;
use serde_json::Value;

use super::quantity::amount;
use super::{Operation, Request};

/// Resources of a pod as a whole change in place.
const AS_A_WHOLE: &str = "InPlacePodLevelResourcesVerticalScaling";
/// Init containers that are no sidecars are resized in place.
const INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";

pub(super) async fn validate(request: &Request<'_>, pod: Option<&Value>) -> Result<(), Status> {
    let (Some(pod), Some(old)) = (pod, request.old) else { return Ok(()) };
    let pods = request.is("", "pods") || request.is_sub("", "pods", "resize");
    let generation = |pod| meta::at(pod, &["metadata", "generation"]);
    let name = meta::text(pod, &["spec", "nodeName"]);
    if !pods || request.operation != Operation::Update || name.is_empty() || generation(pod) == generation(old) {
        return Ok(());
    }
    let wanted = wanted(pod, old);
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(node) = request.core.object("", "v1", "nodes", "", name).await? else {
        return Err(request.forbid(&format!("node {name:?} not found")));
    };
    let missing = missing(&wanted, &node);
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(request.forbid(&format!("pod update requires features {missing} which are not available on node {name:?}")))
}

/// The features that a change needs, by name.
fn wanted(pod: &Value, old: &Value) -> Vec<&'static str> {
    let whole = |pod| amounts(meta::at(pod, &["spec", "resources"]));
    let mut wanted = Vec::new();
    if whole(pod) != whole(old) {
        wanted.push(AS_A_WHOLE);
    }
    if once(pod) != once(old) {
        wanted.push(INIT_CONTAINERS);
    }
    wanted
}

/// Those of the features that the node does not declare.
fn missing<'a>(wanted: &[&'a str], node: &Value) -> Vec<&'a str> {
    let declared = meta::at(node, &["status", "declaredFeatures"]);
    let declares = |feature: &str| declared.as_array().into_iter().flatten().any(|own| own == feature);
    wanted.iter().copied().filter(|feature| !declares(feature)).collect()
}

/// Requests and limits, by list and resource.
type Amounts<'a> = BTreeMap<(&'static str, &'a str), Quantity>;

fn amounts(resources: &Value) -> Amounts<'_> {
    let side = |side: &'static str| {
        let list = meta::at(resources, &[side]).as_object().into_iter().flatten();
        list.map(move |(name, value)| ((side, name.as_str()), amount(value)))
    };
    side("requests").chain(side("limits")).collect()
}

/// What the init containers that are no sidecars ask for, in their order.
fn once(pod: &Value) -> Vec<Amounts<'_>> {
    let containers = meta::at(pod, &["spec", "initContainers"]).as_array().into_iter().flatten();
    let once = containers.filter(|container| meta::text(container, &["restartPolicy"]) != "Always");
    once.map(|container| amounts(meta::at(container, &["resources"]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_needs_what_the_node_must_be_able_to_do() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = |whole: &str, init: &str, sidecar: &str, app: &str| {
            json!({"spec": {"resources": asks(whole), "containers": [{"name": "c", "resources": asks(app)}],
                "initContainers": [{"name": "i", "resources": asks(init)},
                    {"name": "s", "restartPolicy": "Always", "resources": asks(sidecar)}]}})
        };
        let old = pod("4", "1", "1", "1");
        for (new, want) in [
            (pod("4000m", "1", "1", "1"), &[][..]),
            (pod("4", "1", "2", "2"), &[]),
            (pod("5", "1", "1", "1"), &[AS_A_WHOLE]),
            (pod("4", "2", "1", "1"), &[INIT_CONTAINERS]),
            (pod("5", "2", "1", "1"), &[AS_A_WHOLE, INIT_CONTAINERS]),
        ] {
            assert_eq!(wanted(&new, &old), want, "{new}");
        }
        let node = json!({"status": {"declaredFeatures": [INIT_CONTAINERS]}});
        assert_eq!(missing(&[AS_A_WHOLE, INIT_CONTAINERS], &node), [AS_A_WHOLE]);
        assert_eq!(missing(&[INIT_CONTAINERS], &json!({})), [INIT_CONTAINERS]);
        assert!(missing(&[INIT_CONTAINERS], &node).is_empty());
    }
}
