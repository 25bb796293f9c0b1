//! Secrets of type `kubernetes.io/service-account-token`: whoever makes one gets a token of the account that it names, until either is gone.
//!
//! The token is bound to its Secret, so that it is void without it, and lives as long as a token can be asked for.

use crate::context::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, PostParams};
use rk_api::meta::dns1123_subdomain;
use rk_client::{BoxError, Change, Deletion, Informer, ObjectKey, Outcome, Queue, is_conflict, is_not_found};
use std::sync::Arc;

/// Type of the Secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that names a Secret's account.
pub(crate) const NAME: &str = "kubernetes.io/service-account.name";
/// The annotation that tells which of several of that name is meant.
pub(crate) const UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
/// The longest life of a token that the API server grants, in seconds.
const SECONDS: i64 = 1 << 32;

struct Controller {
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    client: Client,
    bundle: String,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        secrets: ctx.informers.selected("type=kubernetes.io/service-account-token"),
        accounts: ctx.informers.of(),
        client: ctx.client.clone(),
        bundle: ctx.config.root_ca.clone(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.secrets.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let (q, secrets) = (queue.clone(), controller.secrets.clone());
    controller.accounts.on_change(move |change| {
        if matches!(change, Change::Updated { .. }) {
            return;
        }
        let account = ObjectKey::of(change.object().as_ref());
        let of_it = secrets.in_namespace(&account.namespace).into_iter().filter(|own| said(own, NAME) == account.name);
        of_it.for_each(|secret| q.add(ObjectKey::of(secret.as_ref())));
    });
    ctx.work("serviceaccount_tokens_secret", queue, 1, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// What an annotation of a Secret says.
pub(crate) fn said<'a>(secret: &'a Secret, annotation: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(annotation)).map_or("", String::as_str)
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Outcome::AwaitChange) };
        if secret.type_.as_deref() != Some(TYPE) || secret.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::AwaitChange);
        }
        let written = match self.account(&secret, &key.namespace).await? {
            None => self.secrets.delete(key, &Deletion::of_uid(secret.metadata.uid.as_ref())).await,
            Some(account) => {
                let Some(mut filled) = completed(&secret, &account, &self.bundle) else {
                    return Ok(Outcome::AwaitChange);
                };
                if !has(&filled, TOKEN) {
                    let token = self.token(&secret, key).await?;
                    filled.data.get_or_insert_default().insert(TOKEN.to_owned(), ByteString(token.into_bytes()));
                }
                self.secrets.replace(&filled).await.map(drop)
            }
        };
        match written {
            Ok(()) => Ok(Outcome::AwaitChange),
            // The change that came between is seen next.
            Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(Outcome::AwaitChange),
            Err(error) => Err(error.into()),
        }
    }

    /// The account that a Secret names: of several that had the name, the one that it says.
    async fn account(&self, secret: &Secret, namespace: &str) -> Result<Option<ServiceAccount>, BoxError> {
        let (name, uid) = (said(secret, NAME), said(secret, UID));
        // Whoever writes a Secret writes this name, and it becomes part of a path.
        if !dns1123_subdomain(name).is_empty() {
            return Ok(None);
        }
        let is_meant = |account: &ServiceAccount| uid.is_empty() || account.metadata.uid.as_deref() == Some(uid);
        let cached = self.accounts.get(&ObjectKey::new(namespace, name));
        if let Some(account) = cached.filter(|account| is_meant(account)) {
            return Ok(Some(ServiceAccount::clone(&account)));
        }
        // A Secret goes for good, so the cache is not trusted with it: an account may have come a moment ago.
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(name).await?.filter(is_meant))
    }

    async fn token(&self, secret: &Secret, key: &ObjectKey) -> Result<String, BoxError> {
        let body = TokenRequest {
            spec: Some(TokenRequestSpec {
                // Without an audience the API server fills in its own.
                audiences: Some(Vec::new()),
                expiration_seconds: Some(SECONDS),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Secret".to_owned()),
                    name: Some(key.name.clone()),
                    uid: secret.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let answer: TokenRequest =
            api.create_subresource(TOKEN, said(secret, NAME), &PostParams::default(), &body).await?;
        let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.ok_or_else(|| "the answer holds no token".into())
    }
}

fn has(secret: &Secret, field: &str) -> bool {
    secret.data.as_ref().and_then(|data| data.get(field)).is_some_and(|value| !value.0.is_empty())
}

/// The Secret with all that it is to have but the token; `None` when it has everything.
fn completed(secret: &Secret, account: &ServiceAccount, bundle: &str) -> Option<Secret> {
    let mut filled = secret.clone();
    let data = filled.data.get_or_insert_default();
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    data.insert("ca.crt".to_owned(), ByteString(bundle.as_bytes().to_vec()));
    data.insert("namespace".to_owned(), ByteString(namespace.into_bytes()));
    let annotations = filled.metadata.annotations.get_or_insert_default();
    annotations.insert(UID.to_owned(), account.metadata.uid.clone().unwrap_or_default());
    (filled != *secret || !has(secret, TOKEN)).then_some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_filled_once_and_mended_when_changed() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}})).expect("valid");
        let secret: Secret = serde_json::from_value(json!({"type": TYPE,
            "metadata": {"name": "s", "namespace": "n", "annotations": {NAME: "a"}}}))
        .expect("valid");
        let mut filled = completed(&secret, &account, "ca").expect("nothing is there yet");
        assert_eq!((said(&filled, NAME), said(&filled, UID)), ("a", "u"));
        let text =
            |secret: &Secret, key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|own| own.0.clone());
        assert_eq!(text(&filled, "namespace").as_deref(), Some(&b"n"[..]));
        assert_eq!(text(&filled, "ca.crt").as_deref(), Some(&b"ca"[..]));
        assert!(completed(&filled, &account, "ca").is_some(), "the token is missing");
        filled.data.get_or_insert_default().insert(TOKEN.to_owned(), ByteString(b"t".to_vec()));
        assert_eq!(completed(&filled, &account, "ca"), None);
        let mended = completed(&filled, &account, "another").expect("the authority changed");
        assert_eq!(text(&mended, TOKEN).as_deref(), Some(&b"t"[..]), "its token stays");
    }
}
