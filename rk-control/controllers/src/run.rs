//! Starting all controllers.

use crate::context::{Config, Context};
use crate::{
    account_tokens, autoscale, cronjob, csr, daemonset, deployment, devices, disruption, endpoints, endpointslice, gc,
    job, namespace, node_ipam, node_lifecycle, pod_gc, quota, replicas, role_aggregation, root_ca, serviceaccount,
    stale_tokens, statefulset, taint_eviction, tokens, ttl, volumes,
};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Client;
use rk_client::{Informers, Recorders};
use std::collections::HashMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Register = fn(&Context);

/// The service account in `kube-system` that a controller acts as, and how it is started. The default policy grants
/// each account its role `system:controller:<name>`.
const CONTROLLERS: &[(&str, Register)] = &[
    ("certificate-controller", csr::register),
    ("node-controller", node_ipam::register),
    ("service-account-controller", serviceaccount::register),
    ("root-ca-cert-publisher", root_ca::register),
    ("replicaset-controller", replicas::register::<ReplicaSet>),
    ("replication-controller", replicas::register::<ReplicationController>),
    ("deployment-controller", deployment::register),
    ("daemon-set-controller", daemonset::register),
    ("statefulset-controller", statefulset::register),
    ("job-controller", job::register),
    ("ttl-after-finished-controller", job::register_ttl),
    ("cronjob-controller", cronjob::register),
    ("disruption-controller", disruption::register),
    ("resourcequota-controller", quota::register),
    ("persistent-volume-binder", volumes::register),
    ("attachdetach-controller", volumes::register_attach),
    ("pvc-protection-controller", volumes::register_claims),
    ("pv-protection-controller", volumes::register_volumes),
    ("volumeattributesclass-protection-controller", volumes::register_attributes_classes),
    ("ephemeral-volume-controller", volumes::register_ephemeral),
    ("resource-claim-controller", devices::register),
    ("horizontal-pod-autoscaler", autoscale::register),
    ("token-cleaner", tokens::register_cleaner),
    ("legacy-service-account-token-cleaner", stale_tokens::register),
    ("bootstrap-signer", tokens::register_signer),
    ("clusterrole-aggregation-controller", role_aggregation::register),
    ("ttl-controller", ttl::register),
    ("endpointslice-controller", endpointslice::register),
    ("endpointslicemirroring-controller", endpointslice::register_mirror),
    ("endpoint-controller", endpoints::register),
    ("namespace-controller", namespace::register),
    ("node-controller", node_lifecycle::register),
    ("node-controller", taint_eviction::register),
    ("device-taint-eviction-controller", devices::register_taints),
    ("pod-garbage-collector", pod_gc::register),
    ("generic-garbage-collector", gc::register),
];

/// Runs every controller until `stop`; returns when all of them have ended.
///
/// `client` watches and writes events (as `system:kube-controller-manager`); `account` makes a client that acts as a
/// service account of `kube-system`. `informers` may be shared with others.
pub async fn run(
    client: Client,
    account: impl Fn(&str) -> Client,
    informers: Informers,
    recorders: Recorders,
    config: Config,
    stop: CancellationToken,
) {
    let ctx = Context::new(client, informers, recorders, config, stop.clone());
    let mut clients: HashMap<&str, Client> = HashMap::new();
    for (name, register) in CONTROLLERS {
        let own = clients.entry(name).or_insert_with(|| account(name)).clone();
        register(&ctx.identified(own));
    }
    // As upstream's: no account of its own has the right to tokens of every other.
    account_tokens::register(&ctx);
    ctx.informers.start();
    tokio::select! {
        () = ctx.informers.synced() => {}
        () = stop.cancelled() => return,
    }
    tracing::info!("controllers started");
    let mut tasks = JoinSet::new();
    for task in ctx.take_tasks() {
        tasks.spawn(task);
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller ended abnormally; restart rk-control to bring it back");
        }
    }
}
