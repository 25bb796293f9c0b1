//! The process that serves the machine API. PID 1 starts it, with `RK_MAINTENANCE=1` while the node has no config.

use crate::node::{Pid1, look_for_config};
use crate::serve::Failure;
use crate::server::Inner;
use crate::streams::logs::Places;
use crate::trust::{Identity, Resolver, Rotation, acceptor};
use crate::{Api, Settings, drain, facts, log, run, telemetry};
use anyhow::{Context, Result};
use futures::FutureExt as _;
use rk_config::MachineConfig;
use rk_machine_proto::PORT;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long the last answers take to leave; they are a few packets.
const LEAVING: Duration = Duration::from_millis(500);
/// How long PID 1 may work for calls after it asked this process to end; it kills it two seconds later.
const LAST_CALLS: Duration = Duration::from_secs(7);

/// Serves until PID 1 asks for the end.
pub fn main() -> ExitCode {
    rk_panics::end_the_process();
    crate::confine::give_up();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .context("starting the async runtime")
        .and_then(|runtime| runtime.block_on(start()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            log::warn(format_args!("{err:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let maintenance = std::env::var_os("RK_MAINTENANCE").is_some();
    let pid1 = Arc::new(Pid1::default());
    let mut stop =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("hearing SIGTERM")?;
    let (bind, authority, identity) = if maintenance {
        (SocketAddr::from(([0, 0, 0, 0], PORT)), None, Identity::self_signed()?)
    } else {
        let config = rk_config::load_accepted(rk_config::ACCEPTED_PATH).with_context(|| {
            format!("reading {}, which PID 1 writes before it starts services", rk_config::ACCEPTED_PATH)
        })?;
        unasked(&config, &pid1);
        let Some(api) = config.machine_api else {
            stop.recv().await;
            return Ok(());
        };
        (api.bind, Some(api.ca), Identity::from_pem(&api.identity.certificate, &api.identity.key)?)
    };
    let resolver = Arc::new(Resolver::new(&identity)?);
    let acceptor = acceptor(Arc::clone(&resolver), authority.as_deref())?;
    let listener =
        TcpListener::bind(bind).await.map_err(|source| Failure::Listen { address: bind.to_string(), source })?;
    if maintenance {
        tokio::spawn(invite(identity.fingerprint()).boxed());
        let pid1 = Arc::clone(&pid1);
        let task = async move {
            let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
            look_for_config(&pid1, rk_config::OFFERED_PATH.as_ref(), &cmdline).await;
        };
        tokio::spawn(task.boxed());
    } else {
        log::info(format_args!("listening on {bind}"));
    }
    let busy = Arc::new(AtomicUsize::new(0));
    let api = Api::new(Inner {
        busy: Arc::clone(&busy),
        disks: Arc::default(),
        pid1,
        maintenance,
        accepted: rk_config::ACCEPTED_PATH.into(),
        offered: rk_config::OFFERED_PATH.into(),
        logs: Places::default(),
        port: bind.port(),
        resolver,
        rotation: Rotation::default(),
    });
    // The call that caused the end (a new config, a reboot) still wants its answer: serving goes on for a moment.
    let end = async {
        stop.recv().await;
        let began = tokio::time::Instant::now();
        while busy.load(Ordering::Relaxed) > 0 && began.elapsed() < LAST_CALLS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(LEAVING).await;
    };
    tokio::select! {
        ended = run(Settings { listener, acceptor, maintenance }, api) => ended?,
        () = end => {}
    }
    Ok(())
}

/// What a running node does beside answering.
fn unasked(config: &MachineConfig, pid1: &Arc<Pid1>) {
    if let Some(metrics) = &config.metrics {
        tokio::spawn(telemetry::serve(metrics.bind, Arc::clone(pid1)).boxed());
    }
    for target in &config.logging.targets {
        tokio::spawn(telemetry::ship(target.clone()).boxed());
    }
    let config = config.clone();
    tokio::spawn(async move { drain::return_to_service(&config).await }.boxed());
}

/// Tells on the console how to reach this node, once it has an address and again when that changes.
async fn invite(fingerprint: String) {
    let mut told = None;
    loop {
        let addresses = facts::links::own_addresses();
        if told.as_ref() != Some(&addresses) {
            let address = addresses.first().map(ToString::to_string);
            match &address {
                Some(first) => log::news(format_args!(
                    "maintenance: give this node a config by\nrk:   rkctl node apply --insecure --nodes {first} --fingerprint {fingerprint} FILE"
                )),
                None => log::news(format_args!("maintenance: no address yet; fingerprint {fingerprint}")),
            }
            if let Err(err) = std::fs::write(rk_config::INVITATION_PATH, invitation(address.as_deref(), &fingerprint)) {
                log::warn(format_args!("telling the screen how to reach this node: {}", log::chain(&err)));
            }
            told = Some(addresses);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The same for a screen of 80 columns: the fingerprint has a line of its own, to be compared.
fn invitation(address: Option<&str>, fingerprint: &str) -> String {
    let how = match address {
        Some(address) => format!("rkctl node apply --insecure --nodes {address} FILE --fingerprint"),
        None => "no address yet; then its fingerprint is".to_owned(),
    };
    format!("{how}\n{fingerprint}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_of_80_columns_has_room_for_the_fingerprint() {
        let fingerprint = format!("sha256:{}", "0f".repeat(32));
        let text = invitation(Some("10.0.2.15"), &fingerprint);
        assert_eq!(text, format!("rkctl node apply --insecure --nodes 10.0.2.15 FILE --fingerprint\n{fingerprint}\n"));
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        assert!(invitation(None, &fingerprint).ends_with(&format!("\n{fingerprint}\n")));
    }
}
