//! What ranges of pods and Services must be, for themselves and beside each other.

use crate::families::Ranges;
use crate::plane::MOST_NODE_BITS;
use crate::reader::Findings;
use crate::types::{Cluster, MachineConfig};
use ipnet::Ipv6Net;

/// Most bits by which addresses of Services may differ; upstream's bound, which IPv4 never reaches.
const MOST_SERVICE_BITS: u8 = 64;

/// Checks `cluster.podCIDR`, `cluster.serviceCIDR` and `cluster.dnsIP`, and what each node gets of the first.
pub(crate) fn ranges(config: &MachineConfig, out: &mut Findings) {
    let cluster = &config.cluster;
    for (path, ranges) in [("cluster.podCIDR", cluster.pod_cidr), ("cluster.serviceCIDR", cluster.service_cidr)] {
        each(path, &ranges, out);
    }
    services(cluster, out);
    parts(config, out);
}

fn each(path: &str, ranges: &Ranges, out: &mut Findings) {
    for range in ranges.all().into_iter().filter(|range| range.addr() != range.network()) {
        out.refuse(path, format!("has host bits set; did you mean {}?", range.trunc()));
    }
    if let Some(range) = ranges.v6.filter(|range| !is_routed(range)) {
        out.refuse(path, format!("{range} is no range of addresses that hosts can have"));
    }
}

/// Not of one link, one host, a group of hosts, or another family in disguise.
fn is_routed(range: &Ipv6Net) -> bool {
    let first = range.network();
    let odd = first.is_unicast_link_local() || first.is_multicast() || first.is_loopback() || first.is_unspecified();
    !odd && first.to_ipv4_mapped().is_none()
}

fn services(cluster: &Cluster, out: &mut Findings) {
    let (path, services) = ("cluster.serviceCIDR", &cluster.service_cidr);
    if services.v4.prefix_len() > 28 {
        out.refuse(path, "must be /28 or larger");
    }
    if let Some(range) = services.v6 {
        let (all, mask) = (range.max_prefix_len(), range.prefix_len());
        let least = all.saturating_sub(MOST_SERVICE_BITS);
        if mask > 124 {
            out.refuse(path, format!("must be /124 or larger where it is of IPv6, not {range}"));
        } else if mask < least {
            out.refuse(path, format!("{range} is too large; for {all}-bit addresses, the mask must be >= {least}"));
        }
        if cluster.pod_cidr.v6.is_none() {
            out.refuse(path, "has an IPv6 range, and cluster.podCIDR has none; a dual-stack cluster needs both");
        }
    }
    if cluster.pod_cidr.overlaps(services) {
        out.refuse(path, "overlaps with cluster.podCIDR");
    }
    if !services.v4.contains(&cluster.dns_ip) {
        out.refuse("cluster.dnsIP", format!("{} is not within {path} {services}", cluster.dns_ip));
    }
}

/// Every node gets its part of the range of all pods. How large a part, only control planes say.
fn parts(config: &MachineConfig, out: &mut Findings) {
    let Some(plane) = &config.control_plane else { return };
    let pods = &config.cluster.pod_cidr;
    part(pods.v4.prefix_len().into(), plane.node_mask(), "nodeCIDRMaskSize", out);
    match pods.v6 {
        Some(range) => part(range.prefix_len().into(), plane.node_mask_ipv6(), "nodeCIDRMaskSizeIPv6", out),
        None if plane.node_cidr_mask_size_ipv6.is_some() => {
            let reason = "is for a cluster.podCIDR that has an IPv6 range; remove it or add one";
            out.refuse("controlPlane.nodeCIDRMaskSizeIPv6", reason);
        }
        None => {}
    }
}

fn part(all: u32, mask: u32, field: &str, out: &mut Findings) {
    if mask < all {
        out.refuse("cluster.podCIDR", format!("must be /{mask} or larger: every node gets a /{mask} of it"));
    } else if mask > all + MOST_NODE_BITS {
        let reason = format!("must be at most {MOST_NODE_BITS} more than the /{all} of cluster.podCIDR, not {mask}");
        out.refuse(format!("controlPlane.{field}"), reason);
    }
}
