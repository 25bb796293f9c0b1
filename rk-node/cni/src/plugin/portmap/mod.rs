//! `portmap`: ports of the host that lead into the container, by destination translation in nftables.
//!
//! One table for each family with one map for all ports, so that a port costs one element. What an ADD put there is written
//! down first, because DEL may know neither addresses nor ports any more. A file that is left is removed by the next DEL or GC.

mod removal;

use std::{
    fs::{self, File},
    net::IpAddr,
    path::PathBuf,
};

use removal::{read, remove};
use rk_nft::{Batch, Chain, Cmp, CtKey, Element, Expr, Family, Hook, MetaKey, NatKind, PayloadBase, Reg, Set, Value};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    bridge::sysctl,
    masquerade::{chain, octets, open},
    request::{Command, Request, failed},
};
use crate::{
    runtime::PortMapping,
    types::{CniError, CniResult},
};

const TABLE: &str = "cni-portmap";
/// `address . protocol . port`, where the address is zero for "any of this host".
const PORTS: &str = "ports";
/// Containers' addresses twice: a container that reaches itself through the host.
const HAIRPINS: &str = "hairpins";
/// Lost on reboot, as the rules are.
const STATE: &str = "/run/cni/portmap";
/// Who looks at the tables and then changes them does so alone: an address that goes may be another container's by then.
const LOCK: &str = "/run/cni/portmap.lock";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    runtime_config: RuntimeConfig,
    snat: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<PortMapping>,
}

/// One element of the map, as written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mapping {
    v6: bool,
    key: Vec<u8>,
    target: Vec<u8>,
}

impl Mapping {
    /// The element that lets the container reach itself by this port.
    fn hairpin(&self) -> Element {
        Element::key(hairpin_of(&self.target))
    }
}

/// The address of a target, an address and a port, twice.
fn hairpin_of(target: &[u8]) -> Vec<u8> {
    let address = &target[..target.len().saturating_sub(padded(0).len())];
    [address, address].concat()
}

pub(super) fn run(request: &Request) -> Answer {
    let config: Config = request.config()?;
    match request.command {
        Command::Add => {
            let previous = request
                .previous()?
                .ok_or_else(|| CniError::new(CniError::CONFIG, "portmap must be chained after another plugin"))?;
            let mappings = mappings(&config.runtime_config.port_mappings, &previous)?;
            if !mappings.is_empty() {
                let _lock = lock()?;
                add(request, &mappings, &previous, config.snat != Some(false))?;
            }
            Ok(Some(request.config["prevResult"].clone()))
        }
        Command::Del => {
            let _lock = lock()?;
            remove(&state_file(request, &request.container_id, &request.if_name)).map(|()| None)
        }
        Command::Check => {
            let netfilter = open()?;
            for mapping in read(&state_file(request, &request.container_id, &request.if_name)) {
                if !removal::present(&netfilter, &mapping)? {
                    return Err(CniError::new(CniError::FAILED, "a host port is no longer mapped"));
                }
            }
            Ok(None)
        }
        Command::Gc => {
            let _lock = lock()?;
            let kept: Vec<PathBuf> =
                request.keep()?.iter().map(|k| state_file(request, &k.container_id, &k.ifname)).collect();
            let files = fs::read_dir(state_dir(request)).into_iter().flatten().flatten().map(|e| e.path());
            files.filter(|path| !kept.contains(path)).try_for_each(|path| remove(&path)).map(|()| None)
        }
        Command::Status => Ok(None),
    }
}

