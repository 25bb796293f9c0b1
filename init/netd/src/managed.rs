//! A link that is looked after: its entry in the config, and the clients that ask for its addresses.

use crate::advertised::{self, Advertised};
use crate::desired::{Desired, WantedRoute, desired};
use crate::dhcp::{self, Lease};
use crate::plan::Owned;
use crate::rtnl::{Link, Origin};
use crate::{dhcp6, leases, log};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rk_config::Interface;
use rk_sys::PacketSocket;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Packets taken from a link in one turn.
const MOST_PACKETS: usize = 32;
/// A new netd leaves what an earlier one gave to a link for so long, until its own client knows better.
const INHERIT: u64 = 60_000;

/// See the module.
#[derive(Debug)]
pub struct Managed {
    /// Kernel name.
    pub name: String,
    key: String,
    entry: Interface,
    running: bool,
    dhcp: Option<Dhcp>,
    dhcp6: Option<Dhcp6>,
    /// None where the link does not listen to routers.
    advertised: Option<Advertised>,
    told: Option<Ipv4Net>,
    since: u64,
    settled: bool,
}

#[derive(Debug)]
struct Dhcp {
    client: dhcp::Client,
    socket: PacketSocket,
    started: u64,
}

#[derive(Debug)]
struct Dhcp6 {
    client: dhcp6::Client,
    socket: UdpSocket,
    link: u32,
}

impl Managed {
    /// Starts to look after a link, whose lease is kept under `key`; `advertised` is what is known of routers where it listens to them.
    pub fn new(now: u64, link: &Link, key: String, entry: Interface, advertised: Option<Advertised>) -> Managed {
        let before = leases::load(&key).filter(|_| entry.dhcp).map(|lease| lease.address.addr());
        let dhcp = if entry.dhcp { open(now, link, before) } else { None };
        let dhcp6 = if entry.dhcp6 { open6(now, link) } else { None };
        let settled = dhcp.is_none();
        Managed {
            name: link.name.clone(),
            key,
            entry,
            running: link.running,
            dhcp,
            dhcp6,
            advertised,
            told: None,
            since: now,
            settled,
        }
    }

    /// Takes note of the carrier.
    pub fn carrier(&mut self, now: u64, running: bool) {
        if running && !self.running {
            if let Some(dhcp) = &mut self.dhcp {
                dhcp.client.link_came_up(now);
            }
            if let Some(dhcp) = &mut self.dhcp6 {
                dhcp.client.link_came_up(now);
            }
        }
        self.running = running;
    }

    /// The address that this machine may share.
    pub fn vip(&self) -> Option<IpAddr> {
        self.entry.vip
    }

    /// The IPv4 lease.
    pub fn lease(&self) -> Option<&Lease> {
        self.dhcp.as_ref().and_then(|dhcp| dhcp.client.lease())
    }

    /// The IPv6 lease.
    pub fn lease6(&self) -> Option<&dhcp6::Lease> {
        self.dhcp6.as_ref().and_then(|dhcp| dhcp.client.lease())
    }

    /// What routers advertised to the link.
    pub fn advertised(&self) -> Option<&Advertised> {
        self.advertised.as_ref()
    }

    /// Takes options that a router advertised on the link. A carrier that goes and comes back leaves them, for the kernel does not ask again.
    pub fn hear(&mut self, now: u64, options: &[u8]) {
        let Some(known) = &mut self.advertised else { return };
        advertised::decode(options).into_iter().for_each(|word| known.hear(now, word));
    }

    /// What the link should have.
    pub fn desired(&self, now: u64, index: u32, owned: &Owned) -> Desired {
        let mut wanted = desired(&self.entry, self.lease());
        wanted.addresses.extend(self.lease6().and_then(|lease| Ipv6Net::new(lease.address, 128).ok()).map(IpNet::V6));
        if !self.settled && now.saturating_sub(self.since) < INHERIT {
            inherit(&mut wanted, index, owned);
        }
        wanted
    }

