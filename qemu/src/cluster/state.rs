//! What is written down about a running cluster, for commands of other processes.

use super::machine_config::NodePlan;
use crate::vm::{Forward, VmSpec};
use crate::{Accel, Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A port of loopback that leads into a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// On the host.
    pub host: u16,
    /// In the node.
    pub guest: u16,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Address between the nodes.
    pub ip: std::net::Ipv4Addr,
    /// QEMU's process, absent when the node is off.
    pub pid: Option<u32>,
    /// Log of its console.
    pub console_log: PathBuf,
    /// Socket of its console.
    pub console: PathBuf,
    /// Socket of its monitor.
    pub qmp: PathBuf,
    /// Ports that lead in.
    pub forwards: Vec<PortForward>,
}

impl NodeState {
    pub(super) fn new(plan: &NodePlan, vm: &VmSpec, forwards: &[Forward]) -> NodeState {
        NodeState {
            name: plan.name.clone(),
            ip: plan.address.ip,
            pid: None,
            console_log: vm.console_log(),
            console: vm.console_socket(),
            qmp: vm.qmp_socket(),
            forwards: forwards.iter().map(|f| PortForward { host: f.host.port(), guest: f.guest }).collect(),
        }
    }
}

/// A running cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Its name.
    pub name: String,
    /// The process that owns it.
    pub pid: u32,
    /// The accelerator in use.
    pub accel: Accel,
    /// The API server's port on loopback.
    pub api_port: u16,
    /// The registry's port on loopback.
    pub registry_port: u16,
    /// The operator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The operator's file for `rkctl`, when the nodes serve the machine API.
    #[serde(default)]
    pub operator: Option<PathBuf>,
    /// Its nodes, the control plane first.
    pub nodes: Vec<NodeState>,
}

impl ClusterState {
    /// The file in the folder of a cluster.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("state.json")
    }

    /// The state of the cluster in `dir` when its owner still lives; a file left behind by a dead one counts as none.
    pub fn load(dir: &Path) -> Result<Option<ClusterState>> {
        let path = Self::path(dir);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::file("read", &path))?,
        };
        let state: Option<ClusterState> = serde_json::from_slice(&text).ok();
        Ok(state.filter(|s| crate::process::alive(s.pid)))
    }

    /// Replaces the file.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let (path, new) = (Self::path(dir), dir.join("state.json.new"));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        std::fs::write(&new, text).map_err(Error::file("write", &new))?;
        std::fs::rename(&new, &path).map_err(Error::file("replace", &path))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pid: u32) -> ClusterState {
        ClusterState {
            name: "rk".into(),
            pid,
            accel: Accel::Tcg,
            api_port: 1,
            registry_port: 2,
            kubeconfig: "/k".into(),
            operator: None,
            nodes: Vec::new(),
        }
    }

    #[test]
    fn the_state_of_a_dead_owner_counts_as_none() {
        let dir = tempfile::tempdir().expect("dir");
        state(std::process::id()).save(dir.path()).expect("save");
        assert_eq!(ClusterState::load(dir.path()).expect("load"), Some(state(std::process::id())));
        state(u32::MAX).save(dir.path()).expect("save");
        assert_eq!(ClusterState::load(dir.path()).expect("load"), None);
    }

    #[test]
    fn a_torn_file_counts_as_none() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(ClusterState::path(dir.path()), "{\"name\"").expect("write");
        assert_eq!(ClusterState::load(dir.path()).expect("load"), None);
    }
}
