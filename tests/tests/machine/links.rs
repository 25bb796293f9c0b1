//! Links that the node finds by what they are, and links that it makes: cards in an order that says nothing, a bond, a VLAN on it, a bridge.

use super::{Guest, folder};
use rk_qemu::cidata;
use rk_qemu::switch::{Station, Switch, dhcp_server_in};
use rk_qemu::vm::{Nic, Vm, VmSpec};
use rk_tests::{MACHINE_API, Operator, artifacts, eventually, free_address, limit, uplink};
use serde_json::Value;
use std::net::Ipv4Addr;

/// The card that leads out is the last one of the machine.
const NETWORK: &str = r#"
network:
  interfaces:
    - {match: {mac: "52:54:00:00:00:01"}, dhcp: true}
    - name: bond0.7
      vlan: {id: 7, parent: {name: bond0}}
      addresses: [192.168.51.2/24]
    - name: bond0
      bond: {mode: active-backup, members: [{mac: "52:54:00:00:00:12"}, {mac: "52:54:00:00:00:13"}]}
      addresses: [192.168.50.2/24, "fd00:50::2/64"]
      mtu: 1400
      routes: [{to: 10.50.0.0/16, via: 192.168.50.1, metric: 77}]
    - name: br0
      bridge: {members: [{mac: "52:54:00:00:00:14"}]}
      addresses: [192.168.52.2/24]
"#;

/// A bridge on a VLAN on a bond, none of which has an address that no server gave; resolvers of both families, one of them of nobody.
const LAYERS: &str = r#"
network:
  nameservers: [192.0.2.53, "fd00::53"]
  interfaces:
    - {match: {mac: "52:54:00:00:00:01"}, dhcp: true}
    - name: br0
      bridge: {members: [{name: bond0.7}]}
      dhcp: true
    - name: bond0.7
      vlan: {id: 7, parent: {name: bond0}}
    - name: bond0
      bond: {mode: active-backup, members: [{mac: "52:54:00:00:00:12"}, {mac: "52:54:00:00:00:13"}]}
      dhcp: true
"#;
/// The VLAN there.
const VLAN: u16 = 7;

/// Links, an address of each, and its largest packet where the config says one.
const WANTED: [(&str, &str, Option<u64>); 4] = [
    ("bond0", "192.168.50.2/24", Some(1400)),
    ("bond0", "fd00:50::2/64", Some(1400)),
    ("bond0.7", "192.168.51.2/24", None),
    ("br0", "192.168.52.2/24", None),
];

/// A worker of a cluster that is nowhere, with this network and these cards before the one that leads out.
pub(super) fn start(name: &str, network: &str, cards: impl FnOnce(VmSpec, &Switch) -> VmSpec) -> (Guest, Switch) {
    let dir = folder(name);
    let operator = Operator::new(&artifacts(), &dir);
    std::fs::write(dir.join("links.yaml"), network).expect("patch");
    operator.run(&["config", "gen", "paper", "https://10.0.2.2:1", "--patch", "links.yaml"]).good();
    let config = std::fs::read_to_string(dir.join("worker.yaml")).expect("worker.yaml");
    let seed = dir.join("cidata.img");
    cidata::create(&seed, &config, "instance-id: links\n").expect("config drive");
    let artifacts = artifacts();
    let spec = VmSpec::new(name, &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs));
    let switch = Switch::new(&dir);
    let mut spec = cards(spec.drive(&seed, true), &switch);
    let node = free_address();
    spec = spec.nic(uplink(&[(node, MACHINE_API)]));
    let vm = Vm::start(&spec).expect("QEMU");
    (Guest { vm, dir, node: node.to_string(), figures: node, operator }, switch)
}

/// A card on the switch for each of these ends of an address.
fn plain_cards(spec: VmSpec, switch: &Switch, ends: &[&str]) -> VmSpec {
    ends.iter().fold(spec, |spec, last| {
        let (_, socket) = switch.add_port().expect("port");
        spec.nic(Nic::Switch { mac: format!("52:54:00:00:00:{last}"), socket })
    })
}

pub(super) fn rows<'a>(told: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    told[field].as_array().into_iter().flatten()
}

pub(super) fn has(link: &Value, address: &str) -> bool {
    rows(link, "addresses").any(|have| have.as_str() == Some(address))
}

pub(super) fn told(guest: &Guest, verb: &str) -> Value {
    serde_json::from_str(&guest.rkctl(&["node", verb, "-o", "json"]).good()).expect("JSON")
}

