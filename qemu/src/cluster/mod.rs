//! A whole cluster: one control plane and its workers on a network of their own.
//!
//! Every node has an uplink (slirp: DHCP, NAT, the registry at 10.0.2.2) and a card on the switch with a fixed address in
//! 192.168.77.0/24. The API server is reached from the host through a forward of the control plane's uplink, Services of
//! type NodePort through one of the first worker's.
//!
//! [`Cluster`] owns switch, registry and machines; dropping it ends them all. [`ClusterState`] is what others may know of
//! it, on disk. [`wait_ready`] asks the API until all nodes are Ready.

mod kubeconfig;
mod layout;
mod machine_config;
mod operator;
mod ready;
mod spec;
mod state;

pub use kubeconfig::kubeconfig;
pub use layout::{Address, address_of};
pub use machine_config::{NodePlan, Surroundings, machine_config};
pub use ready::{Progress, label_control_plane, wait_ready};
pub use spec::{ClusterSpec, NODE_PORT};
pub use state::{ClusterState, NodeState, PortForward};

use crate::console::Console;
use crate::kube::Api;
use crate::pki::Pki;
use crate::registry::{Registry, free_port, next_free_port};
use crate::switch::{PortId, Switch};
use crate::vm::{Forward, Nic, Vm, VmSpec};
use crate::{Error, Result, cidata, disk};
use operator::Operator;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Port of the API server within its machine.
pub const API_PORT: u16 = 6443;

/// A running cluster.
pub struct Cluster {
    dir: PathBuf,
    pki: Pki,
    state: ClusterState,
    nodes: Vec<Node>,
    registry: Registry,
    switch: Switch,
    _sockets: Option<tempfile::TempDir>,
}

/// One machine of it.
struct Node {
    spec: VmSpec,
    port: PortId,
    vm: Option<Vm>,
}

impl Cluster {
    /// Clears `spec.dir`, makes disks and secrets, and starts everything. The nodes boot while this returns.
    pub fn start(spec: &ClusterSpec) -> Result<Cluster> {
        layout::clear(&spec.dir)?;
        let (sockets, held) = layout::socket_dir(&spec.dir)?;
        let pki = Pki::generate()?;
        let registry = Registry::start(&spec.artifacts.registry, &spec.artifacts.registry_storage, &spec.dir)?;
        let switch = Switch::new(&sockets);
        let api_port = match spec.api_port {
            Some(wanted) => next_free_port(wanted)?,
            None => free_port()?.port(),
        };
        let surroundings = Surroundings {
            cluster: spec.name.clone(),
            control_plane: address_of(0).ip,
            registry: registry.url_from_guest(),
            time_servers: spec.time_servers.clone(),
            kubelet: spec.kubelet.clone(),
            node_mask: spec.node_mask,
            dual_stack: spec.dual_stack,
            swap_mib: spec.swap_mib,
        };
        let plans: Vec<NodePlan> = (0..=spec.workers).map(NodePlan::of).collect();
        let made = spec.rkctl.as_deref().map(|rkctl| Operator::new(rkctl, &spec.dir, &spec.name, &plans));
        let operator = made.transpose()?;
        let mut machine_apis = Vec::new();
        let mut nodes = Vec::new();
        let mut states = Vec::new();
        for (index, plan) in (0..).zip(&plans) {
            let mut forwards = forwards(index, api_port)?;
            let mut config = machine_config(plan, &surroundings, &pki)?;
            if let Some(operator) = &operator {
                config = operator.added(&plan.name, &config)?;
                let host = free_port()?;
                forwards.push(Forward { host, guest: operator::MACHINE_PORT });
                machine_apis.push(host);
            }
            let (port, socket) = switch.add_port()?;
            let vm = machine(spec, plan, &config, &socket, &sockets, &forwards)?;
            states.push(NodeState::new(plan, &vm, &forwards));
            nodes.push(Node { spec: vm, port, vm: None });
        }
        let operator = operator.map(|operator| operator.told(&machine_apis)).transpose()?;
        let kubeconfig_path = spec.dir.join("kubeconfig");
        layout::write_private(&kubeconfig_path, &kubeconfig(&spec.name, api_port, &pki))?;
        let state = ClusterState {
            name: spec.name.clone(),
            pid: std::process::id(),
            accel: spec.artifacts.accel,
            api_port,
            registry_port: registry.address().port(),
            kubeconfig: kubeconfig_path,
            operator,
            nodes: states,
        };
        let mut cluster = Cluster { dir: spec.dir.clone(), pki, state, nodes, registry, switch, _sockets: held };
        for node in &mut cluster.nodes {
            node.vm = Some(Vm::start(&node.spec)?);
        }
        cluster.refresh()?;
        Ok(cluster)
    }

