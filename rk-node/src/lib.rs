//! The node agent. One process, one runtime with two threads: the CRI server, the kubelet, the Service proxy, cluster DNS and the
//! routes to other nodes' pods.
//!
//! It reads the machine config that PID 1 has accepted and takes no arguments. When it ends or is killed, containers go on; only
//! when PID 1 has left its note that the machine goes down does SIGTERM end the pods.

mod agent;
mod heartbeat;
mod network;
mod preload;
mod pulls;
mod role;
mod scrub;
mod settings;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long the end waits for what blocks.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to end.
pub fn main() -> ExitCode {
    rk_panics::end_the_process();
    // By targets alone: nothing here has spans to filter by, and a filter of their fields brings an engine for patterns.
    let asked: Option<Targets> = std::env::var("RK_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("rk-node ends: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    // Its thread starts shims, whose containers must not inherit what is forbidden to all threads that come after it.
    let shims = rk_cri::Starter::new().context("starting the thread that starts shims")?;
    // A kernel without seccomp must not cost a node its pods.
    if let Err(error) = rk_sys::confine_agent() {
        tracing::warn!("{}", rk_sys::chain(&error));
    }
    // Two threads: the work is waiting, and each thread costs stack and allocator arenas on small nodes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let config = rk_config::load_accepted(rk_config::ACCEPTED_PATH).with_context(|| {
        format!("reading {}, which PID 1 writes before it starts services", rk_config::ACCEPTED_PATH)
    })?;
    let ended = runtime.block_on(agent::run(config, shims));
    // A thread that a silent server or disk holds would keep the agent for ever.
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}
