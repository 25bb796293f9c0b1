//! What claims of devices take: by device class, and by the extended resources that stand for the class (KEP-5004).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rk_api::meta::{CLASS_RESOURCE, EXTENDED_CLAIM, Format, Quantity as Amount, may_be_devices};

use crate::pod::spec_requests;
use crate::usage::{Usage, add, amount, raise};

/// What follows the name of a device class in the resource that limits its devices.
pub const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// What precedes the name of a resource that pods request in the resource that limits it.
const REQUESTS: &str = "requests.";
/// Most devices that one claim can be given: what `All` is counted as.
const MOST_DEVICES: i64 = 32;

/// The extended resource that each device class names, by the class.
pub type Named = BTreeMap<String, String>;

/// Whether a quota's resource is limited for pods and for the devices of claims in one sum.
#[must_use]
pub fn is_shared(name: &str) -> bool {
    name.strip_prefix(REQUESTS).is_some_and(may_be_devices)
}

/// The pod on whose behalf a claim was made for extended resources, if it says so; it is still to be found out whether that is true.
#[must_use]
pub fn owner_of_extended(claim: &ResourceClaim) -> Option<&str> {
    owner(claim).map(|owner| owner.name.as_str())
}

fn owner(claim: &ResourceClaim) -> Option<&OwnerReference> {
    let notes = claim.metadata.annotations.as_ref()?;
    notes.get(EXTENDED_CLAIM).filter(|own| *own == "true")?;
    let mut owners = claim.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    (owner.kind == "Pod" && owner.api_version == "v1").then_some(owner)
}

/// The devices that a ResourceClaim may take; the claim itself is not among them. Of alternatives the worst counts, class by class.
/// What `owner`, the pod of [`owner_of_extended`], asked for by the name of a resource is counted with the pod.
#[must_use]
pub fn of_devices(claim: &ResourceClaim, named: &Named, owner: Option<&Pod>) -> Usage {
    let mut told = owner.filter(|pod| is_for(claim, pod)).map(asked).unwrap_or_default();
    let mut usage = Usage::new();
    for request in claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten()) {
        let mut worst = Usage::new();
        for sub in request.first_available.iter().flatten() {
            let amount = devices(sub.allocation_mode.as_deref(), sub.count);
            raise(&mut worst, &of_class(&sub.device_class_name, named, amount));
        }
        if let Some(exact) = request.exactly.as_ref().filter(|_| worst.is_empty()) {
            let amount = devices(exact.allocation_mode.as_deref(), exact.count);
            worst = of_class(&exact.device_class_name, named, amount);
            leave_out(&mut worst, &mut told, by_names(&exact.device_class_name, named));
        }
        add(&mut usage, &worst);
    }
    usage
}

/// Whether the pod is the one that a claim was made for.
fn is_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    let told = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    owner(claim).is_some_and(|owner| pod.metadata.uid.as_ref() == Some(&owner.uid))
        && told.is_none_or(|told| claim.metadata.name.as_ref() == Some(&told.resource_claim_name))
}

/// The names by which pods may ask for devices of a class: its own first.
fn by_names(class: &str, named: &Named) -> impl Iterator<Item = String> {
    let explicit = named.get(class).map(|resource| format!("{REQUESTS}{resource}"));
    std::iter::once(format!("{REQUESTS}{CLASS_RESOURCE}{class}")).chain(explicit)
}

fn of_class(class: &str, named: &Named, amount: Amount) -> Usage {
    let names = std::iter::once(format!("{class}{DEVICES}")).chain(by_names(class, named));
    names.map(|name| (name, amount)).collect()
}

/// Leaves out what the pod is charged for, once: under the name by which it asked.
fn leave_out(usage: &mut Usage, told: &mut Vec<(String, Amount)>, names: impl Iterator<Item = String>) {
    for name in names {
        let is_it = |(own, amount): &(String, Amount)| *own == name && usage.get(&name) == Some(amount);
        if let Some(index) = told.iter().position(is_it) {
            told.swap_remove(index);
            usage.remove(&name);
            return;
        }
    }
}

/// What a pod is charged for of resources behind which devices may stand, in the portions of which its claim is made: one for each
/// container that stays, and what those that end before need beyond these.
fn asked(pod: &Pod) -> Vec<(String, Amount)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten();
    let staying = init.filter(|own| own.restart_policy.as_deref() == Some("Always")).chain(&spec.containers);
    let mut portions: Vec<(String, Amount)> = staying.flat_map(requested).collect();
    let mut sums = Usage::new();
    for (name, amount) in &portions {
        *sums.entry(name.clone()).or_default() += *amount;
    }
    for (name, most) in spec_requests(pod).into_iter().filter(|(name, _)| may_be_devices(name)) {
        let name = format!("{REQUESTS}{name}");
        let beyond = most - sums.get(&name).copied().unwrap_or_default();
        if beyond.sign() > 0 {
            portions.push((name, beyond));
        }
    }
    portions
}

