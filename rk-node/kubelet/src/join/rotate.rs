//! Renewal: the client certificate after 70 to 90 % of its life, the serving certificate at once and then likewise.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::csr::{self, CsrError};
use super::early::{self, is_early};
use super::pki::Identity;
use super::{ServingCert, Session, chain};
use crate::Options;

/// Longest single sleep, so that a corrected clock (NTP) is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// Pauses after a failed renewal.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Pause between two looks at a certificate that is not valid yet.
const EARLY_LOOK: Duration = Duration::from_secs(10);

/// Share of a certificate's life after which the next one is asked for, 0.7 to 0.9 as upstream has it: nodes that joined together come one
/// by one. It follows from the certificate, so that who begins anew does not change its mind.
fn renew_share(identity: &Identity) -> f64 {
    let digest = Sha256::digest(identity.cert_pem.as_bytes());
    0.7 + 0.2 * f64::from(digest.first().copied().unwrap_or(0)) / 255.0
}

/// Keeps the client certificate fresh. Runs for ever.
pub async fn rotate_client(session: Session, options: Options) {
    let (mut pause, user) = (RETRY.0, options.user());
    loop {
        match session.pki.load_client() {
            Ok(Some(identity)) if is_early(&identity, Timestamp::now()) => {
                early::tend(&session, &options, &identity).await;
                tokio::time::sleep(EARLY_LOOK).await;
                continue;
            }
            Ok(Some(identity)) => sleep_until(identity.renew_at(renew_share(&identity))).await,
            Ok(None) => {}
            Err(error) => tracing::warn!("reading the client certificate: {}", chain(&error)),
        }
        match renew_client(&session, &user).await {
            Ok(not_after) => {
                tracing::info!(%not_after, "the client certificate was renewed");
                pause = RETRY.0;
            }
            Err(error) => {
                session.link.meters.client_failures.add(&[]);
                tracing::warn!(retry_in = ?pause, "the client certificate was not renewed: {}", chain(&error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

async fn renew_client(session: &Session, user: &str) -> Result<Timestamp, super::JoinError> {
    let identity = csr::request_client(&session.client, user).await?;
    session.pki.store_client(&identity)?;
    session.link.replace_identity(&identity)?;
    Ok(identity.not_after)
}

/// The certificate to serve with before the signer has answered: the stored one, else one of our own.
pub fn initial_serving(session: &Session, user: &str, host: &str, ips: &[IpAddr]) -> Result<Identity, CsrError> {
    if let Ok(Some(identity)) = session.pki.load_serving()
        && identity.not_after > Timestamp::now()
    {
        return Ok(identity);
    }
    csr::self_signed_serving(user, host, ips)
}

/// Keeps the serving certificate issued by the cluster and fresh. Runs for ever.
pub async fn rotate_serving(session: Session, serving: ServingCert, user: String, host: String, ips: Vec<IpAddr>) {
    let mut pause = RETRY.0;
    loop {
        if let Ok(Some(identity)) = session.pki.load_serving()
            && identity.common_name == user
            && covers(&identity, &ips)
            && !is_early(&identity, Timestamp::now())
        {
            sleep_until(identity.renew_at(renew_share(&identity))).await;
        }
        match renew_serving(&session, &serving, &user, &host, &ips).await {
            Ok(identity) => {
                tracing::info!(not_after = %identity.not_after, "the serving certificate was issued");
                pause = RETRY.0;
                // This clock is behind the signer's: another one would begin as late.
                if is_early(&identity, Timestamp::now()) {
                    tokio::time::sleep(LONGEST_SLEEP).await;
                }
            }
            Err(error) => {
                session.link.meters.server_failures.add(&[]);
                tracing::warn!(retry_in = ?pause, "no serving certificate yet: {}", chain(&error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

async fn renew_serving(
    session: &Session,
    serving: &ServingCert,
    user: &str,
    host: &str,
    ips: &[IpAddr],
) -> Result<Identity, super::JoinError> {
    let identity = csr::request_serving(&session.client, user, host, ips).await?;
    session.pki.store_serving(&identity)?;
    serving.replace(&identity)?;
    Ok(identity)
}

/// Whether the certificate names every address: a node that moved needs a new one.
fn covers(identity: &Identity, ips: &[IpAddr]) -> bool {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let chain = identity.chain();
    let Some(leaf) = chain.first() else { return false };
    let Ok((_, cert)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(names)) = cert.subject_alternative_name() else { return false };
    ips.iter().all(|ip| {
        let bytes = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        names.value.general_names.iter().any(|n| matches!(n, GeneralName::IPAddress(b) if *b == bytes))
    })
}

async fn sleep_until(at: Timestamp) {
    loop {
        let left = crate::clock::elapsed(at, Timestamp::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_one_by_one_and_each_at_a_time_of_its_own() {
        let shares: Vec<f64> = (0..8)
            .map(|_| {
                let identity = csr::self_signed_serving("system:node:a", "a", &[]).unwrap();
                let share = renew_share(&identity);
                assert_eq!(share, renew_share(&identity));
                share
            })
            .collect();
        assert!(shares.iter().all(|share| (0.7..=0.9).contains(share)), "{shares:?}");
        assert!(shares.iter().any(|share| *share != shares[0]), "{shares:?}");
    }
}
