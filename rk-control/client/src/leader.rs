//! Leader election on a `coordination.k8s.io/v1` Lease.

use crate::figures;
use crate::retry::is_not_found;
use crate::verbs::Verbs;
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use rk_watch::ObjectKey;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which Lease, who we are, and the clock of the election.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// The Lease.
    pub key: ObjectKey,
    /// Unique among candidates. A candidate that returns with the identity of the holder goes on at once.
    pub identity: String,
    /// How long a silent holder keeps the Lease (Kubernetes: 15 s).
    pub duration: Duration,
    /// Time between renewals and attempts (Kubernetes: 2 s).
    pub retry: Duration,
}

impl LeaseConfig {
    /// The timing of Kubernetes' own components.
    pub fn new(namespace: &str, name: &str, identity: impl Into<String>) -> Self {
        Self {
            key: ObjectKey::new(namespace, name),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            retry: Duration::from_secs(2),
        }
    }

    /// Tells in the figures whether this process leads.
    fn tell(&self, leads: bool) {
        figures::set("leader_election_master_status", &[("name", self.key.name.as_str())], usize::from(leads));
    }

    /// How long one renewal lets a holder act: it gives up well before others may take over.
    fn term(&self) -> Duration {
        self.duration * 2 / 3
    }
}

/// What a candidate does about a Lease it has read.
#[derive(Debug, PartialEq)]
enum Step {
    Take,
    Renew,
    Wait,
}

/// `unchanged` is for how long this candidate has seen the Lease as it is. What the holder's clock says is not asked: it may
/// be off by more than a term.
fn decide(spec: &LeaseSpec, me: &str, unchanged: Duration) -> Step {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return Step::Renew;
    }
    let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(15)).unwrap_or(0));
    let free = holder.is_empty() || spec.renew_time.is_none();
    if free || unchanged > lasts { Step::Take } else { Step::Wait }
}

/// The Lease as a candidate saw it last, and since when.
#[derive(Debug, Default)]
struct Observed(Option<(LeaseSpec, Instant)>);

impl Observed {
    /// For how long it has been like this.
    fn unchanged(&mut self, seen: &LeaseSpec, now: Instant) -> Duration {
        match &self.0 {
            Some((before, since)) if before == seen => now.saturating_duration_since(*since),
            _ => {
                self.0 = Some((seen.clone(), now));
                Duration::ZERO
            }
        }
    }
}

/// A held Lease.
#[derive(Debug)]
pub struct Leadership {
    lost: CancellationToken,
    until: watch::Receiver<Instant>,
}

impl Leadership {
    /// Waits until the Lease is ours, then renews it in the background until `stop`, when it is released.
    pub async fn acquire(client: Client, config: LeaseConfig, stop: CancellationToken) -> Option<Self> {
        let mut observed = Observed::default();
        config.tell(false);
        let until = loop {
            let asked = Instant::now();
            match try_hold(&client, &config, &mut observed).await {
                Ok(true) => break asked + config.term(),
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = %config.key, %error, "cannot acquire, will retry"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(config.retry) => {}
            }
        };
        tracing::info!(lease = %config.key, identity = config.identity, "became leader");
        config.tell(true);
        let lost = CancellationToken::new();
        let (told, until) = watch::channel(until);
        tokio::spawn(renew(client, config, stop, lost.clone(), told).boxed());
        Some(Self { lost, until })
    }

    /// Ends when the Lease could not be renewed in time: the holder must stop writing.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Until when nobody else can lead, as of the last renewal.
    pub fn until(&self) -> watch::Receiver<Instant> {
        self.until.clone()
    }

    /// Ends when the Lease was given back or lost: a process that exits before makes others wait for the whole of it.
    pub async fn released(mut self) {
        while self.until.changed().await.is_ok() {}
    }
}

