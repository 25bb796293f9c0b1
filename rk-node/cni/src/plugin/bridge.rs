//! `bridge`: a veth pair between the container and a bridge of the host, which is the container's gateway.

use std::{
    fs::{self, File},
    net::IpAddr,
    path::Path,
};

use ipnet::IpNet;
use rtnetlink::packet_route::link::InfoKind;
use serde::Deserialize;
use serde_json::{Value, to_value};
use sha2::{Digest, Sha256};

use super::{
    Answer, ipam,
    link::{Links, in_container, on_host},
    masquerade,
    request::{Command, Request, failed},
};
use crate::types::{CniError, CniResult, Interface, IpConfig, Route};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default = "default_bridge")]
    bridge: String,
    #[serde(default)]
    is_gateway: bool,
    #[serde(default)]
    is_default_gateway: bool,
    #[serde(default)]
    ip_masq: bool,
    #[serde(default)]
    hairpin_mode: bool,
    #[serde(default)]
    mtu: u32,
    /// Destinations besides the pod's own subnet that see pods' own addresses.
    #[serde(default, rename = "nonMasqueradeCIDRs")]
    non_masquerade: Vec<IpNet>,
    #[serde(default)]
    promisc_mode: bool,
    #[serde(default)]
    vlan: u32,
    #[serde(default)]
    vlan_trunk: Vec<Value>,
    #[serde(default)]
    ipam: Option<Value>,
}

fn default_bridge() -> String {
    "cni0".into()
}

impl Config {
    fn read(request: &Request) -> Result<Self, CniError> {
        let config: Self = request.config()?;
        let unsupported = [
            ("promiscMode", config.promisc_mode),
            ("vlan", config.vlan != 0),
            ("vlanTrunk", !config.vlan_trunk.is_empty()),
        ];
        if let Some((field, _)) = unsupported.iter().find(|(_, set)| *set) {
            return Err(CniError::new(
                CniError::UNSUPPORTED,
                format!("{field} is not supported by this bridge plugin"),
            ));
        }
        if config.bridge.is_empty() || config.bridge.len() > 15 || config.bridge.contains(['/', ' ']) {
            return Err(CniError::new(CniError::CONFIG, format!("bridge {:?} is no interface name", config.bridge)));
        }
        Ok(config)
    }

    fn has_ipam(&self) -> bool {
        self.ipam.as_ref().and_then(|i| i["type"].as_str()).is_some_and(|kind| !kind.is_empty())
    }

    fn mtu(&self) -> Option<u32> {
        (self.mtu > 0).then_some(self.mtu)
    }
}

pub(super) fn run(request: &Request) -> Answer {
    let config = Config::read(request)?;
    match request.command {
        Command::Add => add(request, &config).inspect_err(|_| {
            // What half an ADD left must not keep the next one from working.
            let _ = on_host(|| async { Links::open()?.remove(&host_name(request)).await });
            if config.has_ipam() {
                let _ = ipam::delegate(request, "DEL");
            }
        }),
        Command::Del => del(request, &config),
        Command::Check => check(request, &config),
        Command::Gc if config.has_ipam() => ipam::delegate(request, "GC").map(|_| None),
        Command::Status if config.has_ipam() => ipam::delegate(request, "STATUS").map(|_| None),
        Command::Gc | Command::Status => Ok(None),
    }
}

/// The host's end, from the container's ID: a repeated DEL finds it again without any state.
fn host_name(request: &Request) -> String {
    let hash = Sha256::digest(format!("{}/{}", request.container_id, request.if_name));
    format!("veth{}", hex::encode(hash.get(..4).unwrap_or_default()))
}

/// nftables table of this network's masquerading.
fn table(request: &Request) -> String {
    format!("cni-{}", request.name)
}

