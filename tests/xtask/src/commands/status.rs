//! `status`: clusters, nodes, ports.

use crate::paths::Paths;
use anyhow::{Context, Result};
use rk_qemu::cluster::{ClusterState, NodeState};
use rk_qemu::kube::{Api, NodeStatus};

pub fn run(paths: &Paths) -> Result<()> {
    let entries = std::fs::read_dir(&paths.rk).with_context(|| format!("read {}", paths.rk.display()))?;
    let mut found: Vec<ClusterState> = Vec::new();
    for entry in entries.flatten().filter(|e| e.path().is_dir()) {
        found.extend(ClusterState::load(&entry.path())?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        say!("no cluster runs; start one by `cargo xtask up`");
    }
    for state in &found {
        print(paths, state);
    }
    Ok(())
}

fn print(paths: &Paths, state: &ClusterState) {
    let nodes = Api::from_kubeconfig(&state.kubeconfig).and_then(|api| api.nodes());
    say!("cluster {} ({}), process {}", state.name, state.accel, state.pid);
    say!(
        "  API        https://127.0.0.1:{}  {}",
        state.api_port,
        nodes.as_ref().map_or_else(ToString::to_string, |_| "answers".into())
    );
    say!("  kubeconfig {}", paths.show(&state.kubeconfig));
    if let Some(file) = &state.operator {
        say!("  rkctl      {}", paths.show(file));
    }
    say!("  registry   127.0.0.1:{}", state.registry_port);
    let known = nodes.unwrap_or_default();
    for node in &state.nodes {
        say!("  {:<15} {:<15} {:<24} {}", node.name, node.ip.to_string(), condition(node, &known), ports(node));
    }
}

fn condition(node: &NodeState, known: &[NodeStatus]) -> String {
    if !node.pid.is_some_and(rk_qemu::process::alive) {
        return "off".into();
    }
    match known.iter().find(|k| k.name == node.name) {
        Some(status) if status.ready => "Ready".into(),
        Some(_) => "NotReady".into(),
        None => "running, not registered".into(),
    }
}

fn ports(node: &NodeState) -> String {
    node.forwards.iter().map(|f| format!("127.0.0.1:{} -> {}", f.host, f.guest)).collect::<Vec<_>>().join(", ")
}
