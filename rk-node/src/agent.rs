//! Composition: what runs beside what, and what is started again when it fails.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt as _;
use rk_config::MachineConfig;
use rk_cri::{CniNetwork, Starter};
use rk_images::Images;
use rk_kubelet::Hooks;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::signals::{self, End};
use crate::{heartbeat, network, preload, pulls, role, scrub, settings};

/// Pauses before a failed part is started again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Runs the node until it is told to end.
pub async fn run(config: MachineConfig, shims: Starter) -> anyhow::Result<()> {
    let options = settings::kubelet(&config);
    tracing::info!(node = %options.node_name, endpoint = %options.cluster.endpoint, "starting");
    let (going_down, shutdown) = watch::channel(false);
    let signals = tokio::spawn(signals::wait(options.dirs.shutdown_mark.clone(), going_down).boxed());

    let mut tasks = JoinSet::new();
    tasks.spawn(heartbeat::beat(Path::new(rk_config::ALIVE_PATH)).boxed());
    let images = Images::open(settings::images(&config, &options)).await.context("opening the image store")?;
    tasks.spawn(preload::run(images.clone()).boxed());
    tasks.spawn(scrub::run(images.clone()).boxed());
    tasks.spawn(pulls::run(images.clone()).boxed());
    let cri = rk_cri::Config::new(images, std::sync::Arc::new(CniNetwork::default()), shims);
    let (stop_cri, cri_stopped) = oneshot::channel::<()>();
    let cri = tokio::spawn(
        rk_cri::serve(cri, async {
            // A dropped sender means the same.
            let _ = cri_stopped.await;
        })
        .boxed(),
    );
    // Before any pod, since they look once, when they start.
    if let Err(error) = rk_cni::leave_hint() {
        tracing::warn!("telling pods which iptables there is: {error}");
    }
    let (tell_cidr, pod_cidr) = watch::channel(None);
    if config.cluster.pod_network {
        tasks.spawn(network::configure(pod_cidr, config.cluster.pod_cidr.all()).boxed());
    }

    let node = node(config, options, tell_cidr, shutdown, tasks);
    tokio::pin!(node, cri, signals);
    let end = tokio::select! {
        // On the way down the kubelet ends the pods and returns; that is the end of it.
        result = &mut node => return result,
        result = &mut cri => {
            result.context("the CRI server panicked")?.context("the CRI server failed")?;
            anyhow::bail!("the CRI server ended by itself");
        }
        end = &mut signals => end.context("the signal handler panicked")?.context("waiting for signals")?,
    };
    if end == End::Machine {
        // The kubelet has heard it and ends the pods; the CRI server is needed until then.
        if let Err(error) = node.await {
            tracing::warn!("ending the pods: {error:#}");
        }
    }
    drop(stop_cri);
    tracing::info!(?end, "rk-node ends");
    Ok(())
}

/// Joins and runs everything that needs the API.
async fn node(
    config: MachineConfig,
    options: rk_kubelet::Options,
    pod_cidr: watch::Sender<Option<String>>,
    shutdown: watch::Receiver<bool>,
    mut tasks: JoinSet<()>,
) -> anyhow::Result<()> {
    let mut stopping = shutdown.clone();
    let session = tokio::select! {
        session = rk_kubelet::join(&options) => session,
        // Without ever having joined there is no pod to end.
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    };
    let client = session.client.clone();
    let mut options = options;
    let seeks = options.dual_stack && options.node_ips.is_empty();
    options.node_ips = rk_kubelet::node_ips(&options, &session).await;
    let second = rk_kubelet::second_address(seeks, options.node_ips.clone(), options.shared_addresses.clone());
    let proxy = settings::proxy(&config, &options.node_name, options.node_ips.clone());
    let dns = settings::dns(&config);
    if options.control_plane {
        tasks.spawn(role::keep(client.clone(), options.node_name.clone()).boxed());
    }
    let (places, place) = watch::channel(settings::place(&config));
    let cluster = &config.cluster;
    if cluster.pod_network || cluster.service_proxy {
        tasks.spawn(network::route(client.clone(), options.node_name.clone(), places, cluster.pod_network).boxed());
    }
    if cluster.service_proxy {
        tasks.spawn(
            again("proxy", {
                let client = client.clone();
                move || {
                    let run = rk_proxy::run(client.clone(), proxy.clone(), place.clone());
                    async move { run.await.map_err(anyhow::Error::from) }
                }
            })
            .boxed(),
        );
    }
    tasks.spawn(
        again("dns", move || {
            let run = rk_dns::run(client.clone(), dns.clone());
            async move { run.await.map_err(anyhow::Error::from) }
        })
        .boxed(),
    );
    let gained = async {
        let second = second.await;
        // On the way down the pods end first.
        if *stopping.borrow() {
            std::future::pending::<()>().await;
        }
        second
    };
    tokio::select! {
        ended = rk_kubelet::run(options, session, Hooks { pod_cidr, shutdown }) => ended.context("the kubelet cannot run"),
        // Its certificate, its pods and the proxy go by the node's addresses; PID 1 starts it again, and no container stops.
        second = gained => {
            tracing::info!(%second, "the node has an address of its second family now: starting again to go by it");
            Ok(())
        }
    }
}

/// Runs a part for ever, starting it again with back-off when it ends.
async fn again<F: Future<Output = anyhow::Result<()>>>(name: &'static str, start: impl Fn() -> F) {
    let mut pause = AGAIN.0;
    loop {
        let began = tokio::time::Instant::now();
        match start().await {
            Ok(()) => tracing::warn!(part = name, "ended by itself"),
            Err(error) => tracing::error!(part = name, retry_in = ?pause, "failed: {error:#}"),
        }
        if began.elapsed() > AGAIN.1 {
            pause = AGAIN.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}
