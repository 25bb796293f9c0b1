//! What one Service looks like in packet rules: a pure function of the Service, its slices and the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    endpoints::{Backend, Backends, select},
    model::{Protocol, Service, ServicePort, Slice},
};

/// What the plan must know of the node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its zone, if the cluster has zones.
    pub zone: Option<String>,
    /// Pods' networks of the whole cluster: only their packets keep their source on the way to a ClusterIP.
    pub pod_cidrs: Vec<IpNet>,
    /// ClusterIPs that somebody else on this node serves.
    pub skip: Vec<IpAddr>,
}

/// What packets are recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Packets to this address (`None`: any of the node's own) and port are translated.
    Frontend(Option<IpAddr>, Protocol, u16),
    /// Packets to this address and port that were not translated are refused.
    Refused(Option<IpAddr>, Protocol, u16),
    /// Every port of this address that no Service has is refused.
    ClusterIp(IpAddr),
    /// This pod may reach itself through a Service.
    Hairpin(IpAddr),
}

/// What happens to packets of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A backend of the group gets them.
    Serve(Serving),
    /// The sender is told.
    Reject,
    /// The sender is not told.
    Drop,
    /// Being listed is all.
    Listed,
}

/// How a frontend's packets get to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The group, by the Service's port: `tcp/80`.
    pub group: String,
    /// Which of its backends, and whether the source is masqueraded.
    pub traffic: Traffic,
    /// Milliseconds that a client stays with its backend after its last new connection.
    pub sticky_ms: Option<u64>,
    /// Only these sources; empty is everybody.
    pub ranges: Vec<IpNet>,
}

/// Kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// To a ClusterIP: any backend; sources that are no pods are masqueraded, so that answers come back this way.
    Cluster,
    /// To a ClusterIP of a Service with a Local internal policy: backends of this node.
    Local,
    /// From outside: any backend, masqueraded.
    External,
    /// From outside under a Local policy: backends of this node, who see the client; pods and this node itself may use any.
    ExternalLocal,
}

/// The backends of a Service port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// For traffic to the whole cluster.
    pub cluster: BTreeSet<Backend>,
    /// Of this node, when a policy asks for them.
    pub local: BTreeSet<Backend>,
    /// Clients come back to where they were.
    pub sticky: bool,
}

/// One family's part of a Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// By port: `tcp/80`.
    pub groups: BTreeMap<String, Group>,
    /// Entries of the maps and sets that all Services share.
    pub slots: BTreeMap<Slot, Fate>,
    /// UDP: where connections may lead to from which address and port (`None` is any address of the node).
    pub udp: BTreeMap<(Option<IpAddr>, u16), BTreeSet<Backend>>,
}

/// What load balancers are told of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Port of the node.
    pub port: u16,
    /// Endpoints on this node that are ready, also where others serve that are not.
    pub local_endpoints: usize,
}

/// A whole Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// IPv4.
    pub v4: Side,
    /// IPv6.
    pub v6: Side,
    /// Health check for load balancers.
    pub health: Option<Health>,
}

/// Plans one Service.
pub fn plan(service: &Service, slices: &[&Slice], node: &Node) -> Plan {
    let mut plan = Plan::default();
    let mut local = BTreeSet::new();
    for v6 in [false, true] {
        let side = if v6 { &mut plan.v6 } else { &mut plan.v4 };
        for port in &service.ports {
            let backends = select(port, slices, v6, node);
            local.extend(backends.ready.iter().copied());
            PortPlan { service, port, node, v6, backends: &backends }.add_to(side);
        }
    }
    plan.health = service.health_check_port.map(|port| Health { port, local_endpoints: local.len() });
    plan
}

/// One port of one family.
struct PortPlan<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    node: &'a Node,
    v6: bool,
    backends: &'a Backends,
}

