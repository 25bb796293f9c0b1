//! The Services of the cluster, as far as environment variables need them.

use rk_lenient::Lenient;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use rk_watch::{Event, ObjectKey, Selection, follow as watched};
use tokio::sync::watch;

use crate::translate::ServiceInfo;

type Map = BTreeMap<(String, String), ServiceInfo>;

/// Services by namespace and name; only addresses and ports are kept.
#[derive(Clone)]
pub struct Services {
    map: Arc<RwLock<Map>>,
    /// Whether the map may be used.
    source: watch::Sender<Source>,
}

/// Where the map comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It is not here, or older than what the API has told since.
    Nowhere,
    /// From before; the API has not answered yet.
    Memory,
    /// From the API.
    List,
}

fn key(service: &Service) -> (String, String) {
    (service.metadata.namespace.clone().unwrap_or_default(), service.metadata.name.clone().unwrap_or_default())
}

fn info(service: &Service) -> Option<ServiceInfo> {
    let spec = service.spec.as_ref()?;
    let cluster_ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
    let ports = spec.ports.iter().flatten();
    let ports =
        ports.map(|p| (p.name.clone().unwrap_or_default(), p.port, p.protocol.clone().unwrap_or_else(|| "TCP".into())));
    Some(ServiceInfo { cluster_ip, ports: ports.collect() })
}

impl Services {
    /// The view and the task that keeps it current.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let map = Arc::new(RwLock::new(Map::new()));
        let source = watch::Sender::new(Source::Nowhere);
        (Self { map: map.clone(), source: source.clone() }, follow(client, map, source))
    }

    /// Goes on with what was known before, if anything, unless the first list has arrived; that takes its place.
    pub fn recall(&self, known: Map) {
        let mut map = self.map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *self.source.borrow() == Source::Nowhere && !known.is_empty() {
            *map = known;
            self.source.send_replace(Source::Memory);
        }
    }

    /// The API answers: what comes now waits for its list.
    pub fn doubt(&self) {
        self.source.send_if_modified(|source| {
            let recalled = *source == Source::Memory;
            if recalled {
                *source = Source::Nowhere;
            }
            recalled
        });
    }

    /// The services as far as they are known.
    pub fn known(&self) -> Map {
        self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The services, once the first list has arrived or what was known before is to do.
    pub async fn get(&self) -> Map {
        // The channel cannot close: its sender is here.
        let _ = self.source.subscribe().wait_for(|source| *source != Source::Nowhere).await;
        self.known()
    }
}

async fn follow(client: Client, map: Arc<RwLock<Map>>, tell: watch::Sender<Source>) {
    let mut events = watched::<Lenient<Service>>(client, Selection::default());
    let mut fresh = Map::new();
    let parts = |key: ObjectKey| (key.namespace, key.name);
    while let Some(event) = events.next().await {
        let mut map = map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::Begin => fresh.clear(),
            Event::Listed(service) => fresh.extend(info(&service).map(|i| (key(&service), i))),
            Event::Complete => {
                *map = std::mem::take(&mut fresh);
                tell.send_replace(Source::List);
            }
            Event::Applied(service) => match info(&service) {
                Some(info) => drop(map.insert(key(&service), info)),
                None => drop(map.remove(&key(&service))),
            },
            Event::Deleted(service) => drop(map.remove(&key(&service))),
            Event::Unread(key) => {
                let key = parts(key);
                fresh.extend(map.get(&key).cloned().map(|known| (key, known)));
            }
            Event::Vanished(key) => drop(map.remove(&parts(key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_was_known_does_until_the_api_answers() {
        let services = Services { map: Arc::default(), source: watch::Sender::new(Source::Nowhere) };
        let known = |ip: &str| {
            let info = ServiceInfo { cluster_ip: ip.to_owned(), ports: Vec::new() };
            Map::from([(("default".to_owned(), "kubernetes".to_owned()), info)])
        };
        assert!(services.get().now_or_never().is_none(), "nothing is known");
        services.recall(Map::new());
        assert!(services.get().now_or_never().is_none(), "to have known nothing is no answer");
        services.recall(known("10.96.0.1"));
        assert_eq!(services.get().now_or_never(), Some(known("10.96.0.1")));
        services.doubt();
        assert!(services.get().now_or_never().is_none(), "the API's own list comes");
        services.source.send_replace(Source::List);
        services.recall(known("10.96.0.9"));
        services.doubt();
        assert_eq!(services.get().now_or_never(), Some(known("10.96.0.1")));
    }
}
