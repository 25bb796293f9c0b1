//! Network links, their addresses and routes.

use super::line;
use rk_machine_proto::v1::{Interface, Route};
use rk_netd::{Kernel, Snapshot};
use std::net::IpAddr;
use tonic::Status;

fn snapshot() -> Result<Snapshot, Status> {
    Kernel::open().and_then(|mut kernel| kernel.snapshot()).map_err(|err| Status::internal(crate::log::chain(&err)))
}

/// All links.
///
/// # Errors
/// netlink failed.
pub fn interfaces() -> Result<Vec<Interface>, Status> {
    let snapshot = snapshot()?;
    Ok(snapshot
        .links
        .iter()
        .map(|link| {
            let class = format!("/sys/class/net/{}", link.name);
            let (driver, bus_path) = rk_netd::hardware(&link.name);
            Interface {
                name: link.name.clone(),
                index: link.index,
                mac: link.mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
                mtu: link.mtu,
                up: link.up,
                carrier: link.running,
                addresses: snapshot
                    .addresses
                    .iter()
                    .filter(|a| a.link == link.index)
                    .map(|a| a.net.to_string())
                    .collect(),
                driver: driver.unwrap_or_default(),
                bus_path: bus_path.unwrap_or_default(),
                received_bytes: line(format!("{class}/statistics/rx_bytes")).parse().unwrap_or(0),
                sent_bytes: line(format!("{class}/statistics/tx_bytes")).parse().unwrap_or(0),
            }
        })
        .collect())
}

/// Unicast routes of the main table.
///
/// # Errors
/// netlink failed.
pub fn routes() -> Result<Vec<Route>, Status> {
    let snapshot = snapshot()?;
    let name = |index: u32| snapshot.links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    Ok(snapshot
        .routes
        .iter()
        .map(|route| Route {
            to: route.to.to_string(),
            via: route.via.map(|via| via.to_string()).unwrap_or_default(),
            interface: name(route.link).unwrap_or_default(),
            metric: route.metric,
        })
        .collect())
}

/// Addresses by which the machine is reached: none of loopback, of links alone, or of pods' bridges.
pub fn own_addresses() -> Vec<IpAddr> {
    let Ok(snapshot) = snapshot() else { return Vec::new() };
    let cards = snapshot.links.iter().filter(|link| rk_netd::hardware(&link.name).0.is_some()).map(|link| link.index);
    let cards: Vec<u32> = cards.collect();
    let global = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    snapshot.addresses.iter().filter(|a| cards.contains(&a.link)).map(|a| a.net.addr()).filter(global).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_link_of_this_machine_is_told_with_its_address() {
        let lo = super::interfaces().unwrap().into_iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.addresses.iter().any(|address| address == "127.0.0.1/8"), "{lo:?}");
        super::routes().unwrap();
    }
}