fn requested(container: &Container) -> impl Iterator<Item = (String, Amount)> {
    let requests = container.resources.as_ref().and_then(|own| own.requests.as_ref()).into_iter().flatten();
    let devices = requests.filter(|(name, _)| may_be_devices(name));
    devices.map(|(name, own)| (format!("{REQUESTS}{name}"), amount(own)))
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

    fn exact(name: &str, class: &str, mode: &str, count: i64) -> Value {
        json!({"name": name, "exactly": {"deviceClassName": class, "allocationMode": mode, "count": count}})
    }

    fn claim(requests: Value) -> ResourceClaim {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1", "controller": true});
        let notes = json!({"resource.kubernetes.io/extended-resource-claim": "true"});
        let meta = json!({"name": "p-x", "ownerReferences": [owner], "annotations": notes});
        serde_json::from_value(json!({"metadata": meta, "spec": {"devices": {"requests": requests}}})).unwrap()
    }

    #[test]
    fn devices_are_counted_by_class_and_alternatives_by_the_worst() {
        let sub = |name: &str, class: &str, count: i64| json!({"name": name, "deviceClassName": class, "allocationMode": "ExactCount", "count": count});
        let gpu = |count: i64| {
            vec![
                format!("gpu.deviceclass.resource.k8s.io/devices={count}"),
                format!("requests.deviceclass.resource.kubernetes.io/gpu={count}"),
            ]
        };
        let alternatives =
            json!([{"name": "r", "firstAvailable": [sub("a", "gpu", 1), sub("b", "gpu", 4), sub("c", "nic", 2)]}]);
        let mut both = gpu(4);
        both.insert(1, "nic.deviceclass.resource.k8s.io/devices=2".to_owned());
        both.extend([
            "requests.deviceclass.resource.kubernetes.io/nic=2".to_owned(),
            "requests.example.com/nic=2".to_owned(),
        ]);
        let named = Named::from([("nic".to_owned(), "example.com/nic".to_owned())]);
        for (requests, devices) in [
            (json!([exact("r", "gpu", "ExactCount", 2)]), gpu(2)),
            (json!([exact("r", "gpu", "ExactCount", 2), exact("s", "gpu", "ExactCount", 3)]), gpu(5)),
            (json!([exact("r", "gpu", "All", 0)]), gpu(32)),
            (json!([exact("r", "gpu", "Other", 4)]), gpu(0)),
            (alternatives, both),
        ] {
            assert_eq!(told(&of_devices(&claim(requests.clone()), &named, None)), devices, "{requests}");
        }
    }

    #[test]
    fn what_a_pod_asks_for_by_name_is_charged_once() {
        let asks = |name: &str, resource: &str, amount: i64| json!({"name": name, "resources": {"requests": {resource: amount.to_string()}}});
        let pod = |uid: &str, containers: Value, init: Value, claim: Value| -> Pod {
            let spec = json!({"containers": containers, "initContainers": init});
            let status = json!({"extendedResourceClaimStatus": claim});
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": uid}, "spec": spec, "status": status}))
                .unwrap()
        };
        let (explicit, implicit) = ("example.com/gpu", "deviceclass.resource.kubernetes.io/gpu");
        let one = claim(json!([exact("r", "gpu", "ExactCount", 2)]));
        let two = claim(json!([exact("r", "gpu", "ExactCount", 1), exact("s", "gpu", "ExactCount", 2)]));
        let by = |resource: &str| pod("p1", json!([asks("c", resource, 2)]), json!([]), Value::Null);
        let told_of = |name: &str| {
            pod(
                "p1",
                json!([asks("c", explicit, 2)]),
                json!([]),
                json!({"requestMappings": [], "resourceClaimName": name}),
            )
        };
        let named = Named::from([("gpu".to_owned(), explicit.to_owned())]);
        let peak = pod("p1", json!([asks("c", explicit, 2)]), json!([asks("i", explicit, 3)]), Value::Null);
        let other = pod("later", json!([asks("c", explicit, 2)]), json!([]), Value::Null);
        for (claim, owner, implicit, explicit) in [
            (&one, by(explicit), 2, 0),
            (&one, by(implicit), 0, 2),
            (&one, other, 2, 2),
            (&one, told_of("p-x"), 2, 0),
            (&one, told_of("p-y"), 2, 2),
            (&two, peak, 3, 0),
            (&two, by(explicit), 3, 1),
        ] {
            let usage = of_devices(claim, &named, Some(&owner));
            let of = |name: &str| usage.get(name).map_or(0, |amount| amount.units());
            let counted = (
                of("requests.deviceclass.resource.kubernetes.io/gpu"),
                of("requests.example.com/gpu"),
                of("gpu.deviceclass.resource.k8s.io/devices"),
            );
            let all = if std::ptr::eq(claim, &one) { 2 } else { 3 };
            assert_eq!(counted, (implicit, explicit, all), "{owner:?}");
        }
        let mut plain = one.clone();
        plain.metadata.annotations = None;
        let usage = of_devices(&plain, &named, Some(&by(explicit)));
        assert_eq!(
            usage.get("requests.example.com/gpu").map(|amount| amount.units()),
            Some(2),
            "it was made by somebody"
        );
    }

    #[test]
    fn pods_and_claims_share_limits_by_the_names_of_extended_resources() {
        for (name, shared) in [
            ("requests.example.com/gpu", true),
            ("requests.deviceclass.resource.kubernetes.io/gpu", true),
            ("gpu.deviceclass.resource.k8s.io/devices", false),
            ("requests.cpu", false),
            ("example.com/gpu", false),
        ] {
            assert_eq!(is_shared(name), shared, "{name}");
        }
    }
}
