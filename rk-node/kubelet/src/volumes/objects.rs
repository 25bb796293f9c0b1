//! ConfigMaps and Secrets that pods refer to, read when needed and remembered for a short while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

/// Objects remembered at most; beyond it the memory is cleared, which costs only requests.
const REMEMBERED: usize = 512;
/// No reader takes anything older.
const OLDEST: Duration = Duration::from_secs(30);

type Memory<T> = Mutex<HashMap<(String, String), (Instant, Option<Arc<T>>)>>;

/// Reader of ConfigMaps and Secrets.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    config_maps: Arc<Memory<ConfigMap>>,
    secrets: Arc<Memory<Secret>>,
}

impl Objects {
    /// A reader through this client.
    pub fn new(client: Client) -> Self {
        Self { client, config_maps: Arc::default(), secrets: Arc::default() }
    }

    /// A ConfigMap no older than `max_age`, `None` when there is none.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        max_age: Duration,
    ) -> Result<Option<Arc<ConfigMap>>, kube::Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        read(&self.config_maps, namespace, name, max_age, api.get_opt(name)).await
    }

    /// A Secret no older than `max_age`, `None` when there is none.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
        max_age: Duration,
    ) -> Result<Option<Arc<Secret>>, kube::Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        read(&self.secrets, namespace, name, max_age, api.get_opt(name)).await
    }

    /// The client behind.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

async fn read<T>(
    memory: &Memory<T>,
    namespace: &str,
    name: &str,
    max_age: Duration,
    fetch: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Option<Arc<T>>, kube::Error> {
    let key = (namespace.to_owned(), name.to_owned());
    if let Some((at, object)) = memory.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
        && at.elapsed() < max_age
    {
        return Ok(object.clone());
    }
    let at = Instant::now();
    let object = fetch.await?.map(Arc::new);
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    // What is older than any reader accepts is only weight.
    memory.retain(|_, (at, _)| at.elapsed() < OLDEST);
    if memory.len() >= REMEMBERED {
        memory.clear();
    }
    memory.insert(key, (at, object.clone()));
    Ok(object)
}
