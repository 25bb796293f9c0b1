//! The life of the process: open, serve, start the components, stop in order.

use crate::components::{self, Components};
use crate::flags::Read;
use crate::renewal::Renewal;
use crate::vip::Vip;
use crate::{audit, encryption, listen, ranges, storage};
use anyhow::Context;
use rk_apiserver::{ApiServer, Config, Pki, ServingNames, host_addresses};
use rk_store::compact_periodically;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long old revisions are kept; a watch that lags behind by more starts over with a list.
const KEPT_HISTORY: Duration = Duration::from_secs(300);
/// Requests under way get this long at shutdown.
const DRAIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// Runs until a signal asks to stop.
pub async fn serve(Read { args, shown }: Read) -> anyhow::Result<()> {
    let started = Instant::now();
    let pods = ranges::of_pods(&args)?;
    let services = ranges::of_services(&args)?;
    std::fs::create_dir_all(&args.data_dir)
        .with_context(|| format!("cannot make the data directory {}", args.data_dir.display()))?;
    let listener = listen::listen(args.bind).await?;
    let bound = listener.local_addr().context("the listening socket has no address")?;
    let own = host_addresses();
    let shared = args.vip.first().map(IpAddr::to_string);
    let advertise = args.advertise.clone().or(shared).unwrap_or_else(|| listen::advertised(bound, &own));
    let config = Config {
        advertise: advertise.clone(),
        advertise_port: bound.port(),
        dns_ip: services.first().and_then(|range| range.hosts().nth(9)),
        service_cidrs: services,
        bootstrap_token: args.bootstrap_token.clone(),
        service_account_keys: args.service_account_key_file.iter().map(|file| key(file)).collect::<Result<_, _>>()?,
        audit: audit::config(&args.audit)?,
        flags: shown,
        ..Config::default()
    };
    let service_ip = config.kubernetes_service_ip().context("the range of --service-cidr holds no address")?;
    let extra = own.iter().chain(&args.vip).map(IpAddr::to_string).chain([advertise, bound.ip().to_string()]);
    let names = ServingNames::new(&config.dns_domain, service_ip, extra);
    // Before the authority, whose absence tells a new cluster.
    let encryption = encryption::load(&args)?;
    let mut pki = Pki::load_or_create(&args.data_dir.join("pki"), &names)?;
    if let Some(file) = &args.service_account_signing_key_file {
        pki.service_account_key = key(file)?;
    }
    let store = storage::open(&args, encryption).await?;
    let server = ApiServer::new(config, &pki, Arc::clone(&store)).await?;
    server.also_tell(rk_client::render_figures);

    // The administrator works on this host as a rule; other hosts are told the advertised address.
    let local = if bound.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { bound.ip() };
    let kubeconfig = args.data_dir.join("admin.kubeconfig");
    let url = format!("https://{}", std::net::SocketAddr::new(local, bound.port()));
    pki.write_admin_kubeconfig(&kubeconfig, &url)?;
    let pki = Arc::new(pki);

    let drain = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, drain) = (server.clone(), drain.clone());
        async move { server.serve(listener, drain).await }
    });
    tracing::info!(address = %bound, ms = started.elapsed().as_millis() as u64, "serving the API");
    println!("export KUBECONFIG={}", kubeconfig.display());

    let compaction = tokio::spawn(compact_periodically(store, KEPT_HISTORY));
    let components = {
        let sole = args.etcd.is_empty();
        Components::new(pods, components::identity(bound, sole), sole)
    };
    let vip = (!args.vip.is_empty()).then(|| Vip { addresses: args.vip.clone(), file: args.vip_file.clone() });
    let renewal = Renewal { names, kubeconfig, url };
    tokio::select! {
        signalled = stop_signal() => signalled?,
        never = renewal.run(&server, Arc::clone(&pki)) => match never {},
        never = work(&server, pki, &components, vip) => match never {},
    }
    tracing::info!("stopping");
    components.stop.cancel();
    components.ended(DRAIN).await;
    compaction.abort();
    drain.cancel();
    server.shutdown();
    if tokio::time::timeout(DRAIN, serving).await.is_err() {
        tracing::warn!("open requests were cut off");
    }
    server.flush_audit().await;
    Ok(())
}

/// Makes the cluster's own objects, then starts scheduler and controllers; never returns.
async fn work(server: &ApiServer, pki: Arc<Pki>, components: &Components, vip: Option<Vip>) -> Infallible {
    while let Err(status) = server.bootstrap().await {
        tracing::error!(message = status.message, "the cluster's own objects could not be made, will retry");
        tokio::time::sleep(RETRY).await;
    }
    components.start(server.clone(), pki);
    if let Some(vip) = vip {
        components.share(server, vip);
    }
    std::future::pending().await
}

/// The PEM text of a key's file.
fn key(file: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the service account key {}", file.display()))
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
