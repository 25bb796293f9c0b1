//! What one Service looks like in packet rules: a pure function of the Service, its slices and the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    endpoints::{Backend, Backends, select},
    model::{Protocol, Service, ServiceKey, ServicePort, Slice},
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

/// A key of one of the tables' maps and sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Packets to this address and port are translated.
    Service(IpAddr, Protocol, u16),
    /// Packets to this port of any of the node's addresses are translated.
    NodePort(Protocol, u16),
    /// Packets to this address and port that were not translated are refused.
    Refused(IpAddr, Protocol, u16),
    /// Packets to this port of the node are refused.
    RefusedNodePort(Protocol, u16),
    /// Every port of this address that no Service has is refused.
    ClusterIp(IpAddr),
    /// This pod may reach itself through a Service.
    Hairpin(IpAddr),
}

/// What happens to packets of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// A chain decides.
    Chain(String),
    /// The sender is told.
    Reject,
    /// The sender is not told.
    Drop,
    /// Being listed is all.
    Listed,
}

/// A rule of a Service's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Masquerade this connection unless its source is a pod.
    MasqueradeUnlessFrom(Vec<IpNet>),
    /// Masquerade this connection.
    Masquerade,
    /// Packets from this network go on in that chain.
    From(IpNet, String),
    /// Packets of this node's own processes are masqueraded and go on in that chain.
    FromNode(String),
    /// Everything goes on in that chain.
    Goto(String),
    /// A client that came before goes where it went, if that still serves.
    Resume(Sticky),
    /// Any one of these, remembered if sticky.
    Balance(Vec<Backend>, Option<Sticky>),
}

/// Session affinity of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// Names the map of clients and the set of backends.
    pub name: String,
    /// Milliseconds since a client's last new connection.
    pub timeout_ms: u64,
}

/// One family's part of a Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// Chains of this Service alone.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Entries of the shared maps.
    pub slots: BTreeMap<Slot, Fate>,
    /// Backends that sticky clients may return to.
    pub sticky: BTreeMap<String, BTreeSet<Backend>>,
    /// UDP: where packets may be sent to from which address and port (`None` is any address of the node).
    pub udp: BTreeMap<(Option<IpAddr>, u16), BTreeSet<Backend>>,
}

