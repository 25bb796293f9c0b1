//! Completing a Service: what its type asks for, what it had before, what is free.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use rk_api::meta;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::{Value, json};

use super::families::{self, of_range, texts};
use super::{Taken, addresses, ports};

fn type_of(service: &Value) -> &str {
    match meta::text(service, &["spec", "type"]) {
        "" => "ClusterIP",
        other => other,
    }
}

fn wants_node_ports(service: &Value) -> bool {
    let asked = meta::at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false);
    type_of(service) == "NodePort" || (type_of(service) == "LoadBalancer" && asked)
}

fn wants_health_check(service: &Value) -> bool {
    type_of(service) == "LoadBalancer" && meta::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// Completes a Service; returns what it takes that it did not have.
pub(super) fn complete(
    service: &mut Value,
    old: Option<&Value>,
    ranges: &[IpNet],
    node_ports: RangeInclusive<u16>,
    taken: &Taken,
) -> Result<Taken, Status> {
    let mut errors = FieldErrors::new();
    let mut own = Taken::default();
    if let Some(old) = old {
        carry_over(service, old);
        release_second(service, old);
    }
    if type_of(service) == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
            remove(service, field);
        }
    } else if old.is_some_and(|old| preference_stays(service, old)) {
        own.addresses = addresses::of(service).into_iter().collect();
    } else {
        let before = old.map(addresses::of).unwrap_or_default();
        own.addresses = complete_addresses(service, &before, ranges, &taken.addresses, &mut errors);
    }
    if wants_node_ports(service) {
        own.ports = ports::complete(service, &node_ports, &taken.ports, &mut errors);
    }
    if wants_health_check(service) {
        let busy: HashSet<_> = taken.ports.union(&own.ports).cloned().collect();
        own.ports.extend(ports::health_check(service, &node_ports, &busy, &mut errors));
    }
    if errors.is_empty() {
        return Ok(own);
    }
    Err(Status::invalid("", "Service", meta::name(service), &errors.0))
}

/// A Service that turns to one family gives up the second, unless it says otherwise what it wants to hold.
fn release_second(service: &mut Value, old: &Value) {
    if meta::text(service, &["spec", "ipFamilyPolicy"]) != "SingleStack" {
        return;
    }
    for field in ["clusterIPs", "ipFamilies"] {
        let unchanged = meta::at(service, &["spec", field]) == meta::at(old, &["spec", field]);
        let list = service.get_mut("spec").and_then(|spec| spec.get_mut(field)).and_then(Value::as_array_mut);
        if let Some(list) = list.filter(|_| unchanged) {
            list.truncate(1);
        }
    }
}

/// Whether a Service that prefers two families changes nothing of its type, families and addresses: then it keeps what it has, whatever families
/// the cluster has gained or lost since.
fn preference_stays(service: &Value, old: &Value) -> bool {
    let prefers = |of: &Value| meta::text(of, &["spec", "ipFamilyPolicy"]) == "PreferDualStack";
    let same = |field: &str| meta::at(service, &["spec", field]) == meta::at(old, &["spec", field]);
    prefers(service)
        && prefers(old)
        && type_of(service) == type_of(old)
        && ["clusterIP", "clusterIPs", "ipFamilies"].into_iter().all(same)
}

fn remove(service: &mut Value, field: &str) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(field);
    }
}

/// An update that leaves out what was allocated keeps it; one that changes the type drops what the new type has no use for.
fn carry_over(service: &mut Value, old: &Value) {
    let had_address = type_of(old) != "ExternalName";
    if had_address && type_of(service) != "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let before = meta::at(old, &["spec", field]);
            let now = meta::at(service, &["spec", field]);
            let unset = now.is_null() || now.as_str() == Some("") || now.as_array().is_some_and(Vec::is_empty);
            if unset && !before.is_null() {
                service["spec"][field] = before.clone();
            }
        }
    }
    if wants_node_ports(old) && wants_node_ports(service) {
        keep_node_ports(service, old);
    } else if wants_node_ports(old) && type_of(service) != type_of(old) && ports::of(service) == ports::of(old) {
        let list = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
        for port in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if wants_health_check(old) && !wants_health_check(service) {
        remove(service, "healthCheckNodePort");
    } else if wants_health_check(old) && meta::at(service, &["spec", "healthCheckNodePort"]).is_null() {
        let before = meta::at(old, &["spec", "healthCheckNodePort"]);
        if !before.is_null() {
            service["spec"]["healthCheckNodePort"] = before.clone();
        }
    }
}

