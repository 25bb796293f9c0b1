//! Tokens in Secrets that once were made for every account (KEP-2799): one that nobody has used for a year becomes void, and goes after
//! another year.
//!
//! When each was used last is written down by the API server, which refuses the void ones. Whoever takes the mark of one away has it back.

use crate::account_tokens::{NAME, TYPE, UID, said};
use crate::context::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, Patch};
use rk_client::{Deletion, Informer, ObjectKey, is_conflict, is_not_found};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The label of the day on which a token was used last.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label of a token that is void.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The ConfigMap that tells since which day uses are written down, and where it tells that.
const NAMESPACE: &str = "kube-system";
const MAP: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";
/// How often all are looked at; upstream's figure.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long nobody uses a token before it becomes void, and how long it is void before it goes; upstream's figure.
const IDLE: SignedDuration = SignedDuration::from_hours(365 * 24);

struct Cleaner {
    client: Client,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pods: Informer<Pod>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let cleaner = Arc::new(Cleaner {
        client: ctx.client.clone(),
        secrets: ctx.informers.selected("type=kubernetes.io/service-account-token"),
        accounts: ctx.informers.of(),
        pods: ctx.informers.of(),
    });
    ctx.every(PERIOD, move || {
        let cleaner = Arc::clone(&cleaner);
        async move {
            if let Err(error) = cleaner.turn().await {
                tracing::warn!(%error, "tokens that lie in Secrets could not be looked at");
            }
        }
    });
}

/// What becomes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    BecomesVoid,
    Goes,
}

/// What becomes of the token in a Secret that was made for its account, unless pods have it.
fn fate(secret: &Secret, now: Timestamp) -> Fate {
    let Ok(edge) = now.checked_sub(IDLE) else { return Fate::Stays };
    let is_old = secret.metadata.creation_timestamp.as_ref().is_some_and(|made| made.0 < edge);
    let edge = day(edge);
    let is_past = |told: &str| is_day(told) && told < edge.as_str();
    // Without a day it was not used since days are written down; what is none tells nothing.
    let is_idle = label(secret, LAST_USED).is_none_or(is_past);
    if secret.type_.as_deref() != Some(TYPE) || secret.metadata.deletion_timestamp.is_some() || !is_old || !is_idle {
        return Fate::Stays;
    }
    match label(secret, INVALID_SINCE).filter(|since| is_day(since)) {
        None => Fate::BecomesVoid,
        Some(since) if is_past(since) => Fate::Goes,
        Some(_) => Fate::Stays,
    }
}

fn label<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    secret.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok()
}

/// Whether uses are written down for so long that a token without one is idle. The first day may not have been a whole one.
fn is_told_for_long(since: &str, now: Timestamp) -> bool {
    let edge = now.checked_sub(IDLE + SignedDuration::from_hours(24));
    is_day(since) && edge.is_ok_and(|edge| since <= day(edge).as_str())
}

/// Whether a Secret was made for the account: the account names it, and the Secret the account.
fn is_made_for(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = said(secret, UID);
    let is_meant = uid.is_empty() || account.metadata.uid.as_deref() == Some(uid);
    let mut named = account.secrets.iter().flatten();
    is_meant && named.any(|named| named.name.is_some() && named.name == secret.metadata.name)
}

/// The mark of a void token, for a Secret that is still as it was judged: it may be used in this moment, after a year.
fn mark(secret: &Secret, now: Timestamp) -> Value {
    let meta = &secret.metadata;
    let labels = json!({INVALID_SINCE: day(now)});
    json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "labels": labels}})
}

/// Whether a name is anywhere in what a pod asks for: there are many places where a Secret is named, and one too many that stays does no
/// harm.
fn is_named(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(all) => all.iter().any(|value| is_named(value, name)),
        Value::Object(all) => all.values().any(|value| is_named(value, name)),
        _ => false,
    }
}

impl Cleaner {
    async fn turn(&self) -> kube::Result<()> {
        let now = Timestamp::now();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let since = maps.get_opt(MAP).await?.and_then(|map| map.data).and_then(|mut data| data.remove(SINCE));
        if !since.is_some_and(|since| is_told_for_long(&since, now)) {
            return Ok(());
        }
        for secret in self.secrets.list() {
            let fate = fate(&secret, now);
            if fate == Fate::Stays || !self.is_left_over(&secret) {
                continue;
            }
            match self.fulfil(&secret, fate, now).await {
                Ok(()) => {}
                Err(error) if is_conflict(&error) || is_not_found(&error) => {}
                Err(error) => {
                    tracing::warn!(secret = %ObjectKey::of(secret.as_ref()), %error, "an idle token is still there");
                }
            }
        }
        Ok(())
    }

