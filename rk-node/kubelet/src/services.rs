//! The Services of the cluster, as far as environment variables need them.

use rk_lenient::Lenient;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
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
    let api: Api<Lenient<Service>> = Api::all(client);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut fresh = Map::new();
    loop {
        match events.try_next().await {
            Ok(None) => return,
            Err(error) => tracing::debug!("watching services: {}", crate::api_error::chain(&error)),
            Ok(Some(event)) => {
                let mut map = map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                match event {
                    watcher::Event::Init => fresh.clear(),
                    watcher::Event::InitApply(service) => fresh.extend(info(&service).map(|i| (key(&service), i))),
                    watcher::Event::InitDone => {
                        *map = std::mem::take(&mut fresh);
                        tell.send_replace(true);
                    }
                    watcher::Event::Apply(service) => match info(&service) {
                        Some(info) => drop(map.insert(key(&service), info)),
                        None => drop(map.remove(&key(&service))),
                    },
                    watcher::Event::Delete(service) => drop(map.remove(&key(&service))),
                }
            }
        }
    }
}
