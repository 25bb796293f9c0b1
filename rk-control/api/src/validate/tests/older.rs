//! Objects that were stored when a rule did not exist yet.

use serde_json::{Value, json};

use super::{merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::{defaults, strategy};

/// What is said of a change to a part of a Pod whose annotation names a filter of system calls that there is not.
fn told(part: &str, change: &Value) -> Vec<String> {
    let registry = Registry::builtin();
    let pods = resource(&registry, "pods");
    let mut given = sample("pods");
    merge(
        &mut given,
        &json!({
            "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "loose"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]},
        }),
    );
    let old = prepared(&pods, given);
    assert!(!strategy::validate_create(&pods, &old).is_empty(), "it breaks a rule");
    let mut new = old.clone();
    merge(&mut new, change);
    defaults::apply(&pods.gvk, &mut new);
    strategy::prepare_for_update(&pods, Some(part), &mut new, &old);
    strategy::validate_update(&pods, Some(part), &new, &old).0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_pod_older_than_a_rule_is_resized_and_gets_ephemeral_containers() {
    let asks = |cpu: &str| json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    let beside = |name: &str| json!({"spec": {"ephemeralContainers": [{"name": name, "image": "i"}]}});
    for (part, change) in [("resize", asks("2")), ("ephemeralcontainers", beside("e"))] {
        assert_eq!(told(part, &change), [""; 0], "{part}");
    }
    for (part, change, path) in [
        ("resize", asks("-1"), "spec.containers[0].resources.requests[cpu]: Invalid value"),
        ("ephemeralcontainers", beside("E"), "spec.ephemeralContainers[0].name: Invalid value"),
    ] {
        let told = told(part, &change);
        assert!(told.iter().any(|own| own.starts_with(path)), "{part}: {told:?}");
        assert!(!told.iter().any(|own| own.contains("loose")), "{part}: {told:?}");
    }
}
