//! One layer on its way: network or archive → digest → decompression → diff ID → tar → disk, one chunk at a time. What comes from a
//! registry is kept beside it until the layer is here, so that a pull that is broken off goes on where it ended.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    blob::{Hasher, check},
    error::{Error, ErrorKind, Result},
    layer::{Budget, Limits, Meta, unpack},
    manifest::Descriptor,
    partial::Partial,
    progress::{LayerState, Tally},
    pull::Puller,
    reference::Digest,
    source::{Content, Source},
    store::{Ingest, blocking},
};

/// Chunks between network and disk: a few hundred KiB, so that neither waits for the other's every step.
const CHUNKS: usize = 16;

/// A layer that is to come.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Where it comes from.
    pub source: Source<'a>,
    /// What it is there.
    pub descriptor: &'a Descriptor,
    /// What it is here.
    pub diff_id: &'a Digest,
    /// What its image may take.
    pub budget: &'a Arc<Budget>,
    /// Where to tell how far it is.
    pub tally: &'a Tally,
}

/// What the unpacking of a layer comes to: its directory, and what is in it.
type Unpacked = Result<(Ingest, io::Result<Meta>)>;

impl Puller {
    /// Brings one layer, behind what is here of it. Where that makes it wrong, all of it is asked for, once.
    pub(crate) async fn stream_layer(&self, wanted: Wanted<'_>) -> Result<Meta> {
        let here = self.here(wanted).await;
        let resumed = here.as_ref().map_or(0, |partial| partial.length);
        if resumed > 0 {
            tracing::info!(layer = %wanted.descriptor.digest, bytes = resumed, "a download goes on where it ended");
        }
        match self.attempt(wanted, here).await {
            Err(error) if resumed > 0 && is_wrong(&error) => {
                tracing::warn!(%error, "what was kept of a layer may be wrong: it is downloaded anew");
                let here = self.here(wanted).await;
                self.attempt(wanted, here).await
            }
            other => other,
        }
    }

    /// What there is of the layer; archives are here as a whole.
    async fn here(&self, wanted: Wanted<'_>) -> Option<Arc<Partial>> {
        if matches!(wanted.source, Source::Layout(_)) {
            return None;
        }
        let (partials, descriptor) = (self.partials.clone(), wanted.descriptor.clone());
        blocking(move || Ok(partials.open(&descriptor))).await.ok().flatten()
    }

    async fn attempt(&self, wanted: Wanted<'_>, here: Option<Arc<Partial>>) -> Result<Meta> {
        wanted.tally.restart(here.as_ref().map_or(0, |partial| partial.length));
        let result = self.unpacked(wanted, here.clone()).await;
        // Before the flush that makes the layer whole: what is about to go need not be written.
        if let Some(partial) = here.filter(|_| is_settled(&result)) {
            blocking(move || {
                partial.give_up();
                Ok(())
            })
            .await?;
        }
        let (ingest, meta) = result?;
        let store = self.store.clone();
        blocking(move || store.commit_layer(ingest, &meta).map(|()| meta)).await
    }

    /// The layer as a directory that nobody sees yet, both digests right.
    async fn unpacked(&self, wanted: Wanted<'_>, here: Option<Arc<Partial>>) -> Result<(Ingest, Meta)> {
        let what = format!("layer {}", wanted.descriptor.digest);
        let mut content = wanted.source.blob(wanted.descriptor, &self.config, here.clone())?;
        let (chunks, receiver) = mpsc::channel(CHUNKS);
        let worker = self.worker(wanted, Chunks::new(receiver, here));
        let passed = pass_on(&mut content, chunks, wanted).await;
        let joined = worker.await.unwrap_or_else(|error| {
            Err(Error::Malformed { what: what.clone(), reason: format!("unpacking stopped: {error}") })
        });
        let (ingest, unpacked) = joined?;
        // A wrong digest explains whatever the archive reader stumbled over.
        if let Some(digest) = passed? {
            check(&what, &wanted.descriptor.digest, digest)?;
        }
        let meta = unpacked.map_err(|error| unpack_error(&what, &ingest.0, error))?;
        check(&format!("unpacked {what}"), wanted.diff_id, meta.diff_id.clone())?;
        Ok((ingest, meta))
    }

    /// Unpacks what comes, on a thread that may wait. The directory belongs to it: it goes even when nobody waits for the result any
    /// more.
    fn worker(&self, wanted: Wanted<'_>, chunks: Chunks) -> JoinHandle<Unpacked> {
        if let Some(partial) = &chunks.partial {
            wanted.budget.beside(partial);
        }
        let (bytes, entries) = (self.config.max_layer_bytes, self.config.max_layer_entries);
        let limits = Limits { bytes, entries, image: Some(wanted.budget.clone()) };
        let (store, like) = (self.store.clone(), wanted.diff_id.clone());
        tokio::task::spawn_blocking(move || {
            let ingest = store.ingest()?;
            let unpacked = unpack(chunks, &ingest.0, store.form, &like, limits);
            Ok::<_, Error>((ingest, unpacked))
        })
    }
}

