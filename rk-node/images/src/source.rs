//! Where a pull takes documents and blobs from: a registry, or an image layout on this machine. Both are checked alike.

use bytes::Bytes;

use crate::{
    blob::{Blob, verify},
    config::Config,
    error::Result,
    layout::{Layout, LocalBlob},
    manifest::Descriptor,
    pull::fetch_manifest,
    reference::Digest,
    registry::Session,
};

/// One of the two.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Registry(&'a Session),
    Layout(&'a Layout),
}

/// A blob's bytes as they come.
pub(crate) enum Content<'a> {
    Remote(Box<Blob<'a>>),
    Local(LocalBlob),
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

    /// A blob; how long a registry may be silent, and how slow, is in `config`.
    pub fn blob(self, descriptor: &'a Descriptor, config: &Config) -> Result<Content<'a>> {
        match self {
            Self::Registry(session) => Ok(Content::Remote(Box::new(Blob::new(session, descriptor, config)))),
            Self::Layout(layout) => layout.blob(descriptor).map(Content::Local),
        }
    }
}

impl Content<'_> {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Remote(blob) => blob.next().await,
            Self::Local(blob) => blob.next().await,
        }
    }
}
