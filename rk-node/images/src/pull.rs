//! One pull: find an endpoint, resolve the manifest, bring the layers, record the image.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, Bytes};
use futures::future::try_join_all;
use http::header::HeaderMap;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};

use crate::{
    blob::{Hasher, check, verify},
    config::{Auth, Config},
    endpoint::endpoints,
    error::{Error, ErrorKind, Result},
    image::{Image, ImageId},
    layer::{Budget, Limits, Meta, unpack},
    layout::Layout,
    manifest::{self, ACCEPT, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest},
    reference::{Digest, Reference},
    registry::Session,
    source::Source,
    store::{Store, blocking},
    transport::Transport,
};

/// Chunks between network and disk: a few hundred KiB, so that neither waits for the other's every step.
const CHUNKS: usize = 16;

/// What all pulls share.
pub(crate) struct Puller {
    pub store: Arc<Store>,
    pub config: Config,
    transport: Transport,
    /// Bounds what the layers of all pulls hold together.
    slots: Semaphore,
    /// One download of a layer at a time, also across images.
    layers: Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>,
}

/// What the layers of one pull share.
struct Pull {
    budget: Arc<Budget>,
    /// A pull whose registry is slow has no more than these of the slots of all.
    slots: Semaphore,
}

/// A resolved image: what to fetch and what it will be.
struct Resolved {
    /// Digest of what was asked for: the index, if it was one.
    digest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Puller {
    /// A puller into `store`.
    ///
    /// # Errors
    /// TLS cannot be set up by this configuration.
    pub fn new(store: Arc<Store>, config: Config) -> Result<Self> {
        let transport =
            Transport::new(&config).map_err(|e| Error::Registry { registry: "TLS".into(), reason: e.to_string() })?;
        let slots = Semaphore::new(config.most_layers.max(1));
        Ok(Self { store, config, transport, slots, layers: Mutex::default() })
    }

    /// Tries every endpoint in order until one delivers the whole image.
    pub async fn pull(&self, reference: Reference, auth: Option<Auth>) -> Result<ImageId> {
        let image = reference.to_string();
        let mut attempts: Vec<(String, Error)> = Vec::new();
        for endpoint in endpoints(&self.config.mirrors, &reference) {
            let base = endpoint.base.clone();
            let auth = auth.clone().filter(|_| endpoint.origin);
            let session = Session::new(self.transport.clone(), endpoint, auth);
            match self.pull_from(&session, &reference).await {
                Ok(id) => {
                    tracing::info!(%image, %id, from = %base, "pulled");
                    return Ok(id);
                }
                // Trying elsewhere does not make room on the disk.
                Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Internal) => return Err(error),
                Err(error) => {
                    tracing::debug!(%image, from = %base, %error, "endpoint failed");
                    attempts.push((base, error));
                }
            }
        }
        Err(summary(image, &attempts))
    }

    async fn pull_from(&self, session: &Session, reference: &Reference) -> Result<ImageId> {
        let resolved = resolve(session, reference).await?;
        self.bring(Source::Registry(session), reference, resolved, false).await
    }

    /// Takes one image of a layout, by the name and the manifests that the layout's index tells.
    pub async fn import(&self, layout: &Layout, name: &str, manifests: &[Descriptor]) -> Result<ImageId> {
        if name.is_empty() {
            let reason = "has no name; annotate it with io.containerd.image.name".to_owned();
            return Err(Error::Malformed { what: "an image of index.json".into(), reason });
        }
        let reference: Reference = name.parse()?;
        let name = reference.to_string();
        let top = manifest::choose(&name, manifests)?;
        if let Some(asked) = &reference.digest {
            check(&format!("manifest of {name}"), asked, top.digest.clone())?;
        }
        let bytes = layout.manifest(&name, &top.digest).await?;
        let source = Source::Layout(layout);
        let resolved = descend(source, &name, top.digest.clone(), &bytes).await?;
        let id = self.bring(source, &reference, resolved, true).await?;
        tracing::info!(image = %name, %id, "imported");
        Ok(id)
    }

