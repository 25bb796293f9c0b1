//! Tokens that lie in Secrets: which of them is void, and when each was used last (KEP-2799).
//!
//! A use is noted where a token is judged and written down by a loop of its own: judging waits for no write, and the server's own writes are
//! judged, too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::front_door::write;
use crate::keeper::keep;
use crate::server::Core;

/// Type of the Secrets.
const TYPE: &str = "kubernetes.io/service-account-token";
/// The label of the day on which a token was used last.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label of a token that is void.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The ConfigMap that tells since which day uses are written down, and where it tells that.
const NAMESPACE: &str = "kube-system";
const MAP: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";
/// How often the ConfigMap is made at most, so that servers do not fight over it; upstream's figure.
const MADE_EVERY: Duration = Duration::from_secs(30 * 60);
/// How often everything is looked at without a reason; upstream's figure.
const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What is known of the tokens that lie in Secrets.
#[derive(Default)]
pub struct SecretTokens {
    /// Namespaces and names of Secrets whose use is to be written down: as many at most as there are Secrets.
    used: Mutex<BTreeSet<(String, String)>>,
    /// There are new uses.
    news: Notify,
    /// When the ConfigMap was made last.
    made: Mutex<Option<Instant>>,
}

impl SecretTokens {
    /// Whether a token that is bound to a Secret may be used: one that lies in it may be void. Notes its use.
    pub fn admit(&self, secret: &Value, token: &str) -> bool {
        if !lies_in(secret, token) {
            return true;
        }
        if !is_written(secret, Timestamp::now()) {
            let place = (meta::namespace(secret).to_owned(), meta::name(secret).to_owned());
            self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
            self.news.notify_one();
        }
        label(secret, INVALID_SINCE).is_empty()
    }

    /// How long the ConfigMap may not be made yet.
    fn held_back(&self) -> Duration {
        let made = *self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.map(|at| MADE_EVERY.saturating_sub(at.elapsed())).unwrap_or_default()
    }
}

/// Whether a token is the one that a Secret of its kind holds.
fn lies_in(secret: &Value, token: &str) -> bool {
    let held = meta::at(secret, &["data", "token"]).as_str().and_then(|text| STANDARD.decode(text).ok());
    meta::text(secret, &["type"]) == TYPE && held.is_some_and(|held| held == token.as_bytes())
}

fn label<'a>(secret: &'a Value, key: &str) -> &'a str {
    meta::text(secret, &["metadata", "labels", key])
}

/// Whether the use of this day is written down; by a server whose clock is ahead it may be that of the next.
fn is_written(secret: &Value, now: Timestamp) -> bool {
    let tomorrow = now.checked_add(SignedDuration::from_hours(24)).unwrap_or(now);
    [day(now), day(tomorrow)].iter().any(|day| day == label(secret, LAST_USED))
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok()
}

/// Writes uses down until shutdown, and keeps the ConfigMap that tells since when.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "uses of tokens that lie in Secrets could not be written down", turn).await;
}

async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut maps = core.cache("", "v1", "configmaps").await?.subscribe();
    maps.borrow_and_update();
    write_uses(core).await?;
    let rest = keep_map(core).await?;
    tokio::select! {
        _ = maps.changed() => {}
        () = core.secret_tokens.news.notified() => {}
        () = tokio::time::sleep(rest) => {}
    }
    Ok(())
}

async fn write_uses(core: &Arc<Core>) -> Result<(), Status> {
    let resource = core.resource("", "v1", "secrets")?;
    let used = std::mem::take(&mut *core.secret_tokens.used.lock().unwrap_or_else(PoisonError::into_inner));
    for (namespace, name) in used {
        let now = Timestamp::now();
        let found = core.known_object("", "v1", "secrets", &namespace, &name).await?;
        let Some(mut secret) = found.filter(|secret| !is_written(secret, now)) else { continue };
        secret["metadata"]["labels"][LAST_USED] = json!(day(now));
        match write(core, Method::PUT, &resource, "", &secret).await {
            Err(status) if !matches!(status.reason, Reason::Conflict | Reason::NotFound) => {
                tracing::warn!(%status, "the use of a token could not be written down");
            }
            // Who changed it meanwhile is no trouble: the next use is noted again.
            _ => {}
        }
    }
    Ok(())
}

/// Makes the ConfigMap where it is missing, and puts a day right that is none; tells for how long that holds.
async fn keep_map(core: &Arc<Core>) -> Result<Duration, Status> {
    let resource = core.resource("", "v1", "configmaps")?;
    let today = day(Timestamp::now());
    let (method, map) = match core.known_object("", "v1", "configmaps", NAMESPACE, MAP).await? {
        Some(map) if is_day(meta::text(&map, &["data", SINCE])) => return Ok(PERIOD),
        Some(mut map) => {
            map["data"][SINCE] = json!(today);
            (Method::PUT, map)
        }
        None => {
            let left = core.secret_tokens.held_back();
            if !left.is_zero() {
                return Ok(left);
            }
            let metadata = json!({"name": MAP, "namespace": NAMESPACE});
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {SINCE: today}});
            (Method::POST, map)
        }
    };
    let made = method == Method::POST;
    match write(core, method, &resource, "", &map).await {
        // Another server did it at the same moment.
        Err(status) if matches!(status.reason, Reason::AlreadyExists | Reason::Conflict | Reason::NotFound) => {}
        other => other?,
    }
    if made {
        *core.secret_tokens.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    Ok(PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(kind: &str, labels: Value) -> Value {
        let metadata = json!({"name": "s", "namespace": "n", "labels": labels});
        json!({"type": kind, "metadata": metadata, "data": {"token": STANDARD.encode("a.b.c")}})
    }

    #[test]
    fn the_token_that_lies_in_a_secret_is_void_when_the_secret_says_so() {
        let tokens = SecretTokens::default();
        let void = json!({INVALID_SINCE: "2030-01-01"});
        assert!(!tokens.admit(&secret(TYPE, void.clone()), "a.b.c"));
        assert!(tokens.admit(&secret(TYPE, void.clone()), "d.e.f"), "bound to it and kept elsewhere");
        assert!(tokens.admit(&secret("Opaque", void), "a.b.c"));
        let used = tokens.used.lock().unwrap().clone();
        assert_eq!(used, BTreeSet::from([("n".to_owned(), "s".to_owned())]), "a void one was used all the same");
    }

    #[test]
    fn a_use_is_written_once_a_day() {
        let now: Timestamp = "2030-01-31T23:30:00Z".parse().unwrap();
        for (last, written) in
            [("2030-01-31", true), ("2030-02-01", true), ("2030-01-30", false), ("2030-02-02", false), ("", false)]
        {
            assert_eq!(is_written(&secret(TYPE, json!({LAST_USED: last})), now), written, "{last}");
        }
        assert!(is_day("2030-01-31") && !is_day("2030-1-31") && !is_day("20300131") && !is_day("2030-02-30"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_map_is_made_anew_only_after_a_while() {
        let tokens = SecretTokens::default();
        assert_eq!(tokens.held_back(), Duration::ZERO);
        *tokens.made.lock().unwrap() = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(tokens.held_back(), Duration::from_secs(1200));
        tokio::time::advance(MADE_EVERY).await;
        assert_eq!(tokens.held_back(), Duration::ZERO);
    }
}