impl PortPlan<'_> {
    fn add_to(&self, side: &mut Side) {
        let mine = |ips: &[IpAddr]| -> Vec<IpAddr> {
            ips.iter().filter(|ip| ip.is_ipv6() == self.v6 && !self.node.skip.contains(ip)).copied().collect()
        };
        let cluster_ips = mine(&self.service.cluster_ips);
        if cluster_ips.is_empty() {
            return;
        }
        let external_ips = mine(&self.service.external_ips);
        let load_balancer_ips = mine(&self.service.load_balancer_ips);
        side.slots.extend(cluster_ips.iter().map(|ip| (Slot::ClusterIp(*ip), Fate::Listed)));
        side.slots.extend(self.backends.here.iter().map(|ip| (Slot::Hairpin(*ip), Fate::Listed)));
        let uses_local = self.service.internal_local || self.service.external_local;
        let group = Group {
            cluster: self.backends.cluster.clone(),
            local: if uses_local { self.backends.local.clone() } else { BTreeSet::new() },
            sticky: self.service.affinity.is_some(),
        };
        if !group.cluster.is_empty() || !group.local.is_empty() {
            side.groups.insert(self.group(), group);
        }
        for ip in &cluster_ips {
            self.internal(side, *ip);
        }
        for ip in &external_ips {
            self.external(side, Some(*ip), self.port.port, &[]);
        }
        self.load_balancer(side, &load_balancer_ips);
        if let Some(node_port) = self.port.node_port {
            self.external(side, None, node_port, &[]);
        }
    }

    fn group(&self) -> String {
        format!("{}/{}", self.port.protocol.name(), self.port.port)
    }

    fn serve(&self, traffic: Traffic, ranges: &[IpNet]) -> Fate {
        Fate::Serve(Serving {
            group: self.group(),
            traffic,
            sticky_ms: self.service.affinity.map(|seconds| u64::from(seconds) * 1000),
            ranges: ranges.to_vec(),
        })
    }

    fn internal(&self, side: &mut Side, ip: IpAddr) {
        let (local, cluster) = (!self.backends.local.is_empty(), !self.backends.cluster.is_empty());
        let (traffic, open) =
            if self.service.internal_local { (Traffic::Local, local) } else { (Traffic::Cluster, cluster) };
        let (protocol, port) = (self.port.protocol, self.port.port);
        self.udp(side, Some(ip), port);
        if open {
            side.slots.insert(Slot::Frontend(Some(ip), protocol, port), self.serve(traffic, &[]));
        } else {
            // Somebody serves elsewhere: silence, as the policy wants; nobody serves at all: say so.
            let fate = if cluster { Fate::Drop } else { Fate::Reject };
            side.slots.insert(Slot::Refused(Some(ip), protocol, port), fate);
        }
    }

    /// Traffic from outside, and from pods and this node to the outside addresses.
    fn external(&self, side: &mut Side, ip: Option<IpAddr>, port: u16, ranges: &[IpNet]) {
        let refused = Slot::Refused(ip, self.port.protocol, port);
        if self.backends.cluster.is_empty() {
            side.slots.insert(refused, Fate::Reject);
            return;
        }
        let local = self.service.external_local;
        let traffic = if local { Traffic::ExternalLocal } else { Traffic::External };
        side.slots.insert(Slot::Frontend(ip, self.port.protocol, port), self.serve(traffic, ranges));
        self.udp(side, ip, port);
        // What the rules let pass untranslated meets the filter.
        if !ranges.is_empty() || (local && self.backends.local.is_empty()) {
            side.slots.insert(refused, Fate::Drop);
        }
    }

    /// Without a range of this family nobody may come in by it.
    fn load_balancer(&self, side: &mut Side, ips: &[IpAddr]) {
        let fit = |net: &&IpNet| net.addr().is_ipv6() == self.v6;
        let ranges: Vec<IpNet> = self.service.source_ranges.iter().filter(fit).copied().collect();
        for ip in ips {
            if self.service.source_ranges.is_empty() || !ranges.is_empty() {
                self.external(side, Some(*ip), self.port.port, &ranges);
            } else {
                side.slots.insert(Slot::Refused(Some(*ip), self.port.protocol, self.port.port), Fate::Drop);
            }
        }
    }

    /// Policies, hints and the end of a backend are for new connections: those that there are go on for as long as it serves, as with TCP.
    fn udp(&self, side: &mut Side, ip: Option<IpAddr>, port: u16) {
        if self.port.protocol == Protocol::Udp && !self.backends.alive.is_empty() {
            side.udp.entry((ip, port)).or_default().extend(self.backends.alive.iter().copied());
        }
    }
}
