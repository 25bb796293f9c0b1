//! One etcd watch stream per [`Watch`].

use bytes::Bytes;
use etcd_client::{Client, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};

use super::{entry, failed, prefix_end, signed, unsigned};
use crate::error::{Result, StoreError};
use crate::model::{Change, ChangeKind, Revision};
use crate::watch::{BACKLOG, Watch, WatchItem};

/// Opens the stream and the task that feeds it on.
pub(super) async fn open(
    client: &Client,
    progress: &watch::Sender<u64>,
    prefix: &str,
    after: Revision,
) -> Result<Watch> {
    let options = WatchOptions::new()
        .with_range(prefix_end(prefix))
        .with_start_revision(signed(after.saturating_add(1)))
        .with_prev_key()
        .with_progress_notify();
    let requests = progress.subscribe();
    let stream = client.watch_client().watch(prefix, Some(options)).await.map_err(failed("watching etcd"))?;
    let (out, watch) = mpsc::channel(BACKLOG);
    tokio::spawn(deliver(stream, requests, after, out).boxed());
    Ok(Watch::fed(watch))
}

async fn deliver(
    mut stream: WatchStream,
    mut requests: watch::Receiver<u64>,
    after: Revision,
    out: mpsc::Sender<Result<WatchItem>>,
) {
    loop {
        let item = tokio::select! {
            () = out.closed() => return,
            message = stream.message() => match message {
                Ok(Some(response)) => translate(&response, after).transpose(),
                Ok(None) => Some(Err(StoreError::Closed)),
                Err(error) => Some(Err(failed("watching etcd")(error))),
            },
            Ok(()) = requests.changed() => match stream.request_progress().await {
                Ok(()) => None,
                Err(error) => Some(Err(failed("asking etcd for progress")(error))),
            },
        };
        let Some(item) = item else { continue };
        let last = item.is_err();
        // A full queue means a watcher that stalled: dropping it is the contract.
        if out.try_send(item).is_err() || last {
            return;
        }
    }
}

fn translate(response: &WatchResponse, after: Revision) -> Result<Option<WatchItem>> {
    if response.canceled() {
        let compacted = unsigned(response.compact_revision());
        if compacted > 0 {
            return Err(StoreError::Compacted { requested: after, compacted });
        }
        return Err(StoreError::backend("watching etcd")(response.cancel_reason().to_owned().into()));
    }
    if response.created() {
        return Ok(None);
    }
    if response.events().is_empty() {
        let revision = response.header().map_or(0, |header| unsigned(header.revision()));
        return Ok(Some(WatchItem::Progress(revision)));
    }
    response.events().iter().map(change).collect::<Result<Vec<_>>>().map(|changes| Some(WatchItem::Changes(changes)))
}

fn change(event: &Event) -> Result<Change> {
    let missing = || StoreError::backend("watching etcd")("an event came without its key".into());
    let now = entry(event.kv().ok_or_else(missing)?)?;
    let before = event.prev_kv().map(entry).transpose()?;
    let previous: Option<Bytes> = before.as_ref().map(|entry| entry.value.clone());
    let kind = match event.event_type() {
        EventType::Delete => ChangeKind::Deleted,
        EventType::Put if now.create_revision == now.mod_revision => ChangeKind::Created,
        EventType::Put => ChangeKind::Updated,
    };
    let entry = match (kind, before) {
        (ChangeKind::Deleted, Some(mut before)) => {
            before.mod_revision = now.mod_revision;
            before
        }
        _ => now,
    };
    Ok(Change { kind, entry, previous, attached: None })
}