async fn renew(
    client: Client,
    config: LeaseConfig,
    stop: CancellationToken,
    lost: CancellationToken,
    until: watch::Sender<Instant>,
) {
    let mut observed = Observed::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                config.tell(false);
                let _ = release(&client, &config).await;
                return;
            }
            () = tokio::time::sleep(config.retry) => {}
        }
        let (asked, ends) = (Instant::now(), *until.borrow());
        // An answer that comes when others may have taken over is none.
        match tokio::time::timeout_at(ends, try_hold(&client, &config, &mut observed)).await {
            Ok(Ok(true)) => {
                until.send_replace(asked + config.term());
            }
            Ok(Ok(false)) | Err(_) => break,
            Ok(Err(error)) => tracing::debug!(lease = %config.key, %error, "cannot renew, will retry"),
        }
    }
    tracing::error!(lease = %config.key, "leadership lost");
    config.tell(false);
    lost.cancel();
}

async fn try_hold(client: &Client, config: &LeaseConfig, observed: &mut Observed) -> kube::Result<bool> {
    let now = Timestamp::now();
    let mut lease = match client.get::<Lease>(&config.key).await {
        Ok(lease) => lease,
        Err(error) if is_not_found(&error) => {
            let mut lease = Lease {
                metadata: ObjectMeta {
                    name: Some(config.key.name.clone()),
                    namespace: Some(config.key.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec::default()),
            };
            hold(&mut lease, config, now, Step::Take);
            return client.create(&lease).await.map(|_| true);
        }
        Err(error) => return Err(error),
    };
    let spec = lease.spec.get_or_insert_default();
    let step = decide(spec, &config.identity, observed.unchanged(spec, Instant::now()));
    if step == Step::Wait {
        return Ok(false);
    }
    hold(&mut lease, config, now, step);
    client.replace(&lease).await.map(|_| true)
}

fn hold(lease: &mut Lease, config: &LeaseConfig, now: Timestamp, step: Step) {
    let spec = lease.spec.get_or_insert_default();
    if step == Step::Take {
        spec.holder_identity = Some(config.identity.clone());
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
    }
    spec.lease_duration_seconds = Some(config.duration.as_secs() as i32);
    spec.renew_time = Some(MicroTime(now));
}

async fn release(client: &Client, config: &LeaseConfig) -> kube::Result<()> {
    let mut lease: Lease = client.get(&config.key).await?;
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() == Some(&config.identity) {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        client.replace(&lease).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_unchanged_for_a_term() {
        let after = Duration::from_secs;
        assert_eq!(decide(&LeaseSpec::default(), "me", after(0)), Step::Take);
        assert_eq!(decide(&held("other", 5), "me", after(15)), Step::Wait);
        assert_eq!(decide(&held("other", 5), "me", after(16)), Step::Take);
        assert_eq!(decide(&held("me", 5), "me", after(60)), Step::Renew);
        assert_eq!(decide(&held("", 1), "me", after(0)), Step::Take);
    }

    #[test]
    fn a_holder_whose_clock_is_hours_behind_keeps_its_lease_while_it_renews() {
        let mut observed = Observed::default();
        let start = Instant::now();
        for second in 0..60 {
            let lease = held("other", 1_000 + second / 2 * 2);
            let unchanged = observed.unchanged(&lease, start + Duration::from_secs(second.unsigned_abs()));
            assert_eq!(decide(&lease, "me", unchanged), Step::Wait, "{second}");
        }
        let last = held("other", 1_058);
        assert_eq!(decide(&last, "me", observed.unchanged(&last, start + Duration::from_secs(74))), Step::Take);
    }

    #[test]
    fn who_leads_says_so() {
        let config = LeaseConfig::new("kube-system", "of-this-test", "me");
        for (leads, value) in [(false, 0), (true, 1), (false, 0)] {
            config.tell(leads);
            let line = format!("leader_election_master_status{{name=\"of-this-test\"}} {value}");
            assert!(figures::render_figures().lines().any(|own| own == line), "{line}");
        }
    }
}
