//! What a cluster is made of.

use crate::artifacts::Artifacts;
use crate::vm::Machine;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The node port that is forwarded from the host to the first worker from the start.
pub const NODE_PORT: u16 = 30080;

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Its name.
    pub name: String,
    /// Its folder: disks, logs, kubeconfig, state. Emptied at the start.
    pub dir: PathBuf,
    /// Files.
    pub artifacts: Artifacts,
    /// Workers beside the one control plane; at most 200.
    pub workers: u8,
    /// Memory of each machine in MiB.
    pub memory_mib: u64,
    /// Processors of each machine.
    pub cpus: u32,
    /// Memory nodes of each machine, each with a socket of its own; processors and memory are shared out evenly.
    pub memory_nodes: u32,
    /// Board of each machine.
    pub machine: Machine,
    /// Size of each data disk in MiB; 0 leaves the disk out.
    pub data_mib: u64,
    /// What the hardware clocks say at the start; the true time when absent.
    pub clock: Option<String>,
    /// Who tells the nodes the time; without any, their clocks are left as they are.
    pub time_servers: Vec<Ipv4Addr>,
    /// Port of the host for the API server, or the next free one; any free one when absent.
    pub api_port: Option<u16>,
    /// `rkctl`, which makes the nodes' machine APIs and an operator's file for them; without it none is served.
    pub rkctl: Option<PathBuf>,
    /// A `KubeletConfiguration` for every node, or null.
    pub kubelet: serde_json::Value,
    /// Prefix length of each node's range of pods; the default when absent.
    pub node_mask: Option<u32>,
    /// Whether nodes, pods and Services have IPv6 addresses beside those of IPv4.
    pub dual_stack: bool,
    /// Swap of every node in MiB, on its data disk; none when zero.
    pub swap_mib: u32,
    /// A machine that is told to restart does so; else it ends.
    pub restarts: bool,
}

impl ClusterSpec {
    /// A control plane and two workers in `dir`.
    pub fn new(name: &str, dir: &Path, artifacts: &Artifacts) -> ClusterSpec {
        ClusterSpec {
            name: name.to_owned(),
            dir: dir.to_owned(),
            artifacts: artifacts.clone(),
            workers: 2,
            memory_mib: 768,
            cpus: artifacts.accel.processors(),
            memory_nodes: 1,
            machine: Machine::Microvm,
            data_mib: 8192,
            clock: None,
            time_servers: Vec::new(),
            api_port: None,
            rkctl: None,
            kubelet: serde_json::Value::Null,
            node_mask: None,
            dual_stack: false,
            swap_mib: 0,
            restarts: false,
        }
    }
}
