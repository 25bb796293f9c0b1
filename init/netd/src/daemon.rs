//! The loop: news of links and packets in, kernel changes and messages out.

use crate::advertised::Advertised;
use crate::desired::Desired;
use crate::managed::Managed;
use crate::plan::{Change, Owned, plan};
use crate::rtnl::{self, Kernel, Link, News, Snapshot, user_options};
use crate::selection::{Traits, entry_for, hardware, is_named};
use crate::timesync::{self, Sources};
use crate::vip::Vips;
use crate::virtuals::{self, Step};
use crate::{leases, log, notes, resolver};
use rk_config::MachineConfig;
use rk_sys::{NetlinkSocket, SysError};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Even without news the kernel's state is compared this often: someone may have changed it.
const LOOK_EVERY: u64 = 60_000;
/// Links and their addresses come in swarms; one look serves them all.
const SETTLE: u64 = 100;
/// Links upon links: a VLAN on a bridge on a bond, and one look more to see that nothing is missing.
const MOST_LAYERS: usize = 5;

#[derive(Debug)]
struct Daemon {
    config: MachineConfig,
    kernel: Kernel,
    links: BTreeMap<u32, Managed>,
    /// Links that are part of others.
    members: BTreeSet<u32>,
    owned: Owned,
    /// What an earlier netd heard of routers on links that are not looked after yet.
    before: BTreeMap<u32, Advertised>,
    vips: Vips,
    clock: Option<Sender<Sources>>,
    sources: Sources,
    failures: Vec<String>,
    look_at: u64,
}

/// Runs for ever.
///
/// # Errors
/// netlink failed in a way that a new start may cure.
pub fn run(config: MachineConfig) -> Result<Infallible, SysError> {
    // What a router's prefix gave is told at once, too: the console shows it to who must reach the machine.
    let news = NetlinkSocket::open(
        rk_sys::RTNLGRP_LINK
            | rk_sys::RTNLGRP_IPV4_IFADDR
            | rk_sys::RTNLGRP_IPV4_ROUTE
            | rk_sys::RTNLGRP_IPV6_IFADDR
            | rk_sys::RTNLGRP_ND_USEROPT,
    )?;
    let clock = config.network.ntp.enabled.then(timesync::start).and_then(|started| match started {
        Ok(sender) => Some(sender),
        Err(err) => {
            log::warn(format_args!("no time keeping: {err}"));
            None
        }
    });
    timesync::doubt();
    if !config.network.ntp.enabled {
        timesync::tell("off\n");
    }
    let mut daemon = Daemon {
        config,
        kernel: Kernel::open()?,
        links: BTreeMap::new(),
        members: BTreeSet::new(),
        owned: notes::load_owned(),
        before: notes::load_advertised(),
        vips: Vips::default(),
        clock,
        sources: Sources::default(),
        failures: Vec::new(),
        look_at: 0,
    };
    loop {
        let now = rk_sys::boot_millis();
        if now >= daemon.look_at {
            daemon.look_at = now + LOOK_EVERY;
            daemon.reconcile(now)?;
        }
        let links = daemon.links.iter().filter_map(|(index, link)| Some((*index, link.name.as_str(), link.vip()?)));
        daemon.vips.turn(now, links, &mut daemon.kernel);
        if daemon.run_clients(now) {
            // A new lease is put on its link at once.
            daemon.look_at = now;
            continue;
        }
        daemon.wait(now, &news)?;
    }
}

impl Daemon {
    /// Brings the kernel's state to what it should be.
    fn reconcile(&mut self, now: u64) -> Result<(), SysError> {
        let mut failures = Vec::new();
        let (snapshot, members) = self.make_links(&mut failures)?;
        self.adopt(now, &snapshot, &members);
        let mut wanted: BTreeMap<u32, Desired> =
            self.links.iter().map(|(index, link)| (*index, link.desired(now, *index, &self.owned))).collect();
        // Members of bonds and bridges have nothing of their own, but must be up.
        wanted.extend(members.iter().map(|index| (*index, Desired::default())));
        self.members = members;
        let (changes, owned) = plan(&wanted, &snapshot, &self.owned);
        for change in &changes {
            if let Err(err) = apply(&mut self.kernel, change) {
                failures.push(format!("{change:?}: {}", log::chain(&err)));
            }
        }
        for failure in failures.iter().filter(|failure| !self.failures.contains(failure)) {
            log::warn(failure);
        }
        self.failures = failures;
        self.owned = owned;
        notes::save_owned(&self.owned);
        notes::tell_addresses(self.links.keys(), &snapshot, &self.owned);
        let heard = self.links.iter().filter_map(|(index, link)| Some((*index, link.advertised()?)));
        notes::save_advertised(&heard.collect());
        self.publish();
        Ok(())
    }

