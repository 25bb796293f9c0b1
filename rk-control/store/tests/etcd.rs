//! The etcd backend against the suite, on a real etcd.

mod etcd_process;

use std::sync::Arc;

use rk_store::{EtcdSecurity, EtcdStore, suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = etcd_process::Etcd::start(dir.path());
    let client = etcd.answers().await;
    let store = EtcdStore::connect(&[client], EtcdSecurity::default()).await.unwrap();
    suite::run(Arc::new(store)).await;
}
