//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every 10 s.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, PostParams};

/// How long a Lease holds.
const DURATION_SECONDS: i32 = 40;
/// A quarter of it.
const PERIOD: Duration = Duration::from_secs(10);
/// A renewal must not outlast its period.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Renews the Lease for ever.
pub async fn lease_loop(client: Client, node: String) {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut held: Option<Lease> = None;
    loop {
        ticks.tick().await;
        match tokio::time::timeout(TIMEOUT, renew(&client, &api, &node, held.take())).await {
            Ok(Ok(lease)) => held = Some(lease),
            Ok(Err(error)) => {
                tracing::warn!("renewing the node's lease: {}", crate::api_error::chain(&error));
                // Soon again: the node controller waits for 40 s only.
                ticks.reset_after(Duration::from_secs(2));
            }
            Err(_) => tracing::warn!("renewing the node's lease took longer than {TIMEOUT:?}"),
        }
    }
}

async fn renew(client: &Client, api: &Api<Lease>, node: &str, held: Option<Lease>) -> Result<Lease, kube::Error> {
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
        lease_duration_seconds: Some(DURATION_SECONDS),
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
