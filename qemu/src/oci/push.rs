//! Uploading images to a registry by the OCI distribution protocol.

use super::archive::NamedRoot;
use super::store::Descriptor;
use super::{Archive, BlobStore, ImageName, media};
use crate::http::{Body, Client};
use crate::{Error, Result};
use serde_json::Value;

/// Indexes may nest; deeper than this is nonsense.
const MAX_DEPTH: u32 = 4;

/// Uploads all images of `archive` under `<host>/<repository>:<tag>` and answers their names.
pub fn push(client: &Client, archive: &Archive) -> Result<Vec<ImageName>> {
    let mut pushed = Vec::new();
    for image in &archive.images {
        for name in &image.names {
            push_root(client, &archive.store, image, name)?;
            pushed.push(name.clone());
        }
    }
    Ok(pushed)
}

fn push_root(client: &Client, store: &BlobStore, image: &NamedRoot, name: &ImageName) -> Result<()> {
    let upload = Upload { client, store, repository: name.mirrored_repository() };
    let root = upload.choose(&image.root, MAX_DEPTH)?;
    upload.tree(&root, Some(&name.tag), MAX_DEPTH)
}

struct Upload<'a> {
    client: &'a Client,
    store: &'a BlobStore,
    repository: String,
}

impl Upload<'_> {
    /// The root itself when all of it is there; an index of which only some platforms were saved gives way to the
    /// child that runs here, because a registry refuses an index with holes.
    fn choose(&self, root: &Descriptor, depth: u32) -> Result<Descriptor> {
        let (_, manifest) = self.store.json(&root.digest)?;
        if !media::is_index(&media_type(root, &manifest)) || depth == 0 {
            return Ok(root.clone());
        }
        let children = descriptors(&root.digest, manifest.get("manifests"))?;
        let here: Vec<&Descriptor> = children.iter().filter(|c| self.whole(c, depth - 1)).collect();
        if here.len() == children.len() && !here.is_empty() {
            return Ok(root.clone());
        }
        let fit = here.iter().find(|c| c.is_linux_amd64()).or_else(|| here.first().filter(|_| here.len() == 1));
        match fit {
            Some(child) => self.choose(child, depth - 1),
            None => Err(Error::image(&root.digest, "the archive holds no complete image for linux/amd64")),
        }
    }

    fn whole(&self, descriptor: &Descriptor, depth: u32) -> bool {
        let Ok((_, manifest)) = self.store.json(&descriptor.digest) else { return false };
        if media::is_index(&media_type(descriptor, &manifest)) {
            let children = descriptors(&descriptor.digest, manifest.get("manifests")).unwrap_or_default();
            return depth > 0 && children.iter().all(|c| self.whole(c, depth - 1));
        }
        blobs(&descriptor.digest, &manifest).is_ok_and(|all| all.iter().all(|b| self.store.path(&b.digest).is_some()))
    }

    /// Uploads blobs first, then manifests, so that the registry never sees a manifest with holes.
    fn tree(&self, root: &Descriptor, tag: Option<&str>, depth: u32) -> Result<()> {
        let (bytes, manifest) = self.store.json(&root.digest)?;
        let media_type = media_type(root, &manifest);
        if media::is_index(&media_type) {
            if depth == 0 {
                return Err(Error::image(&root.digest, "indexes are nested too deeply"));
            }
            for child in descriptors(&root.digest, manifest.get("manifests"))? {
                self.tree(&child, None, depth - 1)?;
            }
        } else if media::is_manifest(&media_type) {
            for blob in blobs(&root.digest, &manifest)? {
                self.blob(&blob)?;
            }
        } else {
            return Err(Error::image(&root.digest, format!("media type {media_type:?} is not that of a manifest")));
        }
        let path = format!("/v2/{}/manifests/{}", self.repository, tag.unwrap_or(&root.digest));
        self.client.expect("PUT", &path, &[("Content-Type", &media_type)], Body::Bytes(&bytes), &[201]).map(drop)
    }

    fn blob(&self, blob: &Descriptor) -> Result<()> {
        let at = format!("/v2/{}/blobs/{}", self.repository, blob.digest);
        if self.client.request("HEAD", &at, &[], Body::Empty)?.status == 200 {
            return Ok(());
        }
        let file = self
            .store
            .path(&blob.digest)
            .ok_or_else(|| Error::image(&blob.digest, "this blob is missing from the archive"))?;
        let start = format!("/v2/{}/blobs/uploads/", self.repository);
        let session = self.client.expect("POST", &start, &[], Body::Empty, &[202])?;
        let location = session
            .header("location")
            .ok_or_else(|| Error::image(&blob.digest, "the registry gave no upload location"))?;
        let target = with_digest(path_of(location), &blob.digest);
        let headers = [("Content-Type", "application/octet-stream")];
        self.client.expect("PUT", &target, &headers, Body::File(&file), &[201]).map(drop)
    }
}

fn media_type(descriptor: &Descriptor, manifest: &Value) -> String {
    let own = manifest.get("mediaType").and_then(Value::as_str).filter(|t| !t.is_empty());
    match own {
        Some(own) => own.to_owned(),
        None if !descriptor.media_type.is_empty() => descriptor.media_type.clone(),
        None if manifest.get("manifests").is_some() => media::INDEX.to_owned(),
        None => media::MANIFEST.to_owned(),
    }
}

fn descriptors(of: &str, list: Option<&Value>) -> Result<Vec<Descriptor>> {
    let list = list.cloned().unwrap_or(Value::Array(Vec::new()));
    serde_json::from_value(list).map_err(|e| Error::image(of, format!("unreadable descriptors: {e}")))
}

fn blobs(of: &str, manifest: &Value) -> Result<Vec<Descriptor>> {
    let mut all = descriptors(of, manifest.get("layers"))?;
    if let Some(config) = manifest.get("config") {
        all.push(
            serde_json::from_value(config.clone())
                .map_err(|e| Error::image(of, format!("unreadable config descriptor: {e}")))?,
        );
    }
    Ok(all)
}

/// The path and query of a location that may be a whole URL.
fn path_of(location: &str) -> &str {
    let rest = location.split_once("://").map(|(_, rest)| rest);
    match rest {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => location,
    }
}

fn with_digest(location: &str, digest: &str) -> String {
    let joint = if location.contains('?') { '&' } else { '?' };
    format!("{location}{joint}digest={digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_locations_may_be_urls_or_paths_with_or_without_query() {
        let cases = [
            ("http://127.0.0.1:5000/v2/a/blobs/uploads/1?_state=x", "/v2/a/blobs/uploads/1?_state=x&digest=d"),
            ("/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1?digest=d"),
        ];
        for (location, want) in cases {
            assert_eq!(with_digest(path_of(location), "d"), want);
        }
    }
}