/// Held for as long as the value lives.
fn lock() -> Result<File, CniError> {
    let open = || {
        fs::create_dir_all(STATE)?;
        let file = File::create(LOCK)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    open().map_err(|e: std::io::Error| failed(format!("lock {LOCK}"), e))
}

/// One directory for each network: GC knows only its own network's attachments.
fn state_dir(request: &Request) -> PathBuf {
    PathBuf::from(STATE).join(&request.name)
}

fn state_file(request: &Request, container_id: &str, if_name: &str) -> PathBuf {
    state_dir(request).join(format!("{container_id}-{if_name}.json"))
}

fn family(v6: bool) -> Family {
    if v6 { Family::Ip6 } else { Family::Ip }
}

/// Elements for the container's first address of each family.
fn mappings(ports: &[PortMapping], result: &CniResult) -> Result<Vec<Mapping>, CniError> {
    let mut mappings = Vec::new();
    let ips = result.pod_ips();
    for port in ports {
        let bad = |what: &str| CniError::new(CniError::CONFIG, format!("port mapping {port:?}: {what}"));
        let protocol = match port.protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => 6,
            "udp" => 17,
            "sctp" => 132,
            _ => return Err(bad("unknown protocol")),
        };
        if port.host_port == 0 || port.container_port == 0 {
            return Err(bad("ports must not be 0"));
        }
        let host: Option<IpAddr> = match port.host_ip.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| bad("hostIP is no address"))?),
        };
        for v6 in [false, true] {
            let Some(ip) = ips.iter().find(|ip| ip.is_ipv6() == v6) else { continue };
            if host.is_some_and(|host| host.is_ipv6() != v6) {
                continue;
            }
            let any = vec![0; if v6 { 16 } else { 4 }];
            let mut key = host.filter(|host| !host.is_unspecified()).map_or(any, octets);
            key.extend_from_slice(&[protocol, 0, 0, 0]);
            key.extend_from_slice(&padded(port.host_port));
            let target = [octets(*ip), padded(port.container_port).to_vec()].concat();
            mappings.push(Mapping { v6, key, target });
        }
    }
    Ok(mappings)
}

/// A port as concatenations hold it: network order, padded to four bytes.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn add(request: &Request, mappings: &[Mapping], result: &CniResult, snat: bool) -> Result<(), CniError> {
    let path = state_file(request, &request.container_id, &request.if_name);
    remove(&path)?;
    let document = serde_json::to_vec(mappings).map_err(|e| failed("encode port mappings", e))?;
    crate::conflist::write_file(&path, &document).map_err(|e| failed("write port mappings", chain(&e)))?;
    let netfilter = open()?;
    let mut batch = Batch::new();
    for v6 in [false, true] {
        let own: Vec<&Mapping> = mappings.iter().filter(|m| m.v6 == v6).collect();
        if own.is_empty() {
            continue;
        }
        let tables = netfilter.chains(family(v6), TABLE).map_err(|e| failed("list nftables", chain(&e)))?;
        if tables.is_empty() {
            skeleton(&mut batch, v6, snat);
        }
        let elements: Vec<Element> =
            own.iter().map(|m| Element { key: m.key.clone(), value: Value::Data(m.target.clone()) }).collect();
        batch.add_elements(family(v6), TABLE, PORTS, &elements);
        let hairpins: Vec<Element> = own.iter().map(|m| m.hairpin()).collect();
        batch.add_elements(family(v6), TABLE, HAIRPINS, &hairpins);
    }
    // Packets of the host's own loopback addresses may be routed to the container.
    if let Some(host) = result.interfaces.iter().find(|i| i.sandbox.is_empty()) {
        sysctl(&format!("ipv4/conf/{}/route_localnet", host.name), "1")?;
    }
    netfilter.commit(batch).map_err(|error| {
        if changed_nothing(&error) {
            let _ = fs::remove_file(&path);
        }
        match error.errno() {
            Some(nix::libc::EEXIST) => {
                CniError::new(CniError::FAILED, "a host port is already mapped to another container")
            }
            _ => failed("map host ports", chain(&error)),
        }
    })
}

/// Whether a change that failed was surely not made: it was refused as a whole. After any other failure what was to be mapped stays written
/// down, so that a DEL finds it.
fn changed_nothing(error: &rk_nft::Error) -> bool {
    matches!(error, rk_nft::Error::Refused { .. })
}