    /// Brings config and layers, and records the image.
    async fn bring(
        &self,
        source: Source<'_>,
        reference: &Reference,
        resolved: Resolved,
        pinned: bool,
    ) -> Result<ImageId> {
        let name = reference.to_string();
        let raw = self.config_document(source, &resolved.config).await?;
        let (config, diff_ids) = manifest::parse_config(&name, &raw)?;
        if diff_ids.len() != resolved.layers.len() {
            let reason = format!("config lists {} layers, manifest {}", diff_ids.len(), resolved.layers.len());
            return Err(Error::Malformed { what: name, reason });
        }
        let _hold = self.store.hold(&diff_ids);
        let budget = Budget::new(&self.store.root, self.config.max_image_bytes, self.config.reserve.clone());
        let pull = Pull { budget: Arc::new(budget), slots: Semaphore::new(self.config.parallel_layers.max(1)) };
        let pairs = resolved.layers.iter().zip(&diff_ids);
        let layers = pairs.map(|(descriptor, diff_id)| self.layer(source, descriptor, diff_id, &pull));
        let metas = try_join_all(layers).await?;
        let id = ImageId(resolved.config.digest.clone());
        let image = Image {
            id: id.clone(),
            repo_tags: reference.tag.iter().map(|tag| format!("{}:{tag}", reference.name())).collect(),
            repo_digests: vec![format!("{}@{}", reference.name(), resolved.digest)],
            size: metas.iter().map(|meta| meta.bytes).sum::<u64>() + resolved.config.size,
            layers: diff_ids,
            config,
            raw_config: String::from_utf8_lossy(&raw).into_owned(),
            pulled_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            pinned,
        };
        let store = self.store.clone();
        blocking(move || store.put_image(image)).await?;
        Ok(id)
    }