/// What load balancers are told of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Port of the node.
    pub port: u16,
    /// Endpoints on this node.
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
            let backends = select(service, port, slices, v6, node);
            local.extend(backends.local.iter().map(|(ip, _)| *ip));
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
        if !self.backends.cluster.is_empty() {
            self.balance(side, "cluster", &self.backends.cluster, true);
        }
        let uses_local = self.service.internal_local || self.service.external_local;
        if uses_local && !self.backends.local.is_empty() {
            self.balance(side, "local", &self.backends.local, false);
        }
        for ip in &cluster_ips {
            self.internal(side, *ip);
        }
        let public = !external_ips.is_empty() || !load_balancer_ips.is_empty() || self.port.node_port.is_some();
        if public && !self.backends.cluster.is_empty() {
            self.external_chain(side);
        }
        for ip in &external_ips {
            self.external(side, *ip, &self.chain("external"));
        }
        self.load_balancer(side, &load_balancer_ips);
        if let Some(node_port) = self.port.node_port {
            self.node_port(side, node_port);
        }
    }

    fn chain(&self, role: &str) -> String {
        let ServiceKey { namespace, name } = &self.service.key;
        format!("{role}-{namespace}/{name}/{}/{}", self.port.protocol.name(), self.port.port)
    }

    /// The chain that picks a backend.
    fn balance(&self, side: &mut Side, role: &str, backends: &BTreeSet<Backend>, masquerade: bool) {
        let name = self.chain(role);
        let mut rules = Vec::new();
        if masquerade && !self.own_cidrs().is_empty() {
            rules.push(Rule::MasqueradeUnlessFrom(self.own_cidrs()));
        }
        let sticky =
            self.service.affinity.map(|seconds| Sticky { name: name.clone(), timeout_ms: u64::from(seconds) * 1000 });
        if let Some(sticky) = &sticky {
            rules.push(Rule::Resume(sticky.clone()));
            side.sticky.insert(name.clone(), backends.clone());
        }
        rules.push(Rule::Balance(backends.iter().copied().collect(), sticky));
        side.chains.insert(name, rules);
    }

    fn own_cidrs(&self) -> Vec<IpNet> {
        self.node.pod_cidrs.iter().filter(|net| net.addr().is_ipv6() == self.v6).copied().collect()
    }

    fn internal(&self, side: &mut Side, ip: IpAddr) {
        let (local, cluster) = (!self.backends.local.is_empty(), !self.backends.cluster.is_empty());
        let (role, open) = if self.service.internal_local { ("local", local) } else { ("cluster", cluster) };
        if open {
            side.slots.insert(self.slot(ip), Fate::Chain(self.chain(role)));
            self.udp(side, Some(ip), self.port.port, role);
        } else {
            // Somebody serves elsewhere: silence, as the policy wants; nobody serves at all: say so.
            side.slots.insert(self.refused(ip), if cluster { Fate::Drop } else { Fate::Reject });
        }
    }

    /// Traffic from outside, and from pods and this node to the outside addresses.
    fn external_chain(&self, side: &mut Side) {
        let cluster = self.chain("cluster");
        let rules = if self.service.external_local {
            let mut rules: Vec<Rule> =
                self.own_cidrs().into_iter().map(|net| Rule::From(net, cluster.clone())).collect();
            rules.push(Rule::FromNode(cluster));
            if !self.backends.local.is_empty() {
                rules.push(Rule::Goto(self.chain("local")));
            }
            rules
        } else {
            vec![Rule::Masquerade, Rule::Goto(cluster)]
        };
        side.chains.insert(self.chain("external"), rules);
    }

    fn external(&self, side: &mut Side, ip: IpAddr, chain: &str) {
        if self.backends.cluster.is_empty() {
            side.slots.insert(self.refused(ip), Fate::Reject);
            return;
        }
        side.slots.insert(self.slot(ip), Fate::Chain(chain.to_owned()));
        self.udp(side, Some(ip), self.port.port, "cluster");
        if self.service.external_local && self.backends.local.is_empty() {
            side.slots.insert(self.refused(ip), Fate::Drop);
        }
    }

    /// Clients outside the allowed ranges pass the chain untranslated and are dropped by the filter.
    fn load_balancer(&self, side: &mut Side, ips: &[IpAddr]) {
        let ranges = || self.service.source_ranges.iter().filter(|net| net.addr().is_ipv6() == self.v6);
        if self.service.source_ranges.is_empty() || self.backends.cluster.is_empty() {
            ips.iter().for_each(|ip| self.external(side, *ip, &self.chain("external")));
            return;
        }
        let firewall = self.chain("firewall");
        for ip in ips {
            self.external(side, *ip, &firewall);
            side.slots.insert(self.refused(*ip), Fate::Drop);
            let rules = ranges().map(|net| Rule::From(*net, self.chain("external"))).collect();
            side.chains.insert(firewall.clone(), rules);
        }
    }

    fn node_port(&self, side: &mut Side, node_port: u16) {
        let protocol = self.port.protocol;
        if self.backends.cluster.is_empty() {
            side.slots.insert(Slot::RefusedNodePort(protocol, node_port), Fate::Reject);
            return;
        }
        side.slots.insert(Slot::NodePort(protocol, node_port), Fate::Chain(self.chain("external")));
        self.udp(side, None, node_port, "cluster");
        if self.service.external_local && self.backends.local.is_empty() {
            side.slots.insert(Slot::RefusedNodePort(protocol, node_port), Fate::Drop);
        }
    }

    fn udp(&self, side: &mut Side, ip: Option<IpAddr>, port: u16, role: &str) {
        if self.port.protocol == Protocol::Udp {
            let backends = if role == "local" { &self.backends.local } else { &self.backends.cluster };
            let entry = side.udp.entry((ip, port)).or_default();
            entry.extend(backends.iter().copied());
            // A Local policy may send to backends that hints or readiness keep from the cluster's list.
            if self.service.external_local {
                entry.extend(self.backends.local.iter().copied());
            }
        }
    }

    fn slot(&self, ip: IpAddr) -> Slot {
        Slot::Service(ip, self.port.protocol, self.port.port)
    }

    fn refused(&self, ip: IpAddr) -> Slot {
        Slot::Refused(ip, self.port.protocol, self.port.port)
    }
}
