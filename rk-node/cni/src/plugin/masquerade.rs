//! Source translation of pods' packets that leave the cluster: one nftables table for each network.

use std::net::IpAddr;

use ipnet::IpNet;
use rk_nft::{Batch, Chain, Cmp, Element, Expr, Family, Hook, Netfilter, PayloadBase, Reg, Set};

use super::request::failed;
use crate::types::CniError;

const SOURCES: &str = "sources";

fn family(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::Ip } else { Family::Ip6 }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Masquerades what `ips` send to anywhere but `except` and multicast. The rules are written anew each time, all in one
/// transaction, so that a changed configuration takes effect with the next pod.
pub(super) fn add(table: &str, ips: &[IpAddr], except: &[IpNet]) -> Result<(), CniError> {
    let mut batch = Batch::new();
    for ip in ips {
        let v4 = ip.is_ipv4();
        let family = family(*ip);
        let len = if v4 { 4 } else { 16 };
        let (source_at, target_at) = if v4 { (12, 16) } else { (8, 24) };
        let payload = |offset| Expr::Payload { base: PayloadBase::Network, offset, len, to: Reg(0) };
        batch.add_table(family, table);
        let set = Set {
            name: SOURCES,
            key_type: if v4 { 7 } else { 8 },
            key_len: len,
            data_len: None,
            timeout_ms: None,
            size: None,
        };
        batch.add_set(family, table, &set);
        batch.add_elements(family, table, SOURCES, &[Element::key(octets(*ip))]);
        let hook = Hook { kind: "nat", number: 4, priority: 100 };
        batch.add_chain(family, table, Chain { name: "postrouting", hook: Some(hook) });
        batch.flush_chain(family, table, "postrouting");
        let mut rule = vec![payload(source_at), rk_nft::lookup(SOURCES, Reg(0)), payload(target_at)];
        let multicast = if v4 { "224.0.0.0/4" } else { "ff00::/8" };
        let multicast = multicast.parse::<IpNet>().ok();
        for net in except.iter().chain(&multicast).filter(|net| net.addr().is_ipv4() == v4) {
            let mask = octets(net.netmask());
            rule.push(Expr::Bitwise { from: Reg(0), to: Reg(4), xor: vec![0; mask.len()], mask });
            rule.push(Expr::Cmp { op: Cmp::Ne, reg: Reg(4), value: octets(net.network()) });
        }
        rule.push(Expr::Masquerade { random: true });
        batch.add_rule(family, table, "postrouting", &rule, &[]);
    }
    commit(batch)
}

/// Forgets addresses; absent ones are fine.
pub(super) fn remove(table: &str, ips: &[IpAddr]) -> Result<(), CniError> {
    let netfilter = open()?;
    for ip in ips {
        let known =
            netfilter.elements(family(*ip), table, SOURCES).map_err(|e| failed("list masqueraded pods", chain(&e)))?;
        if known.iter().any(|(key, _)| *key == octets(*ip)) {
            let mut batch = Batch::new();
            batch.delete_elements(family(*ip), table, SOURCES, &[Element::key(octets(*ip))]);
            netfilter.commit(batch).map_err(|e| failed("stop masquerading", chain(&e)))?;
        }
    }
    Ok(())
}

/// Whether an address is masqueraded.
pub(super) fn check(table: &str, ip: IpAddr) -> Result<bool, CniError> {
    let known = open()?.elements(family(ip), table, SOURCES).map_err(|e| failed("list masqueraded pods", chain(&e)))?;
    Ok(known.iter().any(|(key, _)| *key == octets(ip)))
}

pub(super) fn open() -> Result<Netfilter, CniError> {
    Netfilter::open().map_err(|e| failed("open nftables", chain(&e)))
}

pub(super) fn commit(batch: Batch) -> Result<(), CniError> {
    open()?.commit(batch).map_err(|e| failed("change nftables", chain(&e)))
}

/// The error with its sources.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
