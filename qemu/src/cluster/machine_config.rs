//! The machine config of each node, made with the types that the node itself reads.

use super::layout::{Address, address_of};
use crate::pki::Pki;
use crate::{Error, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rk_config::{
    CertificateAuthority, ControlPlane, Interface, LinkMatch, MachineConfig, Mirror, Network, NodeIps, Ntp, Registries,
    Role, Taint, TaintEffect,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prefix of the network between the nodes.
const PREFIX: u8 = 24;
/// The same of IPv6.
const PREFIX_IPV6: u8 = 64;

/// One node to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// Host name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Addresses.
    pub address: Address,
}

impl NodePlan {
    /// Node 0 is the control plane, the others are `worker-1` and so on.
    pub fn of(index: u8) -> NodePlan {
        let (name, role) = match index {
            0 => ("control-plane".to_owned(), Role::ControlPlane),
            n => (format!("worker-{n}"), Role::Worker),
        };
        NodePlan { name, role, address: address_of(index) }
    }
}

/// What all nodes of a cluster share.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// The cluster's name.
    pub cluster: String,
    /// Address of the control plane between the nodes.
    pub control_plane: Ipv4Addr,
    /// The registry as guests reach it.
    pub registry: String,
    /// Who tells the nodes the time; without any, their clocks are left as they are.
    pub time_servers: Vec<Ipv4Addr>,
    /// `kubelet.config` of every node: a `KubeletConfiguration`, or null.
    pub kubelet: serde_json::Value,
    /// Prefix length of each node's range of pods; the default when absent.
    pub node_mask: Option<u32>,
    /// Whether nodes, pods and Services have IPv6 addresses beside those of IPv4.
    pub dual_stack: bool,
    /// Swap of every node in MiB; none when zero.
    pub swap_mib: u32,
}

/// The YAML for a node, checked by the node's own parser.
pub fn machine_config(plan: &NodePlan, around: &Surroundings, pki: &Pki) -> Result<String> {
    let mut config = MachineConfig { role: plan.role, hostname: Some(plan.name.clone()), ..MachineConfig::default() };
    config.network = Network {
        interfaces: interfaces(&plan.address, around.dual_stack),
        ntp: Ntp {
            enabled: !around.time_servers.is_empty(),
            servers: around.time_servers.iter().map(Ipv4Addr::to_string).collect(),
        },
        ..Network::default()
    };
    config.cluster.name = around.cluster.clone();
    config.cluster.endpoint = Some(format!("https://{}:{}", around.control_plane, super::API_PORT));
    config.cluster.token = Some(pki.token.clone());
    config.cluster.ca_hash = Some(pki.ca_hash.clone());
    config.kubelet.config = around.kubelet.clone();
    config.disks.swap_mib = around.swap_mib;
    let second = around.dual_stack.then_some(plan.address.ipv6);
    config.kubelet.node_ip = Some(NodeIps { primary: IpAddr::V4(plan.address.ip), secondary: second });
    if around.dual_stack {
        config.cluster.pod_cidr.v6 = Some(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0), 56));
        config.cluster.service_cidr.v6 =
            Some(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112));
    }
    // Nobody waits half a minute for machines that are about to be thrown away.
    config.kubelet.shutdown_grace_period_seconds = 5;
    let mirror = Mirror { matches: "*".into(), endpoints: vec![around.registry.clone()], include_host: true };
    config.registries = Registries { mirrors: vec![mirror], ..Registries::default() };
    if plan.role == Role::ControlPlane {
        let key = "node-role.kubernetes.io/control-plane".to_owned();
        config.kubelet.taints = vec![Taint { key, value: String::new(), effect: TaintEffect::NoSchedule }];
        let ca = CertificateAuthority { certificate: pki.ca.certificate.clone(), key: pki.ca.key.clone() };
        config.control_plane = Some(ControlPlane {
            advertise: Some(around.control_plane.to_string()),
            ca: Some(ca),
            node_cidr_mask_size: around.node_mask,
            ..ControlPlane::default()
        });
    }
    let yaml = rk_config::to_yaml(&config).map_err(|source| Error::Config { node: plan.name.clone(), source })?;
    match rk_config::parse(&yaml) {
        Ok(_) => Ok(yaml),
        Err(source) => Err(Error::Config { node: plan.name.clone(), source }),
    }
}

fn interfaces(address: &Address, dual_stack: bool) -> Vec<Interface> {
    let by_mac = |mac: &str| LinkMatch { mac: Some(mac.to_owned()), ..LinkMatch::default() };
    let mut between = vec![IpNet::V4(Ipv4Net::new_assert(address.ip, PREFIX))];
    if dual_stack {
        between.push(IpNet::V6(Ipv6Net::new_assert(address.ipv6, PREFIX_IPV6)));
    }
    vec![
        Interface { matches: by_mac(&address.uplink_mac), dhcp: true, ..Interface::default() },
        Interface { matches: by_mac(&address.mac), addresses: between, ..Interface::default() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(index: u8) -> String {
        yaml_of(index, false)
    }

    fn yaml_of(index: u8, dual_stack: bool) -> String {
        let around = Surroundings {
            cluster: "rk".into(),
            control_plane: Ipv4Addr::new(192, 168, 77, 10),
            registry: "http://10.0.2.2:5000".into(),
            time_servers: Vec::new(),
            kubelet: serde_json::json!({"maxPods": 20}),
            node_mask: Some(22),
            dual_stack,
            swap_mib: 0,
        };
        machine_config(&NodePlan::of(index), &around, &Pki::generate().expect("pki")).expect("config")
    }

    #[test]
    fn only_the_control_plane_gets_the_key_of_the_authority() {
        assert!(yaml(0).contains("PRIVATE KEY") && yaml(0).contains("role: control-plane"));
        assert!(yaml(0).contains("nodeCIDRMaskSize: 22") && !yaml(1).contains("nodeCIDRMaskSize"));
        assert!(!yaml(1).contains("PRIVATE KEY") && yaml(1).contains("worker-1"));
    }

    #[test]
    fn a_dual_stack_node_has_addresses_of_both_families() {
        let yaml = yaml_of(1, true);
        for part in
            ["192.168.77.11,fd00:77::11", "fd00:77::11/64", "10.244.0.0/16,fd00:10:244::/56", "fd00:10:96::/112"]
        {
            assert!(yaml.contains(part), "{part} is not in\n{yaml}");
        }
    }
}
