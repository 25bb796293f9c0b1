//! `rkctl image cache`: container images as one archive, an OCI image layout in a tar, and its way to nodes.

use crate::args::{CacheCommand, Format, Global};
use crate::connect::{Trust, connect};
use crate::exit::{Class, Failure, class_of_error, words};
use crate::{node, output};
use anyhow::{Context, Result};
use rk_machine_proto::CHUNK;
use rk_machine_proto::v1::ImportRequest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

/// Messages read ahead.
const AHEAD: usize = 8;
/// Largest index.
const MOST_INDEX: u64 = 4 << 20;
/// Annotations that name an image; the first has a full name, the second may have a tag alone.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Carries out a command.
///
/// # Errors
/// A layout is torn or has no name, or no node is named.
pub async fn run(global: &Global, command: &CacheCommand) -> Result<Class> {
    match command {
        CacheCommand::Create { output, images } => create(global.print, output, images),
        CacheCommand::Push { archive } => push(global, archive).await,
    }
}

fn wrong(text: String) -> anyhow::Error {
    Failure::new(Class::Usage, text).into()
}

/// Writes one archive of several layouts, whole under its name or not at all.
fn create(format: Format, path: &Path, images: &[String]) -> Result<Class> {
    let partial = path.with_extension("partial");
    let file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let written = write(file, images);
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    let (names, size) = written?;
    std::fs::rename(&partial, path).with_context(|| format!("placing {}", path.display()))?;
    output::made(format, "images", &names.into_iter().collect::<Vec<_>>())?;
    eprintln!("wrote {} ({})", path.display(), output::bytes(size));
    Ok(Class::Good)
}

/// Answers the names of the images and the bytes of the archive.
fn write(file: File, images: &[String]) -> Result<(BTreeSet<String>, u64)> {
    let mut tar = tar::Builder::new(file);
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let (mut manifests, mut blobs) = (Vec::new(), BTreeSet::new());
    for image in images {
        let (name, path) = split(image);
        let index = small(path, "index.json").with_context(|| format!("reading {}", path.display()))?;
        let index: Value =
            serde_json::from_slice(&index).with_context(|| format!("index.json of {}", path.display()))?;
        manifests.extend(entries(&index, name).map_err(|reason| wrong(format!("{}: {reason}", path.display())))?);
        copy(path, &mut tar, &mut blobs).with_context(|| format!("reading {}", path.display()))?;
    }
    for manifest in &manifests {
        let digest = text(manifest, "/digest");
        if !blobs.contains(&digest.replacen(':', "/", 1)) {
            return Err(wrong(format!("{digest}, which an index lists, is in none of the layouts")));
        }
    }
    let names = manifests.iter().map(|manifest| name_of(manifest).to_owned()).collect();
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    add(&mut tar, "index.json", index.to_string().as_bytes())?;
    let file = tar.into_inner()?;
    file.sync_all()?;
    Ok((names, file.metadata()?.len()))
}

/// A name, when there is one, and the path of a layout.
fn split(image: &str) -> (Option<&str>, &Path) {
    match image.split_once('=') {
        Some((name, path)) if !Path::new(image).exists() => (Some(name), Path::new(path)),
        _ => (None, Path::new(image)),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The full name of an entry of an index; empty when it has none.
fn name_of(entry: &Value) -> &str {
    let note = |key: &str| entry.get("annotations").and_then(|all| all.get(key)).and_then(Value::as_str);
    note(FULL_NAME).or_else(|| note(REF_NAME).filter(|name| name.contains('/'))).unwrap_or_default()
}

/// The entries of an index, each with a full name.
fn entries(index: &Value, name: Option<&str>) -> Result<Vec<Value>, String> {
    let mut entries = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(name) = name {
        let [entry] = entries.as_mut_slice() else {
            return Err(format!("holds {} images, and a name is of one", entries.len()));
        };
        if !name.contains('/') {
            return Err(format!("{name:?} is not a full name, such as docker.io/library/nginx:1.27"));
        }
        let entry = entry.as_object_mut().ok_or("its index.json is not of an image layout")?;
        entry.insert("annotations".to_owned(), json!({FULL_NAME: name}));
    }
    match entries.iter().find(|entry| name_of(entry).is_empty()) {
        Some(entry) => Err(format!("{} has no full name; say NAME=PATH", text(entry, "/digest"))),
        None if entries.is_empty() => Err("holds no image".to_owned()),
        None => Ok(entries),
    }
}

/// Hands out the files of a layout, each with its name below it and its size, until `take` has enough.
fn files(path: &Path, take: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<bool>) -> Result<()> {
    if path.is_dir() {
        return files_of_directory(path, take);
    }
    let mut archive = tar::Archive::new(File::open(path)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            let size = entry.size();
            if !take(&name, size, &mut entry)? {
                break;
            }
        }
    }
    Ok(())
}

fn files_of_directory(root: &Path, take: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<bool>) -> Result<()> {
    let mut names = vec!["index.json".to_owned()];
    for blob in std::fs::read_dir(root.join("blobs/sha256"))? {
        names.push(format!("blobs/sha256/{}", blob?.file_name().to_string_lossy()));
    }
    names.sort();
    for name in names {
        let mut file = File::open(root.join(&name)).with_context(|| name.clone())?;
        let size = file.metadata()?.len();
        if !take(&name, size, &mut file)? {
            break;
        }
    }
    Ok(())
}

/// One small file of a layout.
fn small(path: &Path, wanted: &str) -> Result<Vec<u8>> {
    let mut found = None;
    files(path, &mut |name, _, content| {
        if name != wanted {
            return Ok(true);
        }
        let mut bytes = Vec::new();
        content.take(MOST_INDEX).read_to_end(&mut bytes)?;
        found = Some(bytes);
        Ok(false)
    })?;
    found.ok_or_else(|| wrong(format!("no OCI image layout: it has no {wanted}")))
}

/// Content that is summed up while it is read.
struct Summed<'a> {
    inner: &'a mut dyn Read,
    sum: Sha256,
}

