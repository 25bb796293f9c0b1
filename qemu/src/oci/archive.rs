//! Opening what others wrote: an OCI layout (folder or tar) or the tar of `docker save`, with one image or many.

use super::name::is_tag;
use super::store::Descriptor;
use super::{BlobStore, ImageName, docker_save};
use crate::{Error, Result};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Most bytes that one archive may unpack to.
const MAX_UNPACKED: u64 = 32 << 30;

/// A manifest or index and the names that it goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedRoot {
    /// Full names.
    pub names: Vec<ImageName>,
    /// The root of the image.
    pub root: Descriptor,
}

/// An opened archive. Files that were unpacked vanish with it.
#[derive(Debug)]
pub struct Archive {
    /// Its blobs.
    pub store: BlobStore,
    /// Its images.
    pub images: Vec<NamedRoot>,
    _scratch: tempfile::TempDir,
}

impl Archive {
    /// Opens a folder or a tar (plain or gzip). `fallback` names images that carry no name of their own.
    pub fn open(path: &Path, fallback: Option<&ImageName>) -> Result<Archive> {
        let scratch = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
        if path.is_dir() {
            return Self::open_dir(path, path, fallback, scratch);
        }
        let dir = scratch.path().join("unpacked");
        std::fs::create_dir(&dir).map_err(Error::file("create", &dir))?;
        unpack(path, &dir)?;
        Self::open_dir(&dir, path, fallback, scratch)
    }

    fn open_dir(dir: &Path, shown: &Path, fallback: Option<&ImageName>, scratch: tempfile::TempDir) -> Result<Archive> {
        let label = shown.display().to_string();
        let docker = docker_save::read(dir)?;
        let (store, images) = match read_json(&dir.join("index.json"))? {
            Some(index) => {
                let tags = docker.as_deref().map(docker_save::names).unwrap_or_default();
                (BlobStore::new(dir), named_roots(&label, &index, &tags, fallback)?)
            }
            None => match docker {
                Some(docker) => docker_save::convert(dir, &docker, fallback, scratch.path())?,
                None => {
                    return Err(Error::image(
                        label,
                        "neither index.json nor manifest.json is in it: not an image archive",
                    ));
                }
            },
        };
        match images.is_empty() {
            true => Err(Error::image(label, "it holds no image")),
            false => Ok(Archive { store, images, _scratch: scratch }),
        }
    }
}

/// The images of a layout's index, by the annotations that containerd, Docker, skopeo and others write.
fn named_roots(label: &str, index: &Value, tags: &[ImageName], fallback: Option<&ImageName>) -> Result<Vec<NamedRoot>> {
    let manifests = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut images: Vec<NamedRoot> = Vec::new();
    for value in manifests {
        let root: Descriptor =
            serde_json::from_value(value.clone()).map_err(|e| Error::image(label, format!("index.json: {e}")))?;
        let name = match annotated(&root)? {
            Some(name) => vec![name],
            None if manifests.len() == 1 && !tags.is_empty() => tags.to_vec(),
            None => fallback.cloned().into_iter().collect(),
        };
        if name.is_empty() {
            let reason = format!("the image {} has no name in it; say --as NAME[:TAG]", root.digest);
            return Err(Error::image(label, reason));
        }
        match images.iter_mut().find(|i| i.root.digest == root.digest) {
            Some(known) => known.names.extend(name),
            None => images.push(NamedRoot { names: name, root }),
        }
    }
    Ok(images)
}

fn annotated(root: &Descriptor) -> Result<Option<ImageName>> {
    let whole = root.annotations.get("io.containerd.image.name").or_else(|| {
        // By the specification this is a mere tag; several tools write whole names.
        root.annotations.get("org.opencontainers.image.ref.name").filter(|name| !is_tag(name))
    });
    whole.map(|name| name.parse()).transpose()
}

pub(super) fn read_json(path: &Path) -> Result<Option<Value>> {
    let text = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", path))?,
    };
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|e| Error::image(path.display().to_string(), format!("unreadable JSON: {e}")))
}

/// Unpacks a tar below `dir`; nothing can land outside of it.
fn unpack(path: &Path, dir: &Path) -> Result<()> {
    let mut file = BufReader::new(std::fs::File::open(path).map_err(Error::file("open", path))?);
    let magic = std::io::BufRead::fill_buf(&mut file).map_err(Error::file("read", path))?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if gzip { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = tar::Archive::new(reader.take(MAX_UNPACKED));
    let bad = |e: std::io::Error| Error::image(path.display().to_string(), format!("unreadable tar: {e}"));
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        // `unpack_in` refuses parents and absolute paths and writes through no link that leaves `dir`.
        entry.unpack_in(dir).map_err(bad)?;
    }
    Ok(())
}

/// `dir/inner`, resolved, when it is a file that lies in `dir`.
pub(super) fn inside(dir: &Path, inner: &str) -> Result<PathBuf> {
    let bad = |reason: String| Error::image(inner, reason);
    let root = dir.canonicalize().map_err(Error::file("resolve", dir))?;
    let path = dir.join(inner).canonicalize().map_err(|e| bad(format!("named by manifest.json but missing: {e}")))?;
    if path.starts_with(&root) && path.is_file() { Ok(path) } else { Err(bad("leads out of the archive".into())) }
}
