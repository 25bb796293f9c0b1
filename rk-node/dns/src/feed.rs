//! Keeps the zone current with what the API says.

use rk_lenient::Lenient;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Client, ResourceExt as _};
use rk_watch::{Event, ObjectKey, Selection, follow};
use tokio::sync::Notify;

use crate::zone::Zone;

type Key = (String, String);

/// Watches until dropped. The zone counts as ready once both lists have been complete.
pub(crate) async fn run(client: Client, zone: &Arc<RwLock<Zone>>) {
    let listed = [Notify::new(), Notify::new()];
    let [services_listed, slices_listed] = &listed;
    let ready = async {
        tokio::join!(services_listed.notified(), slices_listed.notified());
        zone.write().unwrap_or_else(PoisonError::into_inner).set_ready();
        std::future::pending::<()>().await;
    };
    tokio::join!(services(client.clone(), zone, services_listed), slices(client, zone, slices_listed), ready);
}

async fn services(client: Client, zone: &RwLock<Zone>, listed: &Notify) {
    let mut stream = follow::<Lenient<Service>>(client, Selection::default());
    let mut names = HashSet::new();
    while let Some(event) = stream.next().await {
        let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin => names.clear(),
            Event::Applied(service) => zone.set_service(&service),
            Event::Listed(service) => {
                names.insert(key(&service));
                zone.set_service(&service);
            }
            Event::Complete => {
                zone.retain(Some(&names), None);
                listed.notify_one();
            }
            Event::Deleted(service) => {
                let (namespace, name) = key(&service);
                zone.remove_service(&namespace, &name);
            }
            Event::Unread(key) => drop(names.insert(parts(key))),
            Event::Vanished(key) => zone.remove_service(&key.namespace, &key.name),
        }
    }
}

async fn slices(client: Client, zone: &RwLock<Zone>, listed: &Notify) {
    let mut stream = follow::<EndpointSlice>(client, Selection::default());
    let mut names = HashSet::new();
    while let Some(event) = stream.next().await {
        let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin => names.clear(),
            Event::Applied(slice) => zone.set_slice(&slice),
            Event::Listed(slice) => {
                names.insert(key(&slice));
                zone.set_slice(&slice);
            }
            Event::Complete => {
                zone.retain(None, Some(&names));
                listed.notify_one();
            }
            Event::Deleted(slice) => {
                let (namespace, name) = key(&slice);
                zone.remove_slice(&namespace, &name);
            }
            Event::Unread(key) => drop(names.insert(parts(key))),
            Event::Vanished(key) => zone.remove_slice(&key.namespace, &key.name),
        }
    }
}

fn parts(key: ObjectKey) -> Key {
    (key.namespace, key.name)
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
