//! Links that the node finds by what they are, and links that it makes: cards in an order that says nothing, a bond, a VLAN on it, a bridge.

use super::{Guest, folder};
use rk_qemu::cidata;
use rk_qemu::switch::Switch;
use rk_qemu::vm::{Nic, Vm, VmSpec};
use rk_tests::{MACHINE_API, Operator, artifacts, eventually, free_address, limit, uplink};
use serde_json::Value;

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
fn plain_cards(spec: VmSpec, switch: &Switch) -> VmSpec {
    ["12", "13", "14"].into_iter().fold(spec, |spec, last| {
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
    let (guest, _switch) = start("links", NETWORK, plain_cards);
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