    /// Brings about VLANs, bonds and bridges. Returns what the kernel has then, and the links that are part of others.
    fn make_links(&mut self, failures: &mut Vec<String>) -> Result<(Snapshot, BTreeSet<u32>), SysError> {
        for _ in 0..MOST_LAYERS {
            let snapshot = self.kernel.snapshot()?;
            let seen: Vec<(Link, Traits)> = snapshot.links.iter().map(|link| (link.clone(), traits(link))).collect();
            let (steps, made) = virtuals::plan(&self.config.network, &seen, &self.owned.links);
            self.owned.links = made;
            let failed = failures.len();
            for step in &steps {
                if let Err(err) = take(&mut self.kernel, step) {
                    failures.push(format!("{step:?}: {}", log::chain(&err)));
                }
            }
            if steps.is_empty() || failures.len() > failed {
                return Ok((snapshot, virtuals::members(&self.config.network, &seen)));
            }
        }
        let snapshot = self.kernel.snapshot()?;
        let seen: Vec<(Link, Traits)> = snapshot.links.iter().map(|link| (link.clone(), traits(link))).collect();
        let members = virtuals::members(&self.config.network, &seen);
        Ok((snapshot, members))
    }

    /// Starts to look after links that the config speaks of, and forgets those that are gone.
    fn adopt(&mut self, now: u64, snapshot: &Snapshot, members: &BTreeSet<u32>) {
        self.links.retain(|index, managed| {
            let same = |link: &Link| link.index == *index && link.name == managed.name;
            snapshot.links.iter().any(same) && !members.contains(index)
        });
        for link in
            snapshot.links.iter().filter(|link| link.ethernet && !link.loopback && !members.contains(&link.index))
        {
            if let Some(managed) = self.links.get_mut(&link.index) {
                managed.carrier(now, link.running);
                continue;
            }
            let traits = traits(link);
            let Some(entry) = entry_for(&self.config.network, &traits) else { continue };
            log::info(format_args!("looking after {} ({})", link.name, traits.mac));
            let listens = entry.accept_ra.unwrap_or(traits.device);
            if listens {
                accept_router_advertisements(&link.name, "2");
            } else if entry.accept_ra == Some(false) {
                accept_router_advertisements(&link.name, "0");
            }
            let before = self.before.remove(&link.index).unwrap_or_default();
            let managed = Managed::new(now, link, leases::key(&traits), entry, listens.then_some(before));
            self.links.insert(link.index, managed);
        }
    }

    /// Lets the DHCP clients do what is due. Says whether any lease came or went.
    fn run_clients(&mut self, now: u64) -> bool {
        let hostname = self.config.hostname.clone().unwrap_or_default();
        let mut changed = false;
        for link in self.links.values_mut() {
            changed |= link.run(now, &hostname, self.config.hostname.is_none());
        }
        changed
    }

    fn wait(&mut self, now: u64, news: &NetlinkSocket) -> Result<(), SysError> {
        let mut fds = vec![news.as_fd()];
        fds.extend(self.vips.news());
        let watched = fds.len() > 1;
        let mut due = self.look_at.min(self.vips.due());
        for link in self.links.values() {
            fds.extend(link.sockets());
            due = due.min(link.deadline());
        }
        let ready = rk_sys::wait_readable(&fds, Some(Duration::from_millis(due.saturating_sub(now))))?;
        if ready.is(0) {
            let mut buffer = vec![0; 64 << 10];
            // Without a datagram some were lost, and what they told is to be looked for.
            let matters = match news.receive(&mut buffer)? {
                Some(size) => self.hear(buffer.get(..size).unwrap_or_default()),
                None => true,
            };
            if matters {
                self.look_at = self.look_at.min(rk_sys::boot_millis() + SETTLE);
            }
        }
        if watched && ready.is(1) {
            self.vips.heed();
        }
        Ok(())
    }

    /// Takes what routers advertised. What else the news say is seen by the next look; whether they are a reason for one.
    fn hear(&mut self, news: &[u8]) -> bool {
        let now = rk_sys::boot_millis();
        for (link, options) in user_options(news) {
            if let Some(managed) = self.links.get_mut(&link) {
                managed.hear(now, options);
            }
        }
        let is_ours = |index: u32| self.links.contains_key(&index) || self.members.contains(&index);
        let is_meant = |name: &str| {
            self.owned.links.contains(name) || is_named(&self.config.network, name) || is_device(name).unwrap_or(true)
        };
        rtnl::news(news).any(|news| matters(&news, is_ours, is_meant))
    }

