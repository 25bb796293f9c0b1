//! Which endpoints of a Service port get traffic on this node.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    model::{Endpoint, ServicePort, Slice},
    plan::Node,
};

/// Address and port.
pub type Backend = (IpAddr, u16);

/// The backends of one port in one family.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Backends {
    /// For traffic to the whole cluster.
    pub cluster: BTreeSet<Backend>,
    /// On this node only.
    pub local: BTreeSet<Backend>,
    /// Addresses on this node whatever their state: they may reach themselves.
    pub here: BTreeSet<IpAddr>,
    /// Those of them that are ready: load balancers send new connections for their sake, not for those that terminate.
    pub ready: BTreeSet<IpAddr>,
    /// All that serve, wherever they are and whoever they are meant for: what connections there are to them goes on.
    pub alive: BTreeSet<Backend>,
}

/// Sorts the endpoints of a port. Ready ones serve; when there are none, those that terminate but still serve keep the Service
/// alive (KEP-1669), for the cluster and for this node on their own.
pub(crate) fn select(port: &ServicePort, slices: &[&Slice], v6: bool, node: &Node) -> Backends {
    let mut all: Vec<(&Endpoint, u16)> = Vec::new();
    for slice in slices {
        // A Service with one unnamed port matches the one unnamed port of its slices.
        let Some(target) = slice.ports.get(&(port.name.clone(), port.protocol)) else { continue };
        all.extend(slice.endpoints.iter().filter(|e| e.ip.is_ipv6() == v6).map(|e| (e, *target)));
    }
    let here = |e: &Endpoint| e.node.as_deref() == Some(node.name.as_str());
    let ready: Vec<_> = all.iter().filter(|(e, _)| e.ready).copied().collect();
    let leaving: Vec<_> = all.iter().filter(|(e, _)| e.serving && e.terminating).copied().collect();
    let or_leaving = |ready: Vec<(&Endpoint, u16)>, leaving: Vec<(&Endpoint, u16)>| {
        let chosen = if ready.is_empty() { leaving } else { ready };
        chosen.iter().map(|(e, port)| (e.ip, *port)).collect::<BTreeSet<_>>()
    };
    let ready_here = on(node, &ready);
    Backends {
        ready: ready_here.iter().map(|(e, _)| e.ip).collect(),
        local: or_leaving(ready_here, on(node, &leaving)),
        alive: all.iter().filter(|(e, _)| e.ready || e.serving).map(|(e, port)| (e.ip, *port)).collect(),
        here: all.iter().filter(|(e, _)| here(e)).map(|(e, _)| e.ip).collect(),
        cluster: or_leaving(near(ready, node), leaving),
    }
}

fn on<'a>(node: &Node, from: &[(&'a Endpoint, u16)]) -> Vec<(&'a Endpoint, u16)> {
    from.iter().filter(|(e, _)| e.node.as_deref() == Some(node.name.as_str())).copied().collect()
}

/// The endpoints that hints name for this node or zone; all of them unless every one has a hint and some fit.
fn near<'a>(ready: Vec<(&'a Endpoint, u16)>, node: &Node) -> Vec<(&'a Endpoint, u16)> {
    let fitting = |hints: fn(&Endpoint) -> &Vec<String>, ours: &str| -> Option<Vec<(&'a Endpoint, u16)>> {
        let hinted = ready.iter().all(|(e, _)| !hints(e).is_empty());
        let fit: Vec<_> = ready.iter().filter(|(e, _)| hints(e).iter().any(|h| h == ours)).copied().collect();
        (hinted && !fit.is_empty()).then_some(fit)
    };
    let by_node = fitting(|e| &e.for_nodes, &node.name);
    let by_zone = || node.zone.as_deref().and_then(|zone| fitting(|e| &e.for_zones, zone));
    by_node.or_else(by_zone).unwrap_or(ready)
}
