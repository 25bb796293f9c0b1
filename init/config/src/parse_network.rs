//! The part of the machine config that is about links.

use crate::network::{BondMode, Interface, LinkMatch, Network, Ntp, Route, Virtual};
use crate::parse::{ADDRESS, MAX_ENTRIES};
use crate::reader::{Findings, Section, quote};
use crate::validate;

const PREFIX: &str = "an address with its prefix length such as 192.168.77.11/24";

/// Reads `network`.
pub(crate) fn network(mut s: Section, out: &mut Findings) -> Network {
    let mut network = Network {
        interfaces: s.sections("interfaces", MAX_ENTRIES, out).into_iter().map(|i| interface(i, out)).collect(),
        nameservers: s.parsed_list("nameservers", 8, ADDRESS, out),
        search_domains: s.strings("searchDomains", 16, out).into_iter().map(|(_, text)| text).collect(),
        ntp: Ntp::default(),
    };
    if let Some(mut ntp) = s.section("ntp", out) {
        network.ntp.enabled = ntp.boolean("enabled", out).unwrap_or(true);
        network.ntp.servers = ntp.strings("servers", 8, out).into_iter().map(|(_, text)| text).collect();
        ntp.finish(out);
    }
    s.finish(out);
    network
}

fn interface(mut s: Section, out: &mut Findings) -> Interface {
    let mut interface = Interface { name: s.string("name", out), made: made(&mut s, out), ..Interface::default() };
    let matched = s.section("match", out);
    match (matched, &interface.made) {
        (Some(_), Some(_)) => out.refuse(s.path_of("match"), "is for links that exist; this one is made by the node"),
        (Some(section), None) => interface.matches = link_match(section, out),
        (None, None) => out.refuse(s.path_of("match"), "is missing; give name, mac, driver or path"),
        (None, Some(_)) => {}
    }
    match (&interface.name, &interface.made) {
        (Some(_), None) => out.refuse(s.path_of("name"), "is for links that the node makes; write match: {name: …}"),
        (None, Some(_)) => out.refuse(s.path_of("name"), "is missing; a link that the node makes needs one"),
        _ => {}
    }
    interface.dhcp = s.boolean("dhcp", out).unwrap_or(false);
    interface.dhcp6 = s.boolean("dhcp6", out).unwrap_or(false);
    interface.accept_ra = s.boolean("acceptRA", out);
    interface.addresses = s.parsed_list("addresses", 32, PREFIX, out);
    interface.vip = s.parsed("vip", ADDRESS, out);
    interface.mtu = s.number("mtu", 576, 65_535, out);
    interface.routes = s.sections("routes", MAX_ENTRIES, out).into_iter().filter_map(|r| route(r, out)).collect();
    s.finish(out);
    interface
}

fn link_match(mut s: Section, out: &mut Findings) -> LinkMatch {
    let matches = LinkMatch {
        name: s.string("name", out),
        mac: s.string("mac", out).map(|mac| mac.to_ascii_lowercase()),
        driver: s.string("driver", out),
        path: s.string("path", out).map(|path| path.to_ascii_lowercase()),
    };
    if matches.is_empty() {
        out.refuse(s.path(), "names no link; give name, mac, driver or path");
    }
    if let Some(mac) = matches.mac.as_ref().filter(|mac| !validate::is_mac(mac)) {
        let reason = format!("must be six hex pairs such as 52:54:00:00:00:11, not {}", quote(mac));
        out.refuse(s.path_of("mac"), reason);
    }
    s.finish(out);
    matches
}

/// The kind of a link that the node makes; at most one.
fn made(s: &mut Section, out: &mut Findings) -> Option<Virtual> {
    let here = s.path().to_owned();
    let mut found = [
        s.section("vlan", out).map(|section| vlan(section, out)),
        s.section("bond", out).map(|section| bond(section, out)),
        s.section("bridge", out).map(|section| bridge(section, out)),
    ]
    .into_iter()
    .flatten();
    let first = found.next();
    if found.next().is_some() {
        out.refuse(here, "is of several kinds; keep one of vlan, bond, bridge");
    }
    first
}

fn vlan(mut s: Section, out: &mut Findings) -> Virtual {
    let id = s.number("id", 1, 4094, out).unwrap_or_else(|| {
        let path = s.path_of("id");
        if !out.errors.iter().any(|error| error.path == path) {
            out.refuse(path, "is missing; give a tag from 1 to 4094");
        }
        1
    });
    let parent = match s.section("parent", out) {
        Some(section) => link_match(section, out),
        None => {
            out.refuse(s.path_of("parent"), "is missing; give name, mac, driver or path of the link that carries it");
            LinkMatch::default()
        }
    };
    s.finish(out);
    Virtual::Vlan { id: u16::try_from(id).unwrap_or(1), parent }
}

fn members(s: &mut Section, out: &mut Findings) -> Vec<LinkMatch> {
    let members: Vec<_> = s.sections("members", 32, out).into_iter().map(|m| link_match(m, out)).collect();
    if members.is_empty() {
        out.refuse(s.path_of("members"), "is empty; give name, mac, driver or path of each link");
    }
    members
}

fn bond(mut s: Section, out: &mut Findings) -> Virtual {
    let mode = match s.string("mode", out) {
        None => BondMode::ActiveBackup,
        Some(text) => match BondMode::ALL.iter().find(|(name, _)| *name == text) {
            Some((_, mode)) => *mode,
            None => {
                let names: Vec<_> = BondMode::ALL.iter().map(|(name, _)| *name).collect();
                out.refuse(s.path_of("mode"), format!("must be one of {}, not {}", names.join(", "), quote(&text)));
                BondMode::ActiveBackup
            }
        },
    };
    let members = members(&mut s, out);
    let miimon = s.number("miimon", 0, 60_000, out).unwrap_or(100);
    s.finish(out);
    Virtual::Bond { mode, members, miimon }
}

fn bridge(mut s: Section, out: &mut Findings) -> Virtual {
    let members = members(&mut s, out);
    let stp = s.boolean("stp", out).unwrap_or(false);
    s.finish(out);
    Virtual::Bridge { members, stp }
}

fn route(mut s: Section, out: &mut Findings) -> Option<Route> {
    let missing = s.path_of("to");
    let before = out.errors.len();
    let to = s.parsed("to", "a destination such as 0.0.0.0/0", out);
    if to.is_none() && out.errors.len() == before {
        out.refuse(missing, "is missing");
    }
    let via = s.parsed("via", ADDRESS, out);
    let metric = s.number("metric", 0, u32::MAX, out);
    s.finish(out);
    Some(Route { to: to?, via, metric })
}
