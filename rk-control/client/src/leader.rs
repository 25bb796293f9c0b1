//! Leader election on a `coordination.k8s.io/v1` Lease.

use crate::key::ObjectKey;
use crate::retry::is_not_found;
use crate::verbs::Verbs;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use std::time::Duration;
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
}

/// What a candidate does about a Lease it has read.
#[derive(Debug, PartialEq)]
enum Step {
    Take,
    Renew,
    Wait,
}

fn decide(spec: &LeaseSpec, me: &str, now: Timestamp) -> Step {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return Step::Renew;
    }
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(15)));
    let expired =
        spec.renew_time.as_ref().is_none_or(|renewed| now > renewed.0.saturating_add(lasts).unwrap_or(Timestamp::MAX));
    if holder.is_empty() || expired { Step::Take } else { Step::Wait }
}

/// A held Lease.
#[derive(Debug)]
pub struct Leadership {
    lost: CancellationToken,
}

impl Leadership {
    /// Waits until the Lease is ours, then renews it in the background until `stop`, when it is released.
    pub async fn acquire(client: Client, config: LeaseConfig, stop: CancellationToken) -> Option<Self> {
        loop {
            match try_hold(&client, &config).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = %config.key, %error, "cannot acquire, will retry"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(config.retry) => {}
            }
        }
        tracing::info!(lease = %config.key, identity = config.identity, "became leader");
        let lost = CancellationToken::new();
        tokio::spawn(renew(client, config, stop, lost.clone()));
        Some(Self { lost })
    }

    /// Ends when the Lease could not be renewed in time: the holder must stop writing.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

async fn renew(client: Client, config: LeaseConfig, stop: CancellationToken, lost: CancellationToken) {
    let mut renewed = tokio::time::Instant::now();
    // Give up well before others may take over.
    let deadline = config.duration * 2 / 3;
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                let _ = release(&client, &config).await;
                return;
            }
            () = tokio::time::sleep(config.retry) => {}
        }
        match try_hold(&client, &config).await {
            Ok(true) => renewed = tokio::time::Instant::now(),
            Ok(false) => break,
            Err(error) => tracing::debug!(lease = %config.key, %error, "cannot renew, will retry"),
        }
        if renewed.elapsed() > deadline {
            break;
        }
    }
    tracing::error!(lease = %config.key, "leadership lost");
    lost.cancel();
}

async fn try_hold(client: &Client, config: &LeaseConfig) -> kube::Result<bool> {
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
    let step = decide(lease.spec.get_or_insert_default(), &config.identity, now);
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

    #[test]
    fn a_lease_is_taken_only_when_free_or_expired() {
        let now = Timestamp::now();
        let held = |holder: &str, ago: i64| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(now - SignedDuration::from_secs(ago))),
            ..LeaseSpec::default()
        };
        assert_eq!(decide(&LeaseSpec::default(), "me", now), Step::Take);
        assert_eq!(decide(&held("other", 5), "me", now), Step::Wait);
        assert_eq!(decide(&held("other", 16), "me", now), Step::Take);
        assert_eq!(decide(&held("me", 5), "me", now), Step::Renew);
        assert_eq!(decide(&held("", 1), "me", now), Step::Take);
    }
}
