//! An OCI image layout (image-spec, `image-layout.md`): a directory, or a tar of one.
//!
//! The names of its images are in `index.json`: `io.containerd.image.name`, else `org.opencontainers.image.ref.name` where that is
//! more than a tag.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Seek},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    blob::verify,
    error::{Error, IoContext, Result},
    layer::{Kind, Reader},
    manifest::{Descriptor, MAX_MANIFEST},
    reference::{Digest, Reference},
    store::blocking,
};

/// Bytes read at once; each layer on its way in holds several of them.
const PIECE: u64 = 64 << 10;
/// Most members of a tar; each image has a handful.
const MAX_MEMBERS: usize = 100_000;
/// Most entries of an `index.json`.
const MAX_IMAGES: usize = 10_000;
/// The one version of the layout that there is.
const VERSION: &str = "1.0.0";

/// Where a layout is: see [`crate::Images::import`].
#[derive(Debug)]
pub enum Archive {
    /// A directory, or a tar.
    Path(PathBuf),
    /// A tar that is open already.
    File(File),
}

/// A layout whose index has been read.
pub(crate) struct Layout {
    content: Content,
    /// What `index.json` lists, by name; what has none is under the empty one.
    pub images: BTreeMap<String, Vec<Descriptor>>,
}

enum Content {
    Directory(PathBuf),
    Tar { file: Arc<File>, path: PathBuf, members: HashMap<String, Extent> },
}

/// Where a member of a tar lies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    at: u64,
    size: u64,
}

/// A file of the layout, or what is left of it.
struct Member {
    file: Arc<File>,
    extent: Extent,
}

/// A blob of the layout as a stream.
pub(crate) struct LocalBlob {
    what: String,
    member: Member,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Malformed { what: what.into(), reason: reason.into() }
}

impl Layout {
    /// Reads what the layout holds; blobs are read when they are asked for.
    pub fn open(archive: Archive) -> Result<Self> {
        let content = match archive {
            Archive::Path(path) if path.is_dir() => Content::Directory(path),
            Archive::Path(path) => {
                let file = File::open(&path).at("open", &path)?;
                Content::tar(file, path)?
            }
            Archive::File(file) => Content::tar(file, PathBuf::from("the archive"))?,
        };
        let mark: Mark = content.document("oci-layout")?;
        if mark.image_layout_version != VERSION {
            let reason = format!("layouts of version {:?} are not known here", mark.image_layout_version);
            return Err(malformed("oci-layout", reason));
        }
        let index: Index = content.document("index.json")?;
        if index.manifests.len() > MAX_IMAGES {
            return Err(Error::Limit { what: "index.json".into(), limit: format!("more than {MAX_IMAGES} images") });
        }
        let mut images: BTreeMap<String, Vec<Descriptor>> = BTreeMap::new();
        for entry in index.manifests {
            images.entry(name_of(&entry.annotations.unwrap_or_default())).or_default().push(entry.descriptor);
        }
        Ok(Self { content, images })
    }

    /// A manifest or an index, whose digest is right.
    pub async fn manifest(&self, name: &str, digest: &Digest) -> Result<Bytes> {
        let what = format!("manifest of {name}");
        let member = self.content.blob(digest)?;
        if member.extent.size > MAX_MANIFEST as u64 {
            return Err(Error::Limit { what, limit: format!("larger than {MAX_MANIFEST} bytes") });
        }
        let bytes = blocking(move || member.whole("read a manifest of")).await?;
        verify(&what, digest, &bytes)?;
        Ok(bytes.into())
    }

    /// The blob's bytes; nobody has checked them yet.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<LocalBlob> {
        let what = format!("blob {}", descriptor.digest);
        let member = self.content.blob(&descriptor.digest)?;
        if member.extent.size != descriptor.size {
            let reason = format!("has {} bytes where its manifest says {}", member.extent.size, descriptor.size);
            return Err(malformed(what, reason));
        }
        Ok(LocalBlob { what, member })
    }
}

impl Content {
    fn tar(mut file: File, path: PathBuf) -> Result<Self> {
        let length = file.metadata().at("stat", &path)?.len();
        file.rewind().at("read", &path)?;
        let members =
            members(&file, length).map_err(|error| malformed(path.display().to_string(), error.to_string()))?;
        Ok(Self::Tar { file: Arc::new(file), path, members })
    }

    fn blob(&self, digest: &Digest) -> Result<Member> {
        let algorithm = if digest.is_sha512() { "sha512" } else { "sha256" };
        self.member(&format!("blobs/{algorithm}/{}", digest.hex()))
    }