/// Tables, maps and rules, made once.
fn skeleton(batch: &mut Batch, v6: bool, snat: bool) {
    let family = family(v6);
    let (len, words, source_at, target_at) = if v6 { (16, 4, 8, 24) } else { (4, 1, 12, 16) };
    batch.add_table(family, TABLE);
    batch.add_set(
        family,
        TABLE,
        &Set { name: PORTS, key_type: 0, key_len: len + 8, data_len: Some(len + 4), timeout_ms: None, size: None },
    );
    batch.add_set(
        family,
        TABLE,
        &Set { name: HAIRPINS, key_type: 0, key_len: 2 * len, data_len: None, timeout_ms: None, size: None },
    );
    let port = Reg(words + 1);
    let found = Reg(words + 2);
    // The first rule asks for the very address, the second for any of the host's.
    let rule = |any: bool| {
        let address = match any {
            true => Expr::Immediate { to: Reg(0), value: vec![0; len as usize] },
            false => Expr::Payload { base: PayloadBase::Network, offset: target_at, len, to: Reg(0) },
        };
        vec![
            Expr::FibAddrType { source: false, to: Reg(0) },
            // RTN_LOCAL
            Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: 2u32.to_ne_bytes().to_vec() },
            address,
            Expr::Meta { key: MetaKey::L4Proto, to: Reg(words) },
            Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, to: port },
            Expr::Lookup { set: PORTS.into(), key: Reg(0), to: Some(found), invert: false },
            Expr::Nat { kind: NatKind::Dnat, v6, addr: found, port: Some(Reg(found.0 + words)) },
        ]
    };
    for (name, number) in [("prerouting", 0), ("output", 3)] {
        let hook = Hook { kind: "nat", number, priority: -100 };
        batch.add_chain(family, TABLE, Chain { name, hook: Some(hook) });
        // Two containers may be the first one at the same moment.
        batch.flush_chain(family, TABLE, name);
        batch.add_rule(family, TABLE, name, &rule(false), &[]);
        batch.add_rule(family, TABLE, name, &rule(true), &[]);
    }
    if !snat {
        return;
    }
    batch.add_chain(
        family,
        TABLE,
        Chain { name: "postrouting", hook: Some(Hook { kind: "nat", number: 4, priority: 100 }) },
    );
    batch.flush_chain(family, TABLE, "postrouting");
    let translated = [
        Expr::Ct { key: CtKey::Status, to: Reg(0) },
        // IPS_DST_NAT
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: 0x20u32.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: vec![0; 4] },
    ];
    let source = Expr::Payload { base: PayloadBase::Network, offset: source_at, len, to: Reg(0) };
    let target = Expr::Payload { base: PayloadBase::Network, offset: target_at, len, to: Reg(words) };
    let itself = [source.clone(), target, rk_nft::lookup(HAIRPINS, Reg(0)), Expr::Masquerade { random: true }];
    batch.add_rule(family, TABLE, "postrouting", &[translated.as_slice(), &itself].concat(), &[]);
    let mut loopback = translated.to_vec();
    loopback.push(source);
    if v6 {
        loopback.push(Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: std::net::Ipv6Addr::LOCALHOST.octets().to_vec() });
    } else {
        loopback.push(Expr::Bitwise { from: Reg(0), to: Reg(0), mask: vec![255, 0, 0, 0], xor: vec![0; 4] });
        loopback.push(Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: vec![127, 0, 0, 0] });
    }
    loopback.push(Expr::Masquerade { random: true });
    batch.add_rule(family, TABLE, "postrouting", &loopback, &[]);
}

#[cfg(test)]
mod tests {
    use std::io;

    use rk_nft::Error;

    use super::*;

    #[test]
    fn a_change_that_nobody_answered_for_may_have_been_made() {
        let source = || io::Error::from_raw_os_error(nix::libc::EEXIST);
        assert!(changed_nothing(&Error::Refused { what: "add an element".to_owned(), source: source() }));
        assert!(!changed_nothing(&Error::Io { action: "receive", source: source() }));
        assert!(!changed_nothing(&Error::Unacknowledged));
    }
}
