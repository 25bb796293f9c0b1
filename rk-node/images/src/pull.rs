//! One pull: find an endpoint, resolve the manifest, bring the layers, record the image.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::future::try_join_all;
use http::header::HeaderMap;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::{
    blob::{Hasher, check, verify},
    config::{Auth, Config},
    endpoint::endpoints,
    error::{Error, ErrorKind, Result},
    image::{Image, ImageId},
    layer::{Budget, Meta},
    layout::Layout,
    manifest::{self, ACCEPT, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest},
    partial::Partials,
    progress::{Board, LayerState, Ongoing},
    reference::{Digest, Reference},
    registry::Session,
    source::Source,
    store::{Store, blocking},
    stream::Wanted,
    transport::Transport,
};

/// What all pulls share.
pub(crate) struct Puller {
    pub store: Arc<Store>,
    pub config: Config,
    /// What came of layers whose pulls were broken off.
    pub partials: Arc<Partials>,
    /// How far each pull is.
    pub board: Arc<Board>,
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
        let partials = Partials::new(&store.root.join("partial"), config.keep, config.reserve.clone());
        let board = Arc::default();
        Ok(Self { store, config, partials, board, transport, slots, layers: Mutex::default() })
    }

    /// Tries every endpoint in order until one delivers the whole image.
    pub async fn pull(&self, reference: Reference, auth: Option<Auth>) -> Result<ImageId> {
        let image = reference.to_string();
        let ongoing = self.board.begin(&image);
        let mut attempts: Vec<(String, Error)> = Vec::new();
        for endpoint in endpoints(&self.config.mirrors, &reference) {
            let base = endpoint.base.clone();
            let auth = auth.clone().filter(|_| endpoint.origin);
            let session = Session::new(self.transport.clone(), endpoint, auth);
            match self.pull_from(&session, &reference, &ongoing).await {
                Ok(id) => {
                    ongoing.succeeded();
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

    async fn pull_from(&self, session: &Session, reference: &Reference, ongoing: &Ongoing) -> Result<ImageId> {
        let resolved = resolve(session, reference).await?;
        self.bring(Source::Registry(session), reference, resolved, ongoing).await
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
        let ongoing = self.board.begin(&name);
        let id = self.bring(source, &reference, resolved, &ongoing).await?;
        ongoing.succeeded();
        tracing::info!(image = %name, %id, "imported");
        Ok(id)
    }

    /// Brings config and layers, and records the image; what comes with an archive is pinned.
    async fn bring(
        &self,
        source: Source<'_>,
        reference: &Reference,
        resolved: Resolved,
        ongoing: &Ongoing,
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
        let tallies = ongoing.layers(&resolved.layers);
        let pairs = resolved.layers.iter().zip(&diff_ids).zip(&tallies);
        let layers = pairs.map(|((descriptor, diff_id), tally)| {
            self.layer(Wanted { source, descriptor, diff_id, budget: &pull.budget, tally }, &pull.slots)
        });
        let metas = try_join_all(layers).await?;
        let id = ImageId(resolved.config.digest.clone());
        // A registry that was asked for a digest has not said what the tag beside it is; who made an archive has.
        let tagged = reference.digest.is_none() || matches!(source, Source::Layout(_));
        let tags = reference.tag.iter().filter(|_| tagged);
        let image = Image {
            id: id.clone(),
            repo_tags: tags.map(|tag| format!("{}:{tag}", reference.name())).collect(),
            repo_digests: vec![format!("{}@{}", reference.name(), resolved.digest)],
            size: metas.iter().map(|meta| meta.bytes).sum::<u64>() + resolved.config.size,
            layers: diff_ids,
            config,
            raw_config: String::from_utf8_lossy(&raw).into_owned(),
            pulled_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            pinned: matches!(source, Source::Layout(_)),
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
        let mut blob = source.blob(descriptor, &self.config, None)?;
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        while let Some(chunk) = blob.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        verify(&what, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Brings one layer, unless it is here already. `own` are the slots of its pull.
    async fn layer(&self, wanted: Wanted<'_>, own: &Semaphore) -> Result<Meta> {
        // Neither semaphore is ever closed. The own one comes first: who waits for it holds none of the others' slots.
        let _own = own.acquire().await;
        let single = self.single(wanted.diff_id);
        let _turn = single.lock().await;
        if let Some(meta) = self.store.layer_meta(wanted.diff_id) {
            wanted.tally.enter(LayerState::Present);
            return Ok(meta);
        }
        let _slot = self.slots.acquire().await;
        let meta = self.stream_layer(wanted).await?;
        wanted.tally.enter(LayerState::Done);
        tracing::debug!(layer = %wanted.diff_id, bytes = meta.bytes, "unpacked");
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
