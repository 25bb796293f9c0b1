//! Services and EndpointSlices reduced to what the proxy needs.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::Service as KubeService,
    discovery::v1::{Endpoint as KubeEndpoint, EndpointSlice},
};

/// Set on Services and slices that another proxy handles.
pub const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Set on slices of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// What sticky sessions last without a setting, in seconds.
const AFFINITY_DEFAULT: u32 = 10_800;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// As chains are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A Service that this proxy serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub key: ServiceKey,
    /// ClusterIPs, one for each family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of `status.loadBalancer.ingress` in mode VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Clients that may use the load balancer's addresses; empty is everybody.
    pub source_ranges: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Seconds that a client stays with its endpoint.
    pub affinity: Option<u32>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// Where load balancers ask whether this node has endpoints.
    pub health_check_port: Option<u16>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePort {
    /// Its name; empty when it is the only one.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// Port on every node.
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The Service that it belongs to.
    pub service: ServiceKey,
    /// Ports by name.
    pub ports: BTreeMap<(String, Protocol), u16>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// May get new connections.
    pub ready: bool,
    /// Still answers, though it may be on its way out.
    pub serving: bool,
    /// On its way out.
    pub terminating: bool,
    /// Where it runs.
    pub node: Option<String>,
    /// Nodes that it is meant for.
    pub for_nodes: Vec<String>,
    /// Zones that it is meant for.
    pub for_zones: Vec<String>,
}

fn ips<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

impl Service {
    /// `None` for Services that are headless, external names, or another proxy's.
    pub fn read(service: &KubeService) -> Option<Self> {
        let labels = service.metadata.labels.as_ref();
        let spec = service.spec.as_ref()?;
        let labelled = |key: &str| labels.is_some_and(|labels| labels.contains_key(key));
        let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "None");
        if labelled(PROXY_NAME) || labelled(HEADLESS) || headless || spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let key = ServiceKey { namespace: service.metadata.namespace.clone()?, name: service.metadata.name.clone()? };
        let mut cluster_ips = ips(spec.cluster_ips.iter().flatten());
        if cluster_ips.is_empty() {
            cluster_ips = ips(&spec.cluster_ip);
        }
        let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
        let vip = ingress.into_iter().flatten().filter(|i| i.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
        let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
        let timeout =
            spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
        let ranges = spec.load_balancer_source_ranges.iter().flatten();
        Some(Self {
            key,
            cluster_ips,
            external_ips: ips(spec.external_ips.iter().flatten()),
            load_balancer_ips: ips(vip.filter_map(|i| i.ip.as_ref())),
            source_ranges: ranges.filter_map(|range| range.trim().parse().ok()).collect(),
            ports: spec.ports.iter().flatten().filter_map(ServicePort::read).collect(),
            affinity: affinity.then(|| timeout.and_then(|t| u32::try_from(t).ok()).unwrap_or(AFFINITY_DEFAULT)),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            health_check_port: spec.health_check_node_port.and_then(port),
        })
    }
}

impl ServicePort {
    fn read(given: &k8s_openapi::api::core::v1::ServicePort) -> Option<Self> {
        Some(Self {
            name: given.name.clone().unwrap_or_default(),
            protocol: Protocol::parse(given.protocol.as_deref())?,
            port: port(given.port)?,
            node_port: given.node_port.and_then(port),
        })
    }
}

impl Slice {
    /// `None` for slices of headless Services, of other proxies, or without a Service.
    pub fn read(slice: &EndpointSlice) -> Option<Self> {
        let labels = slice.metadata.labels.as_ref()?;
        if labels.contains_key(PROXY_NAME) || labels.contains_key(HEADLESS) || slice.address_type == "FQDN" {
            return None;
        }
        let service =
            ServiceKey { namespace: slice.metadata.namespace.clone()?, name: labels.get(SERVICE_NAME)?.clone() };
        let ports = slice.ports.iter().flatten().filter_map(|given| {
            let protocol = Protocol::parse(given.protocol.as_deref())?;
            Some(((given.name.clone().unwrap_or_default(), protocol), port(given.port?)?))
        });
        Some(Self {
            service,
            ports: ports.collect(),
            endpoints: slice.endpoints.iter().flatten().filter_map(Endpoint::read).collect(),
        })
    }
}

impl Endpoint {
    fn read(given: &KubeEndpoint) -> Option<Self> {
        let conditions = given.conditions.clone().unwrap_or_default();
        // Absent means yes for ready, and serving follows ready.
        let ready = conditions.ready.unwrap_or(true);
        let hints = given.hints.clone().unwrap_or_default();
        Some(Self {
            ip: given.addresses.first()?.parse().ok()?,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            node: given.node_name.clone(),
            for_nodes: hints.for_nodes.into_iter().flatten().map(|n| n.name).collect(),
            for_zones: hints.for_zones.into_iter().flatten().map(|z| z.name).collect(),
        })
    }
}
