//! Bootstrap tokens: expired ones go, and the public `cluster-info` is signed with the living ones.

use crate::context::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use ring::hmac;
use rk_client::{BoxError, Deletion, Informer, ObjectKey, Outcome, Queue, is_not_found};
use std::collections::BTreeMap;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";
const SIGNATURE: &str = "jws-kubeconfig-";

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && secret.metadata.namespace.as_deref() == Some(NAMESPACE)
}

/// When a token ends, if ever; one whose end cannot be read has ended.
fn expiry(secret: &Secret) -> Option<Timestamp> {
    let text = text(secret, "expiration").filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Starts the removal of expired tokens.
pub(crate) fn register_cleaner(ctx: &Context) {
    let secrets = ctx.informers.selected::<Secret>("type=bootstrap.kubernetes.io/token");
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    secrets.on_change(move |change| {
        if is_token(change.object()) {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("token_cleaner", queue, 1, move |key| {
        let secrets = secrets.clone();
        async move {
            let Some(secret) = secrets.get(&key) else { return Ok(Outcome::AwaitChange) };
            let Some(expiry) = expiry(&secret) else { return Ok(Outcome::AwaitChange) };
            let left = expiry.duration_since(Timestamp::now());
            if left > SignedDuration::ZERO {
                return Ok(Outcome::RequeueAfter(left.unsigned_abs()));
            }
            match secrets.delete(&key, &Deletion::of_uid(secret.metadata.uid.as_ref())).await {
                Ok(()) => Ok(Outcome::AwaitChange),
                Err(error) if is_not_found(&error) => Ok(Outcome::AwaitChange),
                Err(error) => Err(BoxError::from(error)),
            }
        }
    });
}

/// Starts the signing of `cluster-info`.
pub(crate) fn register_signer(ctx: &Context) {
    let secrets = ctx.informers.selected::<Secret>("type=bootstrap.kubernetes.io/token");
    let maps = ctx.informers.selected::<ConfigMap>("metadata.name=cluster-info");
    let queue: Queue<ObjectKey> = Queue::default();
    let target = ObjectKey::new("kube-public", "cluster-info");
    let (q, key) = (queue.clone(), target.clone());
    secrets.on_change(move |_| q.add(key.clone()));
    let q = queue.clone();
    maps.on_change(move |change| {
        if change.object().metadata.namespace.as_deref() == Some("kube-public") {
            q.add(target.clone());
        }
    });
    ctx.work("bootstrap_signer_queue", queue, 1, move |key| {
        let (secrets, maps) = (secrets.clone(), maps.clone());
        async move { sign(&secrets, &maps, &key).await }
    });
}

async fn sign(secrets: &Informer<Secret>, maps: &Informer<ConfigMap>, key: &ObjectKey) -> Result<Outcome, BoxError> {
    let Some(map) = maps.get(key) else { return Ok(Outcome::AwaitChange) };
    let before = map.data.clone().unwrap_or_default();
    let Some(content) = before.get("kubeconfig") else { return Ok(Outcome::AwaitChange) };
    let mut after: BTreeMap<String, String> =
        before.iter().filter(|(k, _)| !k.starts_with(SIGNATURE)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for secret in secrets.list() {
        let usable = is_token(&secret)
            && text(&secret, "usage-bootstrap-signing") == Some("true")
            && expiry(&secret).is_none_or(|e| e > Timestamp::now());
        if let (true, Some(id), Some(token)) = (usable, text(&secret, "token-id"), text(&secret, "token-secret")) {
            after.insert(format!("{SIGNATURE}{id}"), detached_signature(content, id, token));
        }
    }
    if after != before {
        maps.replace(&ConfigMap { data: Some(after), ..ConfigMap::clone(&map) }).await?;
    }
    Ok(Outcome::AwaitChange)
}

/// A JWS (RFC 7515) with HS256 and without its payload, as joining nodes expect it.
fn detached_signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn a_token_whose_end_cannot_be_read_has_ended() {
        let end = |text: &str| {
            let data = BTreeMap::from([("expiration".to_owned(), ByteString(text.as_bytes().to_vec()))]);
            expiry(&Secret { data: Some(data), ..Secret::default() })
        };
        assert_eq!((end(""), expiry(&Secret::default())), (None, None));
        assert_eq!(end("tomorrow"), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(end("1970-01-01T00:01:00Z"), Timestamp::from_second(60).ok());
    }

    #[test]
    fn a_signature_verifies_with_its_secret_only() {
        let jws = detached_signature("content", "abcdef", "0123456789abcdef");
        let parts: Vec<&str> = jws.split('.').collect();
        let &[header, "", signature] = parts.as_slice() else { panic!("detached: {jws}") };
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("content"));
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let verifies = |secret: &[u8]| {
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes(), &signature).is_ok()
        };
        assert!(verifies(b"0123456789abcdef") && !verifies(b"other"));
    }
}
