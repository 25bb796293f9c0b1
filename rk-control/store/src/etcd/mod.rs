//! The replicated backend: etcd v3 over gRPC.
//!
//! Every [`Store`] operation is one etcd request: a write is a transaction whose comparison is the caller's [`Expect`] and whose
//! other branch reads the key, so that a conflict brings the present state along. Keys that expire carry a lease of their own.

mod watch;

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity, KeyValue, PutOptions,
    SortOrder, SortTarget, TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch::Sender;

use crate::error::{Result, StoreError};
use crate::model::{Attached, Entry, Expect, ListRequest, Page, Revision, Written};
use crate::store::{Store, VALUE_LIMIT};
use crate::watch::Watch;

/// How long one request may take before it fails: covers a leader election, as upstream's client does.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How the two sides of a connection to etcd know each other; PEM.
#[derive(Clone, Default)]
pub struct EtcdSecurity {
    /// Authorities of its certificates.
    pub ca: Option<String>,
    /// What is shown to it: certificate and key.
    pub identity: Option<(String, String)>,
}

impl EtcdSecurity {
    fn options(&self) -> Option<TlsOptions> {
        if self.ca.is_none() && self.identity.is_none() {
            return None;
        }
        let mut tls = TlsOptions::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Some(tls)
    }
}

/// A [`Store`] in an etcd cluster.
pub struct EtcdStore {
    client: Client,
    /// Counts calls of `request_progress`; each watch task follows it.
    progress: Sender<u64>,
}

impl EtcdStore {
    /// Connects to the cluster behind `endpoints` (`http://` or `https://` URLs).
    ///
    /// # Errors
    /// [`StoreError::Backend`] when no endpoint is valid or answers.
    pub async fn connect(endpoints: &[String], security: EtcdSecurity) -> Result<Self> {
        let mut options = ConnectOptions::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(Duration::from_secs(3))
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            .with_require_leader(true);
        if let Some(tls) = security.options() {
            options = options.with_tls(tls);
        }
        let client = Client::connect(endpoints, Some(options)).await.map_err(failed("connecting to etcd"))?;
        Ok(Self { client, progress: Sender::new(0) })
    }

    async fn lease(&self, ttl: Option<Duration>) -> Result<Option<i64>> {
        let Some(ttl) = ttl else { return Ok(None) };
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let granted = self.client.lease_client().grant(seconds, None).await.map_err(failed("granting a lease"))?;
        Ok(Some(granted.id()))
    }

    /// Runs `operation` if `key` is as expected, else reads the key into a [`StoreError::Conflict`].
    async fn guarded(&self, key: &str, expect: Expect, operation: TxnOp) -> Result<Outcome> {
        let condition = match expect {
            Expect::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
            Expect::At(revision) => vec![Compare::mod_revision(key, CompareOp::Equal, signed(revision))],
            Expect::Any => vec![],
        };
        let transaction = Txn::new().when(condition).and_then(vec![operation]).or_else(vec![TxnOp::get(key, None)]);
        let response = self.client.kv_client().txn(transaction).await.map_err(failed("writing to etcd"))?;
        let revision = response.header().map_or(0, |header| unsigned(header.revision()));
        let Some(answer) = response.op_responses().into_iter().next() else {
            return Err(StoreError::backend("writing to etcd")("a transaction came back without a result".into()));
        };
        match answer {
            TxnOpResponse::Get(found) => Err(StoreError::Conflict {
                key: key.to_owned(),
                current: found.kvs().first().map(entry).transpose()?.map(Box::new),
            }),
            TxnOpResponse::Put(put) => {
                let previous = put.prev_key().map(entry).transpose()?;
                Ok(Outcome { revision, previous })
            }
            TxnOpResponse::Delete(deleted) => {
                let previous = deleted.prev_kvs().first().map(entry).transpose()?;
                Ok(Outcome { revision, previous })
            }
            TxnOpResponse::Txn(_) => {
                Err(StoreError::backend("writing to etcd")("a transaction came back nested".into()))
            }
        }
    }
}

