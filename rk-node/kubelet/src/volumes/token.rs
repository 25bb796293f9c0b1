//! Service account tokens bound to pods, asked for by TokenRequest and renewed before they expire.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::{Api, PostParams};

use crate::clock::elapsed;
use crate::pod::spec;

/// Lifetime when the projection names none.
const DEFAULT_SECONDS: i64 = 3600;
/// A token older than this is renewed whatever its lifetime.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone)]
struct Issued {
    token: String,
    at: Timestamp,
    expires: Timestamp,
}

/// Whether a token is due for renewal: past 80 % of its life, or a day old.
fn due(at: Timestamp, expires: Timestamp, now: Timestamp) -> bool {
    let life = elapsed(expires, at);
    elapsed(now, at) >= life.mul_f64(0.8).min(OLDEST)
}

type Key = (String, String, String, i64);

/// Tokens issued so far, by pod UID, account, audience and lifetime.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<Key, Issued>>);

impl Tokens {
    /// A valid token for the projection.
    pub async fn get(
        &self,
        client: &kube::Client,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        self.with_expiry(client, pod, projection).await.map(|(token, _)| token)
    }

    /// A valid token, and until when it is.
    pub async fn with_expiry(
        &self,
        client: &kube::Client,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<(String, Timestamp), String> {
        let account = pod
            .spec
            .as_ref()
            .and_then(|s| s.service_account_name.clone())
            .filter(|n| !n.is_empty())
            .unwrap_or_else(|| "default".into());
        let audience = projection.audience.clone().unwrap_or_default();
        let seconds = projection.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        let key = (spec::uid(pod).to_owned(), account.clone(), audience.clone(), seconds);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let now = Timestamp::now();
        if let Some(issued) = &known
            && !due(issued.at, issued.expires, now)
        {
            return Ok((issued.token.clone(), issued.expires));
        }
        match request(client, pod, &account, audience, seconds).await {
            Ok(issued) => {
                let token = (issued.token.clone(), issued.expires);
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, issued);
                Ok(token)
            }
            // An old token that still holds is better than none.
            Err(error) => match known.filter(|issued| issued.expires > now) {
                Some(issued) => {
                    tracing::warn!(pod = %spec::describe(pod), "a service account token was not renewed: {error}");
                    Ok((issued.token, issued.expires))
                }
                None => Err(error),
            },
        }
    }

    /// Forgets the tokens of a pod.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(pod, ..), _| pod != uid);
    }
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    account: &str,
    audience: String,
    seconds: i64,
) -> Result<Issued, String> {
    let namespace = spec::namespace(pod);
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let body = TokenRequest {
        spec: Some(TokenRequestSpec {
            // Without an audience the API server fills in its own.
            audiences: Some(if audience.is_empty() { Vec::new() } else { vec![audience] }),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(spec::name(pod).into()),
                uid: Some(spec::uid(pod).into()),
            }),
        }),
        ..Default::default()
    };
    let failed = |error: &dyn std::fmt::Display| format!("failed to fetch token for {namespace}/{account}: {error}");
    let at = Timestamp::now();
    let answer: TokenRequest = api
        .create_subresource("token", account, &PostParams::default(), &body)
        .await
        .map_err(|e| failed(&crate::api_error::text(&e)))?;
    let status = answer.status.ok_or_else(|| failed(&"the answer holds no token"))?;
    let token = status.token.filter(|t| !t.is_empty()).ok_or_else(|| failed(&"the answer holds no token"))?;
    let expires = status.expiration_timestamp.map_or(at, |t| t.0);
    Ok(Issued { token, at, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_at_four_fifths_of_their_life_or_daily() {
        let at = |s| Timestamp::from_second(s).unwrap();
        assert!(!due(at(0), at(1000), at(799)));
        assert!(due(at(0), at(1000), at(800)));
        assert!(due(at(0), at(31_536_000), at(86_400)));
    }
}
