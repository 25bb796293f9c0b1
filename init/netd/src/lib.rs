//! netd: links, DHCPv4 leases, routes, resolver and time of a node.
//!
//! One loop ([`daemon`]) waits for news of links and for DHCP packets, computes what each link should have ([`desired`]),
//! compares it with what the kernel has ([`plan`]) and applies the difference. It is level-triggered: any turn starts from
//! the kernel's state, so missed events and restarts do no harm; addresses stay when netd goes. A second thread keeps the
//! clock ([`timesync`]), because it waits for name servers.
//!
//! An address that control planes share ([`vip`]) is lent to a link for as long as `rk-control` says that it leads: the kernel itself takes it
//! back when nobody renews it.
//!
//! Resolvers and search domains that routers advertise are the one thing that the kernel tells but does not keep: [`advertised`] keeps them
//! while they last, and a note of them is for the next netd.
//!
//! Pure and fed with untrusted bytes: [`rtnl`] messages, options of [`advertised`], [`dhcp`] and [`dhcp6`] packets and client states, DNS
//! answers, SNTP packets. Each parser is bounded, never panics, and says `None` to what it does not understand.

mod advertised;
mod announce;
mod daemon;
mod desired;
mod dhcp;
mod dhcp6;
mod dns;
mod leases;
mod log;
mod managed;
mod notes;
pub mod outside;
mod plan;
mod resolver;
mod rtnl;
mod selection;
mod sntp;
mod timesync;
mod vip;
mod virtuals;

pub use rtnl::{Address, Kernel, Link, Origin, Route, Snapshot};
pub use sntp::{EARLIEST, year};

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

/// Addresses of a name, those first to which there is a way, by the resolvers of `/etc/resolv.conf`. Waits for servers: not for an async thread.
///
/// # Errors
/// No server answered, or none knows the name.
pub fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    use std::hash::{BuildHasher, RandomState};
    let id = RandomState::new().hash_one(rk_sys::boot_millis()) as u16;
    dns::lookup(name, &resolver::servers(), id)
}

/// Driver and address on its bus of a link that is a device.
pub fn hardware(link: &str) -> (Option<String>, Option<String>) {
    selection::hardware(link)
}

/// Runs until killed. Needs the accepted machine config; fails only when netlink itself does.
pub fn run() -> ExitCode {
    let config = match rk_config::load_accepted(rk_config::ACCEPTED_PATH) {
        Ok(config) => config,
        Err(err) => {
            log::warn(format_args!("{}", log::chain(&err)));
            return ExitCode::FAILURE;
        }
    };
    // Without it netd still does its work: a kernel without seccomp must not cost a node its network.
    if let Err(err) = rk_sys::confine(false) {
        log::warn(log::chain(&err));
    }
    match daemon::run(config) {
        Ok(never) => match never {},
        Err(err) => {
            log::warn(format_args!("{}", log::chain(&err)));
            ExitCode::FAILURE
        }
    }
}