    fn member(&self, name: &str) -> Result<Member> {
        match self {
            Self::Directory(root) => file_of(&root.join(name)),
            Self::Tar { file, path, members } => {
                let missing = || Error::NotFound { what: format!("{name} in {}", path.display()) };
                let extent = *members.get(name).ok_or_else(missing)?;
                Ok(Member { file: file.clone(), extent })
            }
        }
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let member = self.member(name)?;
        if member.extent.size > MAX_MANIFEST as u64 {
            return Err(Error::Limit { what: name.into(), limit: format!("larger than {MAX_MANIFEST} bytes") });
        }
        let bytes = member.whole("read")?;
        serde_json::from_slice(&bytes).map_err(|error| malformed(name, format!("not of an image layout: {error}")))
    }
}

impl Member {
    fn whole(&self, action: &'static str) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.extent.size as usize];
        self.file.read_exact_at(&mut bytes, self.extent.at).at(action, "the archive")?;
        Ok(bytes)
    }
}

impl LocalBlob {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Extent { at, size } = self.member.extent;
        let piece = Extent { at, size: size.min(PIECE) };
        if piece.size == 0 {
            return Ok(None);
        }
        let (file, what) = (self.member.file.clone(), self.what.clone());
        let bytes = blocking(move || {
            let mut bytes = vec![0; piece.size as usize];
            file.read_exact_at(&mut bytes, piece.at).at("read", what)?;
            Ok(bytes)
        })
        .await?;
        self.member.extent = Extent { at: at + piece.size, size: size - piece.size };
        Ok(Some(bytes.into()))
    }
}

/// A file of a layout that is a directory; a link or a pipe in its place is refused.
fn file_of(path: &Path) -> Result<Member> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound { what: path.display().to_string() });
        }
        Err(error) => return Err::<Member, _>(error).at("open", path),
    };
    let meta = file.metadata().at("stat", path)?;
    if !meta.is_file() {
        return Err(malformed(path.display().to_string(), "is not a file"));
    }
    Ok(Member { file: Arc::new(file), extent: Extent { at: 0, size: meta.len() } })
}

/// The files of a tar and where they lie; contents are passed over unread.
fn members(file: &File, length: u64) -> io::Result<HashMap<String, Extent>> {
    let mut reader = Reader::new(file);
    let mut members = HashMap::new();
    while let Some(entry) = reader.next()? {
        let at = reader.position()?;
        if at.checked_add(entry.size).is_none_or(|end| end > length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if members.len() >= MAX_MEMBERS {
            return Err(io::Error::other(format!("has more than {MAX_MEMBERS} members")));
        }
        // A blob in pieces is none: whoever packs an archive with `--sparse` is told that it is missing.
        if entry.kind == Kind::File && entry.sparse.is_none() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            members.insert(path.trim_start_matches("./").to_owned(), Extent { at, size: entry.size });
        }
        reader.leave()?;
    }
    Ok(members)
}

/// The image's name as the index tells it; empty when it tells none.
fn name_of(annotations: &BTreeMap<String, String>) -> String {
    let full = |name: &&String| name.contains('/') && name.parse::<Reference>().is_ok();
    let told = annotations
        .get("io.containerd.image.name")
        .or_else(|| annotations.get("org.opencontainers.image.ref.name").filter(full));
    told.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_name_that_tools_give_it() {
        let of = |pairs: &[(&str, &str)]| {
            name_of(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        const CONTAINERD: &str = "io.containerd.image.name";
        const REF: &str = "org.opencontainers.image.ref.name";
        assert_eq!(of(&[(CONTAINERD, "docker.io/library/a:1"), (REF, "1")]), "docker.io/library/a:1");
        assert_eq!(of(&[(REF, "rk.local/a:1")]), "rk.local/a:1");
        assert_eq!(of(&[(REF, "latest")]), "", "a tag is no name");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn members_of_a_tar_are_found_without_reading_them_and_a_torn_one_is_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [("./oci-layout", "a"), ("blobs/sha256/0", "bc")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_bytes()).expect("append");
        }
        let bytes = tar.into_inner().expect("tar");
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.tar");
        std::fs::write(&path, &bytes).expect("write");
        let found = members(&File::open(&path).expect("open"), bytes.len() as u64).expect("members");
        assert_eq!(found.get("oci-layout"), Some(&Extent { at: 512, size: 1 }));
        assert_eq!(found.get("blobs/sha256/0"), Some(&Extent { at: 1536, size: 2 }));
        assert!(members(&File::open(&path).expect("open"), 1537).is_err());
    }
}