impl Read for Summed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let size = self.inner.read(buf)?;
        self.sum.update(buf.get(..size).unwrap_or_default());
        Ok(size)
    }
}

/// Copies blobs that are not there yet, and checks that each is what its name says.
fn copy(path: &Path, tar: &mut tar::Builder<File>, blobs: &mut BTreeSet<String>) -> Result<()> {
    files(path, &mut |name, size, content| {
        let Some(digest) = name.strip_prefix("blobs/").filter(|digest| !blobs.contains(*digest)) else {
            return Ok(true);
        };
        let mut summed = Summed { inner: content, sum: Sha256::new() };
        tar.append_data(&mut header(size), name, &mut summed)?;
        let actual = format!("sha256/{}", hex::encode(summed.sum.finalize()));
        if actual != digest {
            return Err(wrong(format!("{name} is not what its name says: its digest is {actual}")));
        }
        blobs.insert(actual);
        Ok(true)
    })
}

fn add(tar: &mut tar::Builder<File>, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(tar.append_data(&mut header(bytes.len() as u64), name, bytes)?)
}

/// The same for the same content, whoever makes it and whenever.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

/// Gives nodes the archive, one after the other.
async fn push(global: &Global, archive: &Path) -> Result<Class> {
    let (trust, nodes) = node::known(global)?;
    let mut class = Class::Good;
    for node in nodes {
        eprintln!("{node}:");
        if let Err(err) = send(&node, &trust, archive).await {
            eprintln!("rkctl: {node}: {}", words(&err));
            class = class.max(class_of_error(&err));
        }
    }
    Ok(class)
}

async fn send(node: &str, trust: &Trust, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let first = ImportRequest { total_bytes: file.metadata()?.len(), data: Vec::new() };
    let mut client = connect(node, trust).await?;
    let (sender, receiver) = channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || pieces(file, first, &sender));
    let answer = client.import_images(ReceiverStream::new(receiver)).await?.into_inner();
    node::disk::show(answer).await?;
    reading.await?.context("reading the archive")
}

/// A node that hung up has said why.
fn pieces(mut file: File, first: ImportRequest, sender: &Sender<ImportRequest>) -> Result<()> {
    let mut message = first;
    while sender.blocking_send(message).is_ok() {
        let mut data = Vec::with_capacity(CHUNK);
        file.by_ref().take(CHUNK as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            break;
        }
        message = ImportRequest { total_bytes: 0, data };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(root: &Path, content: &str, name: &str) -> String {
        let hex = hex::encode(Sha256::digest(content));
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        std::fs::write(root.join("blobs/sha256").join(&hex), content).unwrap();
        let index = json!({"manifests": [{"digest": format!("sha256:{hex}"), "annotations": {REF_NAME: name}}]});
        std::fs::write(root.join("index.json"), index.to_string()).unwrap();
        hex
    }

    #[test]
    fn layouts_become_one_archive_whose_blobs_are_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        layout(&a, "one", "rk.local/a:1");
        let hex = layout(&b, "two", "latest");
        let (first, out) = (dir.path().join("first.tar"), dir.path().join("out.tar"));
        create(Format::Table, &first, &[a.display().to_string()]).unwrap();
        let named = format!("rk.local/b:1={}", b.display());
        create(Format::Table, &out, &[first.display().to_string(), named, first.display().to_string()]).unwrap();
        let index: Value = serde_json::from_slice(&small(&out, "index.json").unwrap()).unwrap();
        let names: Vec<&str> = index["manifests"].as_array().unwrap().iter().map(name_of).collect();
        assert_eq!(names, ["rk.local/a:1", "rk.local/b:1", "rk.local/a:1"]);
        assert_eq!(small(&out, &format!("blobs/sha256/{hex}")).unwrap(), b"two");
        let unnamed = create(Format::Table, &out, &[b.display().to_string()]).unwrap_err();
        assert!(unnamed.to_string().contains("say NAME=PATH"), "{unnamed}");
        std::fs::write(b.join("blobs/sha256").join(&hex), "tow").unwrap();
        let torn = create(Format::Table, &dir.path().join("torn.tar"), &[format!("rk.local/b:1={}", b.display())])
            .unwrap_err();
        assert!(format!("{torn:#}").contains("not what its name says"), "{torn:#}");
        assert!(!dir.path().join("torn.tar").exists() && !dir.path().join("torn.partial").exists());
    }

    #[test]
    fn a_name_is_of_one_image_and_whole() {
        let index = |count: usize| json!({"manifests": vec![json!({"digest": "sha256:0"}); count]});
        assert!(entries(&index(1), Some("docker.io/library/a:1")).is_ok());
        for (index, name) in [(index(1), Some("a")), (index(2), Some("r/a:1")), (index(0), None), (index(1), None)] {
            assert!(entries(&index, name).is_err(), "{index} {name:?}");
        }
    }
}
