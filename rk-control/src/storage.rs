//! Where the state is kept.

use crate::args::Args;
use anyhow::Context;
use rk_store::{EncryptedStore, Encryption, EtcdSecurity, EtcdStore, SqliteOptions, SqliteStore, Store};
use std::path::Path;
use std::sync::Arc;

/// Opens the database in the data directory, or connects to etcd; what is stored is encrypted as told.
pub async fn open(args: &Args, encryption: Encryption) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(EncryptedStore::new(backend(args).await?, encryption)))
}

async fn backend(args: &Args) -> anyhow::Result<Arc<dyn Store>> {
    if !args.etcd.is_empty() {
        let store = EtcdStore::connect(&args.etcd, security(args)?)
            .await
            .with_context(|| format!("cannot reach etcd at {}", args.etcd.join(", ")))?;
        return Ok(Arc::new(store));
    }
    let path = args.data_dir.join("state.db");
    let store = SqliteStore::open(&SqliteOptions::new(&path))
        .with_context(|| format!("cannot open the database {}", path.display()))?;
    Ok(Arc::new(store))
}

fn security(args: &Args) -> anyhow::Result<EtcdSecurity> {
    let read =
        |file: &Path| std::fs::read_to_string(file).with_context(|| format!("cannot read {} for etcd", file.display()));
    let identity = match (&args.etcd_certfile, &args.etcd_keyfile) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(EtcdSecurity { ca: args.etcd_cafile.as_deref().map(read).transpose()?, identity })
}
