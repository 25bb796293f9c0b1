//! Starting all controllers.

use crate::context::{Config, Context};
use crate::{csr, deployment, endpoints, endpointslice, gc, namespace, node_ipam, node_lifecycle, pod_gc, replicas, root_ca, serviceaccount, taint_eviction};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use rk_client::Informers;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs every controller until `stop`; returns when all of them have ended. `informers` may be shared with others.
pub async fn run(client: kube::Client, informers: Informers, config: Config, stop: CancellationToken) {
    let ctx = Context::new(client, informers, config, stop.clone());
    let registrations: &[fn(&Context)] = &[
        csr::register,
        node_ipam::register,
        serviceaccount::register,
        root_ca::register,
        replicas::register::<ReplicaSet>,
        replicas::register::<ReplicationController>,
        deployment::register,
        endpointslice::register,
        endpoints::register,
        namespace::register,
        node_lifecycle::register,
        taint_eviction::register,
        pod_gc::register,
        gc::register,
    ];
    for register in registrations {
        register(&ctx);
    }
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