fn keep_node_ports(service: &mut Value, old: &Value) {
    let before: Vec<Value> = meta::at(old, &["spec", "ports"]).as_array().cloned().unwrap_or_default();
    let key = |port: &Value| (port.get("port").cloned(), meta::text(port, &["protocol"]).to_owned());
    let list = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
    for port in list.into_iter().flatten() {
        let unset = port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0;
        if let Some(same) = before.iter().find(|same| key(same) == key(port)).filter(|_| unset)
            && let Some(number) = same.get("nodePort")
        {
            port["nodePort"] = number.clone();
        }
    }
}

/// Fills in the cluster IPs of a Service; answers those that it takes.
fn complete_addresses(
    service: &mut Value,
    before: &[IpAddr],
    ranges: &[IpNet],
    taken: &HashSet<IpAddr>,
    errors: &mut FieldErrors,
) -> HashSet<IpAddr> {
    let mut own = HashSet::new();
    let single = meta::text(service, &["spec", "clusterIP"]).to_owned();
    let mut given = texts(meta::at(service, &["spec", "clusterIPs"]));
    if given.is_empty() && !single.is_empty() {
        given = vec![single.clone()];
        service["spec"]["clusterIPs"] = json!(given);
    }
    let headless = given.first().is_some_and(|first| first == "None");
    let selector = meta::at(service, &["spec", "selector"]).as_object().is_some_and(|selector| !selector.is_empty());
    let families = families::decide(service, ranges, headless && !selector, errors);
    if headless {
        service["spec"]["clusterIP"] = json!("None");
        service["spec"]["clusterIPs"] = json!(["None"]);
        return own;
    }
    let choice = Choice { before, taken, given: &given };
    let mut chosen: Vec<String> = Vec::new();
    for (index, family) in families.iter().enumerate() {
        let of_family: Vec<&IpNet> = ranges.iter().filter(|range| of_range(range) == family).collect();
        if of_family.is_empty() {
            continue;
        }
        let found = match given.get(index) {
            Some(text) => choice.asked(index, text, &of_family, errors),
            None => choice.free(&of_family, errors),
        };
        if let Some((address, text)) = found {
            own.insert(address);
            chosen.push(text);
        }
    }
    service["spec"]["clusterIP"] = json!(chosen.first().cloned().unwrap_or_default());
    service["spec"]["clusterIPs"] = json!(chosen);
    own
}

/// What decides which addresses a Service can have.
struct Choice<'a> {
    /// Those that it has already.
    before: &'a [IpAddr],
    /// Those that others have.
    taken: &'a HashSet<IpAddr>,
    /// `spec.clusterIPs` as it was sent.
    given: &'a [String],
}

impl Choice<'_> {
    /// The address that `text` asks for, with that text; `None` when it cannot be had, which `errors` then tells.
    fn asked(&self, index: usize, text: &str, ranges: &[&IpNet], errors: &mut FieldErrors) -> Option<(IpAddr, String)> {
        let list = Path::new("spec.clusterIPs");
        let Ok(address) = text.parse::<IpAddr>() else {
            errors.invalid(&list.index(index), text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            return None;
        };
        // What the Service holds already stays, even when its range is on its way out.
        let fits = self.before.contains(&address) || ranges.iter().any(|range| addresses::is_usable(range, address));
        let why = if !fits {
            format!(
                "failed to allocate IP {text}: the provided IP ({text}) is not in the valid range. The range of valid IPs is {}",
                named(ranges)
            )
        } else if self.taken.contains(&address) {
            format!("failed to allocate IP {text}: provided IP is already allocated")
        } else {
            return Some((address, text.to_owned()));
        };
        errors.invalid(&list, json!(self.given), why);
        None
    }

    /// An address that nobody has, with its text; `None` when the ranges are full, which `errors` then tells.
    fn free(&self, ranges: &[&IpNet], errors: &mut FieldErrors) -> Option<(IpAddr, String)> {
        let found = ranges.iter().find_map(|range| addresses::pick(range, self.taken));
        if found.is_none() {
            let why = format!("failed to allocate a serviceIP: range {} is full", named(ranges));
            errors.invalid(&Path::new("spec.clusterIPs"), json!(self.given), why);
        }
        found.map(|address| (address, address.to_string()))
    }
}

