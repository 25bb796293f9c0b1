//! A store whose values are encrypted in the one below.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::Encryption;
use crate::error::{Result, StoreError};
use crate::model::{Attached, Entry, Expect, ListRequest, Page, Revision, Written};
use crate::store::Store;
use crate::watch::Watch;

/// A [`Store`] before another; see the module's documentation.
pub struct EncryptedStore {
    inner: Arc<dyn Store>,
    encryption: Arc<Encryption>,
}

impl EncryptedStore {
    /// Stands before `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, encryption: Encryption) -> Self {
        Self { inner, encryption: Arc::new(encryption) }
    }

    /// An outcome with plain values. What it replaced may have been unreadable: the write has happened all the same.
    fn plain(&self, outcome: Result<Written>) -> Result<Written> {
        match outcome {
            Ok(mut written) => {
                written.previous = written.previous.map(|entry| self.encryption.open_if_possible(entry));
                Ok(written)
            }
            Err(StoreError::Conflict { key, current }) => {
                let current = current.map(|entry| Box::new(self.encryption.open_if_possible(*entry)));
                Err(StoreError::Conflict { key, current })
            }
            Err(other) => Err(other),
        }
    }
}

impl Store for EncryptedStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move {
            let found = self.inner.get(key).await?;
            found.map(|entry| self.encryption.open_entry(entry)).transpose()
        }
        .boxed()
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page>> {
        async move {
            let mut page = self.inner.list(request).await?;
            let opened = page.entries.into_iter().map(|entry| self.encryption.open_entry(entry));
            page.entries = opened.collect::<Result<_>>()?;
            Ok(page)
        }
        .boxed()
    }

    fn put_attached<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        attached: Option<Attached>,
    ) -> BoxFuture<'a, Result<Written>> {
        async move {
            let sealed = self.encryption.seal(key, value)?;
            self.plain(self.inner.put_attached(key, sealed, expect, ttl, attached).await)
        }
        .boxed()
    }

    fn is_stale<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        async move {
            if self.encryption.rule(key).is_none() {
                return Ok(false);
            }
            let Some(entry) = self.inner.get(key).await? else { return Ok(false) };
            Ok(self.encryption.open(key, &entry.value)?.1)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<Written>> {
        async move { self.plain(self.inner.delete(key, expect).await) }.boxed()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        async move {
            let watch = self.inner.watch(prefix, after).await?;
            Ok(watch.decrypted(Arc::clone(&self.encryption)))
        }
        .boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        self.inner.revision()
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
