//! The older form of `docker save`: `manifest.json` beside configs and layers, turned into OCI manifests.

use super::archive::{NamedRoot, inside, read_json};
use super::store::{Descriptor, digest, digest_file};
use super::{BlobStore, ImageName, media};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// One image of `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads `manifest.json` when there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Vec<Saved>>> {
    let path = dir.join("manifest.json");
    let Some(value) = read_json(&path)? else { return Ok(None) };
    serde_json::from_value(value).map(Some).map_err(|e| Error::image("manifest.json", e))
}

/// All names in it.
pub(super) fn names(saved: &[Saved]) -> Vec<ImageName> {
    saved.iter().filter_map(|s| s.repo_tags.as_ref()).flatten().filter_map(|tag| tag.parse().ok()).collect()
}

/// Builds manifests, kept in `scratch`, over the files of the archive.
pub(super) fn convert(
    dir: &Path,
    saved: &[Saved],
    fallback: Option<&ImageName>,
    scratch: &Path,
) -> Result<(BlobStore, Vec<NamedRoot>)> {
    let mut store = BlobStore::new(dir);
    let mut images = Vec::new();
    for image in saved {
        let mut names = image.repo_tags.iter().flatten().map(|t| t.parse()).collect::<Result<Vec<ImageName>>>()?;
        if names.is_empty() {
            names.extend(fallback.cloned());
        }
        if names.is_empty() {
            return Err(Error::image(&image.config, "this image has no RepoTags; say --as NAME[:TAG]"));
        }
        let config = blob(&mut store, dir, &image.config, Some(media::CONFIG))?;
        let layers = image.layers.iter().map(|l| blob(&mut store, dir, l, None)).collect::<Result<Vec<_>>>()?;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": layers}).to_string();
        let digest = digest(manifest.as_bytes());
        let path = scratch.join(digest.replace(':', "-"));
        std::fs::write(&path, &manifest).map_err(Error::file("write", &path))?;
        store.add(&digest, path);
        images.push(NamedRoot { names, root: Descriptor::new(media::MANIFEST, &digest, manifest.len() as u64) });
    }
    Ok((store, images))
}

fn blob(store: &mut BlobStore, dir: &Path, inner: &str, media_type: Option<&str>) -> Result<Descriptor> {
    let path = inside(dir, inner)?;
    let (digest, size) = digest_file(&path)?;
    let media_type = match media_type {
        Some(known) => known.to_owned(),
        None => layer_type(&path)?,
    };
    store.add(&digest, path);
    Ok(Descriptor::new(&media_type, &digest, size))
}

/// Layers say by their first bytes how they are compressed.
fn layer_type(path: &Path) -> Result<String> {
    let mut magic = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(4).read_to_end(&mut magic)).map_err(Error::file("read", path))?;
    let suffix = match magic.as_slice() {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    };
    Ok(format!("{}{suffix}", media::LAYER))
}
