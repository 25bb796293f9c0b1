//! Every namespace has a ServiceAccount `default`.

use crate::context::Context;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{BoxError, Change, ObjectKey, Outcome, Queue, is_already_exists, is_namespace_terminating};

const NAME: &str = "default";

/// Whether a namespace takes new objects.
pub(crate) fn is_open(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating")
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let namespaces = ctx.informers.of::<Namespace>();
    let accounts = ctx.informers.of::<ServiceAccount>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    namespaces.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    accounts.on_change(move |change| {
        if let Change::Deleted(account) = change {
            q.add(ObjectKey::cluster(account.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    ctx.work("serviceaccount", queue, 1, move |key| {
        let (namespaces, accounts) = (namespaces.clone(), accounts.clone());
        async move {
            let wanted = ObjectKey::new(key.name.clone(), NAME);
            let open = namespaces.get(&key).is_some_and(|ns| is_open(&ns));
            if !open || accounts.get(&wanted).is_some() {
                return Ok(Outcome::AwaitChange);
            }
            let account = ServiceAccount {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(key.name),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            };
            match accounts.create(&account).await {
                Ok(_) => Ok(Outcome::AwaitChange),
                Err(error) if is_already_exists(&error) || is_namespace_terminating(&error) => Ok(Outcome::AwaitChange),
                Err(error) => Err(BoxError::from(error)),
            }
        }
    });
}