    /// What is to be waited for.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let four = self.dhcp.iter().map(|dhcp| dhcp.socket.as_fd());
        four.chain(self.dhcp6.iter().map(|dhcp| dhcp.socket.as_fd()))
    }

    /// When [`Managed::run`] is due.
    pub fn deadline(&self) -> u64 {
        let four = self.dhcp.iter().map(|dhcp| dhcp.client.deadline());
        let six = self.dhcp6.iter().map(|dhcp| dhcp.client.deadline());
        let routers = self.advertised.iter().map(Advertised::deadline);
        four.chain(six).chain(routers).min().unwrap_or(u64::MAX)
    }

    /// Lets the clients do what is due. Says whether a lease came or went, or what routers said has ended.
    pub fn run(&mut self, now: u64, hostname: &str, unnamed: bool) -> bool {
        let mut changed = self.advertised.as_mut().is_some_and(|known| known.expire(now));
        if let Some(dhcp) = &mut self.dhcp {
            let mut outputs = dhcp.client.tick(now);
            let mut buffer = [0; 2048];
            for _ in 0..MOST_PACKETS {
                let Ok(Some(size)) = dhcp.socket.receive(&mut buffer) else { break };
                let message = buffer.get(..size).and_then(dhcp::unwrap_udp).and_then(dhcp::decode);
                if let Some(message) = message {
                    outputs.extend(dhcp.client.receive(now, &message));
                }
            }
            for output in outputs {
                changed |= self.act(now, output, hostname, unnamed);
            }
        }
        changed | self.run6(now)
    }

    fn run6(&mut self, now: u64) -> bool {
        let Some(dhcp) = &mut self.dhcp6 else { return false };
        let mut outputs = dhcp.client.tick(now);
        let mut buffer = [0; 2048];
        for _ in 0..MOST_PACKETS {
            let Ok(size) = dhcp.socket.recv(&mut buffer) else { break };
            if let Some(message) = buffer.get(..size).and_then(dhcp6::decode) {
                outputs.extend(dhcp.client.receive(now, &message));
            }
        }
        let mut changed = false;
        for output in outputs {
            match output {
                dhcp6::Output::Send(bytes) => {
                    let servers = SocketAddrV6::new(dhcp6::SERVERS, dhcp6::SERVER_PORT, 0, dhcp.link);
                    // A link whose own address is not ready refuses; the next try comes by itself.
                    if let Err(err) = dhcp.socket.send_to(&bytes, servers) {
                        log::info(format_args!("{}: asking by DHCPv6: {err}", self.name));
                    }
                }
                dhcp6::Output::Bound(lease) => {
                    log::news(format_args!("{} has {}/128 by DHCPv6", self.name, lease.address));
                    changed = true;
                }
                dhcp6::Output::Lost => {
                    log::warn(format_args!("{} has no DHCPv6 lease any more", self.name));
                    changed = true;
                }
            }
        }
        changed
    }

    fn act(&mut self, now: u64, output: dhcp::Output, hostname: &str, unnamed: bool) -> bool {
        let Some(dhcp) = &mut self.dhcp else { return false };
        let seconds = u16::try_from(now.saturating_sub(dhcp.started) / 1000).unwrap_or(u16::MAX);
        match output {
            dhcp::Output::Broadcast(message) => {
                let bytes = dhcp::wrap_broadcast(&dhcp::encode(&message, seconds, hostname));
                // A link without a carrier refuses; the next try comes by itself.
                if let Err(err) = dhcp.socket.broadcast(&bytes) {
                    log::info(format_args!("{}: {}", self.name, log::chain(&err)));
                }
                false
            }
            dhcp::Output::Unicast(message, server) => {
                if let Err(err) = unicast(&self.name, &dhcp::encode(&message, 0, hostname), message.client, server) {
                    log::info(format_args!("{}: renewing at {server}: {err}", self.name));
                }
                false
            }
            dhcp::Output::Bound(lease) => {
                self.settled = true;
                let gateway =
                    lease.routers.first().map_or_else(|| "no gateway".to_owned(), |ip| format!("gateway {ip}"));
                // Renewals are no news.
                if self.told.replace(lease.address) != Some(lease.address) {
                    log::news(format_args!(
                        "{} has {} by DHCP from {}, {gateway}",
                        self.name, lease.address, lease.server
                    ));
                }
                if let Err(err) = leases::save(&self.key, &lease) {
                    log::warn(format_args!("keeping the lease of {}: {err}", self.name));
                }
                if let Some(name) = lease.hostname.as_ref().filter(|_| unnamed)
                    && let Err(err) = fs::write("/proc/sys/kernel/hostname", name)
                {
                    log::warn(format_args!("naming the machine {name}: {err}"));
                }
                true
            }
            dhcp::Output::Lost => {
                self.settled = true;
                if self.told.is_some() {
                    log::warn(format_args!("{} has no DHCP lease any more", self.name));
                }
                leases::forget(&self.key);
                self.told = None;
                true
            }
        }
    }
}

