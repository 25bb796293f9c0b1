//! An API server alone, without scheduler and controllers: `serve DIR PORT`. Keys, database and `admin.kubeconfig` are in `DIR`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rk_apiserver::{ApiServer, BootstrapToken, Config, Pki, ServingNames};
use rk_store::{SqliteOptions, SqliteStore, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let dir = args.next().context("usage: serve DIR PORT")?;
    let port: u16 = args.next().context("usage: serve DIR PORT")?.parse()?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let config = Config {
        advertise_port: port,
        bootstrap_token: BootstrapToken::parse("abcdef.0123456789abcdef"),
        ..Config::default()
    };
    let service = config.kubernetes_service_ip().context("no service address")?;
    let names = ServingNames::new(&config.dns_domain, service, [config.advertise.clone()]);
    let pki = Pki::load_or_create(&dir.join("pki"), &names)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&SqliteOptions::new(dir.join("state.db")))?);
    let server = ApiServer::new(config, &pki, store).await?;
    pki.write_admin_kubeconfig(&dir.join("admin.kubeconfig"), &format!("https://127.0.0.1:{port}"))?;
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });
    server.bootstrap().await.map_err(|status| anyhow::anyhow!(status.message))?;
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    server.shutdown();
    serving.await?;
    Ok(())
}
