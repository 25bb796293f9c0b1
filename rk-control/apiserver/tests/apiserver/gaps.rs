//! What is made of a store that loses history, that has nothing to say, that fails, or that others write to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rk_api::resources::Registry;
use rk_apiserver::storage::{Storage, object_key, run_dispatcher};
use rk_apiserver::{ApiServer, Config, User};
use rk_store::{
    Attached, Entry, Expect, ListRequest, Page, Result, Revision, SqliteStore, Store, StoreError, Watch, Written,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, MAPS, PATIENCE, config_map, sqlite, until};

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A store with mishaps.
struct Troubled {
    inner: Arc<dyn Store>,
    /// Whether it tells of no change.
    deaf: bool,
    /// Has not what is watched of single resources, and so never tells of it.
    quiet: Option<SqliteStore>,
    /// Whether the next watch begins before what is left of history.
    lost: AtomicBool,
    /// Part of the keys that cannot be written.
    refused: Option<&'static str>,
    /// What others do while somebody asks for the revision.
    meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Troubled {
    fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            deaf: false,
            quiet: None,
            lost: AtomicBool::new(false),
            refused: None,
            meanwhile: Mutex::new(None),
        }
    }

    fn meanwhile(&self, others: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(others.boxed());
    }
}

impl Store for Troubled {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.inner.get(key)
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page>> {
        self.inner.list(request)
    }

    fn put_attached<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        _: Option<Attached>,
    ) -> BoxFuture<'a, Result<Written>> {
        if self.refused.is_some_and(|part| key.contains(part)) {
            return std::future::ready(Err(StoreError::Closed)).boxed();
        }
        self.inner.put(key, value, expect, ttl)
    }

    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<Written>> {
        self.inner.delete(key, expect)
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        if self.lost.swap(false, Ordering::AcqRel) {
            let lost = StoreError::Compacted { requested: after, compacted: after + 1 };
            return std::future::ready(Err(lost)).boxed();
        }
        if self.deaf {
            return std::future::pending().boxed();
        }
        match &self.quiet {
            Some(quiet) if prefix != "/registry/" => quiet.watch(prefix, after),
            _ => self.inner.watch(prefix, after),
        }
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        async move {
            if let Some(others) = meanwhile {
                others.await;
            }
            self.inner.revision().await
        }
        .boxed()
    }

    fn request_progress(&self) -> BoxFuture<'_, Result<Revision>> {
        self.inner.request_progress()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64>> {
        self.inner.size()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.inner.compact(revision)
    }
}

/// Writes `n/late` past the server.
async fn write_late(storage: &Storage) {
    let registry = Registry::builtin();
    let key = object_key(registry.get("", "v1", "configmaps").unwrap(), "n", "late");
    let text = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"late","namespace":"n"}}"#;
    storage.store().put(&key, text.into(), Expect::Absent, None).await.unwrap();
}

#[tokio::test]
async fn a_write_between_the_end_of_a_cache_and_the_next_watch_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Troubled::new(Arc::new(sqlite(&dir, "state.db"))));
    let storage = Arc::new(Storage::new(Arc::clone(&store) as Arc<dyn Store>));
    let registry = Registry::builtin();
    let maps = registry.get("", "v1", "configmaps").unwrap().clone();
    storage.cache(&maps).await.unwrap();
    let start = store.revision().await.unwrap();
    storage.set_progress(start);
    store.lost.store(true, Ordering::Release);
    let (others, hub) = (Arc::clone(&storage), maps.clone());
    // Once the history is lost, somebody reads, and then somebody else writes.
    store.meanwhile(async move {
        others.cache(&hub).await.unwrap();
        write_late(&others).await;
    });
    let stop = CancellationToken::new();
    let dispatcher = tokio::spawn(run_dispatcher(Arc::clone(&storage), start, stop.clone()));
    until("the caches to have what was written", async || storage.progress() > start).await;
    assert!(storage.get(&maps, "n", "late").await.unwrap().is_some());
    stop.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_up_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Troubled::new(Arc::new(sqlite(&dir, "state.db"))));
    let storage = Arc::new(Storage::new(Arc::clone(&store) as Arc<dyn Store>));
    let registry = Registry::builtin();
    let cache = storage.cache(registry.get("", "v1", "configmaps").unwrap()).await.unwrap();
    let start = store.revision().await.unwrap();
    store.lost.store(true, Ordering::Release);
    let (tell, asked) = tokio::sync::oneshot::channel();
    store.meanwhile(async move {
        let _ = tell.send(());
        std::future::pending::<()>().await;
    });
    let stop = CancellationToken::new();
    let dispatcher = tokio::spawn(run_dispatcher(Arc::clone(&storage), start, stop.clone()));
    asked.await.unwrap();
    assert!(!cache.is_abandoned());
    stop.cancel();
    tokio::time::timeout(PATIENCE, dispatcher).await.expect("nobody waits for the store").unwrap();
    assert!(cache.is_abandoned(), "its watches end");
}

