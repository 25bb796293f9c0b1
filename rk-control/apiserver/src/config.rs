//! What the API server must be told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::audit::AuditConfig;

/// A bootstrap token, `<id>.<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Six characters, public.
    pub id: String,
    /// Sixteen characters.
    pub secret: String,
}

impl BootstrapToken {
    /// Parses `abcdef.0123456789abcdef`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let good = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        (good(id, 6) && good(secret, 16)).then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootstrapToken({}.…)", self.id)
    }
}

/// Settings of one API server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host name or address under which nodes and pods reach this server.
    pub advertise: String,
    /// The port under which they reach it.
    pub advertise_port: u16,
    /// Ranges of Service addresses: one, or one per family.
    pub service_cidrs: Vec<IpNet>,
    /// Ports for Services of type NodePort.
    pub node_ports: RangeInclusive<u16>,
    /// Address of the cluster's DNS Service, reserved and created at start; `None` for none.
    pub dns_ip: Option<IpAddr>,
    /// The cluster's DNS domain.
    pub dns_domain: String,
    /// A bootstrap token to publish at start.
    pub bootstrap_token: Option<BootstrapToken>,
    /// Issuer of service account tokens; also their default audience.
    pub issuer: String,
    /// PEM texts of further keys whose service account tokens are taken, besides the one that signs.
    pub service_account_keys: Vec<String>,
    /// Which requests are told of in the audit log, and where that is; `None` for none.
    pub audit: Option<AuditConfig>,
    /// Flags of the process, for `/flagz`: values by names, `None` for secrets.
    pub flags: BTreeMap<String, Option<String>>,
}

impl Default for Config {
    fn default() -> Self {
        let dns_domain = "cluster.local".to_owned();
        Self {
            advertise: "127.0.0.1".to_owned(),
            advertise_port: 6443,
            service_cidrs: vec![IpNet::from(ipnet::Ipv4Net::new_assert([10, 96, 0, 0].into(), 16))],
            node_ports: 30000..=32767,
            dns_ip: Some(IpAddr::from([10, 96, 0, 10])),
            bootstrap_token: None,
            issuer: format!("https://kubernetes.default.svc.{dns_domain}"),
            service_account_keys: Vec::new(),
            audit: None,
            flags: BTreeMap::new(),
            dns_domain,
        }
    }
}

impl Config {
    /// The URL that nodes use.
    #[must_use]
    pub fn server_url(&self) -> String {
        if self.advertise.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("https://[{}]:{}", self.advertise, self.advertise_port)
        } else {
            format!("https://{}:{}", self.advertise, self.advertise_port)
        }
    }

    /// The address of the Service `kubernetes`: the first of the first range.
    #[must_use]
    pub fn kubernetes_service_ip(&self) -> Option<IpAddr> {
        self.service_cidrs.first().and_then(|range| range.hosts().next())
    }
}
