//! What a change of a pod's spec asks for of its containers' resources, as it is counted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::spec;
use crate::quantity::milli_of;

type Amounts = BTreeMap<String, Quantity>;

/// What is done to a resource, if anything.
fn operation(before: i64, after: i64) -> Option<&'static str> {
    match (before, after) {
        (before, after) if before == after => None,
        (0, _) => Some("add"),
        (_, 0) => Some("remove"),
        (before, after) => Some(if before < after { "increase" } else { "decrease" }),
    }
}

/// Requests and limits of a container.
fn amounts(container: &Container) -> [(&'static str, Option<&Amounts>); 2] {
    let resources = container.resources.as_ref();
    [("requests", resources.and_then(|r| r.requests.as_ref())), ("limits", resources.and_then(|r| r.limits.as_ref()))]
}

/// The changes from one version of a pod to the next: what is done, to requests or limits, and of which resource.
pub fn changes(before: &Pod, after: &Pod) -> Vec<[&'static str; 3]> {
    let mut found = Vec::new();
    if before.metadata.generation == after.metadata.generation {
        return found;
    }
    for container in spec::init_containers(after).iter().chain(spec::app_containers(after)) {
        let Some((_, earlier)) = spec::find_container(before, &container.name) else { continue };
        for ((requirement, then), (_, now)) in amounts(&earlier).into_iter().zip(amounts(container)) {
            let of = |resource| operation(milli_of(then, resource), milli_of(now, resource));
            let changed = ["cpu", "memory"].into_iter().filter_map(|resource| Some((of(resource)?, resource)));
            found.extend(changed.map(|(operation, resource)| [operation, requirement, resource]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_amount_that_changes_is_told_with_what_is_done_to_it() {
        let pod = |generation: i64, resources: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"generation": generation},
                "spec": {"containers": [{"name": "a", "resources": resources}, {"name": "b"}]}}))
            .unwrap()
        };
        let before = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}});
        let after = json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "1", "memory": "2Gi"}});
        let want = [
            ["increase", "requests", "cpu"],
            ["remove", "requests", "memory"],
            ["decrease", "limits", "cpu"],
            ["add", "limits", "memory"],
        ];
        assert_eq!(changes(&pod(1, before.clone()), &pod(2, after.clone())), want);
        assert!(changes(&pod(1, before.clone()), &pod(1, after)).is_empty(), "another status");
        assert!(changes(&pod(1, before.clone()), &pod(2, before)).is_empty());
    }
}