    /// What others may know; also in `state.json` of the cluster's folder.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The operator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.state.kubeconfig
    }

    /// The API, as the operator.
    pub fn api(&self) -> Result<Api> {
        Api::from_kubeconfig(&self.state.kubeconfig)
    }

    /// The secrets that it started with.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The network between the nodes.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The registry that the nodes pull from.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The port of the switch that `node` hangs on.
    pub fn port(&self, node: &str) -> Result<PortId> {
        self.nodes.iter().find(|n| n.spec.name == node).map(|n| n.port).ok_or_else(|| unknown(node))
    }

    /// A running machine.
    pub fn vm(&mut self, node: &str) -> Result<&mut Vm> {
        let found = self.nodes.iter_mut().find(|n| n.spec.name == node).ok_or_else(|| unknown(node))?;
        found.vm.as_mut().ok_or_else(|| Error::State(format!("node {node} is off")))
    }

    /// The console of a machine, whether it runs or not.
    pub fn console(&self, node: &str) -> Result<Console> {
        let found = self.nodes.iter().find(|n| n.spec.name == node).ok_or_else(|| unknown(node))?;
        Ok(Console::new(node, &found.spec.console_log()))
    }

    /// Pulls the plug of a node. Its disks stay.
    pub fn kill_node(&mut self, node: &str) -> Result<()> {
        let found = self.nodes.iter_mut().find(|n| n.spec.name == node).ok_or_else(|| unknown(node))?;
        found.vm = None;
        self.refresh()
    }

    /// Starts a node that is off, with the disks that it had.
    pub fn start_node(&mut self, node: &str) -> Result<()> {
        let found = self.nodes.iter_mut().find(|n| n.spec.name == node).ok_or_else(|| unknown(node))?;
        if found.vm.is_some() {
            return Err(Error::State(format!("node {node} runs already")));
        }
        found.vm = Some(Vm::start(&found.spec)?);
        self.refresh()
    }

    /// Opens another port of the host into `node`, at run time, and answers it.
    pub fn forward(&mut self, node: &str, guest: u16) -> Result<u16> {
        let host = free_port()?;
        self.vm(node)?.qmp()?.forward(host, guest)?;
        if let Some(state) = self.state.nodes.iter_mut().find(|n| n.name == node) {
            state.forwards.push(PortForward { host: host.port(), guest });
        }
        self.refresh()?;
        Ok(host.port())
    }

    /// Presses all power buttons, waits together up to `limit`, kills what is left, and answers who had to be killed.
    pub fn shutdown(mut self, limit: Duration) -> Vec<String> {
        let start = Instant::now();
        let mut running: Vec<&mut Vm> = self.nodes.iter_mut().filter_map(|n| n.vm.as_mut()).collect();
        // At once, since a monitor that hangs takes its time to be given up.
        std::thread::scope(|scope| {
            for vm in &mut running {
                scope.spawn(|| {
                    if let Err(error) = vm.qmp().and_then(|mut qmp| qmp.powerdown()) {
                        tracing::warn!(node = vm.name(), %error, "its power button cannot be pressed");
                        vm.kill();
                    }
                });
            }
        });
        let late = running.iter_mut().filter_map(|vm| {
            let clean = vm.end_within(limit.saturating_sub(start.elapsed()));
            (!clean).then(|| vm.name().to_owned())
        });
        let late = late.collect();
        let _ = std::fs::remove_file(ClusterState::path(&self.dir));
        late
    }

    /// Writes down the state after a change.
    fn refresh(&mut self) -> Result<()> {
        for (node, state) in self.nodes.iter().zip(&mut self.state.nodes) {
            state.pid = node.vm.as_ref().map(Vm::pid);
        }
        self.state.save(&self.dir)
    }
}

fn unknown(node: &str) -> Error {
    Error::State(format!("no node is named {node:?}"))
}

/// What leads from the host into node `index`.
fn forwards(index: u8, api_port: u16) -> Result<Vec<Forward>> {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(match index {
        0 => vec![Forward { host: local(api_port), guest: API_PORT }],
        1 => vec![Forward { host: local(next_free_port(NODE_PORT)?), guest: NODE_PORT }],
        _ => Vec::new(),
    })
}

/// Makes the disks of a node and describes its machine.
fn machine(
    spec: &ClusterSpec,
    plan: &NodePlan,
    config: &str,
    socket: &Path,
    sockets: &Path,
    forwards: &[Forward],
) -> Result<VmSpec> {
    let seed = spec.dir.join(format!("{}.cidata.img", plan.name));
    cidata::create(&seed, config, &format!("instance-id: {}-{}\n", spec.name, plan.name))?;
    let mut vm = VmSpec::new(
        &plan.name,
        &spec.dir,
        spec.artifacts.accel,
        &spec.artifacts.kernel,
        Some(&spec.artifacts.initramfs),
    );
    vm.sockets = sockets.to_owned();
    vm.machine = spec.machine;
    vm.cpus = spec.cpus;
    vm.memory_nodes = spec.memory_nodes;
    vm.memory_mib = spec.memory_mib;
    vm.clock = spec.clock.clone();
    vm.restarts = spec.restarts;
    vm = vm.drive(&seed, true);
    if spec.data_mib > 0 {
        let data = spec.dir.join(format!("{}.data.img", plan.name));
        disk::create_data(&data, spec.data_mib)?;
        vm = vm.drive(&data, false);
    }
    vm = vm.nic(Nic::Uplink { mac: plan.address.uplink_mac.clone(), forwards: forwards.to_vec() });
    Ok(vm.nic(Nic::Switch { mac: plan.address.mac.clone(), socket: socket.to_owned() }))
}
