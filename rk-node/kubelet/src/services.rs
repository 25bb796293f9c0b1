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
    synced: watch::Receiver<bool>,
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
        let (tell, synced) = watch::channel(false);
        (Self { map: map.clone(), synced }, follow(client, map, tell))
    }

    /// The services as far as they are known.
    pub fn known(&self) -> Map {
        self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The services, once the first list has arrived.
    pub async fn get(&self) -> Map {
        // A closed channel means the process is going down: what is there must do.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
        self.known()
    }
}

async fn follow(client: Client, map: Arc<RwLock<Map>>, tell: watch::Sender<bool>) {
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
                tell.send_replace(true);
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
