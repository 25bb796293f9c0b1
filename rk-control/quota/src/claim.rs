//! What claims take: of volumes, in total and by storage class, and of devices by device class.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::resource::v1::ResourceClaimSpec;
use rk_api::meta::{Format, Quantity as Amount};

use crate::usage::{ONE, Usage, amount, raise};

/// What follows the name of a device class in the resource that limits its devices.
pub const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// The older place of a storage class.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Most devices that one claim can be given: what `All` is counted as.
const MOST_DEVICES: i64 = 32;

/// A claim, in total and by storage class.
#[must_use]
pub fn of_claim(claim: &PersistentVolumeClaim) -> Usage {
    let total = [("persistentvolumeclaims", Some(ONE)), ("requests.storage", size(claim))];
    let mut usage = Usage::from([("count/persistentvolumeclaims".to_owned(), ONE)]);
    let class = storage_class(claim);
    for (name, amount) in total.into_iter().filter_map(|(name, amount)| Some((name, amount?))) {
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS}{name}"), amount);
        }
    }
    usage
}

fn storage_class(claim: &PersistentVolumeClaim) -> &str {
    let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    let named = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotated.or_else(named).map(String::as_str).unwrap_or_default()
}

/// What is asked for, or what is still allocated while less is asked for (KEP-1790), in whole bytes.
fn size(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let asked = amount(requests.get("storage")?);
    let allocated = claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref()?.get("storage"));
    let most = allocated.map_or(asked, |allocated| amount(allocated).max(asked));
    Some(if most.is_integer() { most } else { Amount::from_units(most.units(), most.format()) })
}

/// The devices that a ResourceClaim may take, by class; the claim itself is not among them. Of alternatives the worst counts, class by class.
#[must_use]
pub fn of_devices(spec: &ResourceClaimSpec) -> Usage {
    let mut usage = Usage::new();
    for request in spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten()) {
        let mut worst = Usage::new();
        let one = |class: &str, mode: Option<&str>, count: Option<i64>| {
            Usage::from([(format!("{class}{DEVICES}"), devices(mode, count))])
        };
        for sub in request.first_available.iter().flatten() {
            raise(&mut worst, &one(&sub.device_class_name, sub.allocation_mode.as_deref(), sub.count));
        }
        if let Some(exact) = request.exactly.as_ref().filter(|_| worst.is_empty()) {
            worst = one(&exact.device_class_name, exact.allocation_mode.as_deref(), exact.count);
        }
        crate::usage::add(&mut usage, &worst);
    }
    usage
}

/// Without a mode or a count, one is meant: so the defaults of the API say. Modes that are not known count nothing.
fn devices(mode: Option<&str>, count: Option<i64>) -> Amount {
    let devices = match mode {
        None | Some("ExactCount") => count.unwrap_or(1),
        Some("All") => MOST_DEVICES,
        Some(_) => 0,
    };
    Amount::from_units(devices, Format::DecimalSi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(usage: &Usage) -> Vec<String> {
        usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    #[test]
    fn a_claim_is_counted_in_total_and_by_class() {
        let claim = |object: Value| told(&of_claim(&serde_json::from_value(object).unwrap()));
        let spec = json!({"storageClassName": "gold", "resources": {"requests": {"storage": "10Gi"}}});
        let gold = [
            "count/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/requests.storage=10Gi",
            "persistentvolumeclaims=1",
            "requests.storage=10Gi",
        ];
        assert_eq!(claim(json!({"spec": spec})), gold);
        let old = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "gold"}},
            "spec": {"resources": {"requests": {"storage": "10Gi"}}}});
        assert_eq!(claim(old), gold);
        let shrinking = json!({"spec": spec, "status": {"allocatedResources": {"storage": "20Gi"}}});
        assert_eq!(claim(shrinking)[4], "requests.storage=20Gi");
        let odd = json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}});
        assert_eq!(claim(odd), ["count/persistentvolumeclaims=1", "persistentvolumeclaims=1", "requests.storage=2"]);
    }

    #[test]
    fn devices_are_counted_by_class_and_alternatives_by_the_worst() {
        let claim = |requests: Value| {
            told(&of_devices(&serde_json::from_value(json!({"devices": {"requests": requests}})).unwrap()))
        };
        let exact = |mode: &str, count: i64| json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": mode, "count": count}});
        for (requests, devices) in [
            (json!([exact("ExactCount", 2)]), vec!["gpu.deviceclass.resource.k8s.io/devices=2"]),
            (
                json!([exact("ExactCount", 2), exact("ExactCount", 3)]),
                vec!["gpu.deviceclass.resource.k8s.io/devices=5"],
            ),
            (json!([exact("All", 0)]), vec!["gpu.deviceclass.resource.k8s.io/devices=32"]),
            (json!([exact("Other", 4)]), vec!["gpu.deviceclass.resource.k8s.io/devices=0"]),
            (
                json!([{"name": "r", "firstAvailable": [
                    {"name": "a", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                    {"name": "b", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4},
                    {"name": "c", "deviceClassName": "nic", "allocationMode": "ExactCount", "count": 2},
                ]}]),
                vec!["gpu.deviceclass.resource.k8s.io/devices=4", "nic.deviceclass.resource.k8s.io/devices=2"],
            ),
        ] {
            assert_eq!(claim(requests.clone()), devices, "{requests}");
        }
    }
}