/// Renewals go the ordinary way, from the leased address. The answer comes in on the packet socket.
fn unicast(link: &str, bytes: &[u8], from: Ipv4Addr, to: Ipv4Addr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((from, dhcp::CLIENT_PORT)))?;
    rk_sys::bind_udp_to_link(&socket, link).map_err(|err| err.source)?;
    socket.send_to(bytes, (to, dhcp::SERVER_PORT)).map(|_| ())
}

fn open(now: u64, link: &Link, before: Option<Ipv4Addr>) -> Option<Dhcp> {
    let mac = <[u8; 6]>::try_from(link.mac.as_slice()).ok()?;
    match PacketSocket::open(link.index, dhcp::CLIENT_PORT) {
        Ok(socket) => {
            Some(Dhcp { client: dhcp::Client::new(mac, transaction(mac), now, before), socket, started: now })
        }
        Err(err) => {
            log::warn(format_args!("no DHCP on {}: {}", link.name, log::chain(&err)));
            None
        }
    }
}

fn open6(now: u64, link: &Link) -> Option<Dhcp6> {
    let mac = <[u8; 6]>::try_from(link.mac.as_slice()).ok()?;
    match rk_sys::udp6_on_link(&link.name, dhcp6::CLIENT_PORT) {
        Ok(socket) => Some(Dhcp6 { client: dhcp6::Client::new(mac, transaction(mac), now), socket, link: link.index }),
        Err(err) => {
            log::warn(format_args!("no DHCPv6 on {}: {}", link.name, log::chain(&err)));
            None
        }
    }
}

/// What an earlier netd of this boot configured: connections must not break because netd restarted.
fn inherit(wanted: &mut Desired, index: u32, owned: &Owned) {
    let held = owned.addresses.iter().filter(|address| address.link == index).map(|address| address.net);
    let new: Vec<IpNet> = held.filter(|net| !wanted.addresses.contains(net)).collect();
    wanted.addresses.extend(new);
    for (route, origin) in owned.routes.iter().filter(|(route, origin)| route.link == index && **origin == Origin::Dhcp)
    {
        wanted.routes.push(WantedRoute { to: route.to, via: route.via, metric: route.metric, origin: *origin });
    }
}

/// A transaction number that neighbours do not share.
fn transaction(mac: [u8; 6]) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(mac) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtnl::{Address, Route};

    #[test]
    fn a_new_netd_keeps_what_the_old_one_gave_until_its_client_knows() {
        let mut owned = Owned::default();
        owned.addresses.insert(Address { link: 2, net: "10.0.0.2/24".parse().unwrap() });
        owned.addresses.insert(Address { link: 3, net: "10.1.0.2/24".parse().unwrap() });
        let route = Route { link: 2, to: "0.0.0.0/0".parse().unwrap(), via: None, metric: 1024 };
        owned.routes.insert(route, Origin::Dhcp);
        let mut managed = Managed {
            name: "eth0".to_owned(),
            key: String::new(),
            entry: Interface::default(),
            running: true,
            dhcp: None,
            dhcp6: None,
            advertised: None,
            told: None,
            since: 0,
            settled: false,
        };
        let inherited = managed.desired(10, 2, &owned);
        assert_eq!((inherited.addresses.len(), inherited.routes.len()), (1, 1));
        assert_eq!(managed.desired(INHERIT, 2, &owned), Desired::default());
        managed.settled = true;
        assert_eq!(managed.desired(10, 2, &owned), Desired::default());
    }
}
