//! Which entry of the machine config a link takes.

use std::fs;
use std::path::Path;

use rk_config::{Interface, LinkMatch, Network, Virtual};

/// What a match can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits {
    /// Kernel name.
    pub name: String,
    /// Lower case with colons.
    pub mac: String,
    /// Kernel driver, if the link is a device.
    pub driver: Option<String>,
    /// Address on its bus, if the link is a device.
    pub path: Option<String>,
    /// A network card, real or virtual, and not a bridge, tunnel or pod's link.
    pub device: bool,
}

/// The entry for a link: the first that matches. Without any entry in the whole config, every network card asks by DHCP.
pub fn entry_for(network: &Network, link: &Traits) -> Option<Interface> {
    if network.interfaces.is_empty() {
        return link.device.then(|| Interface { dhcp: true, ..Interface::default() });
    }
    let meant = |entry: &&Interface| match &entry.name {
        Some(name) => *name == link.name,
        None => matches(&entry.matches, link),
    };
    network.interfaces.iter().find(meant).cloned()
}

/// Whether every given field names the link.
pub fn matches(wanted: &LinkMatch, link: &Traits) -> bool {
    let name = wanted.name.as_ref().is_none_or(|pattern| wildcard(pattern.as_bytes(), link.name.as_bytes()));
    let mac = wanted.mac.as_ref().is_none_or(|mac| *mac == link.mac);
    let driver = wanted.driver.as_ref().is_none_or(|driver| link.driver.as_ref() == Some(driver));
    let path = wanted.path.as_ref().is_none_or(|path| link.path.as_ref() == Some(path));
    // A bare `*` must not take over the links of pods.
    let own = link.device || wanted.name.as_deref() == Some(link.name.as_str());
    name && mac && driver && path && own
}

/// Whether an entry means this very link by its name, or has it as a part. A link that is no card is meant in no other way.
pub fn is_named(network: &Network, link: &str) -> bool {
    let is = |name: &Option<String>| name.as_deref() == Some(link);
    network.interfaces.iter().any(|entry| {
        let parts: &[LinkMatch] = match &entry.made {
            Some(Virtual::Bond { members, .. } | Virtual::Bridge { members, .. }) => members,
            Some(Virtual::Vlan { parent, .. }) => std::slice::from_ref(parent),
            None => &[],
        };
        is(&entry.name) || is(&entry.matches.name) || parts.iter().any(|part| is(&part.name))
    })
}

/// Driver and address on its bus, from sysfs.
pub fn hardware(link: &str) -> (Option<String>, Option<String>) {
    let device = format!("/sys/class/net/{link}/device");
    let driver = fs::read_link(format!("{device}/driver"))
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    (driver, fs::canonicalize(&device).ok().and_then(|path| bus_address(&path)))
}

/// The last part that is an address on a bus: virtio devices hang below the PCI function that an operator knows.
fn bus_address(device: &Path) -> Option<String> {
    let mut parts = device.components().rev().filter_map(|part| part.as_os_str().to_str());
    parts.find(|part| part.matches(':').count() == 2 && part.contains('.')).map(str::to_owned)
}

/// `*` stands for any text, `?` for one character.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            wildcard(rest, text) || text.split_first().is_some_and(|(_, shorter)| wildcard(pattern, shorter))
        }
        (Some((b'?', rest)), Some((_, shorter))) => wildcard(rest, shorter),
        (Some((a, rest)), Some((b, shorter))) if a == b => wildcard(rest, shorter),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str) -> Traits {
        Traits {
            name: name.to_owned(),
            mac: "52:54:00:00:00:11".to_owned(),
            driver: Some("virtio_net".to_owned()),
            path: Some("0000:00:03.0".to_owned()),
            device: true,
        }
    }

    fn network(entries: &[LinkMatch]) -> Network {
        let interfaces = entries.iter().map(|m| Interface { matches: m.clone(), ..Interface::default() }).collect();
        Network { interfaces, ..Network::default() }
    }

    fn by(name: Option<&str>, mac: Option<&str>, driver: Option<&str>) -> LinkMatch {
        let own = |text: Option<&str>| text.map(str::to_owned);
        LinkMatch { name: own(name), mac: own(mac), driver: own(driver), path: None }
    }

    #[test]
    fn a_link_is_named_by_an_entry_or_as_a_part_of_one_and_not_by_a_pattern() {
        let made =
            |made: Virtual| Interface { name: Some("made0".to_owned()), made: Some(made), ..Interface::default() };
        let mut network = network(&[by(Some("veth-up"), None, None), by(Some("*"), None, None)]);
        network.interfaces.push(made(Virtual::Bridge { members: vec![by(Some("port0"), None, None)], stp: false }));
        network.interfaces.push(made(Virtual::Vlan { id: 7, parent: by(Some("trunk0"), None, None) }));
        for (link, named) in [
            ("veth-up", true),
            ("made0", true),
            ("port0", true),
            ("trunk0", true),
            ("veth1a2b3c4d", false),
            ("*", true),
        ] {
            assert_eq!(is_named(&network, link), named, "{link}");
        }
    }

    #[test]
    fn without_entries_every_card_asks_by_dhcp_and_nothing_else_does() {
        assert!(entry_for(&network(&[]), &card("eth0")).unwrap().dhcp);
        assert_eq!(entry_for(&network(&[]), &Traits { device: false, ..card("cni0") }), None);
    }

    #[test]
    fn links_are_told_by_name_mac_and_driver_together() {
        let table = [
            (by(Some("eth0"), None, None), true),
            (by(Some("eth*"), None, None), true),
            (by(Some("e?h0"), None, None), true),
            (by(Some("eth"), None, None), false),
            (by(None, Some("52:54:00:00:00:11"), None), true),
            (by(None, None, Some("virtio_net")), true),
            (by(Some("eth0"), None, Some("e1000")), false),
        ];
        for (wanted, found) in table {
            assert_eq!(
                entry_for(&network(std::slice::from_ref(&wanted)), &card("eth0")).is_some(),
                found,
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn a_wildcard_does_not_take_links_that_are_no_devices() {
        let bridge = Traits { device: false, ..card("cni0") };
        assert_eq!(entry_for(&network(&[by(Some("*"), None, None)]), &bridge), None);
        assert!(entry_for(&network(&[by(Some("cni0"), None, None)]), &bridge).is_some());
    }
}
