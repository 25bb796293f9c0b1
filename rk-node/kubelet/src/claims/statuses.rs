//! How the devices of a container's claims are, as its status tells it. Values only.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceHealth, ResourceStatus};

use super::health::Wellbeing;
use super::names::{Use, named_by};
use super::table::{Device, Table};
use crate::pod::spec;

/// What names a device in a status: the first name by which the runtime adds it, if it has one.
fn id_of(driver: &str, device: &Device) -> String {
    let own = || format!("{driver}/{}/{}", device.pool_name, device.device_name);
    device.cdi_ids.first().cloned().unwrap_or_else(own)
}

/// The claims that a container names, each with the devices that are for it; `is` tells how one of a driver is.
pub(super) fn statuses(
    pod: &Pod,
    container: &Container,
    table: &Table,
    is: impl Fn(&str, &Device) -> Wellbeing,
) -> Vec<ResourceStatus> {
    let mut told: Vec<ResourceStatus> = Vec::new();
    for Use { claim, object, request } in named_by(pod, container).unwrap_or_default() {
        let name = request.map_or_else(|| format!("claim:{claim}"), |request| format!("claim:{claim}/{request}"));
        let Some(held) = table.get(spec::namespace(pod), &object) else { continue };
        let (mut resources, mut seen) = (Vec::new(), BTreeSet::new());
        for (driver, device) in held.devices().filter(|(_, device)| device.is_for(request.unwrap_or_default())) {
            let resource_id = id_of(driver, device);
            if seen.insert(resource_id.clone()) {
                let Wellbeing { health, message } = is(driver, device);
                resources.push(ResourceHealth { resource_id, health: Some(health.to_owned()), message });
            }
        }
        if !resources.is_empty() && told.iter().all(|known| known.name != name) {
            told.push(ResourceStatus { name, resources: Some(resources) });
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::table::Claim;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_claim_of_a_container_is_told_with_the_devices_that_are_for_it() {
        let named =
            json!([{"name": "a", "request": "r"}, {"name": "b"}, {"name": "a", "request": "r"}, {"name": "none"}]);
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
            "containers": [{"name": "c", "resources": {"claims": named}}, {"name": "d"}],
            "resourceClaims": [{"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimName": "y"},
                {"name": "none", "resourceClaimName": "z"}]}}))
            .unwrap();
        let device = |name: &str, request: &str, id: &str| Device {
            pool_name: "pool".to_owned(),
            device_name: name.to_owned(),
            request_names: vec![request.to_owned()],
            cdi_ids: Some(id.to_owned()).filter(|id| !id.is_empty()).into_iter().collect(),
            ..Default::default()
        };
        let mut table = Table::default();
        for (name, devices) in [
            ("x", vec![device("0", "r", "v/k=0"), device("1", "s", "v/k=1"), device("2", "r", "v/k=0")]),
            ("y", vec![device("3", "r", "")]),
        ] {
            let claim = Claim { name: name.to_owned(), namespace: "ns".to_owned(), ..Default::default() };
            table.refer("u", claim).unwrap();
            table.note(&format!("ns/{name}"), "d.example", devices);
        }
        let is = |_: &str, device: &Device| match device.device_name.as_str() {
            "3" => Wellbeing { health: "Unhealthy", message: Some("hot".to_owned()) },
            _ => Wellbeing { health: "Healthy", message: None },
        };
        let told = statuses(&pod, &spec::app_containers(&pod)[0], &table, is);
        let want = json!([
            {"name": "claim:a/r", "resources": [{"resourceID": "v/k=0", "health": "Healthy"}]},
            {"name": "claim:b", "resources": [{"resourceID": "d.example/pool/3", "health": "Unhealthy", "message": "hot"}]}]);
        assert_eq!(serde_json::to_value(told).unwrap(), want);
        assert!(statuses(&pod, &spec::app_containers(&pod)[1], &table, is).is_empty());
    }
}
