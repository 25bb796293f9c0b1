//! What a link should have: its entry in the config and its lease, as one value.

use crate::dhcp::Lease;
use crate::rtnl::Origin;
use ipnet::{IpNet, Ipv4Net};
use rk_config::Interface;
use std::net::{IpAddr, Ipv4Addr};

/// Priority of routes that a lease brings; a configured one without a metric wins over it.
const LEASE_METRIC: u32 = 1024;

/// What the kernel makes of an IPv6 route without a priority.
const V6_METRIC: u32 = 1024;

/// A route to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRoute {
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Priority.
    pub metric: u32,
    /// Who wants it.
    pub origin: Origin,
}

/// All that a link should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Largest packet, if anyone says.
    pub mtu: Option<u32>,
    /// Addresses.
    pub addresses: Vec<IpNet>,
    /// Routes.
    pub routes: Vec<WantedRoute>,
}

/// Puts config and lease together; the config wins where both speak.
pub fn desired(entry: &Interface, lease: Option<&Lease>) -> Desired {
    let mut wanted = Desired { mtu: entry.mtu, addresses: entry.addresses.clone(), routes: Vec::new() };
    for route in &entry.routes {
        let metric = route.metric.unwrap_or(if route.to.addr().is_ipv4() { 0 } else { V6_METRIC });
        wanted.routes.push(WantedRoute { to: route.to.trunc(), via: route.via, metric, origin: Origin::Static });
    }
    if let Some(lease) = lease {
        wanted.mtu = wanted.mtu.or(lease.mtu.map(u32::from));
        if !wanted.addresses.contains(&IpNet::V4(lease.address)) {
            wanted.addresses.push(IpNet::V4(lease.address));
        }
        wanted.routes.extend(lease_routes(lease));
    }
    wanted
}

/// RFC 3442: classless routes, when there are any, replace the default gateway.
fn lease_routes(lease: &Lease) -> Vec<WantedRoute> {
    let default = Ipv4Net::default();
    let given: Vec<(Ipv4Net, Ipv4Addr)> = if lease.routes.is_empty() {
        lease.routers.first().map(|router| (default, *router)).into_iter().collect()
    } else {
        lease.routes.clone()
    };
    given
        .into_iter()
        .map(|(to, via)| WantedRoute {
            to: IpNet::V4(to),
            via: (!via.is_unspecified()).then_some(IpAddr::V4(via)),
            metric: LEASE_METRIC,
            origin: Origin::Dhcp,
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn lease() -> Lease {
        Lease {
            address: "10.0.2.15/24".parse().unwrap(),
            server: Ipv4Addr::new(10, 0, 2, 2),
            routers: vec![Ipv4Addr::new(10, 0, 2, 2)],
            routes: Vec::new(),
            nameservers: vec![Ipv4Addr::new(10, 0, 2, 3)],
            ntp: Vec::new(),
            domain: None,
            hostname: None,
            mtu: Some(1400),
            seconds: 3600,
            renew: 1800,
            rebind: 3150,
        }
    }

    #[test]
    fn a_lease_adds_to_the_config_and_the_config_wins() {
        let entry =
            Interface { addresses: vec!["192.168.77.11/24".parse().unwrap()], mtu: Some(9000), ..Interface::default() };
        let wanted = desired(&entry, Some(&lease()));
        assert_eq!(wanted.mtu, Some(9000));
        assert_eq!(wanted.addresses.len(), 2);
        let [route] = wanted.routes.as_slice() else { panic!("{:?}", wanted.routes) };
        assert_eq!((route.to.to_string(), route.metric), ("0.0.0.0/0".to_owned(), LEASE_METRIC));
    }

    #[test]
    fn classless_routes_replace_the_gateway() {
        let via = Ipv4Addr::new(10, 0, 2, 4);
        let lease = Lease { routes: vec![("172.16.0.0/12".parse().unwrap(), via)], ..lease() };
        let wanted = desired(&Interface::default(), Some(&lease));
        assert_eq!(wanted.routes.iter().map(|route| route.to.to_string()).collect::<Vec<_>>(), ["172.16.0.0/12"]);
    }
}
