//! What an address that control planes share must be.

use crate::reader::Findings;
use crate::types::{MachineConfig, Role};
use std::net::IpAddr;

/// Checks every `network.interfaces[].vip`. What a role demands is checked when the role is known.
pub(crate) fn vips(config: &MachineConfig, role_known: bool, out: &mut Findings) {
    for (i, vip) in config.network.interfaces.iter().enumerate().filter_map(|(i, one)| Some((i, one.vip?))) {
        let at = format!("network.interfaces[{i}].vip");
        if config.role == Role::Worker {
            if role_known {
                out.refuse(at, "is for role control-plane only; remove it or change role");
            }
        } else if let Some(reason) = why_not(config, i, vip) {
            out.refuse(at, reason);
        }
    }
}

fn why_not(config: &MachineConfig, entry: usize, vip: IpAddr) -> Option<String> {
    let (network, cluster) = (&config.network, &config.cluster);
    let link_local = match vip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() || link_local {
        return Some("must be an address that other machines reach".to_owned());
    }
    if let Some(owner) =
        network.interfaces.iter().position(|one| one.addresses.iter().any(|address| address.addr() == vip))
    {
        return Some(format!("is an address of this machine alone by network.interfaces[{owner}]; take a free one"));
    }
    if config.kubelet.node_ip.is_some_and(|ips| ips.all().contains(&vip)) {
        return Some("is kubelet.nodeIP, which is this machine's alone; take a free address".to_owned());
    }
    if network.interfaces.iter().take(entry).any(|before| before.vip == Some(vip)) {
        return Some("is on an entry before; an address is on one link".to_owned());
    }
    let ranges = [("cluster.podCIDR", cluster.pod_cidr), ("cluster.serviceCIDR", cluster.service_cidr)];
    let taken = ranges.into_iter().find_map(|(name, ranges)| Some((name, ranges.of(vip)?)));
    taken.map(|(name, range)| format!("is within {name} {range}; take an address of the machines' network"))
}
