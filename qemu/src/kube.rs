//! The few questions that a harness asks the Kubernetes API. Tests speak through the real kubectl.

use crate::http::{Body, Client};
use crate::{Error, Result};
use serde_json::Value;

/// The API server, as the operator.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

/// A node as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether its condition `Ready` is `True`.
    pub ready: bool,
    /// Reason and message when it is not.
    pub why: String,
}

impl Api {
    /// Asks through `client`.
    pub fn new(client: Client) -> Api {
        Api { client }
    }

    /// `Ok` once `/readyz` says so; the error says what it said instead.
    pub fn ready(&self) -> Result<()> {
        self.client.expect("GET", "/readyz", &[], Body::Empty, &[200]).map(drop)
    }

    /// `GET` of JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.expect("GET", path, &[("Accept", "application/json")], Body::Empty, &[200])?;
        serde_json::from_slice(&response.body)
            .map_err(|e| Error::Http { method: "GET".into(), url: path.to_owned(), reason: format!("unreadable JSON: {e}") })
    }

    /// A merge patch.
    pub fn merge_patch(&self, path: &str, patch: &Value) -> Result<()> {
        let headers = [("Content-Type", "application/merge-patch+json"), ("Accept", "application/json")];
        self.client.expect("PATCH", path, &headers, Body::Bytes(patch.to_string().as_bytes()), &[200, 201]).map(drop)
    }

    /// All nodes.
    pub fn nodes(&self) -> Result<Vec<NodeStatus>> {
        let list = self.get("/api/v1/nodes")?;
        Ok(list.get("items").and_then(Value::as_array).map(|items| items.iter().map(node_status).collect()).unwrap_or_default())
    }
}

fn node_status(node: &Value) -> NodeStatus {
    let name = node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|c| c.get("type").and_then(Value::as_str) == Some("Ready"));
    let field = |key: &str| ready.and_then(|c| c.get(key)).and_then(Value::as_str).unwrap_or_default();
    let why = match (ready, field("reason"), field("message")) {
        (None, ..) => "no condition Ready yet".to_owned(),
        (_, reason, message) => format!("{reason}: {message}"),
    };
    NodeStatus { name, ready: field("status") == "True", why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn readiness_is_read_from_the_condition() {
        let node = json!({"metadata": {"name": "a"}, "status": {"conditions": [
            {"type": "DiskPressure", "status": "False"},
            {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "cni"}]}});
        assert_eq!(node_status(&node), NodeStatus { name: "a".into(), ready: false, why: "KubeletNotReady: cni".into() });
        let fresh = json!({"metadata": {"name": "b"}});
        assert!(!node_status(&fresh).ready);
    }
}