/// Hands a blob on to who unpacks it. Its digest; `None` when that one wants no more of it.
async fn pass_on(content: &mut Content<'_>, chunks: mpsc::Sender<Bytes>, wanted: Wanted<'_>) -> Result<Option<Digest>> {
    let mut hasher = Hasher::like(&wanted.descriptor.digest);
    while let Some(chunk) = content.next().await? {
        hasher.update(&chunk);
        wanted.tally.add(chunk.len() as u64);
        if chunks.send(chunk).await.is_err() {
            return Ok(None);
        }
    }
    // Who unpacks may have all that it wants by now.
    let _ = chunks.send(Bytes::new()).await;
    wanted.tally.enter(LayerState::Unpacking);
    Ok(Some(hasher.finish()))
}

/// Whether content is not what it should be.
fn is_wrong(error: &Error) -> bool {
    matches!(error, Error::DigestMismatch { .. } | Error::Malformed { .. })
}

/// Whether nothing of the download is needed any more: the layer is here, is wrong, or finds no room.
fn is_settled<T>(result: &Result<T>) -> bool {
    result.as_ref().err().is_none_or(|error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NoSpace))
}

fn unpack_error(what: &str, path: &Path, error: io::Error) -> Error {
    let what = what.to_owned();
    match error.kind() {
        io::ErrorKind::FileTooLarge if error.raw_os_error().is_none() => {
            Error::Limit { what, limit: error.to_string() }
        }
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::OutOfMemory => {
            Error::Io { action: "unpack a layer into", path: path.to_owned(), source: Arc::new(error) }
        }
        // Whatever else happens while a layer is applied is the layer's doing: names too long, links in a circle, torn streams.
        _ => Error::Malformed { what, reason: error.to_string() },
    }
}

/// Chunks from network or archive as a reader; an empty chunk is the end, a closed channel a broken one.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    ended: bool,
    /// Bytes received.
    at: u64,
    /// Where they are kept.
    partial: Option<Arc<Partial>>,
}

impl Chunks {
    fn new(receiver: mpsc::Receiver<Bytes>, partial: Option<Arc<Partial>>) -> Self {
        Self { receiver, current: Bytes::new(), ended: false, at: 0, partial }
    }

    fn receive(&mut self) -> io::Result<()> {
        let broken = || io::Error::new(io::ErrorKind::ConnectionAborted, "download stopped");
        let chunk = self.receiver.blocking_recv().ok_or_else(broken)?;
        if let Some(partial) = &self.partial {
            partial.append(self.at, &chunk);
        }
        self.at += chunk.len() as u64;
        self.ended = chunk.is_empty();
        self.current = chunk;
        Ok(())
    }
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            self.receive()?;
        }
        let n = self.current.len().min(buf.len());
        self.current.copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_kept_as_long_as_the_rest_may_still_come() {
        let registry = || Error::Registry { registry: "r".into(), reason: "silent".into() };
        let denied = || Error::Denied { registry: "r".into(), reason: "no".into() };
        let wrong = || Error::DigestMismatch { what: "l".into(), expected: "a".into(), actual: "b".into() };
        let large = || Error::Limit { what: "l".into(), limit: "more".into() };
        let full = || Error::Io {
            action: "write",
            path: "p".into(),
            source: Arc::new(io::Error::from(io::ErrorKind::StorageFull)),
        };
        for (result, settled, again) in [
            (Ok(()), true, false),
            (Err(registry()), false, false),
            (Err(denied()), false, false),
            (Err(wrong()), true, true),
            (Err(large()), true, false),
            (Err(full()), true, false),
        ] {
            assert_eq!(is_settled(&result), settled, "{result:?}");
            assert_eq!(result.as_ref().err().is_some_and(is_wrong), again, "{result:?}");
        }
    }

    #[test]
    fn a_node_that_is_short_of_something_blames_no_layer() {
        use io::ErrorKind::{FileTooLarge, InvalidData, OutOfMemory, StorageFull};
        for (kind, told, settled) in [
            (FileTooLarge, ErrorKind::Corrupt, true),
            (InvalidData, ErrorKind::Corrupt, true),
            (StorageFull, ErrorKind::NoSpace, true),
            (OutOfMemory, ErrorKind::Internal, false),
        ] {
            let error = unpack_error("layer", Path::new("p"), io::Error::from(kind));
            assert_eq!((error.kind(), is_settled(&Err::<(), _>(error))), (told, settled), "{kind}");
        }
    }
}
