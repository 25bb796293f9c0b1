//! TaintNodesByCondition: a new node is not ready until somebody says so.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) async fn mutate(request: &Request<'_>, node: &mut Value) -> Result<(), Status> {
    if !request.is("", "nodes") || !request.creates() {
        return Ok(());
    }
    let mut taints = meta::at(node, &["spec", "taints"]).as_array().cloned().unwrap_or_default();
    let tainted =
        |taint: &Value| meta::text(taint, &["key"]) == NOT_READY && meta::text(taint, &["effect"]) == "NoSchedule";
    if !taints.iter().any(tainted) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        node["spec"]["taints"] = json!(taints);
    }
    Ok(())
}
