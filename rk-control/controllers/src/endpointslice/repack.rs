//! Subsets of Endpoints, packed so that ports which stand on the same addresses share one.

use super::ports::ResolvedPort;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};
use std::collections::BTreeMap;

/// What tells addresses apart: the IP, and the UID of what has it.
type Seat = (String, Option<String>);

/// Addresses, and whether each of them is ready.
type Seats = BTreeMap<Seat, bool>;

/// Packs subsets anew: one for all ports that stand on the same addresses in the same state. What is not ready for a port by one of the
/// subsets is not, whatever others say of it (upstream's rule).
pub(crate) fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut known: BTreeMap<Seat, &EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<ResolvedPort>, Seats> = BTreeMap::new();
    for subset in subsets {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let all: Vec<(&EndpointAddress, bool)> = ready.chain(waiting).collect();
        for port in ports(subset) {
            let seats = by_port.entry(port).or_default();
            for (address, ready) in &all {
                known.entry(seat(address)).or_insert(*address);
                *seats.entry(seat(address)).or_insert(true) &= *ready;
            }
        }
    }
    let mut by_seats: BTreeMap<Seats, Vec<ResolvedPort>> = BTreeMap::new();
    for (port, seats) in by_port {
        by_seats.entry(seats).or_default().extend(port);
    }
    by_seats.into_iter().map(|(seats, ports)| subset(&known, &seats, ports)).collect()
}

fn subset(known: &BTreeMap<Seat, &EndpointAddress>, seats: &Seats, ports: Vec<ResolvedPort>) -> EndpointSubset {
    let pick = |wanted: bool| {
        let those = seats.iter().filter(|(_, ready)| **ready == wanted);
        let found: Vec<EndpointAddress> =
            those.filter_map(|(seat, _)| known.get(seat).map(|&address| address.clone())).collect();
        Some(found).filter(|found| !found.is_empty())
    };
    EndpointSubset {
        addresses: pick(true),
        not_ready_addresses: pick(false),
        ports: Some(ports.into_iter().map(port_of).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    }
}

fn seat(address: &EndpointAddress) -> Seat {
    (address.ip.clone(), address.target_ref.as_ref().and_then(|target| target.uid.clone()))
}

/// The ports of a subset; `None` alone where it has addresses and no ports.
fn ports(subset: &EndpointSubset) -> Vec<Option<ResolvedPort>> {
    let all: Vec<_> = subset.ports.iter().flatten().map(|port| Some(resolved(port))).collect();
    if all.is_empty() { vec![None] } else { all }
}

fn resolved(port: &EndpointPort) -> ResolvedPort {
    ResolvedPort {
        name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: port.protocol.clone().unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    }
}

/// The port as Endpoints tell it.
pub(crate) fn port_of(port: ResolvedPort) -> EndpointPort {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    EndpointPort {
        name: some(port.name),
        port: port.port,
        protocol: some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `ports: ready addresses/others` of each subset.
    fn packed(subsets: Value) -> Vec<String> {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(subsets).expect("valid");
        let ips = |list: Option<Vec<EndpointAddress>>| {
            list.into_iter().flatten().map(|address| address.ip).collect::<Vec<_>>().join(" ")
        };
        let shown = |subset: EndpointSubset| {
            let ports: Vec<String> = subset.ports.iter().flatten().map(|port| port.port.to_string()).collect();
            format!("{}: {}/{}", ports.join(" "), ips(subset.addresses), ips(subset.not_ready_addresses))
        };
        repack(&subsets).into_iter().map(shown).collect()
    }

    #[test]
    fn ports_on_the_same_addresses_share_a_subset_wherever_they_are_named() {
        let of = |ready: Value, waiting: Value, port: u16| {
            let ips =
                |list: Value| list.as_array().into_iter().flatten().map(|ip| json!({"ip": ip})).collect::<Value>();
            json!({"addresses": ips(ready), "notReadyAddresses": ips(waiting), "ports": [{"name": "p", "port": port}]})
        };
        let (a, b) = ("10.0.0.1", "10.0.0.2");
        for (subsets, want) in [
            (json!([of(json!([a]), json!([]), 80), of(json!([a]), json!([]), 90)]), vec!["80 90: 10.0.0.1/"]),
            (
                json!([of(json!([a]), json!([]), 80), of(json!([b]), json!([]), 90)]),
                vec!["80: 10.0.0.1/", "90: 10.0.0.2/"],
            ),
            (json!([of(json!([a]), json!([]), 80), of(json!([b]), json!([]), 80)]), vec!["80: 10.0.0.1 10.0.0.2/"]),
            (json!([of(json!([a]), json!([]), 80), of(json!([b]), json!([a]), 80)]), vec!["80: 10.0.0.2/10.0.0.1"]),
            (json!([{"addresses": [{"ip": a}]}]), vec![": 10.0.0.1/"]),
            (json!([]), vec![]),
        ] {
            assert_eq!(packed(subsets.clone()), want, "{subsets}");
        }
    }

    #[test]
    fn two_that_have_one_address_are_two() {
        let of = |uid: &str| json!({"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": uid, "uid": uid}});
        let subsets = json!([{"addresses": [of("a"), of("b")], "ports": [{"port": 80}]}]);
        assert_eq!(packed(subsets), ["80: 10.0.0.1 10.0.0.1/"]);
    }
}
