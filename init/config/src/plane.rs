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

/// The etcd cluster that holds the state of the control planes.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Etcd {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// The authority of its certificates, PEM; for `https://`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// What control planes show it, PEM; with the key or not at all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

impl std::fmt::Debug for Etcd {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("endpoints", &self.endpoints)
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .field("key", &"<secret>")
            .finish()
    }
}

/// The audit log of the API server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Audit {
    /// Whether there is one.
    pub enabled: bool,
    /// A `Policy` (`audit.k8s.io/v1`), handed to `rk-control` whole and as it is; its own when null.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub policy: serde_json::Value,
    /// Megabytes beyond which a new file is begun.
    #[serde(rename = "maxSizeMB")]
    pub max_size_mb: u32,
    /// Older files that are kept.
    pub max_backups: u32,
    /// Days that older files are kept; 0 for as long as there are not too many.
    pub max_age_days: u32,
}

impl Default for Audit {
    /// Three files of 10 MB: what every data disk can spare.
    fn default() -> Self {
        Audit { enabled: true, policy: serde_json::Value::Null, max_size_mb: 10, max_backups: 2, max_age_days: 0 }
    }
}

/// Prefix length of a node's range of pods where nothing else is said; the default of upstream's controller manager.
const NODE_CIDR_MASK_SIZE: u32 = 24;
/// The same of IPv6.
const NODE_CIDR_MASK_SIZE_IPV6: u32 = 64;
/// How many bits longer a node's range is than the range of all pods at most: upstream's bound, 65536 nodes.
pub(crate) const MOST_NODE_BITS: u32 = 16;

/// Settings of `rk-control`. Control planes of one cluster share `etcd`, `ca`, `frontProxyCA`, `serviceAccountKey` and
/// `secretboxEncryptionSecret`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlane {
    /// Where the API server listens.
    pub bind: SocketAddr,
    /// Host name or address that clients use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Made on first start when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
    /// Signs what this server shows to servers of aggregated APIs; made on first start when absent.
    #[serde(rename = "frontProxyCA", skip_serializing_if = "Option::is_none")]
    pub front_proxy_ca: Option<CertificateAuthority>,
    /// Signs the tokens of service accounts, PEM; made on first start when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_key: Option<String>,
    /// Encrypts Secrets in the store: 32 bytes in base64. Keys from before it still read. When absent, a machine that keeps its state in a
    /// file and makes its own authority makes a key as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secretbox_encryption_secret: Option<String>,
    /// Where the state is kept; in a file of this machine when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
    /// Who did what at the API; the default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// Prefix length of the range of pods that each node gets, 24 when absent.
    #[serde(rename = "nodeCIDRMaskSize", skip_serializing_if = "Option::is_none")]
    pub node_cidr_mask_size: Option<u32>,
    /// Prefix length of the IPv6 range of pods that each node gets, 64 when absent; dual-stack clusters only.
    #[serde(rename = "nodeCIDRMaskSizeIPv6", skip_serializing_if = "Option::is_none")]
    pub node_cidr_mask_size_ipv6: Option<u32>,
}

impl std::fmt::Debug for ControlPlane {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("bind", &self.bind)
            .field("advertise", &self.advertise)
            .field("ca", &self.ca)
            .field("front_proxy_ca", &self.front_proxy_ca)
            .field("service_account_key", &self.service_account_key.as_ref().map(|_| "<secret>"))
            .field("secretbox_encryption_secret", &self.secretbox_encryption_secret.as_ref().map(|_| "<secret>"))
            .field("etcd", &self.etcd)
            .field("audit", &self.audit)
            .field("node_cidr_mask_size", &self.node_cidr_mask_size)
            .field("node_cidr_mask_size_ipv6", &self.node_cidr_mask_size_ipv6)
            .finish()
    }
}

impl ControlPlane {
    /// Prefix length of the range of pods that each node gets.
    pub fn node_mask(&self) -> u32 {
        self.node_cidr_mask_size.unwrap_or(NODE_CIDR_MASK_SIZE)
    }

    /// Prefix length of the IPv6 range of pods that each node of a dual-stack cluster gets.
    pub fn node_mask_ipv6(&self) -> u32 {
        self.node_cidr_mask_size_ipv6.unwrap_or(NODE_CIDR_MASK_SIZE_IPV6)
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        ControlPlane {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6443)),
            advertise: None,
            ca: None,
            front_proxy_ca: None,
            service_account_key: None,
            secretbox_encryption_secret: None,
            etcd: None,
            audit: None,
            node_cidr_mask_size: None,
            node_cidr_mask_size_ipv6: None,
        }
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

/// The machine API: the authority that it trusts and its own identity. The authority's key stays with the operator, never on a node.
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
