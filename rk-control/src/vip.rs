//! The address that control planes share: who leads by a Lease tells the machine until when, in a file.
//!
//! Whoever holds the Lease may use the address for two thirds of its duration after each renewal, while others wait for all of it: the
//! third between is for machines that are slow. The machine's network daemon puts the address on its link and takes it away; here is no more than
//! the deadline.

use rk_apiserver::host_addresses;
use rk_client::{Leadership, LeaseConfig};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Name of the Lease in `kube-system`.
pub const LEASE: &str = "rk-control-vip";
/// The machine takes the address away at once, as a rule; then the next one may have it at once.
const GIVING_BACK: Duration = Duration::from_secs(3);

/// Addresses to share, and where the deadline is written.
pub struct Vip {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The file.
    pub file: PathBuf,
}

impl Vip {
    /// Campaigns, leads, and campaigns again, until `stop`.
    pub async fn run(&self, client: kube::Client, lease: LeaseConfig, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // Not a child of `stop`: the address goes before the Lease does.
            let term = CancellationToken::new();
            let acquired = tokio::select! {
                () = stop.cancelled() => return,
                acquired = Leadership::acquire(client.clone(), lease.clone(), term.clone()) => acquired,
            };
            let Some(leads) = acquired else { return };
            let stopped = self.lead(&leads, &stop).await;
            self.forget();
            if stopped && self.is_gone().await {
                term.cancel();
                leads.released().await;
            }
        }
    }

    /// Writes each new deadline while the Lease is held; answers whether `stop` ended that, rather than the loss of the Lease.
    async fn lead(&self, leads: &Leadership, stop: &CancellationToken) -> bool {
        let mut until = leads.until();
        loop {
            self.tell(*until.borrow_and_update());
            tokio::select! {
                () = stop.cancelled() => return true,
                () = leads.lost() => return false,
                changed = until.changed() => if changed.is_err() { return false },
            }
        }
    }

    /// Writes the deadline: new file, rename. It is no state that a crash must keep.
    fn tell(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let Some(deadline) = since_boot().map(|now| now.saturating_add(left)) else { return };
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, format!("{}\n", deadline.as_millis()))
            .and_then(|()| std::fs::rename(&new, &self.file));
        if let Err(error) = written {
            tracing::error!(file = %self.file.display(), %error, "cannot say that this control plane has the shared address");
        }
    }

    fn forget(&self) {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(file = %self.file.display(), %error, "cannot say that this control plane has the shared address no more");
            }
            _ => {}
        }
    }

    /// Waits until no link of this machine has any of the addresses; `false` when that takes too long.
    async fn is_gone(&self) -> bool {
        let deadline = Instant::now() + GIVING_BACK;
        loop {
            let own = host_addresses();
            if !self.addresses.iter().any(|vip| own.contains(vip)) {
                return true;
            }
            if Instant::now() > deadline {
                tracing::warn!("the shared address is still here: the Lease is left to run out");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The clock of the deadline.
fn since_boot() -> Option<Duration> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    Some(Duration::from(now))
}
