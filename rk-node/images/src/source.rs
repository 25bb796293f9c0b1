//! Where a pull takes documents and blobs from: a registry, or an image layout on this machine. Both are checked alike.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    blob::{Blob, verify},
    config::Config,
    error::Result,
    layout::{Layout, LocalBlob},
    manifest::Descriptor,
    partial::Partial,
    pull::fetch_manifest,
    reference::Digest,
    registry::Session,
    store::blocking,
};

/// Bytes of what is here already that are read at once.
const PIECE: usize = 256 << 10;

/// One of the two.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Registry(&'a Session),
    Layout(&'a Layout),
}

/// A blob's bytes as they come.
pub(crate) enum Content<'a> {
    Remote(Box<Remote<'a>>),
    Local(LocalBlob),
}

/// What is here of a blob already, and then the rest from its registry.
pub(crate) struct Remote<'a> {
    /// Until it has been read.
    here: Option<Arc<Partial>>,
    /// Bytes read of it.
    at: u64,
    blob: Blob<'a>,
}

impl Remote<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(partial) = self.here.clone() {
            if let Some(piece) = again(partial, self.at).await {
                self.at += piece.len() as u64;
                return Ok(Some(piece));
            }
            self.here = None;
            self.blob.begin_at(self.at);
        }
        self.blob.next().await
    }
}

/// The next bytes of those that are here; `None` behind the last that can be read.
async fn again(partial: Arc<Partial>, at: u64) -> Option<Bytes> {
    let read = blocking(move || Ok(partial.read(at, PIECE))).await;
    match read {
        Ok(Ok(bytes)) => Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty()),
        Ok(Err(error)) => {
            tracing::debug!(at, "what was kept of a download cannot be read: {error}");
            None
        }
        Err(_) => None,
    }
}

impl<'a> Source<'a> {
    /// A manifest or an index by its digest, which is right.
    pub async fn manifest(self, name: &str, digest: &Digest) -> Result<Bytes> {
        match self {
            Self::Registry(session) => {
                let (_, bytes) = fetch_manifest(session, name, digest.as_str()).await?;
                verify(&format!("manifest of {name}"), digest, &bytes)?;
                Ok(bytes)
            }
            Self::Layout(layout) => layout.manifest(name, digest).await,
        }
    }

    /// A blob, behind what is `here` of it; how long a registry may be silent, and how slow, is in `config`.
    pub fn blob(self, descriptor: &'a Descriptor, config: &Config, here: Option<Arc<Partial>>) -> Result<Content<'a>> {
        match self {
            Self::Registry(session) => {
                Ok(Content::Remote(Box::new(Remote { here, at: 0, blob: Blob::new(session, descriptor, config) })))
            }
            Self::Layout(layout) => layout.blob(descriptor).map(Content::Local),
        }
    }
}

impl Content<'_> {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Remote(remote) => remote.next().await,
            Self::Local(blob) => blob.next().await,
        }
    }
}
