//! Routes to other nodes' pods: each podCIDR by its node's address, level-triggered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::FutureExt as _;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope},
};

use crate::error::{Error, Result};

/// Marks our routes among all others (`ip route show proto 114`); a number that no known daemon uses.
pub const PROTOCOL: u8 = 114;

/// A node's pods and the way to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodRoute {
    /// The other node's address, on a network that this node shares.
    pub node_ip: IpAddr,
    /// Its podCIDR.
    pub pod_cidr: IpNet,
}

/// What must change.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    add: Vec<PodRoute>,
    /// Destinations of ours that no node has any more.
    remove: Vec<IpNet>,
}

/// The kernel's routes of the main table.
#[derive(Debug, Default)]
struct Present<R> {
    /// Of our protocol number.
    own: BTreeMap<IpNet, R>,
    /// Where those of others lead: of a network that was installed, or of an operator.
    others: BTreeSet<IpNet>,
}

/// Compares (pure). A route whose gateway changed is replaced, not removed first: packets keep a way. Where somebody else's route leads
/// already, none of ours is added: an overlay replaces ours by its own, and would lose every turn of a quarrel over it.
fn plan(have: &Present<Option<IpAddr>>, want: &[PodRoute]) -> Changes {
    let wanted: BTreeMap<IpNet, IpAddr> = want.iter().map(|r| (r.pod_cidr.trunc(), r.node_ip)).collect();
    let missing = |(cidr, via): (&IpNet, &IpAddr)| {
        let differs = match have.own.get(cidr) {
            Some(present) => *present != Some(*via),
            None => !have.others.contains(cidr),
        };
        differs.then_some(PodRoute { node_ip: *via, pod_cidr: *cidr })
    };
    let have = &have.own;
    Changes {
        add: wanted.iter().filter_map(missing).collect(),
        remove: have.keys().filter(|cidr| !wanted.contains_key(cidr)).copied().collect(),
    }
}

/// Makes the kernel's routes of our protocol number equal to `want`, which must not name this node. Every route is tried; the
/// first error is returned at the end. A node that is not on a shared network yet is such an error: call again later.
pub async fn sync(want: &[PodRoute]) -> Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| Error::Netlink(e.to_string()))?;
    let connection = tokio::spawn(connection.boxed());
    let result = apply(&handle, want).await;
    connection.abort();
    result
}

async fn apply(handle: &Handle, want: &[PodRoute]) -> Result<()> {
    let have = current(handle).await?;
    let own = have.own.iter().map(|(cidr, route)| (*cidr, gateway(route))).collect();
    let changes = plan(&Present { own, others: have.others }, want);
    let mut first_error = None;
    for route in changes.add {
        let done = match message(route) {
            Some(message) => handle.route().add(message).replace().execute().await.map_err(|e| e.to_string()),
            None => Err("address families differ".to_owned()),
        };
        match done {
            Ok(()) => tracing::info!(cidr = %route.pod_cidr, via = %route.node_ip, "routed another node's pods"),
            Err(error) => {
                first_error
                    .get_or_insert(Error::Netlink(format!("route {} via {}: {error}", route.pod_cidr, route.node_ip)));
            }
        }
    }
    for cidr in changes.remove {
        let Some(route) = have.own.get(&cidr) else { continue };
        if let Err(error) = handle.route().del(route.clone()).execute().await {
            first_error.get_or_insert(Error::Netlink(format!("remove route {cidr}: {error}")));
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// `None` when destination and gateway are of different families.
fn message(route: PodRoute) -> Option<RouteMessage> {
    let protocol = RouteProtocol::from(PROTOCOL);
    match (route.pod_cidr, route.node_ip) {
        (IpNet::V4(cidr), IpAddr::V4(via)) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(cidr.network(), cidr.prefix_len());
            Some(builder.gateway(via).protocol(protocol).build())
        }
        (IpNet::V6(cidr), IpAddr::V6(via)) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(cidr.network(), cidr.prefix_len());
            Some(builder.gateway(via).protocol(protocol).build())
        }
        _ => None,
    }
}

async fn current(handle: &Handle) -> Result<Present<RouteMessage>> {
    let queries = [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    let mut found = Present { own: BTreeMap::new(), others: BTreeSet::new() };
    for query in queries {
        let mut routes = Box::pin(handle.route().get(query).execute());
        while let Some(route) = routes.try_next().await.map_err(|e| Error::Netlink(format!("list routes: {e}")))? {
            let Some(cidr) = destination(&route).filter(|_| route.header.table == RouteHeader::RT_TABLE_MAIN) else {
                continue;
            };
            if route.header.protocol == RouteProtocol::from(PROTOCOL) {
                found.own.insert(cidr, route);
            } else if !of_an_address(&route) {
                found.others.insert(cidr);
            }
        }
    }
    Ok(found)
}

/// Whether the kernel made it for an IPv4 address of a link. A bridge keeps the one of a range that its node no longer has, and that may
/// be another's by now; routes that a network says are the kernel's have a gateway, and so another scope.
fn of_an_address(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Kernel && route.header.scope == RouteScope::Link
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let prefix = route.header.destination_prefix_length;
    let address = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    IpNet::new(address?, prefix).ok()
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(address) => ip(address),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(cidr: &str, via: &str) -> PodRoute {
        PodRoute { node_ip: via.parse().expect("ip"), pod_cidr: cidr.parse().expect("cidr") }
    }

    #[test]
    fn only_differences_are_changed() {
        let own = BTreeMap::from([
            ("10.244.1.0/24".parse().expect("cidr"), "192.0.2.1".parse().ok()),
            ("10.244.2.0/24".parse().expect("cidr"), "192.0.2.2".parse().ok()),
            ("10.244.9.0/24".parse().expect("cidr"), "192.0.2.9".parse().ok()),
        ]);
        let have = Present { own, others: BTreeSet::new() };
        let want = [
            route("10.244.1.0/24", "192.0.2.1"),
            route("10.244.2.0/24", "192.0.2.22"),
            route("10.244.3.7/24", "192.0.2.3"),
        ];
        let changes = plan(&have, &want);
        assert_eq!(changes.add, [route("10.244.2.0/24", "192.0.2.22"), route("10.244.3.0/24", "192.0.2.3")]);
        assert_eq!(changes.remove, ["10.244.9.0/24".parse::<IpNet>().expect("cidr")]);
        assert_eq!(plan(&Present::default(), &[]), Changes::default());
    }

    #[test]
    fn routes_of_an_installed_network_are_left_to_it() {
        let net = |text: &str| text.parse::<IpNet>().expect("cidr");
        let mut have = Present {
            own: BTreeMap::from([(net("10.244.1.0/24"), "192.0.2.1".parse().ok())]),
            others: BTreeSet::from([net("10.244.1.0/24"), net("10.244.2.0/24"), net("10.244.0.0/16")]),
        };
        let want = [route("10.244.1.0/24", "192.0.2.11"), route("10.244.2.0/24", "192.0.2.2")];
        assert_eq!(plan(&have, &want).add, want[..1], "its own, beside another's, is still kept right");
        have.others.clear();
        assert_eq!(plan(&have, &want).add, want, "the network went, and nothing leads there");
        assert_eq!(plan(&have, &[]).remove, [net("10.244.1.0/24")]);
    }
}