#[tokio::test]
async fn a_read_that_waited_is_not_answered_by_a_cache_that_ended_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Troubled::new(Arc::new(sqlite(&dir, "state.db"))));
    let storage = Arc::new(Storage::new(Arc::clone(&store) as Arc<dyn Store>));
    let registry = Registry::builtin();
    let maps = registry.get("", "v1", "configmaps").unwrap().clone();
    storage.cache(&maps).await.unwrap();
    let (others, hub) = (Arc::clone(&storage), maps.clone());
    store.meanwhile(async move {
        write_late(&others).await;
        others.forget(&hub);
        others.set_progress(others.store().revision().await.unwrap());
    });
    assert!(storage.get(&maps, "n", "late").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_taken_while_a_cache_ended_is_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Troubled::new(Arc::new(sqlite(&dir, "state.db"))));
    let cluster = Cluster::start_on(dir, Config::default(), Arc::clone(&store) as Arc<dyn Store>).await;
    let service = |name: &str| -> Value {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]});
        let metadata = json!({"name": name, "namespace": "default"});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    };
    let (core, late) = (Arc::clone(cluster.server.core()), service("late").to_string());
    // While the allocator asks how far the store is, the cache that it knows ends, and somebody else takes the port.
    store.meanwhile(async move {
        let registry = Registry::builtin();
        let hub = registry.get("", "v1", "services").unwrap();
        core.storage.forget(hub);
        let key = object_key(hub, "default", "late");
        core.storage.store().put(&key, late.into(), Expect::Absent, None).await.unwrap();
    });
    let (code, message) = cluster.admin().create(SERVICES, &service("b")).await.failure();
    assert_eq!(code, 422, "{message}");
    assert!(message.ends_with("provided port is already allocated"), "{message}");
}

#[tokio::test]
async fn a_watch_of_a_quiet_past_has_bookmarks_and_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Troubled::new(Arc::new(sqlite(&dir, "state.db")));
    store.quiet = Some(sqlite(&dir, "quiet.db"));
    let first = store.revision().await.unwrap();
    // So that caches begin after that.
    store.put("/elsewhere", "x".into(), Expect::Absent, None).await.unwrap();
    let cluster = Cluster::start_on(dir, Config::default(), Arc::new(store)).await;
    let path = format!("{MAPS}?watch=1&resourceVersion={first}&timeoutSeconds=1&allowWatchBookmarks=true");
    let (mut late, mut watch) = (cluster.admin().watch(&path).await, cluster.admin().watch(&path).await);
    let tables = cluster.admin().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let mut table = tables.watch(&path).await;
    // One that is not read before its time is up is told the same.
    for watch in [&mut watch, &mut late] {
        let bookmark = watch.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], first.to_string(), "nothing later is known");
        assert_eq!(watch.next().await, None);
    }
    let bookmark = table.next().await.unwrap();
    let (kind, columns) = (&bookmark["object"]["kind"], &bookmark["object"]["columnDefinitions"]);
    assert_eq!((&bookmark["type"], kind, &columns[0]["name"]), (&json!("BOOKMARK"), &json!("Table"), &json!("Name")));
    let row = &bookmark["object"]["rows"][0];
    assert_eq!(row["object"]["metadata"]["resourceVersion"], first.to_string());
    assert_eq!(row["cells"].as_array().map(Vec::len), columns.as_array().map(Vec::len), "a bookmark is a row as well");
}

