//! Links, resolvers and time.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Links, resolvers and time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Network {
    /// One entry per group of links; a link takes the first entry that matches. Empty: DHCP on every Ethernet link.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Resolvers; these come before those of DHCP and of routers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<IpAddr>,
    /// Search domains of `/etc/resolv.conf`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search_domains: Vec<String>,
    /// Time.
    pub ntp: Ntp,
}

impl Network {
    /// The addresses that control planes share, each once.
    pub fn vips(&self) -> Vec<IpAddr> {
        let mut vips: Vec<IpAddr> = self.interfaces.iter().filter_map(|interface| interface.vip).collect();
        vips.sort();
        vips.dedup();
        vips
    }
}

/// Which links an [`Interface`] speaks of; every given field must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkMatch {
    /// Kernel name, `*` and `?` as wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Permanent address, lower case with colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Kernel driver, as in `/sys/class/net/<link>/device/driver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Address on its bus, as `/sys/class/net/<link>/device` ends: `0000:00:03.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl LinkMatch {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        *self == LinkMatch::default()
    }
}

/// A link that is made by the node and not by hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Virtual {
    /// An 802.1Q VLAN.
    Vlan {
        /// Tag, 1 to 4094.
        id: u16,
        /// The link that carries it.
        parent: LinkMatch,
    },
    /// Several links as one.
    Bond {
        /// How they share the work.
        mode: BondMode,
        /// The links.
        members: Vec<LinkMatch>,
        /// Milliseconds between looks at carriers.
        miimon: u32,
    },
    /// A switch.
    Bridge {
        /// The links.
        members: Vec<LinkMatch>,
        /// Whether it speaks the spanning tree protocol.
        stp: bool,
    },
}

/// How the links of a bond share the work, by the kernel's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BondMode {
    /// One after the other.
    #[serde(rename = "balance-rr")]
    BalanceRr,
    /// One at a time.
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// By hash of addresses.
    #[serde(rename = "balance-xor")]
    BalanceXor,
    /// All at once.
    #[serde(rename = "broadcast")]
    Broadcast,
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// By load, sending.
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    /// By load, both ways.
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

impl BondMode {
    /// Name and number of every mode, as in linux/if_bonding.h.
    pub const ALL: [(&'static str, BondMode); 7] = [
        ("balance-rr", BondMode::BalanceRr),
        ("active-backup", BondMode::ActiveBackup),
        ("balance-xor", BondMode::BalanceXor),
        ("broadcast", BondMode::Broadcast),
        ("802.3ad", BondMode::Lacp),
        ("balance-tlb", BondMode::BalanceTlb),
        ("balance-alb", BondMode::BalanceAlb),
    ];

    /// The kernel's number.
    pub fn number(self) -> u8 {
        Self::ALL.iter().position(|(_, mode)| *mode == self).and_then(|n| u8::try_from(n).ok()).unwrap_or(0)
    }
}

/// What a link gets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Interface {
    /// The links meant; empty for one that the node makes.
    #[serde(rename = "match", skip_serializing_if = "LinkMatch::is_empty")]
    pub matches: LinkMatch,
    /// Name of a link that the node makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What kind of link the node makes.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub made: Option<Virtual>,
    /// Ask a DHCPv4 server.
    pub dhcp: bool,
    /// Take addresses, routes and resolvers from router advertisements (SLAAC); network cards do so unless told otherwise.
    #[serde(rename = "acceptRA", skip_serializing_if = "Option::is_none")]
    pub accept_ra: Option<bool>,
    /// Ask a DHCPv6 server.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dhcp6: bool,
    /// Static addresses with their prefix length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// An address that the control planes of a cluster share: the first of these links has it while this machine leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// Bytes; the driver's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Static routes through this link.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// One static route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub to: IpNet,
    /// Gateway; on-link when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Kernel priority; lower wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// Time synchronization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ntp {
    /// On unless turned off.
    pub enabled: bool,
    /// Host names or addresses; those that DHCP tells come after. Empty and none told: `pool.ntp.org`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

impl Default for Ntp {
    fn default() -> Self {
        Ntp { enabled: true, servers: Vec::new() }
    }
}
