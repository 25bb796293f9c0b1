//! Keeps the zone current with what the API says.

use rk_lenient::Lenient;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
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
    let stream = watcher(Api::<Lenient<Service>>::all(client), Config::default()).default_backoff().into_stream();
    let mut stream = std::pin::pin!(stream);
    let mut names = HashSet::new();
    while let Some(event) = stream.next().await {
        let Ok(event) = event.inspect_err(|error| tracing::debug!(%error, "the watch of services is interrupted"))
        else {
            continue;
        };
        let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => names.clear(),
            Event::Apply(service) => zone.set_service(&service),
            Event::InitApply(service) => {
                names.insert(key(&service));
                zone.set_service(&service);
            }
            Event::InitDone => {
                zone.retain(Some(&names), None);
                listed.notify_one();
            }
            Event::Delete(service) => {
                let (namespace, name) = key(&service);
                zone.remove_service(&namespace, &name);
            }
        }
    }
}

async fn slices(client: Client, zone: &RwLock<Zone>, listed: &Notify) {
    let stream = watcher(Api::<EndpointSlice>::all(client), Config::default()).default_backoff().into_stream();
    let mut stream = std::pin::pin!(stream);
    let mut names = HashSet::new();
    while let Some(event) = stream.next().await {
        let Ok(event) =
            event.inspect_err(|error| tracing::debug!(%error, "the watch of endpoint slices is interrupted"))
        else {
            continue;
        };
        let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => names.clear(),
            Event::Apply(slice) => zone.set_slice(&slice),
            Event::InitApply(slice) => {
                names.insert(key(&slice));
                zone.set_slice(&slice);
            }
            Event::InitDone => {
                zone.retain(None, Some(&names));
                listed.notify_one();
            }
            Event::Delete(slice) => {
                let (namespace, name) = key(&slice);
                zone.remove_slice(&namespace, &name);
            }
        }
    }
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