/// Ranges as errors name them.
fn named(ranges: &[&IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Vec<IpNet> {
        vec!["10.96.0.0/16".parse().unwrap()]
    }

    fn run(service: Value, old: Option<&Value>) -> Result<Value, Status> {
        let mut service = service;
        complete(&mut service, old, &ranges(), 30000..=32767, &Taken::default()).map(|_| service)
    }

    #[test]
    fn a_plain_service_gets_one_address() {
        let service = run(json!({"spec": {"type": "ClusterIP"}}), None).unwrap();
        assert_eq!(service["spec"]["clusterIP"], service["spec"]["clusterIPs"][0]);
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
    }

    #[test]
    fn an_update_without_addresses_and_ports_keeps_them() {
        let first =
            run(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}), None).unwrap();
        let second =
            run(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}), Some(&first))
                .unwrap();
        assert_eq!(first, second);
        let mut back = first.clone();
        back["spec"]["type"] = json!("ClusterIP");
        let third = run(back, Some(&first)).unwrap();
        assert!(third["spec"]["ports"][0].get("nodePort").is_none());
        assert_eq!(third["spec"]["clusterIP"], first["spec"]["clusterIP"]);
    }

    #[test]
    fn a_service_that_prefers_two_families_keeps_what_it_has_until_it_is_changed() {
        let dual: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
        let on = |ranges: &[IpNet], mut service: Value, old: Option<&Value>| {
            let done = complete(&mut service, old, ranges, 30000..=32767, &Taken::default());
            done.map(|own| (service, own.addresses.len()))
        };
        let asked = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}});
        let (two, _) = on(&dual, asked.clone(), None).unwrap();
        let (one, _) = on(&dual[..1], asked.clone(), None).unwrap();
        let families = |service: &Value| texts(&service["spec"]["ipFamilies"]);
        assert_eq!(
            (families(&two), families(&one)),
            (vec!["IPv4".to_owned(), "IPv6".to_owned()], vec!["IPv4".to_owned()])
        );
        assert_eq!(on(&dual[..1], two.clone(), Some(&two)).unwrap(), (two.clone(), 2), "the cluster lost a family");
        assert_eq!(on(&dual, one.clone(), Some(&one)).unwrap(), (one.clone(), 1), "the cluster gained one");
        assert_eq!(on(&dual[..1], asked, Some(&two)).unwrap().0, two, "what is left out is kept");
        let mut requires = one.clone();
        requires["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
        assert_eq!(families(&on(&dual, requires, Some(&one)).unwrap().0), ["IPv4", "IPv6"]);
        let mut narrow = two.clone();
        narrow["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        let (narrow, held) = on(&dual[..1], narrow, Some(&two)).unwrap();
        assert_eq!(
            (families(&narrow), held),
            (vec!["IPv4".to_owned()], 1),
            "the second one can be given up there, too"
        );
    }

    #[test]
    fn an_external_name_has_no_address() {
        let first = run(json!({"spec": {"type": "ClusterIP"}}), None).unwrap();
        let mut external = first.clone();
        external["spec"]["type"] = json!("ExternalName");
        let external = run(external, Some(&first)).unwrap();
        assert!(external["spec"].get("clusterIP").is_none());
    }

    #[test]
    fn an_address_outside_of_the_range_is_named_in_the_refusal() {
        let error = run(json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "192.168.0.1"}}), None).unwrap_err();
        assert!(error.message.contains("192.168.0.1") && error.message.contains("10.96.0.0/16"), "{}", error.message);
    }
}