fn add(request: &Request, config: &Config) -> Answer {
    let allocated = match config.has_ipam() {
        true => ipam::delegate(request, "ADD")?
            .ok_or_else(|| CniError::new(CniError::FAILED, "ipam plugin returned no result"))?,
        false => CniResult::default(),
    };
    if config.has_ipam() && allocated.ips.is_empty() {
        return Err(CniError::new(CniError::FAILED, "ipam plugin returned no addresses"));
    }
    let gateways: Vec<IpNet> =
        allocated.ips.iter().filter_map(|ip| IpNet::new(gateway(ip), ip.address.prefix_len()).ok()).collect();
    let (bridge, host) = on_host(|| connect(request, config, &gateways))?;
    let container = configure(request, config, &allocated)?;
    if config.ip_masq {
        let ips: Vec<IpAddr> = allocated.ips.iter().map(|ip| ip.address.addr()).collect();
        let own = allocated.ips.iter().map(|ip| ip.address.trunc());
        let except: Vec<IpNet> = own.chain(config.non_masquerade.iter().copied()).collect();
        masquerade::add(&table(request), &ips, &except)?;
    }
    let mut result = allocated;
    result.interfaces = vec![bridge, host, container];
    for ip in &mut result.ips {
        ip.interface = Some(2);
    }
    to_value(result.versioned(&request.version)).map(Some).map_err(|e| failed("encode result", e))
}

/// The gateway that the address plugin named, else the subnet's first address.
fn gateway(ip: &IpConfig) -> IpAddr {
    ip.gateway.unwrap_or_else(|| match ip.address.network() {
        IpAddr::V4(net) => IpAddr::V4(u32::from(net).saturating_add(1).into()),
        IpAddr::V6(net) => IpAddr::V6(u128::from(net).saturating_add(1).into()),
    })
}

