//! What the cluster's names mean. Names here are lower-case text without a final dot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The label by which a slice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The version of the DNS specification, answered at `dns-version`.
const SPECIFICATION: &str = "1.1.0";

/// The data of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An address, of either family.
    Address(IpAddr),
    /// A port and the name of the host that serves it.
    Srv(u16, String),
    /// The name of an address.
    Ptr(String),
    /// Text.
    Txt(String),
    /// The zone's name server.
    Ns(String),
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name exists; its data of every type, perhaps none.
    Found(Vec<Data>),
    /// The name is another one's alias.
    Alias(String),
    /// The name is in the zone and does not exist.
    Missing,
    /// The name is somebody else's.
    Foreign,
}

#[derive(Debug, Clone)]
struct ServiceRecord {
    addresses: Vec<IpAddr>,
    headless: bool,
    external: Option<String>,
    ports: Vec<PortRecord>,
}

#[derive(Debug, Clone)]
struct PortRecord {
    name: String,
    protocol: String,
    port: u16,
}

#[derive(Debug, Clone)]
struct EndpointRecord {
    addresses: Vec<IpAddr>,
    hostname: Option<String>,
}

#[derive(Debug, Clone)]
struct SliceRecord {
    endpoints: Vec<EndpointRecord>,
    ports: Vec<PortRecord>,
}

/// Namespace and name.
type Key = (String, String);

/// The cluster's zone.
#[derive(Debug)]
pub struct Zone {
    domain: String,
    server: IpAddr,
    services: HashMap<Key, ServiceRecord>,
    /// Slices by service, then by the slice's own name.
    slices: HashMap<Key, HashMap<String, SliceRecord>>,
    /// Which service a slice was last seen with.
    owners: HashMap<Key, Key>,
    ready: bool,
}

