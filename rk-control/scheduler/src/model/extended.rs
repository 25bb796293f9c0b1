//! What the containers of a pod request under names behind which devices may stand (KEP-5004).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use rk_api::meta::may_be_devices;
use rk_client::parse_value;

/// How much a container requests of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portion {
    /// The resource's place among all that the container requests, by name.
    pub(crate) place: usize,
    /// Whole devices, at least one.
    pub(crate) amount: i64,
}

/// A container that requests extended resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) name: String,
    /// Its place among the containers, init containers first.
    pub(crate) place: usize,
    /// Whether it ends before the containers behind it begin, so that it may use what they are to have.
    pub(crate) passing: bool,
    /// What it requests, by resource.
    pub(crate) portions: BTreeMap<String, Portion>,
}

/// The containers of a pod that request such resources.
pub(crate) fn askers(spec: &PodSpec) -> Vec<Asker> {
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|own| (own, own.restart_policy.as_deref() != Some("Always")));
    let all = init.chain(spec.containers.iter().map(|own| (own, false))).enumerate();
    all.filter_map(|(place, (container, passing))| {
        let requests = container.resources.as_ref().and_then(|own| own.requests.as_ref())?;
        let named = requests.iter().enumerate().filter(|(_, (name, _))| may_be_devices(name));
        let named = named.map(|(place, (name, own))| (name.clone(), Portion { place, amount: parse_value(own) }));
        let portions: BTreeMap<_, _> = named.filter(|(_, own)| own.amount > 0).collect();
        (!portions.is_empty()).then(|| Asker { name: container.name.clone(), place, passing, portions })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_ask_by_their_places_and_those_of_the_resources() {
        let asks = |name: &str, more: serde_json::Value| json!({"name": name, "resources": {"requests": more}});
        let mut sidecar = asks("side", json!({"deviceclass.resource.kubernetes.io/nic": "1"}));
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "initContainers": [asks("first", json!({"example.com/gpu": "2"})), sidecar],
            "containers": [
                asks("plain", json!({"cpu": "1", "hugepages-2Mi": "2Mi"})),
                asks("none", json!({"example.com/gpu": "0"})),
                asks("both", json!({"cpu": "1", "example.com/gpu": "1", "example.com/lamp": "3", "memory": "1Gi"})),
            ],
        });
        let told: Vec<_> = askers(&serde_json::from_value(spec).expect("a spec"))
            .into_iter()
            .map(|own| {
                let portions = own.portions.iter().map(|(name, own)| format!("{name}#{}={}", own.place, own.amount));
                (own.name, own.place, own.passing, portions.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let expected = [
            ("first", 0, true, "example.com/gpu#0=2"),
            ("side", 1, false, "deviceclass.resource.kubernetes.io/nic#0=1"),
            ("both", 4, false, "example.com/gpu#1=1 example.com/lamp#2=3"),
        ];
        assert_eq!(told, expected.map(|(name, place, passing, all)| (name.to_owned(), place, passing, all.to_owned())));
    }
}
