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
    // The whole before its parts, as upstream does: the limit of an only container is told as that of its pod.
    if let Some(all) = total(pod)
        && used.disk_total() > all
    {
        let binary = containers.iter().filter_map(|c| limit(c)).any(|(_, quantity)| quantity.0.ends_with('i'));
        let shown = shown(all, binary);
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {shown}. ");
        return Some(("ephemeralpodfs.limit", message));
    }
    containers.into_iter().find_map(|container| {
        let (limit, shown) = limit(container)?;
        let held = used.disk.get(&container.name).copied().unwrap_or(0);
        let message =
            || format!("Container {} exceeded its local ephemeral storage limit {:?}. ", container.name, shown.0);
        (held > limit).then(|| ("ephemeralcontainerfs.limit", message()))
    })
}

/// What a pod may use as a whole, as its limits are added up wherever they are: once any of its containers has one.
fn total(pod: &Pod) -> Option<u64> {
    let (inits, apps) = (spec::init_containers(pod), spec::app_containers(pod));
    if !inits.iter().chain(apps).any(|c| limit(c).is_some()) {
        return None;
    }
    let own = |c: &Container| limit(c).map_or(0, |(limit, _)| limit);
    let (mut beside, mut before) = (0_u64, 0_u64);
    for init in inits {
        before = before.max(beside.saturating_add(own(init)));
        if spec::is_sidecar(init) {
            beside = beside.saturating_add(own(init));
        }
    }
    let together = apps.iter().map(own).fold(beside, u64::saturating_add);
    Some(together.max(before))
}

/// An amount of bytes as a quantity is written, in powers of 1024 or of 1000.
fn shown(bytes: u64, binary: bool) -> String {
    let (base, suffixes) = if binary { (1024, ["Ki", "Mi", "Gi", "Ti"]) } else { (1000, ["k", "M", "G", "T"]) };
    let (mut number, mut suffix) = (bytes, "");
    for larger in suffixes {
        if number == 0 || !number.is_multiple_of(base) {
            break;
        }
        (number, suffix) = (number / base, larger);
    }
    format!("{number}{suffix}")
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
        let mut beside = pod(limited.clone(), json!({}));
        let mut other = beside.spec.as_ref().unwrap().containers[0].clone();
        other.name = "d".into();
        beside.spec.as_mut().unwrap().containers.push(other);
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
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. "),
            ),
            (beside.clone(), with(1025, 0), Some("Container c exceeded its local ephemeral storage limit \"1Ki\". ")),
            (
                beside,
                with(1025, 1024),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 2Ki. "),
            ),
            (
                pod(limited, json!({})),
                with(1000, 100),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. "),
            ),
        ] {
            assert_eq!(exceeded(&pod, &used).map(|(_, message)| message).as_deref(), want);
        }
    }
    #[test]
    fn limits_of_a_pod_add_up_once_one_of_its_containers_has_one() {
        let of = |spec: serde_json::Value| total(&serde_json::from_value(json!({"spec": spec})).unwrap());
        let with =
            |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}});
        let mut sidecar = with("s", "2");
        sidecar["restartPolicy"] = json!("Always");
        for (inits, apps, want) in [
            (json!([]), json!([{"name": "a"}]), None),
            (json!([]), json!([{"name": "a"}, with("b", "5")]), Some(5)),
            (json!([]), json!([with("a", "4"), with("b", "5")]), Some(9)),
            (json!([with("i", "20")]), json!([with("a", "4")]), Some(20)),
            (json!([sidecar, with("i", "3")]), json!([with("a", "4")]), Some(6)),
            (json!([sidecar, with("i", "3")]), json!([{"name": "a"}]), Some(5)),
        ] {
            assert_eq!(of(json!({"initContainers": inits, "containers": apps})), want, "{inits} {apps}");
        }
        for (bytes, binary, want) in [(0, true, "0"), (1 << 30, true, "1Gi"), (1536, true, "1536"), (2000, false, "2k")]
        {
            assert_eq!(shown(bytes, binary), want);
        }
    }
}