/// What a guarded write found and made.
struct Outcome {
    revision: Revision,
    previous: Option<Entry>,
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move {
            let found = self.client.kv_client().get(key, None).await.map_err(failed("reading from etcd"))?;
            found.kvs().first().map(entry).transpose()
        }
        .boxed()
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page>> {
        async move {
            let start = match &request.after {
                Some(key) if *key >= request.prefix => format!("{key}\0"),
                _ => request.prefix.clone(),
            };
            let mut options = GetOptions::new()
                .with_range(prefix_end(&request.prefix))
                .with_sort(SortTarget::Key, SortOrder::Ascend)
                .with_limit(i64::try_from(request.limit).unwrap_or(i64::MAX));
            if let Some(revision) = request.revision {
                options = options.with_revision(signed(revision));
            }
            let mut found = match self.client.kv_client().get(start, Some(options)).await {
                Ok(found) => found,
                Err(error) => return Err(self.explain(error, request.revision).await),
            };
            let now = found.header().map_or(0, |header| unsigned(header.revision()));
            let total = unsigned(found.count());
            let entries = found.take_kvs().iter().map(entry).collect::<Result<Vec<_>>>()?;
            let remaining = total.saturating_sub(entries.len() as u64);
            Ok(Page { entries, revision: request.revision.unwrap_or(now), remaining })
        }
        .boxed()
    }

    fn put_attached<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        _: Option<Attached>,
    ) -> BoxFuture<'a, Result<Written>> {
        async move {
            let size = value.len();
            let too_large = || StoreError::TooLarge { key: key.to_owned(), size, limit: VALUE_LIMIT };
            if size > VALUE_LIMIT {
                return Err(too_large());
            }
            let mut options = PutOptions::new().with_prev_key();
            if let Some(lease) = self.lease(ttl).await? {
                options = options.with_lease(lease);
            }
            let put = TxnOp::put(key, value.to_vec(), Some(options));
            let Outcome { revision, previous } = match self.guarded(key, expect, put).await {
                // It counts what is around a value, too.
                Err(error) if error.source_text().contains("request is too large") => return Err(too_large()),
                outcome => outcome?,
            };
            let create_revision = previous.as_ref().map_or(revision, |entry| entry.create_revision);
            Ok(Written { revision, create_revision, previous })
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<Written>> {
        async move {
            let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()));
            let Outcome { revision, previous } = self.guarded(key, expect, delete).await?;
            match previous {
                Some(entry) => Ok(Written { revision, create_revision: entry.create_revision, previous: Some(entry) }),
                None => Err(StoreError::Conflict { key: key.to_owned(), current: None }),
            }
        }
        .boxed()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        watch::open(&self.client, &self.progress, prefix, after).boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        async move {
            // Any linearizable read tells the cluster's revision; this one returns no keys.
            let options = GetOptions::new().with_count_only();
            let found =
                self.client.kv_client().get("\0", Some(options)).await.map_err(failed("reading etcd's revision"))?;
            Ok(found.header().map_or(0, |header| unsigned(header.revision())))
        }
        .boxed()
    }

    fn request_progress(&self) -> BoxFuture<'_, Result<Revision>> {
        async move {
            let revision = self.revision().await?;
            self.progress.send_modify(|calls| *calls = calls.wrapping_add(1));
            Ok(revision)
        }
        .boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        async move {
            match self.client.kv_client().compact(signed(revision), None).await {
                Ok(_) => Ok(()),
                // Another API server of the cluster may have been faster.
                Err(error) if is_compacted(&error) => Ok(()),
                Err(error) => Err(self.explain(error, Some(revision)).await),
            }
        }
        .boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64>> {
        async move {
            let status =
                self.client.maintenance_client().status().await.map_err(failed("asking etcd for its status"))?;
            Ok(u64::try_from(status.db_size()).unwrap_or(0))
        }
        .boxed()
    }
}

impl EtcdStore {
    /// Tells a compacted or future revision from a real failure.
    async fn explain(&self, error: etcd_client::Error, requested: Option<Revision>) -> StoreError {
        let requested = requested.unwrap_or_default();
        if is_compacted(&error) {
            // etcd does not name its oldest revision here; anything after the requested one may still be readable.
            return StoreError::Compacted { requested, compacted: requested.saturating_add(1) };
        }
        if error.to_string().contains("future revision") {
            return StoreError::FutureRevision { requested, current: self.revision().await.unwrap_or_default() };
        }
        failed("reading from etcd")(error)
    }
}

fn is_compacted(error: &etcd_client::Error) -> bool {
    error.to_string().contains("has been compacted")
}

fn failed(operation: &'static str) -> impl FnOnce(etcd_client::Error) -> StoreError {
    move |error| StoreError::backend(operation)(Box::new(error))
}

/// The end of a prefix's range: the prefix with its last byte that can grow grown by one.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd reads a single zero byte as "to the end of the key space".
    vec![0]
}

fn entry(kv: &KeyValue) -> Result<Entry> {
    let key = kv.key_str().map_err(failed("reading a key from etcd"))?;
    Ok(Entry {
        key: key.into(),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: unsigned(kv.create_revision()),
        mod_revision: unsigned(kv.mod_revision()),
    })
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or_default()
}