    /// Whether the token was made for its account, and no pod has it.
    fn is_left_over(&self, secret: &Secret) -> bool {
        let key = ObjectKey::of(secret);
        let account = self.accounts.get(&ObjectKey::new(&key.namespace, said(secret, NAME)));
        if !account.is_some_and(|account| is_made_for(secret, &account)) {
            return false;
        }
        !self.pods.in_namespace(&key.namespace).iter().any(|pod| is_named(&json!(pod.spec), &key.name))
    }

    async fn fulfil(&self, secret: &Secret, fate: Fate, now: Timestamp) -> kube::Result<()> {
        let key = ObjectKey::of(secret);
        let uid = secret.metadata.uid.as_ref();
        if fate == Fate::BecomesVoid {
            tracing::info!(secret = %key, "the token in a Secret becomes void: it was not used for a year");
            return self.secrets.patch(&key, &Patch::Merge(mark(secret, now))).await.map(drop);
        }
        tracing::info!(secret = %key, "the token in a Secret goes: it was void for a year");
        // Whoever takes its mark away meanwhile keeps it.
        let how = Deletion { resource_version: secret.metadata.resource_version.clone(), ..Deletion::of_uid(uid) };
        self.secrets.delete(&key, &how).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn secret(made: &str, labels: Value) -> Secret {
        let metadata = json!({"name": "s", "namespace": "n", "creationTimestamp": made, "labels": labels,
            "annotations": {NAME: "a", UID: "u"}});
        serde_json::from_value(json!({"type": TYPE, "metadata": metadata})).expect("a Secret")
    }

    #[test]
    fn a_token_that_nobody_uses_becomes_void_and_goes_a_year_later() {
        // A year before is 2030-03-01, 12:00.
        let now = at("2031-03-01T12:00:00Z");
        let old = "2029-01-01T00:00:00Z";
        for (made, labels, want) in [
            (old, json!({}), Fate::BecomesVoid),
            (old, json!({LAST_USED: "2030-02-28"}), Fate::BecomesVoid),
            (old, json!({LAST_USED: "2030-03-01"}), Fate::Stays),
            (old, json!({LAST_USED: "yesterday"}), Fate::Stays),
            ("2030-03-01T12:00:00Z", json!({}), Fate::Stays),
            ("2030-03-01T11:59:59Z", json!({}), Fate::BecomesVoid),
            (old, json!({INVALID_SINCE: "2030-02-28"}), Fate::Goes),
            (old, json!({INVALID_SINCE: "2030-03-01"}), Fate::Stays),
            (old, json!({INVALID_SINCE: "", LAST_USED: "2030-02-28"}), Fate::BecomesVoid),
            (old, json!({INVALID_SINCE: "2030-02-28", LAST_USED: "2031-02-28"}), Fate::Stays),
        ] {
            assert_eq!(fate(&secret(made, labels.clone()), now), want, "{made} {labels}");
        }
        let mut other = secret(old, json!({}));
        other.type_ = Some("Opaque".to_owned());
        assert_eq!(fate(&other, now), Fate::Stays);
    }

    #[test]
    fn a_token_that_is_used_while_it_becomes_void_stays_good() {
        let mut judged = secret("2029-01-01T00:00:00Z", json!({}));
        (judged.metadata.uid, judged.metadata.resource_version) = (Some("u".to_owned()), Some("7".to_owned()));
        let labels = json!({INVALID_SINCE: "2031-03-01"});
        let want = json!({"metadata": {"uid": "u", "resourceVersion": "7", "labels": labels}});
        assert_eq!(mark(&judged, at("2031-03-01T12:00:00Z")), want, "whoever writes its use comes first");
    }

    #[test]
    fn no_token_is_idle_before_uses_were_written_down_for_a_year() {
        let now = at("2031-03-01T00:00:00Z");
        assert!(is_told_for_long("2030-02-28", now));
        assert!(!is_told_for_long("2030-03-01", now), "that day may have begun in the evening");
        assert!(!is_told_for_long("long ago", now));
    }

    #[test]
    fn only_what_was_made_for_an_account_and_no_pod_has_is_left_over() {
        let own = secret("2029-01-01T00:00:00Z", json!({}));
        let account = |uid: &str, secrets: Value| -> ServiceAccount {
            let metadata = json!({"name": "a", "namespace": "n", "uid": uid});
            serde_json::from_value(json!({"metadata": metadata, "secrets": secrets})).expect("an account")
        };
        assert!(is_made_for(&own, &account("u", json!([{"name": "t"}, {"name": "s"}]))));
        assert!(!is_made_for(&own, &account("u", json!([{"name": "t"}]))), "somebody made it by hand");
        assert!(!is_made_for(&own, &account("later", json!([{"name": "s"}]))));
        let volume = json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
        let variable =
            json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]}]});
        assert!(is_named(&volume, "s") && is_named(&variable, "s"));
        assert!(!is_named(&volume, "secret") && !is_named(&variable, "t"));
    }
}
