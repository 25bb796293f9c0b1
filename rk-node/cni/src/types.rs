//! Results and errors as the CNI specification writes them. Unknown fields of other plugins' results are kept.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Versions whose results we read and write, in their order. Those before 1.0 differ only in a `version` beside each address; most networks
/// that people install speak 0.3.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What ADD answers with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CniResult {
    /// Version of this result.
    pub cni_version: String,
    /// Interfaces made, in the order that addresses refer to them by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Resolver settings; Kubernetes does not use them.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

impl CniResult {
    /// Addresses of the container, in order.
    pub fn pod_ips(&self) -> Vec<std::net::IpAddr> {
        let inside = |ip: &&IpConfig| {
            let at = ip.interface.and_then(|at| self.interfaces.get(at));
            at.is_none_or(|interface| !interface.sandbox.is_empty())
        };
        self.ips.iter().filter(inside).map(|ip| ip.address.addr()).collect()
    }

    /// Sets the version, and what that version wants beside each address.
    pub fn versioned(mut self, version: &str) -> Self {
        self.cni_version = version.to_owned();
        for ip in &mut self.ips {
            let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
            ip.version = version.starts_with("0.").then(|| family.to_owned());
        }
        self
    }
}

/// An interface on the host or in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Network namespace; empty on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// MTU and whatever else newer versions add.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Only in results before 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Index into the interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// Address with prefix length.
    pub address: IpNet,
    /// Gateway of its subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<std::net::IpAddr>,
}

/// A route of the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Gateway; the address' own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<std::net::IpAddr>,
    /// MTU, metric and so on.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A plugin's error, printed on its stdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CniError {
    /// Version of the request.
    pub cni_version: String,
    /// 1–99 are the specification's, others the plugin's.
    pub code: u32,
    /// One line.
    pub msg: String,
    /// More.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// The request names a version that we do not speak.
    pub const VERSION: u32 = 1;
    /// A field of the configuration is not supported.
    pub const UNSUPPORTED: u32 = 2;
    /// An environment variable is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// Input or output failed.
    pub const IO: u32 = 5;
    /// The request is not JSON.
    pub const DECODE: u32 = 6;
    /// The configuration is invalid.
    pub const CONFIG: u32 = 7;
    /// A transient failure: try again later.
    pub const AGAIN: u32 = 11;
    /// The plugin cannot serve ADD now.
    pub const UNAVAILABLE: u32 = 50;
    /// Our plugins' own failures.
    pub const FAILED: u32 = 100;

    /// An error with one of the codes above.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { cni_version: String::new(), code, msg: msg.into(), details: String::new() }
    }
}

impl Default for CniError {
    fn default() -> Self {
        Self::new(Self::FAILED, "")
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for CniError {}