    /// Resolvers and time servers, config first, then leases, then what routers advertise to anybody on a link.
    fn publish(&mut self) {
        let network = &self.config.network;
        let leases = || self.links.values().filter_map(Managed::lease);
        let mut servers = network.nameservers.clone();
        servers.extend(leases().flat_map(|lease| lease.nameservers.iter().map(|ip| IpAddr::V4(*ip))));
        let six = self.links.values().filter_map(Managed::lease6);
        servers.extend(six.flat_map(|lease| lease.nameservers.iter().map(|ip| IpAddr::V6(*ip))));
        let advertised = || self.links.values().filter_map(Managed::advertised);
        servers.extend(advertised().flat_map(Advertised::resolvers).map(IpAddr::V6));
        let mut domains = network.search_domains.clone();
        domains.extend(leases().filter_map(|lease| lease.domain.clone()));
        domains.extend(advertised().flat_map(Advertised::domains).map(str::to_owned));
        let mut time = network.ntp.servers.clone();
        time.extend(leases().flat_map(|lease| lease.ntp.iter().map(ToString::to_string)));
        match resolver::write(&resolver::text(&servers, &domains)) {
            Ok(true) => log::info(format_args!("resolvers: {servers:?}")),
            Ok(false) => {}
            Err(err) => log::warn(format_args!("writing /etc/resolv.conf: {err}")),
        }
        let sources = Sources { servers: time, nameservers: resolver::unique(&servers) };
        if sources != self.sources
            && let Some(clock) = &self.clock
        {
            // A thread that is gone has nobody to tell.
            let _ = clock.send(sources.clone());
            self.sources = sources;
        }
    }
}

fn apply(kernel: &mut Kernel, change: &Change) -> Result<(), SysError> {
    match change {
        Change::Up(link) => kernel.set_up(*link),
        Change::Mtu(link, mtu) => kernel.set_mtu(*link, *mtu),
        Change::AddAddress(address) => kernel.add_address(address),
        Change::DeleteAddress(address) => kernel.delete_address(address),
        Change::AddRoute(route, origin) => kernel.add_route(route, *origin),
        Change::DeleteRoute(route, origin) => kernel.delete_route(route, *origin),
    }
}

fn take(kernel: &mut Kernel, step: &Step) -> Result<(), SysError> {
    match step {
        Step::Create(name, kind) => kernel.create_link(name, kind),
        Step::Join { member, master, off } => {
            if *off {
                kernel.set_down(*member)?;
            }
            kernel.set_master(*member, *master)
        }
        Step::Leave(member) => kernel.set_master(*member, 0),
        Step::Delete(link) => kernel.delete_link(*link),
    }
}

/// Whether news can change what is to be done. What pods' links tell does not, nor do their addresses: a look at every link of a node for
/// each of them would be more work than the pod's start.
fn matters(news: &News, is_ours: impl Fn(u32) -> bool, is_meant: impl Fn(&str) -> bool) -> bool {
    match news {
        News::Link(link) => is_ours(link.index) || link.master.is_some_and(is_ours) || is_meant(&link.name),
        News::Address(link) => is_ours(*link),
        News::Other => true,
    }
}

fn is_device(link: &str) -> std::io::Result<bool> {
    fs::exists(format!("/sys/class/net/{link}/device"))
}

fn traits(link: &Link) -> Traits {
    let device = is_device(&link.name).unwrap_or(false);
    // Only a device has them, and most links are pods'.
    let (driver, path) = if device { hardware(&link.name) } else { (None, None) };
    let mac = link.mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    Traits { name: link.name.clone(), mac, driver, path, device }
}

/// A host that forwards takes router advertisements only when told so; on cards alone, for pods must not send them.
fn accept_router_advertisements(link: &str, how: &str) {
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_ra"), how);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_pods_are_no_reason_to_look_at_every_link() {
        let link = |index: u32, name: &str, master: Option<u32>| {
            let (name, mac) = (name.to_owned(), vec![2; 6]);
            let (mtu, up, running, loopback, ethernet) = (1500, true, true, false, true);
            News::Link(Link { index, name, mac, mtu, up, running, loopback, ethernet, master })
        };
        // 2 is looked after, and eth9 is a card that is not yet.
        let (is_ours, is_meant) = (|index: u32| index == 2, |name: &str| name == "eth9");
        for (news, wanted) in [
            (link(2, "eth0", None), true),
            (link(9, "eth9", None), true),
            (link(7, "veth1a2b3c4d", Some(5)), false),
            (link(7, "veth1a2b3c4d", Some(2)), true),
            (link(5, "cni0", None), false),
            (News::Address(2), true),
            (News::Address(5), false),
            (News::Other, true),
        ] {
            assert_eq!(matters(&news, is_ours, is_meant), wanted, "{news:?}");
        }
    }
}
