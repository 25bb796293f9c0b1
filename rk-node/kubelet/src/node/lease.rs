//! The node's heartbeat: a Lease in `kube-node-lease`, renewed four times in the time that it holds.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, PostParams};

/// Renews the Lease, which holds for so many seconds, for ever.
pub async fn lease_loop(client: Client, node: String, seconds: u32) {
    let period = Duration::from_secs(seconds.into()) / 4;
    // A renewal must not outlast its period.
    let timeout = period * 4 / 5;
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut held: Option<Lease> = None;
    loop {
        ticks.tick().await;
        match tokio::time::timeout(timeout, renew(&client, &api, &node, seconds, held.take())).await {
            Ok(Ok(lease)) => held = Some(lease),
            Ok(Err(error)) => {
                tracing::warn!("renewing the node's lease: {}", crate::api_error::chain(&error));
                // Soon again: the node controller does not wait for long.
                ticks.reset_after(Duration::from_secs(2).min(period));
            }
            Err(_) => tracing::warn!("renewing the node's lease took longer than {timeout:?}"),
        }
    }
}

async fn renew(
    client: &Client,
    api: &Api<Lease>,
    node: &str,
    seconds: u32,
    held: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let known = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(node).await?,
    };
    let owner = match known.as_ref().and_then(|l| l.metadata.owner_references.clone()).filter(|o| !o.is_empty()) {
        Some(owners) => Some(owners),
        None => owner(client, node).await,
    };
    let spec = LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: i32::try_from(seconds).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..Default::default()
    };
    match known {
        Some(mut lease) => {
            lease.spec = Some(spec);
            lease.metadata.owner_references = owner;
            lease.metadata.managed_fields = None;
            api.replace(node, &PostParams::default(), &lease).await
        }
        None => {
            let metadata = ObjectMeta { name: Some(node.to_owned()), owner_references: owner, ..Default::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
        }
    }
}

/// The Node owns its Lease, so that it goes when the Node is deleted.
async fn owner(client: &Client, node: &str) -> Option<Vec<OwnerReference>> {
    let api: Api<Node> = Api::all(client.clone());
    let uid = api.get_opt(node).await.ok()??.metadata.uid?;
    Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.to_owned(),
        uid,
        ..Default::default()
    }])
}
