//! How the devices of a pod's containers are, as its status tells it (KEP-4680).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ResourceHealth, ResourceStatus};

use super::table::Held;

/// Resources of each container, with the health of what it holds.
pub type DeviceHealth = BTreeMap<String, Vec<ResourceStatus>>;

/// How the devices are that the containers of a pod hold; `works` is asked by resource and ID.
pub fn of_containers(held: &BTreeMap<String, Held>, works: impl Fn(&str, &str) -> bool) -> DeviceHealth {
    let device = |resource: &str, id: &String| ResourceHealth {
        resource_id: id.clone(),
        health: Some(if works(resource, id) { "Healthy" } else { "Unhealthy" }.to_owned()),
        message: None,
    };
    let resource = |(name, ids): (&String, &BTreeSet<String>)| ResourceStatus {
        name: name.clone(),
        resources: Some(ids.iter().map(|id| device(name, id)).collect()),
    };
    held.iter().map(|(container, held)| (container.clone(), held.iter().map(resource).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_of_a_container_is_told_with_its_health() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let held = BTreeMap::from([
            ("c".to_owned(), Held::from([("x/gpu".to_owned(), ids(&["a", "b"])), ("x/nic".to_owned(), ids(&["a"]))])),
            ("d".to_owned(), Held::new()),
        ]);
        let told = of_containers(&held, |resource, id| (resource, id) != ("x/gpu", "b"));
        let told = serde_json::to_value(&told).unwrap();
        let well = serde_json::json!({"resourceID": "a", "health": "Healthy"});
        let want = serde_json::json!({"c": [
            {"name": "x/gpu", "resources": [well, {"resourceID": "b", "health": "Unhealthy"}]},
            {"name": "x/nic", "resources": [well]}], "d": []});
        assert_eq!(told, want);
    }
}
