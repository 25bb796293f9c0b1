//! Where the state is kept.

use crate::args::Args;
use anyhow::Context;
use rk_store::{EtcdStore, SqliteOptions, SqliteStore, Store};
use std::sync::Arc;

/// Opens the database in the data directory, or connects to etcd.
pub async fn open(args: &Args) -> anyhow::Result<Arc<dyn Store>> {
    if !args.etcd.is_empty() {
        let store = EtcdStore::connect(&args.etcd)
            .await
            .with_context(|| format!("cannot reach etcd at {}", args.etcd.join(", ")))?;
        return Ok(Arc::new(store));
    }
    let path = args.data_dir.join("state.db");
    let store = SqliteStore::open(&SqliteOptions::new(&path))
        .with_context(|| format!("cannot open the database {}", path.display()))?;
    Ok(Arc::new(store))
}