#[tokio::test]
async fn a_watch_of_a_kind_that_goes_as_it_begins_ends() {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const FOOS: &str = "/apis/example.com/v1/foos";
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Troubled::new(Arc::new(sqlite(&dir, "state.db"))));
    let cluster = Cluster::start_on(dir, Config::default(), Arc::clone(&store) as Arc<dyn Store>).await;
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
    let names = json!({"plural": "foos", "kind": "Foo"});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}});
    let (admin, others) = (cluster.admin(), cluster.admin());
    admin.create(DEFINITIONS, &definition).await.ok();
    until("the service of the kind", async || admin.get(FOOS).await.code == 200).await;
    // While the watch asks how far the store is, its kind goes.
    store.meanwhile(async move {
        others.delete(&format!("{DEFINITIONS}/foos.example.com")).await.ok();
        while others.get(FOOS).await.code != 404 {
            tokio::task::yield_now().await;
        }
    });
    let watch = admin.watch("/apis/example.com/v1/foos?watch=1");
    let mut watch = tokio::time::timeout(PATIENCE, watch).await.expect("the kind goes");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn what_another_server_made_a_moment_ago_is_there_for_those_who_need_it() {
    let cluster = Cluster::start().await;
    let mut store = Troubled::new(Arc::clone(&cluster.store));
    store.deaf = true;
    let server = ApiServer::new(Config::default(), &cluster.pki, Arc::new(store)).await.unwrap();
    let late = Cluster::client_of(&server, User::new("admin", ["system:masters".to_owned()]));
    let spaces = late.get("/api/v1/namespaces?resourceVersion=0").await.ok();
    assert!(!spaces["items"].as_array().unwrap().is_empty(), "the cache is there");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    cluster.admin().create("/api/v1/namespaces", &namespace).await.ok();
    let maps = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    late.create(&maps("new"), &config_map("a", json!({}))).await.ok();
    assert_eq!(late.create(&maps("none"), &config_map("a", json!({}))).await.failure().0, 404);
}

#[tokio::test]
async fn an_address_that_was_written_down_before_another_could_not_be_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Troubled::new(Arc::new(sqlite(&dir, "state.db")));
    store.refused = Some("/ipaddresses/fd00");
    let config = Config {
        service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).to_vec(),
        ..Config::default()
    };
    let cluster = Cluster::start_on(dir, config, Arc::new(store)).await;
    let admin = cluster.admin();
    let service = |name: String, address: &str, policy: &str| -> Value {
        let spec = json!({"clusterIP": address, "ipFamilyPolicy": policy, "ports": [{"port": 80}]});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    };
    // Which of the two is written down first is chance.
    for turn in 0..8 {
        let address = format!("10.96.7.{turn}");
        let two = service(format!("two{turn}"), &address, "RequireDualStack");
        let (code, message) = admin.create(SERVICES, &two).await.failure();
        assert!(code >= 500, "{code}: {message}");
        let one = service(format!("one{turn}"), &address, "SingleStack");
        assert_eq!(admin.create(SERVICES, &one).await.ok()["spec"]["clusterIP"], address);
    }
}

#[tokio::test]
async fn the_record_of_an_address_that_another_server_is_about_to_give_a_service_stays() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io", "ipaddress.kubernetes.io/ip-family": "IPv4"});
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "kubernetes"});
    let record = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "10.96.9.9", "labels": labels}, "spec": {"parentRef": parent}});
    let records = "/apis/networking.k8s.io/v1/ipaddresses";
    admin.create(records, &record).await.ok();
    cluster.server.bootstrap().await.expect("repeated");
    admin.get(&format!("{records}/10.96.9.9")).await.ok();
}
