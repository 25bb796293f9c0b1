//! Ranges and addresses of IPv4, or of both families: the IPv4 one, a comma, the IPv6 one, as upstream's flags have them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A text that is of no such form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be of one IP family, or of IPv4 and IPv6 with a comma between")]
pub struct FamilyError;

/// A range of IPv4 addresses, in a dual-stack cluster with one of IPv6 addresses beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ranges {
    /// The primary one.
    pub v4: Ipv4Net,
    /// The secondary one.
    pub v6: Option<Ipv6Net>,
}

impl Ranges {
    /// Both ranges, the primary first.
    pub fn all(&self) -> Vec<IpNet> {
        [IpNet::V4(self.v4)].into_iter().chain(self.v6.map(IpNet::V6)).collect()
    }

    /// The range that an address is within.
    pub fn of(&self, ip: IpAddr) -> Option<IpNet> {
        self.all().into_iter().find(|range| range.contains(&ip))
    }

    /// Whether a range of one has addresses of a range of the other.
    pub fn overlaps(&self, other: &Ranges) -> bool {
        let (own, others) = (self.all(), other.all());
        own.iter().any(|a| others.iter().any(|b| a.contains(b) || b.contains(a)))
    }
}

impl From<Ipv4Net> for Ranges {
    fn from(v4: Ipv4Net) -> Self {
        Ranges { v4, v6: None }
    }
}

impl FromStr for Ranges {
    type Err = FamilyError;

    fn from_str(text: &str) -> Result<Self, FamilyError> {
        let (first, second) = halves(text);
        let v4: Ipv4Net = first.parse().map_err(|_| FamilyError)?;
        let v6: Option<Ipv6Net> = second.map(str::parse).transpose().map_err(|_| FamilyError)?;
        Ok(Ranges { v4, v6 })
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.v4)?;
        self.v6.map_or(Ok(()), |v6| write!(f, ",{v6}"))
    }
}

/// A node's own addresses: one, or an IPv4 address and an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeIps {
    /// The primary one.
    pub primary: IpAddr,
    /// The other one, where the primary is of IPv4.
    pub secondary: Option<Ipv6Addr>,
}

impl NodeIps {
    /// Both addresses, the primary first.
    pub fn all(&self) -> Vec<IpAddr> {
        [self.primary].into_iter().chain(self.secondary.map(IpAddr::V6)).collect()
    }
}

impl From<IpAddr> for NodeIps {
    fn from(primary: IpAddr) -> Self {
        NodeIps { primary, secondary: None }
    }
}

impl FromStr for NodeIps {
    type Err = FamilyError;

    fn from_str(text: &str) -> Result<Self, FamilyError> {
        let (first, second) = halves(text);
        let primary: IpAddr = first.parse().map_err(|_| FamilyError)?;
        let secondary: Option<Ipv6Addr> = second.map(str::parse).transpose().map_err(|_| FamilyError)?;
        if secondary.is_some() && primary.is_ipv6() {
            return Err(FamilyError);
        }
        Ok(NodeIps { primary, secondary })
    }
}

impl fmt::Display for NodeIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.primary)?;
        self.secondary.map_or(Ok(()), |v6| write!(f, ",{v6}"))
    }
}

impl From<Ranges> for String {
    fn from(ranges: Ranges) -> String {
        ranges.to_string()
    }
}

impl TryFrom<String> for Ranges {
    type Error = FamilyError;

    fn try_from(text: String) -> Result<Self, FamilyError> {
        text.parse()
    }
}

impl From<NodeIps> for String {
    fn from(ips: NodeIps) -> String {
        ips.to_string()
    }
}

impl TryFrom<String> for NodeIps {
    type Error = FamilyError;

    fn try_from(text: String) -> Result<Self, FamilyError> {
        text.parse()
    }
}

/// What is before the first comma and what is behind it, without spaces around.
fn halves(text: &str) -> (&str, Option<&str>) {
    match text.split_once(',') {
        Some((first, second)) => (first.trim(), Some(second.trim())),
        None => (text.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_ipv4_or_of_both_families() {
        for (text, shown) in [
            ("10.244.0.0/16", "10.244.0.0/16"),
            ("10.244.0.0/16,fd00:10:244::/56", "10.244.0.0/16,fd00:10:244::/56"),
            (" 10.244.0.0/16 , fd00:10:244:0:0::/56 ", "10.244.0.0/16,fd00:10:244::/56"),
        ] {
            assert_eq!(text.parse::<Ranges>().map(|ranges| ranges.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for text in [
            "",
            ",",
            "10.244.0.0",
            "fd00::/56",
            "fd00::/56,10.244.0.0/16",
            "10.244.0.0/16,",
            "10.244.0.0/16,10.245.0.0/16",
            "10.244.0.0/16,fd00::/56,fd01::/56",
        ] {
            assert_eq!(text.parse::<Ranges>(), Err(FamilyError), "{text}");
        }
    }

    #[test]
    fn ranges_know_their_addresses_and_each_other() {
        let ranges = |text: &str| text.parse::<Ranges>().unwrap();
        let both = ranges("10.244.0.0/16,fd00:10:244::/56");
        assert_eq!(both.of("10.244.3.4".parse().unwrap()), Some(IpNet::V4(both.v4)));
        assert_eq!(both.of("fd00:10:244:3::4".parse().unwrap()), both.v6.map(IpNet::V6));
        assert_eq!(both.of("fd00:10:245::1".parse().unwrap()), None);
        assert_eq!(Ranges::from(both.v4).of("fd00:10:244::1".parse().unwrap()), None);
        for (other, overlaps) in [
            ("10.96.0.0/16,fd00:10:96::/112", false),
            ("10.244.9.0/24", true),
            ("10.96.0.0/16,fd00:10:244:7::/112", true),
            ("10.0.0.0/8", true),
        ] {
            assert_eq!(both.overlaps(&ranges(other)), overlaps, "{other}");
        }
    }

    #[test]
    fn a_node_has_an_address_or_one_of_each_family() {
        for (text, all) in [
            ("10.0.0.5", vec!["10.0.0.5"]),
            ("fd00::5", vec!["fd00::5"]),
            ("10.0.0.5,fd00::5", vec!["10.0.0.5", "fd00::5"]),
        ] {
            let ips: NodeIps = text.parse().unwrap();
            assert_eq!(ips.all().iter().map(IpAddr::to_string).collect::<Vec<_>>(), all);
            assert_eq!(ips.to_string(), text);
        }
        for text in
            ["", "fd00::5,10.0.0.5", "10.0.0.5,10.0.0.6", "10.0.0.5,", "10.0.0.5/24", "10.0.0.5,fd00::5,fd00::6"]
        {
            assert_eq!(text.parse::<NodeIps>(), Err(FamilyError), "{text}");
        }
    }
}
