//! Waiting until a cluster can be used.

use crate::kube::{Api, NodeStatus};
use crate::{Result, wait};
use serde_json::json;
use std::time::Duration;

/// How long a cluster that answered may take to answer again.
const LABEL_LIMIT: Duration = Duration::from_secs(120);

/// What has been reached, for a progress line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The API does not answer yet, and why.
    NoApi(String),
    /// So many of so many nodes are Ready.
    Nodes {
        /// Ready ones.
        ready: usize,
        /// All that are to come.
        wanted: usize,
    },
}

/// Waits until `wanted` nodes exist, and all nodes are Ready and reached by the API server. `alive` says why it is in vain when it is.
pub fn wait_ready(
    api: &Api,
    wanted: usize,
    limit: Duration,
    mut tell: impl FnMut(Progress),
    mut alive: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut fatal = None;
    let outcome = wait::until(&format!("{wanted} nodes to be Ready"), limit, || {
        if let Err(error) = alive() {
            fatal = Some(error);
            return Ok(());
        }
        let nodes = api.ready().and_then(|()| api.nodes()).map_err(|e| {
            tell(Progress::NoApi(e.to_string()));
            e.to_string()
        })?;
        let ready = nodes.iter().filter(|n| n.ready).count();
        tell(Progress::Nodes { ready, wanted });
        if ready < wanted || ready < nodes.len() {
            return Err(describe(&nodes));
        }
        nodes.iter().try_for_each(|node| api.kubelet_serves(&node.name)).map_err(|e| e.to_string())
    });
    match fatal {
        Some(error) => Err(error),
        None => outcome,
    }
}

/// Gives the control plane's node its role label, which a kubelet may not give itself. A machine may stand still meanwhile.
pub fn label_control_plane(api: &Api) -> Result<()> {
    let patch = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    wait::until("the control plane's label", LABEL_LIMIT, || {
        api.merge_patch("/api/v1/nodes/control-plane", &patch).map_err(|error| error.to_string())
    })
}

fn describe(nodes: &[NodeStatus]) -> String {
    if nodes.is_empty() {
        return "the API answers, but no node has registered".to_owned();
    }
    let line = |n: &NodeStatus| format!("{}: {}", n.name, if n.ready { "Ready" } else { &n.why });
    nodes.iter().map(line).collect::<Vec<_>>().join("\n")
}
