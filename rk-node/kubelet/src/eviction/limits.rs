//! Limits of local storage that a pod set itself. Values only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::usage::PodUse;
use crate::pod::spec;
use crate::quantity::units;

const RESOURCE: &str = "ephemeral-storage";

fn bytes(quantity: &Quantity) -> Option<u64> {
    units(&quantity.0).and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0)
}

fn limit(container: &Container) -> Option<(u64, &Quantity)> {
    let list: &BTreeMap<String, Quantity> = container.resources.as_ref()?.limits.as_ref()?;
    let quantity = list.get(RESOURCE)?;
    bytes(quantity).map(|limit| (limit, quantity))
}

/// Whether the pod set any limit that must be watched.
pub fn any(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let sized = volumes.filter_map(|v| v.empty_dir.as_ref()).any(|e| e.size_limit.as_ref().and_then(bytes).is_some());
    sized || spec::init_containers(pod).iter().chain(spec::app_containers(pod)).any(|c| limit(c).is_some())
}

/// Upstream's name of the limit that is exceeded, and the message of the eviction.
pub fn exceeded(pod: &Pod, used: &PodUse) -> Option<(&'static str, String)> {
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let Some(wanted) = volume.empty_dir.as_ref().and_then(|e| e.size_limit.as_ref()) else { continue };
        let held = used.volumes.get(&volume.name).copied().unwrap_or(0);
        if bytes(wanted).is_some_and(|limit| held > limit) {
            let message = format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, wanted.0);
            return Some(("emptydirfs.limit", message));
        }
    }
    let containers: Vec<&Container> = spec::init_containers(pod).iter().chain(spec::app_containers(pod)).collect();
    for container in &containers {
        let held = used.disk.get(&container.name).copied().unwrap_or(0);
        if let Some((limit, shown)) = limit(container)
            && held > limit
        {
            let message =
                format!("Container {} exceeded its local ephemeral storage limit {:?}. ", container.name, shown.0);
            return Some(("ephemeralcontainerfs.limit", message));
        }
    }
    // Together they may use what they may use one by one, but only when each has a limit.
    let apps = spec::app_containers(pod);
    let all: Option<u64> = apps.iter().map(|c| limit(c).map(|(limit, _)| limit)).sum();
    let all = all.filter(|_| !apps.is_empty())?;
    let message = || format!("Pod ephemeral local storage usage exceeds the total limit of containers {all}. ");
    (used.disk_total() > all).then(|| ("ephemeralpodfs.limit", message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_limit_is_told_in_its_own_words() {
        let pod = |container: serde_json::Value, volume: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "resources": container}],
                "volumes": [{"name": "v", "emptyDir": volume}]}}))
            .unwrap()
        };
        let with = |disk: u64, volume: u64| PodUse {
            disk: [("c".to_owned(), disk)].into(),
            volumes: [("v".to_owned(), volume)].into(),
            ..Default::default()
        };
        let limited = json!({"limits": {"ephemeral-storage": "1Ki"}});
        assert!(!any(&pod(json!({}), json!({}))));
        assert!(any(&pod(limited.clone(), json!({}))) && any(&pod(json!({}), json!({"sizeLimit": "1"}))));
        for (pod, used, want) in [
            (pod(json!({}), json!({})), with(9999, 9999), None),
            (pod(json!({}), json!({"sizeLimit": "1Ki"})), with(0, 1024), None),
            (
                pod(json!({}), json!({"sizeLimit": "1Ki"})),
                with(0, 1025),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". "),
            ),
            (
                pod(limited.clone(), json!({})),
                with(1025, 0),
                Some("Container c exceeded its local ephemeral storage limit \"1Ki\". "),
            ),
            (
                pod(limited, json!({})),
                with(1000, 100),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 1024. "),
            ),
        ] {
            assert_eq!(exceeded(&pod, &used).map(|(_, message)| message).as_deref(), want);
        }
    }
}