impl Zone {
    /// An empty zone for `domain`, served at `server`.
    #[must_use]
    pub fn new(domain: &str, server: IpAddr) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            server,
            services: HashMap::new(),
            slices: HashMap::new(),
            owners: HashMap::new(),
            ready: false,
        }
    }

    /// The zone's domain, without a final dot.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether the first complete lists have arrived; until then a missing name is no proof that it does not exist.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Says that the first complete lists have arrived.
    pub fn set_ready(&mut self) {
        self.ready = true;
    }

    /// Takes over a service.
    pub fn set_service(&mut self, service: &Service) {
        self.services.insert(key(&service.metadata), ServiceRecord::new(service));
    }

    /// Forgets a service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Keeps only the services and slices that a fresh list names.
    pub fn retain(&mut self, services: Option<&HashSet<Key>>, slices: Option<&HashSet<Key>>) {
        if let Some(listed) = services {
            self.services.retain(|key, _| listed.contains(key));
        }
        if let Some(listed) = slices {
            let gone: Vec<Key> = self.owners.keys().filter(|key| !listed.contains(key)).cloned().collect();
            gone.iter().for_each(|(namespace, name)| self.remove_slice(namespace, name));
        }
    }

    /// Takes over a slice.
    pub fn set_slice(&mut self, slice: &EndpointSlice) {
        let (namespace, name) = key(&slice.metadata);
        self.remove_slice(&namespace, &name);
        let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)) else { return };
        let owner = (namespace.clone(), service.clone());
        self.owners.insert((namespace, name.clone()), owner.clone());
        self.slices.entry(owner).or_default().insert(name, SliceRecord::new(slice));
    }

    /// Forgets a slice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        let Some(owner) = self.owners.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
    }

    /// What `name` means.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = reverse_address(&name) {
            let names = self.names_of(address);
            return if names.is_empty() {
                Answer::Foreign
            } else {
                Answer::Found(names.into_iter().map(Data::Ptr).collect())
            };
        }
        let labels: Vec<&str> = match name.strip_suffix(&self.domain) {
            Some("") => Vec::new(),
            Some(rest) => match rest.strip_suffix('.') {
                Some(rest) => rest.split('.').collect(),
                None => return Answer::Foreign,
            },
            None => return Answer::Foreign,
        };
        match labels.as_slice() {
            [] => Answer::Found(vec![Data::Ns(self.server_name())]),
            ["dns-version"] => Answer::Found(vec![Data::Txt(SPECIFICATION.to_owned())]),
            ["ns", "dns"] => Answer::Found(vec![Data::Address(self.server)]),
            ["svc" | "pod" | "dns"] => Answer::Found(Vec::new()),
            [namespace, "svc" | "pod"] => self.namespace(namespace),
            [dashed, _, "pod"] => {
                dashed_address(dashed).map_or(Answer::Missing, |a| Answer::Found(vec![Data::Address(a)]))
            }
            [service, namespace, "svc"] => self.service(namespace, service),
            [under, service, namespace, "svc"] => self.under_service(namespace, service, under),
            [port, protocol, service, namespace, "svc"] => self.port(namespace, service, protocol, port),
            _ => Answer::Missing,
        }
    }

    /// The name of the zone's server.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("ns.dns.{}", self.domain)
    }

    fn namespace(&self, namespace: &str) -> Answer {
        let known = self.services.keys().any(|(name, _)| name == namespace);
        if known { Answer::Found(Vec::new()) } else { Answer::Missing }
    }

    fn service(&self, namespace: &str, name: &str) -> Answer {
        let Some(service) = self.services.get(&(namespace.to_owned(), name.to_owned())) else { return Answer::Missing };
        if let Some(target) = &service.external {
            return Answer::Alias(target.clone());
        }
        let host = self.host(namespace, name);
        let mut data: Vec<Data> = Vec::new();
        if service.headless {
            data.extend(distinct(self.endpoints(namespace, name).flat_map(|(_, e)| &e.addresses)));
            if data.is_empty() {
                return Answer::Missing;
            }
            data.extend(self.headless_ports(namespace, name, |_| true));
        } else {
            data.extend(service.addresses.iter().copied().map(Data::Address));
            data.extend(service.ports.iter().map(|port| Data::Srv(port.port, host.clone())));
        }
        Answer::Found(data)
    }

    /// Endpoints have names below Services with an address, too: pods of a StatefulSet are known by them, whatever its Service is.
    fn under_service(&self, namespace: &str, name: &str, under: &str) -> Answer {
        let Some(service) = self.services.get(&(namespace.to_owned(), name.to_owned())) else { return Answer::Missing };
        if matches!(under, "_tcp" | "_udp" | "_sctp") {
            return Answer::Found(Vec::new());
        }
        if service.external.is_some() {
            return Answer::Missing;
        }
        let named = self.endpoints(namespace, name).filter(|(_, endpoint)| endpoint.label().as_deref() == Some(under));
        let addresses = distinct(named.flat_map(|(_, e)| &e.addresses));
        if addresses.is_empty() { Answer::Missing } else { Answer::Found(addresses) }
    }

    fn port(&self, namespace: &str, name: &str, protocol: &str, port: &str) -> Answer {
        let (Some(protocol), Some(port)) = (protocol.strip_prefix('_'), port.strip_prefix('_')) else {
            return Answer::Missing;
        };
        let Some(service) = self.services.get(&(namespace.to_owned(), name.to_owned())) else { return Answer::Missing };
        let wanted = |record: &PortRecord| record.name == port && record.protocol == protocol;
        let data: Vec<Data> = if service.headless {
            self.headless_ports(namespace, name, wanted)
        } else {
            let host = self.host(namespace, name);
            service
                .ports
                .iter()
                .filter(|record| wanted(record))
                .map(|record| Data::Srv(record.port, host.clone()))
                .collect()
        };
        if data.is_empty() { Answer::Missing } else { Answer::Found(data) }
    }

    fn headless_ports(&self, namespace: &str, name: &str, wanted: impl Fn(&PortRecord) -> bool) -> Vec<Data> {
        let host = self.host(namespace, name);
        let mut seen = HashSet::new();
        self.endpoints(namespace, name)
            .flat_map(|(slice, endpoint)| {
                let target = endpoint.label().map(|label| format!("{label}.{host}"));
                let ports = slice.ports.iter().filter(|port| wanted(port));
                ports.filter_map(move |port| Some((port.port, target.clone()?))).collect::<Vec<_>>()
            })
            // A pod with addresses of both families is in a slice of each.
            .filter(|(port, target)| seen.insert((*port, target.clone())))
            .map(|(port, target)| Data::Srv(port, target))
            .collect()
    }

    fn endpoints(&self, namespace: &str, name: &str) -> impl Iterator<Item = (&SliceRecord, &EndpointRecord)> {
        let slices = self.slices.get(&(namespace.to_owned(), name.to_owned()));
        slices.into_iter().flat_map(HashMap::values).flat_map(|slice| slice.endpoints.iter().map(move |e| (slice, e)))
    }

    fn host(&self, namespace: &str, service: &str) -> String {
        format!("{service}.{namespace}.svc.{}", self.domain)
    }

    /// The names of an address: of the service that has it, of the endpoints of headless services, and below others of those that have a
    /// hostname.
    fn names_of(&self, address: IpAddr) -> Vec<String> {
        let own = self.services.iter().filter(|(_, service)| service.addresses.contains(&address));
        let mut names: Vec<String> = own.map(|((namespace, name), _)| self.host(namespace, name)).collect();
        for (key, slices) in &self.slices {
            let Some(service) = self.services.get(key).filter(|service| service.external.is_none()) else { continue };
            let endpoints = slices.values().flat_map(|slice| &slice.endpoints);
            let at = endpoints.filter(|endpoint| endpoint.addresses.contains(&address));
            let named = at.filter(|endpoint| service.headless || endpoint.hostname.is_some());
            names.extend(named.filter_map(|e| Some(format!("{}.{}", e.label()?, self.host(&key.0, &key.1)))));
        }
        names.sort();
        names.dedup();
        names
    }
}

