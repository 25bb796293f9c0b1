//! Settings of the control plane and of the machine API.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// A certificate authority brought along.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateAuthority {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
}

impl std::fmt::Debug for CertificateAuthority {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", &self.certificate)
            .field("key", &"<secret>")
            .finish()
    }
}

/// Settings of `rk-control`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlPlane {
    /// Where the API server listens.
    pub bind: SocketAddr,
    /// Host name or address that clients use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Made on first start when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
}

impl Default for ControlPlane {
    fn default() -> Self {
        ControlPlane { bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6443)), advertise: None, ca: None }
    }
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).field("key", &"<secret>").finish()
    }
}

/// The machine API: whom it trusts and who it is. The authority's key is with the operator and never on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineApi {
    /// Where it listens.
    pub bind: SocketAddr,
    /// The authority that signs clients and nodes; PEM.
    pub ca: String,
    /// The node's own.
    pub identity: Identity,
}

impl Default for MachineApi {
    fn default() -> Self {
        MachineApi {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 50_000)),
            ca: String::new(),
            identity: Identity::default(),
        }
    }
}