/// The host's side: bridge, veth pair, gateway addresses, forwarding.
async fn connect(request: &Request, config: &Config, gateways: &[IpNet]) -> Result<(Interface, Interface), CniError> {
    let netns = request.netns.as_deref().ok_or_else(|| CniError::new(CniError::ENVIRONMENT, "CNI_NETNS is missing"))?;
    let netns = File::open(netns).map_err(|e| failed(format!("open network namespace {}", netns.display()), e))?;
    let links = Links::open()?;
    let hash = Sha256::digest(fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    // Locally administered, unicast, and the same until the next boot.
    let mac = [
        0x02,
        0x72,
        0x6b,
        hash.first().copied().unwrap_or(1),
        hash.get(1).copied().unwrap_or(2),
        hash.get(2).copied().unwrap_or(3),
    ];
    links.add_bridge(&config.bridge, config.mtu(), mac).await?;
    let bridge = links.need(&config.bridge).await?;
    if bridge.kind != Some(InfoKind::Bridge) {
        return Err(CniError::new(CniError::FAILED, format!("{} exists and is not a bridge", config.bridge)));
    }
    deaf_to_routers(&config.bridge)?;
    if gateways.iter().any(|address| address.addr().is_ipv6()) {
        without_dad(&config.bridge)?;
    }
    links.up(bridge.index).await?;
    let name = host_name(request);
    links.remove(&name).await?;
    links.add_veth(&name, &request.if_name, &netns, config.mtu()).await?;
    let host = links.need(&name).await?;
    deaf_to_routers(&name)?;
    links.plug(host.index, bridge.index, config.hairpin_mode).await?;
    if config.is_gateway || config.is_default_gateway {
        for address in gateways {
            links.add_address(bridge.index, *address).await?;
            let knob = if address.addr().is_ipv4() { "ipv4/ip_forward" } else { "ipv6/conf/all/forwarding" };
            sysctl(knob, "1")?;
        }
    }
    let interface = |name: &str, mac: String| Interface { name: name.to_owned(), mac, ..Interface::default() };
    Ok((interface(&config.bridge, bridge.mac), interface(&name, host.mac)))
}

/// Writes below `/proc/sys/net`, which is that of the calling thread's namespace.
pub(super) fn sysctl(knob: &str, value: &str) -> Result<(), CniError> {
    let path = format!("/proc/sys/net/{knob}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|e| failed(format!("write {value} to {path}"), e))
}

/// A link whose routes and IPv6 addresses are ours alone, of whatever family the network is: what another pod advertises as a router becomes
/// neither. To be said before the link is up. A kernel without IPv6, or a link too narrow for it, hears no router anyway.
fn deaf_to_routers(link: &str) -> Result<(), CniError> {
    let folder = format!("ipv6/conf/{link}");
    if !Path::new("/proc/sys/net").join(&folder).is_dir() {
        return Ok(());
    }
    sysctl(&format!("{folder}/accept_ra"), "0")?;
    sysctl(&format!("{folder}/autoconf"), "0")
}

/// A link whose own IPv6 address is not waited for, which a port that sends back what it is sent would find taken.
fn without_dad(link: &str) -> Result<(), CniError> {
    sysctl(&format!("ipv6/conf/{link}/accept_dad"), "0")
}

/// The container's side: addresses, up, routes.
fn configure(request: &Request, config: &Config, allocated: &CniResult) -> Result<Interface, CniError> {
    let (name, ips) = (request.if_name.clone(), allocated.ips.clone());
    let mut routes = allocated.routes.clone();
    if config.is_default_gateway {
        for ip in &ips {
            let everywhere = if ip.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let dst: IpNet = everywhere.parse().map_err(|e| failed("default route", e))?;
            if !routes.iter().any(|r| r.dst == dst) {
                routes.push(Route { dst, gw: Some(gateway(ip)), rest: Default::default() });
            }
        }
    }
    let sandbox = request.netns.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
    in_container(request, move || async move {
        let links = Links::open()?;
        let link = links.need(&name).await?;
        deaf_to_routers(&name)?;
        if ips.iter().any(|ip| ip.address.addr().is_ipv6()) {
            without_dad(&name)?;
        }
        for ip in &ips {
            links.add_address(link.index, ip.address).await?;
        }
        links.up(link.index).await?;
        for route in &routes {
            let same = |ip: &&IpConfig| ip.address.addr().is_ipv4() == route.dst.addr().is_ipv4();
            let via = route.gw.or_else(|| ips.iter().find(same).map(gateway));
            links.add_route(link.index, route.dst, via).await?;
        }
        Ok(Interface { name, mac: link.mac, sandbox, ..Interface::default() })
    })
}

/// Goes on after an error and reports the first one.
fn del(request: &Request, config: &Config) -> Answer {
    let mut errors = Vec::new();
    if config.ip_masq {
        let ips = request.previous().ok().flatten().map(|result| result.pod_ips()).unwrap_or_default();
        errors.extend(masquerade::remove(&table(request), &ips).err());
    }
    if config.has_ipam() {
        errors.extend(ipam::delegate(request, "DEL").err());
    }
    errors.extend(on_host(|| async { Links::open()?.remove(&host_name(request)).await }).err());
    errors.into_iter().next().map_or(Ok(None), Err)
}

fn check(request: &Request, config: &Config) -> Answer {
    if config.has_ipam() {
        ipam::delegate(request, "CHECK")?;
    }
    let previous = request.previous()?.ok_or_else(|| CniError::new(CniError::CONFIG, "CHECK needs prevResult"))?;
    let broken = |what: String| Err(CniError::new(CniError::FAILED, what));
    let host = host_name(request);
    let plugged = on_host(|| async {
        let links = Links::open()?;
        let bridge = links.need(&config.bridge).await?;
        let port = links.need(&host).await?;
        Ok(bridge.up && port.up && port.controller == Some(bridge.index))
    })?;
    if !plugged {
        return broken(format!("{host} is not an active port of bridge {}", config.bridge));
    }
    let name = request.if_name.clone();
    let have = in_container(request, move || async move {
        let links = Links::open()?;
        let link = links.need(&name).await?;
        links.addresses(link.index).await
    })?;
    let of_container = |ip: &&IpConfig| {
        let interface = ip.interface.and_then(|at| previous.interfaces.get(at));
        interface.is_none_or(|i| i.name == request.if_name && !i.sandbox.is_empty())
    };
    for ip in previous.ips.iter().filter(of_container) {
        if !have.contains(&ip.address) {
            return broken(format!("interface {} lacks address {}", request.if_name, ip.address));
        }
        if config.ip_masq && !masquerade::check(&table(request), ip.address.addr())? {
            return broken(format!("{} is not masqueraded", ip.address.addr()));
        }
    }
    Ok(None)
}
