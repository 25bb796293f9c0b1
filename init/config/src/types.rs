//! The types of the machine config, version `rk.dev/v1alpha1`.
//!
//! They serialize to the very YAML that [`crate::parse`] reads: absent and default values are left out.

use crate::families::{NodeIps, Ranges};
use crate::network::Network;
use crate::plane::{ControlPlane, MachineApi};
use crate::upkeep::{Disks, Logging, Metrics, Upgrade};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The `apiVersion` that this crate reads and writes.
pub const API_VERSION: &str = "rk.dev/v1alpha1";

/// What a machine does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs pods only.
    #[default]
    Worker,
    /// Runs `rk-control` as well.
    ControlPlane,
}

/// The whole config of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineConfig {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always `MachineConfig`.
    pub kind: String,
    /// What the machine does.
    pub role: Role,
    /// DNS label or subdomain; from DHCP, else derived from the machine id when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Links, resolvers and time.
    pub network: Network,
    /// The cluster to join.
    pub cluster: Cluster,
    /// Settings of the kubelet.
    pub kubelet: Kubelet,
    /// Where images come from.
    #[serde(skip_serializing_if = "Registries::is_empty")]
    pub registries: Registries,
    /// Settings of `rk-control`; role `control-plane` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// The machine API; not served when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_api: Option<MachineApi>,
    /// How the machine's own disk is laid out.
    #[serde(skip_serializing_if = "Disks::is_empty")]
    pub disks: Disks,
    /// What an upgrade must be.
    #[serde(skip_serializing_if = "Upgrade::is_empty")]
    pub upgrade: Upgrade,
    /// Figures of the machine itself; not served when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Where the machine's own logs go beside its disk.
    #[serde(skip_serializing_if = "Logging::is_empty")]
    pub logging: Logging,
}

impl Default for MachineConfig {
    fn default() -> Self {
        MachineConfig {
            api_version: API_VERSION.to_owned(),
            kind: "MachineConfig".to_owned(),
            role: Role::default(),
            hostname: None,
            network: Network::default(),
            cluster: Cluster::default(),
            kubelet: Kubelet::default(),
            registries: Registries::default(),
            control_plane: None,
            machine_api: None,
            disks: Disks::default(),
            upgrade: Upgrade::default(),
            metrics: None,
            logging: Logging::default(),
        }
    }
}

/// The cluster that the machine belongs to.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// A name for humans and kubeconfigs.
    pub name: String,
    /// URL of the API server. Workers must say it; a control plane defaults to its own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Bootstrap token, `[a-z0-9]{6}.[a-z0-9]{16}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `sha256:` and the hex digest of the CA's SubjectPublicKeyInfo.
    #[serde(rename = "caHash", skip_serializing_if = "Option::is_none")]
    pub ca_hash: Option<String>,
    /// Range of all pods, in a dual-stack cluster one of each family.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Ranges,
    /// Range of all Services, in a dual-stack cluster one of each family.
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: Ranges,
    /// Domain of cluster DNS.
    pub dns_domain: String,
    /// Address of cluster DNS, within the service range; of IPv4 in a dual-stack cluster too, where it tells addresses of both families.
    #[serde(rename = "dnsIP")]
    pub dns_ip: Ipv4Addr,
    /// Whether the node gives its pods a network. Otherwise it waits for another's configuration, and pods wait with it.
    pub pod_network: bool,
    /// Whether the node carries traffic to Services. Otherwise another proxy does.
    pub service_proxy: bool,
}

impl std::fmt::Debug for Cluster {
    /// The token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "<secret>"))
            .field("ca_hash", &self.ca_hash)
            .field("pod_cidr", &self.pod_cidr)
            .field("service_cidr", &self.service_cidr)
            .field("dns_domain", &self.dns_domain)
            .field("dns_ip", &self.dns_ip)
            .field("pod_network", &self.pod_network)
            .field("service_proxy", &self.service_proxy)
            .finish()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            name: "rk".to_owned(),
            endpoint: None,
            token: None,
            ca_hash: None,
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16).into(),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16).into(),
            dns_domain: "cluster.local".to_owned(),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            pod_network: true,
            service_proxy: true,
        }
    }
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaintEffect {
    /// Not placed here.
    NoSchedule,
    /// Rather not placed here.
    PreferNoSchedule,
    /// Not placed here, and evicted.
    NoExecute,
}

/// A taint that the node registers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Label-like key.
    pub key: String,
    /// May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// Settings of the kubelet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubelet {
    /// The node's InternalIPs; default: the address that routes to the endpoint, in a dual-stack cluster one of the other family beside it.
    #[serde(rename = "nodeIP", skip_serializing_if = "Option::is_none")]
    pub node_ip: Option<NodeIps>,
    /// Labels that the node registers with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints that the node registers with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Most pods that run here at once.
    pub max_pods: u32,
    /// Seconds that pods get when the machine shuts down.
    pub shutdown_grace_period_seconds: u32,
    /// A `KubeletConfiguration` (`kubelet.config.k8s.io/v1beta1`), handed to the node agent whole and as it is; null when absent.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// Pods that the node runs by itself, each a `v1.Pod`, handed to the node agent whole and as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_pods: Vec<serde_json::Value>,
}

impl Default for Kubelet {
    fn default() -> Self {
        Kubelet {
            node_ip: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            shutdown_grace_period_seconds: 30,
            config: serde_json::Value::Null,
            static_pods: Vec::new(),
        }
    }
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Registries {
    /// Tried in order before the registry that an image names.
    pub mirrors: Vec<Mirror>,
    /// Authorities to trust for HTTPS to registries and mirrors, besides the public ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<RegistryTls>,
    /// What the node shows to registries that do not give their images to everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth: Vec<RegistryAuth>,
    /// A `CredentialProviderConfig` (`kubelet.config.k8s.io/v1`), handed to the node agent whole and as it is; null when absent.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub credential_providers: serde_json::Value,
}

impl Registries {
    fn is_empty(&self) -> bool {
        let listed = [self.mirrors.is_empty(), self.tls.is_empty(), self.auth.is_empty()];
        listed.iter().all(|empty| *empty) && self.credential_providers.is_null()
    }
}

/// What is shown to one registry so that it gives images away: a name and a password, a token, or a certificate.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryAuth {
    /// Registry host with its port.
    #[serde(rename = "match")]
    pub matches: String,
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// A token that stands for both.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
    /// What its TLS is shown, also where it is a mirror: a certificate and those of its issuers, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// The private key of the certificate, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

impl std::fmt::Debug for RegistryAuth {
    /// Password, token and key stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("matches", &self.matches)
            .field("username", &self.username)
            .field("password", &"<secret>")
            .field("identity_token", &"<secret>")
            .field("certificate", &self.certificate)
            .field("key", &"<secret>")
            .finish()
    }
}

/// How one registry, or all, prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryTls {
    /// Registry or mirror host with its port, or `*`.
    #[serde(rename = "match")]
    pub matches: String,
    /// Certificate authorities, PEM.
    pub ca: String,
}

/// One set of mirrors for one registry host, or for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mirror {
    /// Registry host, or `*`.
    #[serde(rename = "match")]
    pub matches: String,
    /// Base URLs, `http://` or `https://`.
    pub endpoints: Vec<String>,
    /// Ask for `<endpoint>/v2/<registry host>/<repository>/…`.
    pub include_host: bool,
}
