//! The machine API of a cluster's nodes, made by `rkctl` as an operator does it.

use super::machine_config::NodePlan;
use super::{API_PORT, address_of, layout};
use crate::{Error, Result};
use rk_config::{MachineApi, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Port of the machine API within a machine.
pub(super) const MACHINE_PORT: u16 = 50_000;
/// Where `rkctl` works, below the cluster's folder.
const FOLDER: &str = "operator";

/// What `rkctl config gen` made.
pub(super) struct Operator {
    dir: PathBuf,
}

impl Operator {
    /// Makes an authority of the machines, an identity of each node, and the admin's file.
    pub(super) fn new(rkctl: &Path, dir: &Path, cluster: &str, plans: &[NodePlan]) -> Result<Operator> {
        let dir = dir.join(FOLDER);
        let mut command = Command::new(rkctl);
        command.args(["config", "gen", cluster, &format!("https://{}:{API_PORT}", address_of(0).ip)]);
        for plan in plans {
            let flag = if plan.role == Role::ControlPlane { "--control-plane" } else { "--worker" };
            command.args([flag, &plan.name]);
        }
        command.arg("--output").arg(&dir);
        let program = rkctl.display().to_string();
        let output = command.output().map_err(|err| Error::program(program.as_str(), err))?;
        if !output.status.success() {
            return Err(Error::program(program, String::from_utf8_lossy(&output.stderr)));
        }
        Ok(Operator { dir })
    }

    /// A node's config, with the machine API in it.
    pub(super) fn added(&self, node: &str, config: &str) -> Result<String> {
        let path = self.dir.join(format!("{node}.yaml"));
        let made = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        with_api(config, api_of(&made)?).map_err(|source| Error::Config { node: node.to_owned(), source })
    }

    /// Writes into the admin's file where the nodes are, and answers the file.
    pub(super) fn told(&self, nodes: &[SocketAddr]) -> Result<PathBuf> {
        let path = self.dir.join("rkctl.yaml");
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        layout::write_private(&path, &with_nodes(&text, nodes))?;
        Ok(path)
    }
}

fn api_of(config: &str) -> Result<MachineApi> {
    let parsed = rk_config::parse(config).ok();
    let api = parsed.and_then(|parsed| parsed.config.machine_api);
    api.ok_or_else(|| Error::State("rkctl made a config without a machine API".into()))
}

fn with_api(config: &str, api: MachineApi) -> Result<String, rk_config::ConfigError> {
    let mut config = rk_config::parse(config)?.config;
    config.machine_api = Some(api);
    rk_config::to_yaml(&config)
}

/// The file names no nodes before.
fn with_nodes(file: &str, nodes: &[SocketAddr]) -> String {
    let rows: String = nodes.iter().map(|node| format!("- \"{node}\"\n")).collect();
    format!("{file}nodes:\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_added_to_the_file_of_an_operator() {
        let nodes = [SocketAddr::from(([127, 0, 0, 1], 50_001)), SocketAddr::from(([127, 0, 0, 1], 50_002))];
        let text = with_nodes("cluster: demo\nkey: |\n  PEM\n", &nodes);
        let read: serde_json::Value = serde_yaml_ng::from_str(&text).expect("YAML");
        assert_eq!(read["nodes"], serde_json::json!(["127.0.0.1:50001", "127.0.0.1:50002"]));
        assert_eq!(read["key"], "PEM\n");
    }
}
