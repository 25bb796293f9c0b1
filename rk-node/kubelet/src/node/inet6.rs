//! The machine's IPv6 addresses, with what the kernel says of each.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

/// One address on each line: the address, the link's index, the prefix's length, the scope, the flags, the link's name.
const PATH: &str = "/proc/net/if_inet6";
/// One route on each line: the target, the length of its prefix, the same of the source, the next hop, the metric, two counts, the flags,
/// the link's name.
const ROUTES: &str = "/proc/net/ipv6_route";
/// Flags of `linux/if_addr.h`.
const TEMPORARY: u8 = 0x01;
const DAD_FAILED: u8 = 0x08;
const DEPRECATED: u8 = 0x20;
const TENTATIVE: u8 = 0x40;
const PERMANENT: u8 = 0x80;

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its link.
    pub link: String,
    /// The address.
    pub ip: IpAddr,
    /// Nobody lent it for a time.
    pub permanent: bool,
    /// The kernel still asks whether another machine has it.
    pub tentative: bool,
    /// It is one that changes by itself, is about to go, or another machine has it: nothing for a node to go by.
    pub unfit: bool,
}

/// All IPv6 addresses of this machine; none where the kernel has no IPv6.
pub fn read() -> Vec<Own> {
    parse(&fs::read_to_string(PATH).unwrap_or_default())
}

/// Whether a link is a bridge that leads nowhere else, as that of the pods is: nobody reaches the node by it.
pub fn is_inner(link: &str) -> bool {
    let is_bridge = Path::new("/sys/class/net").join(link).join("bridge").is_dir();
    is_bridge && !leads_away(&fs::read_to_string(ROUTES).unwrap_or_default(), link)
}

/// Whether one of these routes is for everything and leaves by this link.
fn leads_away(routes: &str, link: &str) -> bool {
    routes.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [to, length, .., by] = fields.as_slice() else { return false };
        to.chars().all(|digit| digit == '0') && *length == "00" && *by == link
    })
}

fn parse(text: &str) -> Vec<Own> {
    text.lines().filter_map(own).collect()
}

fn own(line: &str) -> Option<Own> {
    let mut fields = line.split_whitespace();
    let ip = u128::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.nth(3)?, 16).ok()?;
    let link = fields.next()?.to_owned();
    let has = |flag: u8| flags & flag != 0;
    Some(Own {
        link,
        ip: IpAddr::V6(Ipv6Addr::from(ip)),
        permanent: has(PERMANENT),
        tentative: has(TENTATIVE),
        unfit: has(TEMPORARY) || has(DAD_FAILED) || has(DEPRECATED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_leads_away() {
        let text = "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1\n\
                    fd000010024400010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     cni0\n\
                    00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n\
                    torn\n";
        assert_eq!(["eth0", "eth1", "cni0", "torn"].map(|link| leads_away(text, link)), [true, false, false, false]);
    }

    #[test]
    fn what_the_kernel_says_of_an_address_is_read() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fd000077000000000000000000000010 03 40 00 80     eth1\n\
                    20010db8000000005054fffffe770010 03 40 00 00     eth1\n\
                    20010db800000000aaaabbbbccccdddd 03 40 00 01     eth1\n\
                    20010db9000000005054fffffe770010 03 40 00 20     eth1\n\
                    20010dba000000005054fffffe770010 03 40 00 40     eth1\n\
                    20010dbb000000005054fffffe770010 03 40 00 c8     eth1\n\
                    torn\n";
        let seen = parse(text);
        let ips: Vec<String> = seen.iter().map(|one| one.ip.to_string()).collect();
        assert_eq!(ips[..3], ["::1", "fd00:77::10", "2001:db8::5054:ffff:fe77:10"]);
        let states: Vec<_> = seen.iter().map(|one| (one.permanent, one.tentative, one.unfit)).collect();
        let (lasting, lent, asked, unfit) =
            ((true, false, false), (false, false, false), (false, true, false), (false, false, true));
        assert_eq!(states, [lasting, lasting, lent, unfit, unfit, asked, (true, true, true)]);
        assert!(seen.iter().skip(1).all(|one| one.link == "eth1"));
    }
}
