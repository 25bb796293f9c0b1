//! The addresses that the node goes by: found when it starts, and kept from then on.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::address::{Other, find_node_ip, find_other_ip};
use crate::disk::{read_optional, write_atomically};
use crate::{Options, Session};

/// How long a start waits for an address that the kernel still asks other machines about: that takes a second or two.
const ASKED: Duration = Duration::from_secs(10);
/// How long it waits where nothing says that one comes: a router that is there has mostly answered before the node joined.
const UNTOLD: Duration = Duration::from_secs(2);
/// Looks of a start.
const LOOK: Duration = Duration::from_millis(250);
/// Later looks.
const PERIOD: Duration = Duration::from_secs(10);
/// What a dual-stack node went by last, below the kubelet's directory.
const FILE: &str = "node-ips";

/// The addresses that the node reports as its own, the primary first, which is of IPv4 where there are two; none when it has none. One of
/// the second family may come a little after the first, which is waited for a moment: [`second_address`] tells of one that comes later.
pub async fn node_ips(options: &Options, session: &Session) -> Vec<IpAddr> {
    if !options.node_ips.is_empty() {
        return options.node_ips.clone();
    }
    let shared = &options.shared_addresses;
    let Some(first) = find_node_ip(session.link.host(), shared) else { return Vec::new() };
    if !options.dual_stack {
        return vec![first];
    }
    let path = options.dirs.kubelet.join(FILE);
    let (known, begun) = (remembered(&path), Instant::now());
    let second = loop {
        let found = find_other_ip(first, shared, &known);
        match settled(found, begun.elapsed(), || find_other_ip(first, shared, &[])) {
            ControlFlow::Break(second) => break second,
            ControlFlow::Continue(()) => sleep(LOOK).await,
        }
    };
    let Some(second) = second else {
        tracing::warn!(%first, "the node has no address of the other family: nodes do not reach its pods by it; set kubelet.nodeIP");
        return vec![first];
    };
    let ips = if first.is_ipv4() { vec![first, second] } else { vec![second, first] };
    if let Err(error) = remember(&path, &known, &ips) {
        tracing::warn!(path = %path.display(), "the node's addresses cannot be noted: {error}");
    }
    ips
}

/// The second address of a start that has waited so long, or none; it goes on while it waits for one. `any` looks beyond what is known, as
/// [`second_address`] does: what that would find may not be left here, or the node would start again and again.
fn settled(found: Other, waited: Duration, any: impl FnOnce() -> Other) -> ControlFlow<Option<IpAddr>> {
    let patience = match found {
        Other::Is(second) => return ControlFlow::Break(Some(second)),
        Other::Asked => ASKED,
        Other::Missing => UNTOLD,
    };
    if waited < patience {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(match any() {
        Other::Is(second) => Some(second),
        Other::Asked | Other::Missing => None,
    })
}

/// The second address that a node which goes by `ips` could go by as well, as soon as it has one. Never, unless the node `seeks` one and
/// goes by one only.
pub async fn second_address(seeks: bool, ips: Vec<IpAddr>, shared: Vec<IpAddr>) -> IpAddr {
    let Some(first) = alone(&ips).filter(|_| seeks) else { return std::future::pending().await };
    loop {
        sleep(PERIOD).await;
        if let Other::Is(second) = find_other_ip(first, &shared, &[]) {
            return second;
        }
    }
}

/// The address of a node that has but one.
fn alone(ips: &[IpAddr]) -> Option<IpAddr> {
    match ips {
        [only] => Some(*only),
        _ => None,
    }
}

/// What the node went by last; nothing where that is not known.
fn remembered(path: &Path) -> Vec<IpAddr> {
    let bytes = read_optional(path).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Notes what the node goes by, unless that is `known`.
fn remember(path: &Path, known: &[IpAddr], ips: &[IpAddr]) -> io::Result<()> {
    if known == ips {
        return Ok(());
    }
    let text: String = ips.iter().map(|ip| format!("{ip}\n")).collect();
    write_atomically(path, text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_goes_by_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert!(remembered(&path).is_empty());
        let ips: Vec<IpAddr> = ["10.0.0.1", "fd00:77::10"].map(|text| text.parse().unwrap()).to_vec();
        remember(&path, &[], &ips).unwrap();
        assert_eq!(remembered(&path), ips);
        let changed = vec![ips[0]];
        remember(&path, &ips, &changed).unwrap();
        assert_eq!(remembered(&path), changed);
        std::fs::write(&path, "no address\nfd00::1").unwrap();
        assert_eq!(remembered(&path), ["fd00::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_start_waits_for_what_may_come_and_leaves_nothing_that_is_there() {
        let ip: IpAddr = "fd00::1".parse().unwrap();
        let unasked = || -> Other { panic!("it still waits") };
        assert_eq!(settled(Other::Is(ip), Duration::ZERO, unasked), ControlFlow::Break(Some(ip)));
        for (found, waited) in [(Other::Asked, ASKED / 2), (Other::Missing, UNTOLD / 2)] {
            assert_eq!(settled(found, waited, unasked), ControlFlow::Continue(()));
        }
        for (found, waited) in [(Other::Asked, ASKED), (Other::Missing, UNTOLD)] {
            assert_eq!(settled(found, waited, || Other::Missing), ControlFlow::Break(None));
        }
        let beside = settled(Other::Asked, ASKED, || Other::Is(ip));
        assert_eq!(beside, ControlFlow::Break(Some(ip)), "the known one is asked about for ever");
    }

    #[test]
    fn a_second_address_is_sought_by_a_node_that_has_one() {
        let [four, six] = ["192.0.2.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!((alone(&[four]), alone(&[six])), (Some(four), Some(six)));
        assert_eq!((alone(&[four, six]), alone(&[])), (None, None));
    }
}
