//! The ranges that ServiceCIDR objects give, and what becomes of these objects; pure.

use std::net::IpAddr;

use ipnet::IpNet;
use rk_api::meta;
use serde_json::{Value, json};

/// Keeps a ServiceCIDR while addresses of it are held.
pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The ServiceCIDR of the server's own settings.
pub(super) const DEFAULT: &str = "kubernetes";

/// The ranges of one object.
pub(super) fn of(object: &Value) -> Vec<IpNet> {
    let cidrs = meta::at(object, &["spec", "cidrs"]).as_array();
    cidrs.into_iter().flatten().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

fn condition(object: &Value) -> Option<&Value> {
    let conditions = meta::at(object, &["status", "conditions"]).as_array()?;
    conditions.iter().find(|condition| meta::text(condition, &["type"]) == "Ready")
}

fn is_ready(object: &Value) -> bool {
    condition(object).is_some_and(|ready| meta::text(ready, &["status"]) == "True")
}

/// The ranges that addresses may be taken from, the server's own first. The families are those of the settings, whatever the objects have.
pub(super) fn usable(objects: &[Value], own: &[IpNet]) -> Vec<IpNet> {
    let configured = |range: &IpNet| own.iter().any(|of| of.addr().is_ipv4() == range.addr().is_ipv4());
    let default = objects.iter().find(|object| meta::name(object) == DEFAULT);
    let mut ranges: Vec<IpNet> = if default.is_some_and(meta::is_deleting) { Vec::new() } else { own.to_vec() };
    for object in objects.iter().filter(|object| is_ready(object) && !meta::is_deleting(object)) {
        for range in of(object).into_iter().filter(configured) {
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
    }
    ranges
}

/// The default ServiceCIDR as it must become when the server's own settings have gained a second range since it was made.
pub(super) fn widened(object: &Value, own: &[IpNet]) -> Option<Value> {
    let [primary, _] = own else { return None };
    let stays = meta::name(object) != DEFAULT || meta::is_deleting(object) || of(object) != [*primary];
    if stays {
        return None;
    }
    let mut changed = object.clone();
    changed["spec"]["cidrs"] = own.iter().map(|range| Value::from(range.to_string())).collect();
    Some(changed)
}

/// What upstream says of a default ServiceCIDR that is not what the server's own settings say; `None` where it is. Neither follows the
/// other: whoever wants the settings' ranges deletes the object.
pub(super) fn mismatch(object: &Value, own: &[IpNet]) -> Option<String> {
    let theirs = of(object);
    if meta::name(object) != DEFAULT || meta::is_deleting(object) || theirs == own {
        return None;
    }
    let list = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    Some(format!(
        "The default ServiceCIDR [{}] does not match the controller flag configurations [{}]",
        list(&theirs),
        list(own)
    ))
}

/// What is to be written about a ServiceCIDR.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// The object with its finalizers changed.
    Finalizers(Value),
    /// The object with its status changed.
    Status(Value),
}

/// The next step for `object` among all of them, while `held` addresses have records.
pub(super) fn next(object: &Value, all: &[Value], held: &[IpAddr], now: jiff::Timestamp) -> Step {
    let finalizers = meta::at(object, &["metadata", "finalizers"]).as_array().cloned().unwrap_or_default();
    let marked = finalizers.iter().any(|own| own == FINALIZER);
    if !meta::is_deleting(object) {
        if !marked {
            let mut changed = object.clone();
            let list: Vec<Value> = finalizers.into_iter().chain([json!(FINALIZER)]).collect();
            changed["metadata"]["finalizers"] = list.into();
            return Step::Finalizers(changed);
        }
        return ready(object, "True", "", "Kubernetes Service CIDR is ready", now);
    }
    if !marked {
        return Step::Keep;
    }
    let ranges = of(object);
    let others: Vec<IpNet> = all
        .iter()
        .filter(|other| meta::name(other) != meta::name(object) && !meta::is_deleting(other))
        .flat_map(of)
        .collect();
    let inside = |ranges: &[IpNet], address: &IpAddr| ranges.iter().any(|range| range.contains(address));
    if held.iter().any(|address| inside(&ranges, address) && !inside(&others, address)) {
        let why =
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        return ready(object, "False", "Terminating", why, now);
    }
    let mut changed = object.clone();
    changed["metadata"]["finalizers"] = finalizers.into_iter().filter(|own| own != FINALIZER).collect();
    Step::Finalizers(changed)
}

fn ready(object: &Value, status: &str, reason: &str, message: &str, now: jiff::Timestamp) -> Step {
    if condition(object).is_some_and(|own| meta::text(own, &["status"]) == status) {
        return Step::Keep;
    }
    let mut changed = object.clone();
    let others = meta::at(object, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let mut conditions: Vec<Value> = others.into_iter().filter(|own| meta::text(own, &["type"]) != "Ready").collect();
    conditions.push(json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }));
    changed["status"]["conditions"] = conditions.into();
    Step::Status(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(name: &str, range: &str) -> Value {
        json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [range]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn deleting(mut object: Value) -> Value {
        object["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
        object
    }

    #[test]
    fn a_range_gives_addresses_once_it_is_ready_and_until_it_is_deleted() {
        let own = ["10.96.0.0/16".parse().unwrap()];
        let mut fresh = cidr("more", "10.97.0.0/16");
        fresh["status"] = json!({});
        assert_eq!(usable(&[cidr(DEFAULT, "10.96.0.0/16"), fresh.clone()], &own).len(), 1);
        assert!(matches!(next(&fresh, &[], &[], jiff::Timestamp::UNIX_EPOCH), Step::Status(_)));
        let more = cidr("more", "10.97.0.0/16");
        assert_eq!(usable(std::slice::from_ref(&more), &own).len(), 2);
        assert_eq!(next(&more, &[], &[], jiff::Timestamp::UNIX_EPOCH), Step::Keep);
        assert_eq!(usable(&[deleting(more)], &own).len(), 1);
        let six = cidr("six", "fd00:10:97::/112");
        assert_eq!(usable(std::slice::from_ref(&six), &own).len(), 1, "no family that the settings lack");
        let both = [own[0], "fd00:10:96::/112".parse().unwrap()];
        assert_eq!(usable(std::slice::from_ref(&six), &both).len(), 3);
    }

    #[test]
    fn the_default_range_gains_the_family_that_the_settings_gain() {
        let own: Vec<IpNet> = ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).to_vec();
        let default = cidr(DEFAULT, "10.96.0.0/16");
        let wide = widened(&default, &own).unwrap();
        assert_eq!(wide["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
        for (object, own) in [
            (wide, &own[..]),
            (default.clone(), &own[..1]),
            (deleting(default), &own[..]),
            (cidr("more", "10.96.0.0/16"), &own[..]),
            (cidr(DEFAULT, "10.97.0.0/16"), &own[..]),
        ] {
            assert_eq!(widened(&object, own), None, "{object}");
        }
    }

    #[test]
    fn a_default_range_that_the_settings_do_not_have_is_told_of() {
        let own: Vec<IpNet> = ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).to_vec();
        let wide = widened(&cidr(DEFAULT, "10.96.0.0/16"), &own).unwrap();
        assert_eq!(mismatch(&wide, &own), None);
        assert_eq!(widened(&wide, &own[..1]), None, "it does not lose a range");
        let told = "The default ServiceCIDR [10.96.0.0/16 fd00:10:96::/112] does not match the controller flag configurations [10.96.0.0/16]";
        assert_eq!(mismatch(&wide, &own[..1]).as_deref(), Some(told));
        assert!(mismatch(&cidr(DEFAULT, "10.97.0.0/16"), &own).is_some());
        assert_eq!(mismatch(&deleting(wide), &own[..1]), None);
        assert_eq!(mismatch(&cidr("more", "10.97.0.0/16"), &own), None);
    }

    #[test]
    fn a_deleted_range_waits_for_addresses_that_no_other_range_holds() {
        let gone = deleting(cidr("more", "10.97.0.0/24"));
        let held = ["10.97.0.5".parse().unwrap()];
        let now = jiff::Timestamp::UNIX_EPOCH;
        let Step::Status(waiting) = next(&gone, std::slice::from_ref(&gone), &held, now) else {
            panic!("it must wait")
        };
        assert_eq!(waiting["status"]["conditions"][0]["reason"], "Terminating");
        assert_eq!(next(&waiting, std::slice::from_ref(&gone), &held, now), Step::Keep);
        let wider = cidr("wider", "10.97.0.0/16");
        for (all, held) in [(vec![gone.clone(), wider], held.to_vec()), (vec![gone.clone()], Vec::new())] {
            let Step::Finalizers(free) = next(&gone, &all, &held, now) else { panic!("it may go") };
            assert_eq!(free["metadata"]["finalizers"], json!([]));
        }
    }
}
