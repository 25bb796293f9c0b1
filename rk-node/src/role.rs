//! The role label of a control-plane node.
//!
//! The API server lets no node give itself a role, so the label is set with the operator's credentials that `rk-control` leaves on
//! the same machine, as kubeadm does. Without them (or when the label is there) nothing happens.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use rk_kubelet::ApiLink;

/// Written by `rk-control` on its first start.
const KUBECONFIG: &str = "/var/lib/rk-control/admin.kubeconfig";
/// The label, without a value.
const LABEL: &str = "node-role.kubernetes.io/control-plane";
/// The label is looked at this often once it is there, and until then.
const SETTLED: Duration = Duration::from_secs(120);
const UNSETTLED: Duration = Duration::from_secs(2);

/// Keeps the label on the node's object. Runs for ever.
pub async fn keep(client: Client, node: String) {
    loop {
        let pause = match ensure(&client, &node).await {
            Ok(true) => SETTLED,
            Ok(false) => UNSETTLED,
            Err(error) => {
                tracing::debug!("the role label is not set yet: {error:#}");
                UNSETTLED
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether the label is there now.
async fn ensure(client: &Client, node: &str) -> anyhow::Result<bool> {
    let Some(found) = Api::<Node>::all(client.clone()).get_opt(node).await? else { return Ok(false) };
    if found.metadata.labels.is_some_and(|labels| labels.contains_key(LABEL)) {
        return Ok(true);
    }
    let operator = ApiLink::from_kubeconfig(&std::fs::read_to_string(KUBECONFIG)?)?;
    let nodes: Api<Node> = Api::all(operator.client());
    let patch = k8s_openapi::serde_json::json!({"metadata": {"labels": {LABEL: ""}}});
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
    tracing::info!("the node carries the control plane's role label");
    Ok(true)
}
