//! The difference between what links should have and what the kernel has.

use crate::desired::Desired;
use crate::rtnl::{Address, Origin, Route, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What netd gave a link, so that it takes back only its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Addresses.
    pub addresses: BTreeSet<Address>,
    /// Links that it made, by name.
    #[serde(default)]
    pub links: BTreeSet<String>,
    /// Routes and who wanted them.
    #[serde(with = "pairs")]
    pub routes: BTreeMap<Route, Origin>,
}

/// JSON takes only texts as keys: routes are written as pairs.
mod pairs {
    use super::{BTreeMap, Origin, Route};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Routes as a list of pairs.
    pub fn serialize<S: Serializer>(routes: &BTreeMap<Route, Origin>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(routes)
    }

    /// Routes from a list of pairs.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Route, Origin>, D::Error> {
        Ok(Vec::<(Route, Origin)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// One step. Steps are applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Turn on the link.
    Up(u32),
    /// Set its MTU.
    Mtu(u32, u32),
    /// Take away an address.
    DeleteAddress(Address),
    /// Give an address.
    AddAddress(Address),
    /// Take away a route.
    DeleteRoute(Route, Origin),
    /// Give a route.
    AddRoute(Route, Origin),
}

/// Plans the steps for `wanted` (by link index) and says what netd owns once they are done.
pub fn plan(wanted: &BTreeMap<u32, Desired>, kernel: &Snapshot, owned: &Owned) -> (Vec<Change>, Owned) {
    let mut next = Owned { links: owned.links.clone(), ..Owned::default() };
    let mut changes = Vec::new();
    for link in &kernel.links {
        let desired = wanted.get(&link.index);
        if (desired.is_some() || link.loopback) && !link.up {
            changes.push(Change::Up(link.index));
        }
        let Some(desired) = desired else { continue };
        if let Some(mtu) = desired.mtu.filter(|mtu| *mtu != link.mtu) {
            changes.push(Change::Mtu(link.index, mtu));
        }
        next.addresses.extend(desired.addresses.iter().map(|net| Address { link: link.index, net: *net }));
        for route in &desired.routes {
            let key = Route { link: link.index, to: route.to, via: route.via, metric: route.metric };
            next.routes.insert(key, route.origin);
        }
    }
    let gone =
        owned.routes.iter().filter(|(route, _)| !next.routes.contains_key(route) && kernel.routes.contains(route));
    changes.extend(gone.map(|(route, origin)| Change::DeleteRoute(route.clone(), *origin)));
    let gone = owned
        .addresses
        .iter()
        .filter(|address| !next.addresses.contains(address) && kernel.addresses.contains(address));
    changes.extend(gone.map(|address| Change::DeleteAddress(address.clone())));
    let new = next.addresses.iter().filter(|address| !kernel.addresses.contains(address));
    changes.extend(new.map(|address| Change::AddAddress(address.clone())));
    // On-link routes first: gateways of others may be reached through them.
    let mut new: Vec<_> = next.routes.iter().filter(|(route, _)| !kernel.routes.contains(route)).collect();
    new.sort_by_key(|(route, _)| route.via.is_some());
    changes.extend(new.into_iter().map(|(route, origin)| Change::AddRoute(route.clone(), *origin)));
    (changes, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{WantedRoute, desired, tests::lease};
    use crate::rtnl::Link;
    use rk_config::Interface;

    fn link(index: u32, name: &str, up: bool) -> Link {
        let loopback = name == "lo";
        Link {
            index,
            name: name.to_owned(),
            mac: vec![2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up,
            running: up,
            loopback,
            ethernet: !loopback,
            master: None,
        }
    }

    fn bare(up: bool) -> Snapshot {
        Snapshot { links: vec![link(1, "lo", up), link(2, "eth0", up)], ..Snapshot::default() }
    }

    /// What the kernel would have after these steps.
    fn apply(mut kernel: Snapshot, changes: &[Change]) -> Snapshot {
        for change in changes {
            match change.clone() {
                Change::Up(index) => {
                    kernel.links.iter_mut().filter(|link| link.index == index).for_each(|link| link.up = true)
                }
                Change::Mtu(index, mtu) => {
                    kernel.links.iter_mut().filter(|link| link.index == index).for_each(|link| link.mtu = mtu)
                }
                Change::AddAddress(address) => kernel.addresses.push(address),
                Change::DeleteAddress(address) => kernel.addresses.retain(|have| *have != address),
                Change::AddRoute(route, _) => kernel.routes.push(route),
                Change::DeleteRoute(route, _) => kernel.routes.retain(|have| *have != route),
            }
        }
        kernel
    }

    #[test]
    fn a_bare_link_gets_everything_in_an_order_that_works() {
        let wanted = BTreeMap::from([(2, desired(&Interface::default(), Some(&lease())))]);
        let (changes, _) = plan(&wanted, &bare(false), &Owned::default());
        let kinds: Vec<&str> = changes
            .iter()
            .map(|change| match change {
                Change::Up(_) => "up",
                Change::Mtu(..) => "mtu",
                Change::AddAddress(_) => "address",
                Change::AddRoute(..) => "route",
                _ => "delete",
            })
            .collect();
        assert_eq!(kinds, ["up", "up", "mtu", "address", "route"]);
    }

    #[test]
    fn a_second_plan_has_nothing_to_do() {
        let wanted = BTreeMap::from([(2, desired(&Interface::default(), Some(&lease())))]);
        let (changes, owned) = plan(&wanted, &bare(false), &Owned::default());
        let (again, same) = plan(&wanted, &apply(bare(false), &changes), &owned);
        assert_eq!((again, same), (Vec::new(), owned));
    }

    #[test]
    fn only_what_netd_gave_is_taken_back() {
        let wanted = BTreeMap::from([(2, desired(&Interface::default(), Some(&lease())))]);
        let (changes, owned) = plan(&wanted, &bare(true), &Owned::default());
        let mut kernel = apply(bare(true), &changes);
        let foreign = Address { link: 2, net: "10.9.9.9/24".parse().unwrap() };
        kernel.addresses.push(foreign.clone());
        kernel.routes.push(Route { link: 2, to: "10.244.1.0/24".parse().unwrap(), via: None, metric: 0 });
        let (changes, owned) = plan(&BTreeMap::from([(2, Desired::default())]), &kernel, &owned);
        assert!(matches!(changes.as_slice(), [Change::DeleteRoute(..), Change::DeleteAddress(_)]), "{changes:?}");
        assert_eq!(owned, Owned::default());
        assert_eq!(apply(kernel, &changes).addresses, [foreign]);
    }

    #[test]
    fn links_without_an_entry_are_left_alone() {
        let (changes, _) = plan(&BTreeMap::new(), &bare(false), &Owned::default());
        assert_eq!(changes, [Change::Up(1)]);
    }

    #[test]
    fn on_link_routes_come_before_routes_through_gateways() {
        let route = |to: &str, via: Option<&str>| WantedRoute {
            to: to.parse().unwrap(),
            via: via.map(|via| via.parse().unwrap()),
            metric: 0,
            origin: Origin::Static,
        };
        let routes = vec![route("0.0.0.0/0", Some("100.64.0.1")), route("100.64.0.1/32", None)];
        let (changes, _) =
            plan(&BTreeMap::from([(2, Desired { routes, ..Desired::default() })]), &bare(true), &Owned::default());
        assert!(
            matches!(
                changes.as_slice(),
                [Change::AddRoute(Route { via: None, .. }, _), Change::AddRoute(Route { via: Some(_), .. }, _)]
            ),
            "{changes:?}"
        );
    }
}
