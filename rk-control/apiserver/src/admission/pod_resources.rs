//! What a pod takes at once, by its spec: the sum that LimitRanges hold it to.

use std::collections::HashMap;

use rk_api::meta::{self, Quantity};
use serde_json::Value;

use super::quantity::amount;

/// Amounts by resource name.
pub(super) type Amounts = HashMap<String, Quantity>;

/// Sums of `requests` or `limits` over the containers: init containers run one at a time, sidecars beside everything that comes
/// after them. What the pod says of itself as a whole stands in place of the sum. Overhead is not in it.
pub(super) fn total(pod: &Value, field: &str) -> Amounts {
    let mut sums = Amounts::new();
    for container in containers(pod, "containers") {
        add(&mut sums, meta::at(container, &["resources", field]));
    }
    let mut sidecars = Amounts::new();
    let mut peaks = Amounts::new();
    for container in containers(pod, "initContainers") {
        let resources = meta::at(container, &["resources", field]);
        if meta::text(container, &["restartPolicy"]) == "Always" {
            add(&mut sums, resources);
            add(&mut sidecars, resources);
            continue;
        }
        let mut step = sidecars.clone();
        add(&mut step, resources);
        raise(&mut peaks, step);
    }
    raise(&mut sums, peaks);
    let whole = meta::at(pod, &["spec", "resources", field]).as_object();
    for (name, value) in whole.into_iter().flatten().filter(|(name, _)| is_of_pods(name)) {
        sums.insert(name.clone(), amount(value));
    }
    sums
}

/// Adds a list of amounts.
pub(super) fn add(sums: &mut Amounts, resources: &Value) {
    for (name, value) in resources.as_object().into_iter().flatten() {
        *sums.entry(name.clone()).or_default() += amount(value);
    }
}

fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    meta::at(pod, &["spec", list]).as_array().into_iter().flatten()
}

fn raise(sums: &mut Amounts, peaks: Amounts) {
    for (name, peak) in peaks {
        let sum = sums.entry(name).or_default();
        if peak > *sum {
            *sum = peak;
        }
    }
}

/// Whether a pod as a whole can say how much of a resource it takes.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cpu(spec: Value) -> String {
        total(&json!({ "spec": spec }), "requests").get("cpu").map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn a_pod_takes_the_most_that_runs_at_once() {
        let takes = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let main = json!([takes("100m"), takes("200m")]);
        for (spec, expected) in [
            (json!({"containers": [{}]}), ""),
            (json!({"containers": main}), "300m"),
            (json!({"containers": main, "initContainers": [takes("1"), takes("250m")]}), "1"),
            (json!({"containers": main, "initContainers": [sidecar("50m"), takes("1")]}), "1050m"),
            // A sidecar that starts later is not beside the step before it.
            (json!({"containers": main, "initContainers": [takes("1"), sidecar("50m")]}), "1"),
            (json!({"containers": main, "initContainers": [sidecar("50m")]}), "350m"),
            (json!({"containers": main, "resources": {"requests": {"cpu": "2"}}}), "2"),
            (json!({"containers": main, "overhead": {"cpu": "1"}}), "300m"),
        ] {
            assert_eq!(cpu(spec.clone()), expected, "{spec}");
        }
        let whole = json!({"spec": {"resources": {"limits": {"memory": "1Gi", "example.com/gpu": "1"}}}});
        let names: Vec<String> = total(&whole, "limits").into_keys().collect();
        assert_eq!(names, ["memory"]);
    }
}
