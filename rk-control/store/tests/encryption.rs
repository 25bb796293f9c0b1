//! Encryption at rest, on real stores: what is in their files, and what remains readable when keys change.

mod etcd_process;

use std::path::Path;
use std::sync::Arc;

use rk_store::{
    Change, EncryptedStore, Encryption, EtcdSecurity, EtcdStore, Expect, ListRequest, SqliteOptions, SqliteStore,
    Store, StoreError, WatchItem, suite,
};

const MARK: &str = "a-secret-that-nobody-finds";
const SECRET: &str = "/registry/core/secrets/n/a";
const CONFIG_MAP: &str = "/registry/core/configmaps/n/a";
/// 32 bytes, in base64.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn resource_of(key: &str) -> Option<(&str, &str)> {
    let mut words = key.strip_prefix("/registry/")?.split('/');
    let (group, plural) = (words.next()?, words.next()?);
    Some((if group == "core" { "" } else { group }, plural))
}

/// Secrets by these keys; the first one writes.
fn with(inner: &Arc<dyn Store>, keys: &[&str]) -> EncryptedStore {
    let keys = keys.iter().map(|key| (key[..4].to_owned(), (*key).to_owned())).collect();
    EncryptedStore::new(Arc::clone(inner), Encryption::of_secrets(keys, resource_of).unwrap())
}

/// Whether any file of a directory has the text.
fn found(dir: &Path, text: &str) -> bool {
    let status = std::process::Command::new("grep").args(["-rqsaF", text]).arg(dir).status().expect("grep runs");
    status.success()
}

async fn changes(store: &dyn Store, after: u64, count: usize) -> Vec<Change> {
    let mut watch = store.watch("/registry/", after).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < count {
        let item = tokio::time::timeout(std::time::Duration::from_secs(60), watch.next()).await;
        if let WatchItem::Changes(changes) = item.expect("in time").expect("open").expect("no error") {
            seen.extend(changes);
        }
    }
    seen
}

/// What every backend must do. `dir` holds its files.
async fn keeps_secrets(inner: Arc<dyn Store>, dir: &Path) {
    let store = with(&inner, &[ONE]);
    let start = store.revision().await.unwrap();
    let made = store.put(SECRET, MARK.into(), Expect::Absent, None).await.unwrap();
    store.put(CONFIG_MAP, "in-the-open".into(), Expect::Absent, None).await.unwrap();
    let later = format!("{MARK} again");
    let written = store.put(SECRET, later.clone().into(), Expect::At(made.revision), None).await.unwrap();
    assert_eq!(written.previous.unwrap().value, MARK);
    assert!(!found(dir, MARK) && found(dir, "in-the-open") && found(dir, "k8s:enc:secretbox:v1:AQEB:"));
    assert_eq!(inner.get(CONFIG_MAP).await.unwrap().unwrap().value, "in-the-open");

    // Reads, lists of the past, conflicts, history and what happens now are all plain.
    let prefix = || ListRequest { prefix: "/registry/core/secrets/".into(), ..ListRequest::default() };
    assert_eq!(store.get(SECRET).await.unwrap().unwrap().value, later);
    assert_eq!(store.list(prefix()).await.unwrap().entries[0].value, later);
    let past = store.list(ListRequest { revision: Some(made.revision), ..prefix() }).await.unwrap();
    assert_eq!(past.entries[0].value, MARK);
    let taken = store.put(SECRET, "x".into(), Expect::At(made.revision), None).await.unwrap_err();
    assert!(matches!(&taken, StoreError::Conflict { current: Some(entry), .. } if entry.value == later), "{taken}");
    let seen = changes(&store, start, 3).await;
    assert_eq!((&seen[0].entry.value[..], &seen[2].entry.value[..]), (MARK.as_bytes(), later.as_bytes()));
    assert_eq!(seen[2].previous.as_deref(), Some(MARK.as_bytes()));

    // Another key reads nothing, says so, and stops no watch.
    let wrong = with(&inner, &[TWO]);
    let refused = wrong.get(SECRET).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("unable to transform key \"{SECRET}\": ")), "{refused}");
    assert!(matches!(wrong.list(prefix()).await, Err(StoreError::Transform { .. })));
    assert_eq!(changes(&wrong, start, 3).await[1].entry.value, "in-the-open");

    // A new key writes, the old one still reads; what it wrote is stale until it is written again.
    let both = with(&inner, &[TWO, ONE]);
    assert!(both.is_stale(SECRET).await.unwrap() && !both.is_stale(CONFIG_MAP).await.unwrap());
    let entry = both.get(SECRET).await.unwrap().unwrap();
    both.put(SECRET, entry.value, Expect::At(entry.mod_revision), None).await.unwrap();
    assert!(!both.is_stale(SECRET).await.unwrap());
    assert_eq!(wrong.get(SECRET).await.unwrap().unwrap().value, later, "the new key is enough now");
    assert!(store.get(SECRET).await.is_err(), "the old one is not");
    let gone = both.delete(SECRET, Expect::Any).await.unwrap();
    assert_eq!(gone.previous.unwrap().value, later);
    assert_eq!(changes(&both, gone.revision - 1, 1).await[0].entry.value, later);
    assert!(!found(dir, MARK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_secret_is_nowhere_in_the_database_and_its_keys_rotate() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteOptions::new(dir.path().join("state.db"))).unwrap();
    keeps_secrets(Arc::new(store), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_secret_is_nowhere_in_etcd_and_its_keys_rotate() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = etcd_process::Etcd::start(dir.path());
    let client = etcd.answers().await;
    let store = EtcdStore::connect(&[client], EtcdSecurity::default()).await.unwrap();
    keeps_secrets(Arc::new(store), &dir.path().join("data")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_store_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteOptions::new(dir.path().join("state.db"))).unwrap();
    let encryption = Encryption::of_secrets(vec![("a".to_owned(), ONE.to_owned())], |_| Some(("", "secrets"))).unwrap();
    suite::run(Arc::new(EncryptedStore::new(Arc::new(store), encryption))).await;
}

#[tokio::test]
async fn a_cluster_that_was_plain_goes_on_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inner: Arc<dyn Store> = Arc::new(SqliteStore::open(&SqliteOptions::new(dir.path().join("state.db"))).unwrap());
    inner.put(SECRET, MARK.into(), Expect::Absent, None).await.unwrap();
    let none = EncryptedStore::new(Arc::clone(&inner), Encryption::none(resource_of));
    assert_eq!(none.get(SECRET).await.unwrap().unwrap().value, MARK);
    assert!(!none.is_stale(SECRET).await.unwrap());
    let store = with(&inner, &[ONE]);
    let entry = store.get(SECRET).await.unwrap().unwrap();
    assert_eq!(entry.value, MARK);
    assert!(store.is_stale(SECRET).await.unwrap());
    store.put(SECRET, entry.value, Expect::At(entry.mod_revision), None).await.unwrap();
    let refused = none.get(SECRET).await.unwrap_err().to_string();
    assert!(refused.ends_with("identity transformer tried to read encrypted data"), "{refused}");
}
