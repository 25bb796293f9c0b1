//! IPv6 as a router gives it: an address, a resolver and a search domain by its advertisements, another address by DHCPv6, on a card that is
//! known by its driver; and a card that is known by its place, which wants none of it.

use super::Guest;
use super::links::{has, rows, start, told};
use rk_qemu::switch::{Offer, Router, Switch};
use rk_qemu::vm::{Machine, Nic, VmSpec};
use rk_tests::{eventually, limit};
use serde_json::Value;
use std::net::Ipv6Addr;

const NETWORK: &str = r#"
network:
  interfaces:
    - {match: {mac: "52:54:00:00:00:01"}, dhcp: true}
    - {match: {driver: e1000e}, dhcp6: true}
    - {match: {path: "0000:00:11.0"}, addresses: [192.168.60.2/24], acceptRA: false}
"#;
/// The card of another driver, and the one at that place.
const CARDS: [(&str, &str, u8); 2] =
    [("52:54:00:00:00:12", "e1000e", 0x10), ("52:54:00:00:00:13", "virtio-net-pci", 0x11)];
const OFFER: Offer = Offer {
    prefix: Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 0),
    lease: Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 0x1234),
    nameserver: Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 0x53),
    advertised: Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 0x54),
    domain: "site.example",
};
/// What the kernel makes of the prefix and the card's address (RFC 4291, appendix A).
const MADE: &str = "fd00:60::5054:ff:fe00:12/64";

/// Both cards hear the router, which is there before them.
fn cards(mut spec: VmSpec, switch: &Switch) -> VmSpec {
    spec.machine = Machine::Q35;
    CARDS.into_iter().fold(spec, |spec, (mac, model, place)| {
        let (_, socket) = switch.add_port().expect("port");
        spec.nic(Nic::Card { mac: mac.to_owned(), socket, model, place })
    })
}

fn link<'a>(told: &'a Value, mac: &str) -> Option<&'a Value> {
    rows(told, "interfaces").find(|link| link["mac"].as_str() == Some(mac))
}

/// The resolver of the lease comes first, then the one that anybody on the link may advertise.
fn resolvers(guest: &Guest) {
    let wanted = [OFFER.nameserver, OFFER.advertised].map(|address| address.to_string());
    eventually("the resolvers and the search domain", limit(60), || {
        let text = guest.rkctl(&["node", "read", "/etc/resolv.conf"]).good();
        let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
        let searched =
            text.lines().filter_map(|line| line.strip_prefix("search ")).any(|all| all.contains(OFFER.domain));
        if searched && servers.ends_with(&[wanted[0].as_str(), wanted[1].as_str()]) {
            Ok(())
        } else {
            Err(text.clone())
        }
    });
}

#[test]
fn a_router_s_prefix_and_dhcpv6_give_addresses_to_a_card_known_by_its_driver_and_none_to_one_known_by_its_place() {
    let mut router = None;
    let (mut guest, _switch) = start("router", NETWORK, |spec, switch| {
        router = Some(Router::start(switch, OFFER).expect("a router"));
        cards(spec, switch)
    });
    guest.answers();
    let lease = format!("{}/128", OFFER.lease);
    let told = eventually("the addresses", limit(60), || {
        let told = told(&guest, "interfaces");
        let all = |mac: &str, wanted: &[&str]| {
            link(&told, mac).is_some_and(|link| wanted.iter().all(|address| has(link, address)))
        };
        if all(CARDS[0].0, &[MADE, &lease]) && all(CARDS[1].0, &["192.168.60.2/24"]) {
            return Ok(told);
        }
        Err(told.to_string())
    });
    let refused = link(&told, CARDS[1].0).expect("the card at its place");
    assert!(!refused.to_string().contains("fd00:60:"), "it listened to the router: {refused}");
    resolvers(&guest);
    // A netd that begins anew asks for its leases again; the router says nothing, and what it said is known all the same.
    let mark = guest.vm.console().mark();
    guest.rkctl(&["node", "restart", "netd"]).good();
    let leased = format!("has {lease} by DHCPv6");
    guest.vm.wait_console_from(mark, &leased, limit(60)).unwrap_or_else(|err| panic!("{err}"));
    resolvers(&guest);
    // Its console shows it to who must reach it.
    guest.says(MADE);
    // It was there until here.
    drop(router);
}
