//! What a quota on CPU or memory demands of a pod: that every container says what it needs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::has_own_resources;

/// What containers of a pod must say and do not, for a quota that limits the resources `limited`: the text upstream tells, after
/// "failed quota". `None`: nothing is missing, or the pod asks as a whole and its containers need not.
pub fn missing<'a>(limited: impl Iterator<Item = &'a str>, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref().filter(|spec| !has_own_resources(spec))?;
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut silent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in limited {
        let mut without: Vec<&str> = containers().filter(|one| !says(one, name)).map(|one| one.name.as_str()).collect();
        without.sort_unstable();
        if !without.is_empty() {
            silent.insert(name, without);
        }
    }
    let told: Vec<String> = silent.iter().map(|(name, names)| format!("{name} for: {}", names.join(","))).collect();
    (!told.is_empty()).then(|| format!("must specify {}", told.join("; ")))
}

/// Whether a container says the amount that a limit of this name is about. Of other resources than CPU and memory it need not.
fn says(container: &Container, limited: &str) -> bool {
    let (limits, resource) = match limited {
        "cpu" | "requests.cpu" => (false, "cpu"),
        "memory" | "requests.memory" => (false, "memory"),
        "limits.cpu" => (true, "cpu"),
        "limits.memory" => (true, "memory"),
        _ => return true,
    };
    let resources = container.resources.as_ref();
    let list = if limits {
        resources.and_then(|resources| resources.limits.as_ref())
    } else {
        resources.and_then(|resources| resources.requests.as_ref())
    };
    list.is_some_and(|list| list.contains_key(resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_not_said_is_told_by_resource_and_container() {
        let told = |spec: Value, limited: &[&str]| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            missing(limited.iter().copied(), &pod)
        };
        let bare = json!({"containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"memory": "1Gi"}}}]});
        assert_eq!(
            told(bare.clone(), &["requests.cpu", "limits.memory", "pods", "hugepages-2Mi"]).as_deref(),
            Some("must specify limits.memory for: a,b; requests.cpu for: b,i")
        );
        assert_eq!(told(bare.clone(), &["pods", "requests.ephemeral-storage"]), None);
        let mut whole = bare;
        whole["resources"] = json!({"requests": {"cpu": "1"}});
        assert_eq!(told(whole, &["cpu", "memory"]), None);
    }
}