#[test]
fn cards_are_found_in_any_order_and_bonds_vlans_and_bridges_are_made() {
    let (guest, _switch) = start("links", NETWORK, |spec, switch| plain_cards(spec, switch, &["12", "13", "14"]));
    guest.answers();
    eventually("all links with their addresses", limit(60), || {
        let told = told(&guest, "interfaces");
        for (name, address, mtu) in WANTED {
            let fits = |link: &Value| mtu.is_none_or(|mtu| link["mtu"].as_u64() == Some(mtu)) && has(link, address);
            if !rows(&told, "interfaces").any(|link| link["name"].as_str() == Some(name) && fits(link)) {
                return Err(format!("{name} lacks {address} or its mtu {mtu:?}: {told}"));
            }
        }
        Ok(())
    });
    let links = told(&guest, "interfaces");
    let uplink = rows(&links, "interfaces").find(|link| link["mac"].as_str() == Some("52:54:00:00:00:01"));
    let uplink = uplink.expect("the card that leads out");
    assert!(uplink["name"].as_str() != Some("eth0") && has(uplink, "10.0.2.15/24"), "{uplink}");
    let routes = told(&guest, "routes");
    let static_one = rows(&routes, "routes").find(|route| route["to"].as_str() == Some("10.50.0.0/16"));
    let static_one = static_one.unwrap_or_else(|| panic!("no static route: {routes}"));
    assert_eq!(
        (static_one["via"].as_str(), static_one["interface"].as_str(), static_one["metric"].as_u64()),
        (Some("192.168.50.1"), Some("bond0"), Some(77))
    );
}

/// A server of addresses, and what it gives to which link.
struct Server {
    station: Station,
    link: &'static str,
    address: String,
}

/// One of the bond's own network, and one that is reached by the bridge alone, which knows frames with the VLAN's tag and no others.
fn servers(switch: &Switch) -> Vec<Server> {
    [("bond0", None, 50), ("br0", Some(VLAN), 51)]
        .into_iter()
        .map(|(link, vlan, net)| {
            let (own, lease) = (Ipv4Addr::new(192, 168, net, 1), Ipv4Addr::new(192, 168, net, 2));
            let station = dhcp_server_in(switch, vlan, own, lease).expect("a DHCP server");
            Server { station, link, address: format!("{lease}/24") }
        })
        .collect()
}

/// Waits until each link has what its server gives, and each server has answered more often than before.
fn served(guest: &Guest, servers: &[Server], before: &[u64]) {
    eventually("addresses from both servers", limit(60), || {
        let told = told(guest, "interfaces");
        for (server, before) in servers.iter().zip(before) {
            let there = rows(&told, "interfaces")
                .any(|link| link["name"].as_str() == Some(server.link) && has(link, &server.address));
            let answered = server.station.answered();
            if !there || answered <= *before {
                return Err(format!("{} after {answered} answers, {before} of them before: {told}", server.link));
            }
        }
        Ok(())
    });
}

#[test]
fn a_bridge_on_a_vlan_on_a_bond_carries_frames_with_their_tag_by_whichever_cable_is_left() {
    let mut kept = Vec::new();
    let (guest, _switch) = start("layers", LAYERS, |spec, switch| {
        kept = servers(switch);
        plain_cards(spec, switch, &["12", "13"])
    });
    guest.answers();
    served(&guest, &kept, &[0, 0]);
    let resolvers = guest.rkctl(&["node", "read", "/etc/resolv.conf"]).good();
    let lines: Vec<&str> = resolvers.lines().filter(|line| line.starts_with("nameserver ")).collect();
    assert_eq!(lines.get(..2), Some(&["nameserver 192.0.2.53", "nameserver fd00::53"][..]), "{resolvers}");
    // One of the two is the cable that was used until then.
    for cable in ["net0", "net1"] {
        let plug = |up: bool| guest.vm.qmp().and_then(|mut qmp| qmp.set_link(cable, up)).expect("a cable");
        plug(false);
        let before: Vec<u64> = kept.iter().map(|server| server.station.answered()).collect();
        // A netd that begins asks for its addresses anew.
        guest.rkctl(&["node", "restart", "netd"]).good();
        served(&guest, &kept, &before);
        plug(true);
    }
    let said = guest.rkctl(&["node", "logs", "netd"]).good();
    assert!(!said.contains("no DHCP lease any more"), "an address was refused: {said}");
}