impl ServiceRecord {
    fn new(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let external = spec
            .filter(|spec| spec.type_.as_deref() == Some("ExternalName"))
            .and_then(|spec| spec.external_name.clone());
        let listed = spec.and_then(|spec| spec.cluster_ips.clone()).filter(|ips| !ips.is_empty());
        let ips =
            listed.or_else(|| spec.and_then(|spec| spec.cluster_ip.clone()).map(|ip| vec![ip])).unwrap_or_default();
        Self {
            addresses: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            headless: ips.iter().any(|ip| ip == "None"),
            external,
            ports: spec
                .into_iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .filter_map(|port| PortRecord::new(port.name.as_deref(), port.protocol.as_deref(), port.port))
                .collect(),
        }
    }
}

impl PortRecord {
    fn new(name: Option<&str>, protocol: Option<&str>, port: i32) -> Option<Self> {
        Some(Self {
            name: name.unwrap_or_default().to_ascii_lowercase(),
            protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
            port: u16::try_from(port).ok()?,
        })
    }
}

impl SliceRecord {
    fn new(slice: &EndpointSlice) -> Self {
        let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
            e.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        let endpoints = slice.endpoints.iter().flatten().filter(ready).map(|endpoint| EndpointRecord {
            addresses: endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            hostname: endpoint.hostname.as_ref().map(|name| name.to_ascii_lowercase()),
        });
        let ports = slice.ports.iter().flatten();
        Self {
            endpoints: endpoints.collect(),
            ports: ports.filter_map(|p| PortRecord::new(p.name.as_deref(), p.protocol.as_deref(), p.port?)).collect(),
        }
    }
}

impl EndpointRecord {
    /// The endpoint's label below its service: its hostname, else its first address with dashes.
    fn label(&self) -> Option<String> {
        self.hostname
            .clone()
            .or_else(|| self.addresses.first().map(|address| address.to_string().replace(['.', ':'], "-")))
    }
}

/// Each address once, in order: an endpoint that moves is in two slices for a moment.
fn distinct<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Vec<Data> {
    addresses.copied().collect::<BTreeSet<_>>().into_iter().map(Data::Address).collect()
}

fn key(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// `10-0-0-7` or `fd00--7` as an address.
fn dashed_address(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::from);
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::from);
    v4().or_else(v6)
}

/// The address that a name in the reverse zones stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let forward: Vec<&str> = octets.rsplit('.').collect();
        return forward.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::from);
    }
    let nibbles: Vec<u8> = name
        .strip_suffix(".ip6.arpa")?
        .rsplit('.')
        .map(|digit| u8::from_str_radix(digit, 16).ok().filter(|value| *value < 16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = nibbles.chunks(2).filter_map(|pair| Some((pair.first()? << 4) | pair.get(1)?)).collect();
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests;
