//! Publishes the certificate authority of the API server into every namespace, as ConfigMap `kube-root-ca.crt`.

use crate::context::Context;
use crate::serviceaccount::is_open;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{
    BoxError, Informer, ObjectKey, Outcome, Queue, is_already_exists, is_namespace_terminating, is_not_found,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const NOTE: &str = "kubernetes.io/description";
const NOTE_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
                         internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    namespaces: Informer<Namespace>,
    maps: Informer<ConfigMap>,
    bundle: String,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        namespaces: ctx.informers.of(),
        maps: ctx.informers.selected("metadata.name=kube-root-ca.crt"),
        bundle: ctx.config.root_ca.clone(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.namespaces.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.maps.on_change(move |change| {
        q.add(ObjectKey::cluster(change.object().metadata.namespace.clone().unwrap_or_default()));
    });
    ctx.work("root_ca_cert_publisher", queue, 1, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        if !self.namespaces.get(key).is_some_and(|ns| is_open(&ns)) {
            return Ok(Outcome::AwaitChange);
        }
        let data = BTreeMap::from([(FIELD.to_owned(), self.bundle.clone())]);
        let written = match self.maps.get(&ObjectKey::new(key.name.clone(), NAME)) {
            Some(map) if map.data.as_ref() == Some(&data) => return Ok(Outcome::AwaitChange),
            Some(map) => {
                let mut changed = ConfigMap::clone(&map);
                changed.data = Some(data);
                self.maps.replace(&changed).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(key.name.clone()),
                    annotations: Some(BTreeMap::from([(NOTE.to_owned(), NOTE_TEXT.to_owned())])),
                    ..ObjectMeta::default()
                };
                self.maps.create(&ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }).await
            }
        };
        match written {
            Ok(_) => Ok(Outcome::AwaitChange),
            Err(error) if is_already_exists(&error) || is_not_found(&error) || is_namespace_terminating(&error) => {
                Ok(Outcome::AwaitChange)
            }
            Err(error) => Err(error.into()),
        }
    }
}
