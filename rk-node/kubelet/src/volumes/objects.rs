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
/// A question that is not answered by then has failed: others wait for its turn to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// When an object was asked for last, and what came; locked while it is asked for.
type Slot<T> = Arc<tokio::sync::Mutex<Option<(Instant, Option<Arc<T>>)>>>;

type Memory<T> = Mutex<HashMap<(String, String), Slot<T>>>;

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

/// What was asked for no longer than `max_age` before now, else asked for. Of many who come at once, one asks and the others wait for it.
async fn read<T>(
    memory: &Memory<T>,
    namespace: &str,
    name: &str,
    max_age: Duration,
    fetch: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Option<Arc<T>>, kube::Error> {
    // Fixed before the wait, which makes the reader no less demanding.
    let oldest = Instant::now().checked_sub(max_age);
    let slot = slot(memory, namespace, name);
    let mut known = slot.lock().await;
    if let Some((at, object)) = known.as_ref()
        && oldest.is_none_or(|oldest| *at > oldest)
    {
        return Ok(object.clone());
    }
    let at = Instant::now();
    let object = within(PATIENCE, fetch).await?.map(Arc::new);
    *known = Some((at, object.clone()));
    Ok(object)
}

/// A question that is answered by then, or has failed.
async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let late = |_| kube::Error::Service(format!("no answer within {limit:?}").into());
    tokio::time::timeout(limit, asked).await.map_err(late)?
}

fn slot<T>(memory: &Memory<T>, namespace: &str, name: &str) -> Slot<T> {
    let key = (namespace.to_owned(), name.to_owned());
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = memory.get(&key) {
        return slot.clone();
    }
    // What is older than any reader accepts is only weight; what is locked is being asked for.
    memory.retain(|_, slot| match slot.try_lock() {
        Ok(known) => known.as_ref().is_some_and(|(at, _)| at.elapsed() < OLDEST),
        Err(_) => true,
    });
    if memory.len() >= REMEMBERED {
        memory.clear();
    }
    memory.entry(key).or_default().clone()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Rig {
        memory: Memory<u32>,
        asked: AtomicU32,
    }

    impl Rig {
        fn new() -> Self {
            Self { memory: Memory::default(), asked: AtomicU32::new(0) }
        }

        async fn read(&self, max_age: Duration) -> u32 {
            let fetch = async {
                let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Some(number))
            };
            *read(&self.memory, "ns", "name", max_age, fetch).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn of_many_readers_one_asks_and_none_gets_what_is_older_than_it_wants() {
        let rig = Rig::new();
        let minute = Duration::from_secs(60);
        let all = futures::future::join_all((0..5).map(|_| rig.read(minute))).await;
        assert_eq!(all, [1; 5]);
        assert_eq!(rig.read(minute).await, 1);
        assert_eq!(rig.read(Duration::ZERO).await, 2, "what was there before does not do");
        let all = futures::future::join_all((0..5).map(|_| rig.read(Duration::ZERO))).await;
        assert_eq!(all, [3, 4, 4, 4, 4], "what was asked for before the others came does not do for them");
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_or_fails_leaves_the_turn_to_the_next() {
        let memory = Memory::<u32>::default();
        let never = read(&memory, "ns", "name", Duration::ZERO, std::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(20), never).await.is_err());
        let broken = || kube::Error::LinesCodecMaxLineLengthExceeded;
        let failed = read(&memory, "ns", "name", Duration::ZERO, async { Err(broken()) }).await;
        assert!(failed.is_err());
        let found = read(&memory, "ns", "name", Duration::from_secs(60), async { Ok(Some(7)) }).await.unwrap();
        assert_eq!(found.as_deref(), Some(&7));
    }

    #[tokio::test]
    async fn a_question_without_an_answer_fails_some_time() {
        let lost = within(Duration::from_millis(20), std::future::pending::<Result<u32, kube::Error>>()).await;
        assert!(lost.unwrap_err().to_string().ends_with("no answer within 20ms"));
        assert_eq!(within(PATIENCE, async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn what_nobody_would_take_is_dropped_and_what_is_asked_for_stays() {
        let memory = Memory::<u32>::default();
        let asked = slot(&memory, "ns", "asked");
        let held = asked.try_lock().unwrap();
        drop(slot(&memory, "ns", "empty"));
        drop(slot(&memory, "ns", "new"));
        let names =
            |memory: &Memory<u32>| memory.lock().unwrap().keys().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        let mut names = names(&memory);
        names.sort();
        assert_eq!(names, ["asked", "new"]);
        drop(held);
    }
}
