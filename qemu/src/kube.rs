//! The few questions that a harness asks the Kubernetes API. Tests speak through the real kubectl.

use crate::http::{Body, Client};
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A handshake with a guest in translated code takes a second; a busy one several.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

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

    /// Asks as the current user of a kubeconfig whose data stand in it and whose server is an address of this host.
    pub fn from_kubeconfig(path: &Path) -> Result<Api> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let bad = |what: &str| Error::State(format!("kubeconfig {}: {what}", path.display()));
        let config: Value = serde_yaml_ng::from_str(&text).map_err(|e| bad(&e.to_string()))?;
        let field = |pointer: &str| {
            config.pointer(pointer).and_then(Value::as_str).ok_or_else(|| bad(&format!("no {pointer}")))
        };
        let pem = |pointer: &str| {
            let bytes = STANDARD.decode(field(pointer)?).map_err(|e| bad(&format!("{pointer}: {e}")))?;
            String::from_utf8(bytes).map_err(|_| bad(&format!("{pointer} is no PEM")))
        };
        let server = field("/clusters/0/cluster/server")?;
        let address = server.trim_start_matches("https://").trim_end_matches('/').parse();
        let address = address.map_err(|_| bad(&format!("server {server} is not https://ADDRESS:PORT")))?;
        let identity = (pem("/users/0/user/client-certificate-data")?, pem("/users/0/user/client-key-data")?);
        let ca = pem("/clusters/0/cluster/certificate-authority-data")?;
        let client = Client::tls(address, &ca, Some((&identity.0, &identity.1)))?;
        Ok(Api::new(client.with_limit(ANSWER_LIMIT)))
    }

    /// `Ok` once `/readyz` says so; the error says what it said instead.
    pub fn ready(&self) -> Result<()> {
        self.client.expect("GET", "/readyz", &[], Body::Empty, &[200]).map(drop)
    }

    /// `Ok` once the kubelet of `node` answers the API server, which takes its word only with a certificate that the cluster issued:
    /// from then on logs and exec work.
    pub fn kubelet_serves(&self, node: &str) -> Result<()> {
        let path = format!("/api/v1/nodes/{node}/proxy/healthz");
        self.client.expect("GET", &path, &[], Body::Empty, &[200]).map(drop)
    }

    /// `GET` of JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.expect("GET", path, &[("Accept", "application/json")], Body::Empty, &[200])?;
        serde_json::from_slice(&response.body).map_err(|e| Error::Http {
            method: "GET".into(),
            url: path.to_owned(),
            reason: format!("unreadable JSON: {e}"),
        })
    }

    /// `POST` of JSON.
    pub fn create(&self, path: &str, object: &Value) -> Result<()> {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        self.client.expect("POST", path, &headers, Body::Bytes(object.to_string().as_bytes()), &[201]).map(drop)
    }

    /// A merge patch.
    pub fn merge_patch(&self, path: &str, patch: &Value) -> Result<()> {
        let headers = [("Content-Type", "application/merge-patch+json"), ("Accept", "application/json")];
        self.client.expect("PATCH", path, &headers, Body::Bytes(patch.to_string().as_bytes()), &[200, 201]).map(drop)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.client.expect("DELETE", path, &[("Accept", "application/json")], Body::Empty, &[200, 202]).map(drop)
    }

    /// All nodes.
    pub fn nodes(&self) -> Result<Vec<NodeStatus>> {
        let list = self.get("/api/v1/nodes")?;
        Ok(list
            .get("items")
            .and_then(Value::as_array)
            .map(|items| items.iter().map(node_status).collect())
            .unwrap_or_default())
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
        assert_eq!(
            node_status(&node),
            NodeStatus { name: "a".into(), ready: false, why: "KubeletNotReady: cni".into() }
        );
        let fresh = json!({"metadata": {"name": "b"}});
        assert!(!node_status(&fresh).ready);
    }
}