    async fn config_document(&self, source: Source<'_>, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let what = format!("image config {}", descriptor.digest);
        if descriptor.size > MAX_CONFIG as u64 {
            return Err(Error::Limit { what, limit: format!("larger than {MAX_CONFIG} bytes") });
        }
        let mut blob = source.blob(descriptor, &self.config)?;
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        while let Some(chunk) = blob.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        verify(&what, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Brings one layer, unless it is here already.
    async fn layer(&self, source: Source<'_>, descriptor: &Descriptor, diff_id: &Digest, pull: &Pull) -> Result<Meta> {
        // Neither semaphore is ever closed. The own one comes first: who waits for it holds none of the others' slots.
        let _own = pull.slots.acquire().await;
        let single = self.single(diff_id);
        let _turn = single.lock().await;
        if let Some(meta) = self.store.layer_meta(diff_id) {
            return Ok(meta);
        }
        let _slot = self.slots.acquire().await;
        let meta = self.stream_layer(source, descriptor, diff_id, &pull.budget).await?;
        tracing::debug!(layer = %diff_id, bytes = meta.bytes, "unpacked");
        Ok(meta)
    }

    fn single(&self, diff_id: &Digest) -> Arc<AsyncMutex<()>> {
        let mut layers = self.layers.lock().unwrap_or_else(|e| e.into_inner());
        layers.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = layers.get(diff_id).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(AsyncMutex::new(()));
        layers.insert(diff_id.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Network or archive → digest → decompression → diff ID → tar → disk, one chunk at a time.
    async fn stream_layer(
        &self,
        source: Source<'_>,
        descriptor: &Descriptor,
        diff_id: &Digest,
        budget: &Arc<Budget>,
    ) -> Result<Meta> {
        let what = format!("layer {}", descriptor.digest);
        let mut blob = source.blob(descriptor, &self.config)?;
        let (chunks, receiver) = mpsc::channel(CHUNKS);
        let (bytes, entries) = (self.config.max_layer_bytes, self.config.max_layer_entries);
        let limits = Limits { bytes, entries, image: Some(budget.clone()) };
        let store = self.store.clone();
        let like = diff_id.clone();
        // The directory belongs to the worker: it goes even when nobody waits for the result any more.
        let worker = tokio::task::spawn_blocking(move || {
            let ingest = store.ingest()?;
            let unpacked =
                unpack(Chunks { receiver, current: Bytes::new(), ended: false }, &ingest.0.join("fs"), &like, limits);
            Ok::<_, Error>((ingest, unpacked))
        });
        let mut hasher = Hasher::like(&descriptor.digest);
        let mut complete = true;
        let broken = loop {
            match blob.next().await {
                Ok(Some(chunk)) => {
                    hasher.update(&chunk);
                    if chunks.send(chunk).await.is_err() {
                        complete = false;
                        break None;
                    }
                }
                Ok(None) => {
                    let _ = chunks.send(Bytes::new()).await;
                    break None;
                }
                Err(error) => break Some(error),
            }
        };
        drop(chunks);
        let (ingest, unpacked) = worker.await.unwrap_or_else(|error| {
            Err(Error::Malformed { what: what.clone(), reason: format!("unpacking stopped: {error}") })
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        // A wrong digest explains whatever the archive reader stumbled over.
        if complete {
            check(&what, &descriptor.digest, hasher.finish())?;
        }
        let meta = unpacked.map_err(|error| unpack_error(&what, &ingest.0, error))?;
        check(&format!("unpacked {what}"), diff_id, meta.diff_id.clone())?;
        let store = self.store.clone();
        blocking(move || store.commit_layer(ingest, &meta).map(|()| meta)).await
    }
}

async fn resolve(session: &Session, reference: &Reference) -> Result<Resolved> {
    let name = reference.to_string();
    let (headers, bytes) = fetch_manifest(session, &name, reference.identifier()).await?;
    let digest = manifest_digest(&name, reference.digest.as_ref(), &headers, &bytes)?;
    descend(Source::Registry(session), &name, digest, &bytes).await
}

/// From the document that was asked for to the image for this machine.
async fn descend(source: Source<'_>, name: &str, digest: Digest, bytes: &[u8]) -> Result<Resolved> {
    let mut document = manifest::parse(name, bytes)?;
    // An index may point to an index once; deeper nesting has no use.
    for _ in 0..2 {
        let Manifest::Index(entries) = &document else { break };
        let chosen = manifest::choose(name, entries)?.digest.clone();
        let bytes = source.manifest(name, &chosen).await?;
        document = manifest::parse(name, &bytes)?;
    }
    match document {
        Manifest::Image(config, layers) => Ok(Resolved { digest, config, layers }),
        Manifest::Index(_) => {
            Err(Error::Malformed { what: name.to_owned(), reason: "indexes are nested too deep".into() })
        }
    }
}

/// A registry that fails once gets a second chance.
pub(crate) async fn fetch_manifest(session: &Session, name: &str, identifier: &str) -> Result<(HeaderMap, Bytes)> {
    let path = format!("manifests/{identifier}");
    match session.document(&path, name, ACCEPT, MAX_MANIFEST).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            session.document(&path, name, ACCEPT, MAX_MANIFEST).await
        }
        other => other,
    }
}

/// The digest asked for, else the one that the registry states, checked against the bytes either way.
fn manifest_digest(name: &str, asked: Option<&Digest>, headers: &HeaderMap, bytes: &[u8]) -> Result<Digest> {
    let what = format!("manifest of {name}");
    let stated = headers.get("docker-content-digest").and_then(|v| v.to_str().ok()).and_then(Digest::parse);
    if let Some(expected) = asked.cloned().or(stated) {
        verify(&what, &expected, bytes)?;
        return Ok(expected);
    }
    let mut hasher = Hasher::Sha256(Default::default());
    hasher.update(bytes);
    Ok(hasher.finish())
}

fn unpack_error(what: &str, path: &std::path::Path, error: io::Error) -> Error {
    let what = what.to_owned();
    match error.kind() {
        io::ErrorKind::FileTooLarge if error.raw_os_error().is_none() => {
            Error::Limit { what, limit: error.to_string() }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::PermissionDenied => {
            Error::Io { action: "unpack a layer into", path: path.to_owned(), source: Arc::new(error) }
        }
        // Whatever else happens while a layer is applied is the layer's doing: names too long, links in a circle, torn streams.
        _ => Error::Malformed { what, reason: error.to_string() },
    }
}

/// One line for the pod's event; the kind is what a caller can act on.
fn summary(image: String, attempts: &[(String, Error)]) -> Error {
    let kinds: Vec<ErrorKind> = attempts.iter().map(|(_, error)| error.kind()).collect();
    let kind = match kinds.iter().find(|kind| matches!(kind, ErrorKind::Corrupt)) {
        Some(kind) => *kind,
        None => kinds.last().copied().unwrap_or(ErrorKind::NotFound),
    };
    let told = |(base, error): &(String, Error)| {
        let chain = error.chain();
        if chain.starts_with(base.as_str()) { chain } else { format!("{base}: {chain}") }
    };
    Error::Pull { image, attempts: attempts.iter().map(told).collect::<Vec<_>>().join("; "), kind }
}

/// Chunks from network or archive as a reader; an empty chunk is the end, a closed channel a broken one.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(chunk) => {
                    self.ended = chunk.is_empty();
                    self.current = chunk;
                }
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "download stopped")),
            }
        }
        let n = self.current.len().min(buf.len());
        self.current.copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}
