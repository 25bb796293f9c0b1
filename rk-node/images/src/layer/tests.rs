//! Layers as tools write them, and as an attacker would, in each form. These need root: they make devices and trusted attributes, and
//! mount.

use std::{
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{Form, Limits, Meta, SHOWN, unpack};
use crate::{blob::Hasher, mounts, reference::Digest};

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000, image: None };

/// The forms that this kernel knows.
pub(super) fn forms() -> Vec<Form> {
    let mut forms = vec![Form::Tree];
    match Form::here(&std::env::temp_dir()) {
        Form::Erofs => forms.push(Form::Erofs),
        Form::Tree => eprintln!("this kernel mounts no erofs from files: that form is left out"),
    }
    forms
}

/// The directory of a layer of one form.
pub(super) struct Layer {
    pub directory: tempfile::TempDir,
    form: Form,
}

impl Layer {
    pub fn new(form: Form) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(directory.path().join(SHOWN)).expect("directory");
        Self { directory, form }
    }

    /// Unpacks an archive and shows it.
    pub fn unpack(&self, archive: &[u8], limits: Limits) -> std::io::Result<Meta> {
        let meta = unpack(archive, self.directory.path(), self.form, &like(), limits)?;
        assert_eq!(meta.form(), self.form);
        mounts::attach(self.directory.path(), self.form).expect("attach");
        Ok(meta)
    }

    /// Where something of it is seen.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(SHOWN).join(name)
    }

    /// Bytes of the disk that it takes.
    pub fn blocks(&self, name: &str) -> u64 {
        let path = match self.form {
            Form::Tree => self.path(name),
            Form::Erofs => self.directory.path().join(super::FILE),
        };
        std::fs::metadata(path).expect(name).blocks() * 512
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        mounts::detach(self.directory.path());
    }
}

fn like() -> Digest {
    Hasher::Sha256(Default::default()).finish()
}

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Writes the name bytes as they are: the builder itself would refuse hostile ones.
    fn add(mut self, kind: tar::EntryType, name: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        let raw = header.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(2000);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(if name.contains("dev") { 1 } else { 0 }).expect("major");
        header.set_device_minor(if name.contains("dev") { 3 } else { 0 }).expect("minor");
        header.set_cksum();
        self.0.append(&header, content).expect("append");
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(tar::EntryType::Regular, name, "", 0o644, content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.add(tar::EntryType::Directory, name, "", 0o751, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(tar::EntryType::Symlink, name, target, 0o777, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("archive")
    }

    fn unpack(self, into: &Layer) -> std::io::Result<Meta> {
        into.unpack(&self.bytes(), LIMITS)
    }

    /// The error of a form.
    fn refused(self, form: Form) -> std::io::Error {
        self.unpack(&Layer::new(form)).expect_err("an error")
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let n = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(n);
    Some(value)
}

#[test]
fn files_keep_owner_mode_time_and_links() {
    for form in forms() {
        let layer = Layer::new(form);
        let meta = Tar::new()
            .dir("./")
            .dir("./bin/")
            .add(tar::EntryType::Regular, "bin/su", "", 0o4755, b"root")
            .add(tar::EntryType::Link, "bin/also", "bin/su", 0, b"")
            .symlink("sbin", "/bin")
            .add(tar::EntryType::Char, "devnull", "", 0o666, b"")
            .add(tar::EntryType::Fifo, "pipe", "", 0o600, b"")
            .unpack(&layer)
            .expect("unpack");
        let stat = |name: &str| std::fs::symlink_metadata(layer.path(name)).expect(name);
        let su = stat("bin/su");
        assert_eq!(
            (su.mode() & 0o7777, su.uid(), su.gid(), su.mtime(), su.nlink()),
            (0o4755, 1000, 2000, 1_000_000_000, 2)
        );
        assert_eq!(std::fs::read(layer.path("bin/also")).expect("content"), b"root");
        assert_eq!((stat("bin").mode() & 0o7777, stat("bin").mtime()), (0o751, 1_000_000_000));
        let root = stat("");
        assert_eq!((root.mode() & 0o7777, root.uid(), root.mtime()), (0o751, 1000, 1_000_000_000), "{form:?}");
        assert_eq!(su.ino(), stat("bin/also").ino());
        assert_eq!(stat("devnull").rdev(), rustix::fs::makedev(1, 3));
        assert!(stat("pipe").file_type().is_fifo());
        assert_eq!((stat("sbin").mode(), stat("sbin").uid()), (0o120_777, 1000));
        assert_eq!(std::fs::read_link(layer.path("sbin")).expect("link"), Path::new("/bin"));
        assert_eq!((meta.bytes, meta.inodes, meta.implicit.len()), (4, form.inodes(6), 0));
    }
}

#[test]
fn whiteouts_become_overlayfs_marks() {
    for form in forms() {
        let layer = Layer::new(form);
        Tar::new()
            .file("a/.wh.gone", "")
            .file("b/.wh..wh..opq", "")
            .file("b/new", "x")
            .file(".wh.again", "")
            .dir("again/")
            .file("kept", "x")
            .file(".wh.kept", "")
            .file(".wh..wh.plnk", "")
            .unpack(&layer)
            .expect("unpack");
        let gone = std::fs::symlink_metadata(layer.path("a/gone")).expect("whiteout");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(xattr(&layer.path("b"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
        assert_eq!(xattr(&layer.path("again"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
        assert!(layer.path("b/new").is_file() && layer.path("kept").is_file());
        assert!(
            std::fs::read_dir(layer.path(""))
                .expect("read")
                .flatten()
                .all(|e| !e.file_name().to_string_lossy().starts_with(".wh."))
        );
    }
}

#[test]
fn a_layer_whose_root_is_opaque_says_so() {
    for form in forms() {
        for (mark, hides) in [(".wh..wh..opq", true), ("./.wh..wh..opq", true), ("d/.wh..wh..opq", false)] {
            let meta = Tar::new().file(mark, "").file("f", "x").unpack(&Layer::new(form)).expect(mark);
            assert_eq!(meta.hides, hides, "{mark} {form:?}");
        }
    }
}

#[test]
fn later_entries_take_the_place_of_earlier_ones() {
    for form in forms() {
        let layer = Layer::new(form);
        let meta = Tar::new()
            .file("d/old", "x")
            .dir("kept/")
            .file("kept/file", "first")
            .file("kept/file", "second")
            .dir("kept/")
            .symlink("d", "kept")
            .file("d/new", "through the link")
            .file("f", "x")
            .dir("f/")
            .symlink("kept/link", "file")
            .file("kept/link", "no link any more")
            .unpack(&layer)
            .expect("unpack");
        let read = |name: &str| std::fs::read_to_string(layer.path(name)).expect(name);
        assert_eq!((read("kept/file"), read("kept/new")), ("second".into(), "through the link".into()), "{form:?}");
        assert_eq!(read("kept/link"), "no link any more");
        assert!(layer.path("f").is_dir() && !layer.path("d/old").exists());
        assert_eq!(meta.implicit.into_iter().collect::<Vec<_>>(), ["", "d"], "{form:?}");
    }
}

#[test]
fn nothing_is_written_outside() {
    let outer = tempfile::tempdir().expect("tempdir");
    std::fs::write(outer.path().join("victim"), "untouched").expect("victim");
    let victim = outer.path().join("victim");
    let absolute = victim.to_str().expect("utf-8").to_owned();
    let up = "../victim";
    let attacks: Vec<(&str, Tar)> = vec![
        ("dot-dot", Tar::new().file(up, "evil")),
        ("deep dot-dot", Tar::new().file("a/../../victim", "evil")),
        ("link then file", Tar::new().symlink("l", "..").file("l/victim", "evil")),
        (
            "absolute link then file",
            Tar::new().symlink("l", outer.path().to_str().expect("utf-8")).file("l/victim", "evil"),
        ),
        ("file over link", Tar::new().symlink("l", up).file("l", "evil")),
        ("hard link out", Tar::new().add(tar::EntryType::Link, "h", up, 0, b"").file("h", "evil")),
        ("hard link through link", Tar::new().symlink("l", "..").add(tar::EntryType::Link, "h", "l/victim", 0, b"")),
        ("absolute name", Tar::new().file(&absolute, "evil")),
        ("whiteout out", Tar::new().file("../.wh.victim", "")),
        ("whiteout of dot-dot", Tar::new().file(".wh...", "")),
        ("device zero", Tar::new().add(tar::EntryType::Char, "zero", "", 0o600, b"")),
        ("dangling link then file", Tar::new().symlink("l", "nowhere").file("l/x", "evil")),
        ("file as parent", Tar::new().file("f", "x").file("f/x", "evil")),
        ("whiteout as parent", Tar::new().file(".wh.f", "").file("f/x", "evil")),
        ("link to nothing", Tar::new().symlink("l", "")),
        ("long name", Tar::new().symlink("d", &"n".repeat(99)).file("d/x", "evil")),
        ("hard link to itself", Tar::new().file("f", "x").add(tar::EntryType::Link, "f", "f", 0, b"")),
        ("hard link to a directory", Tar::new().dir("d/").add(tar::EntryType::Link, "h", "d", 0, b"")),
        ("hard link to a link", Tar::new().symlink("l", "x").add(tar::EntryType::Link, "h", "l", 0, b"")),
        ("root as a file", Tar::new().file("./", "x")),
        ("link loop", Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "evil")),
        ("chmod through link", Tar::new().symlink("l", up).add(tar::EntryType::Directory, "l/", "", 0o000, b"")),
    ];
    for (name, tar) in attacks {
        let bytes = tar.bytes();
        let told: Vec<bool> = forms()
            .into_iter()
            .map(|form| {
                let root = outer.path().join(format!("{}-{form:?}", name.replace(' ', "-")));
                std::fs::create_dir_all(root.join(SHOWN)).expect("root");
                let result = unpack(bytes.as_slice(), &root, form, &like(), LIMITS);
                assert_eq!(std::fs::read_to_string(&victim).ok().as_deref(), Some("untouched"), "{name}: {result:?}");
                assert_eq!(std::fs::metadata(&victim).map(|m| m.nlink()).ok(), Some(1), "{name}: {result:?}");
                result.is_ok()
            })
            .collect();
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{name}: every form takes it, or none: {told:?}");
    }
}

#[test]
fn budgets_and_torn_archives_are_errors() {
    for form in forms() {
        budgets_are_kept(form);
    }
}

fn budgets_are_kept(form: Form) {
    let bomb = Tar::new().add(tar::EntryType::Regular, "zeros", "", 0o644, &vec![0; 2 << 20]).bytes();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&bomb).expect("gzip");
    let error = Layer::new(form).unpack(&gz.finish().expect("gzip"), LIMITS).expect_err("bomb");
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge, "{error}");

    let many = (0..1001).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), ""));
    assert_eq!(many.refused(form).kind(), std::io::ErrorKind::FileTooLarge);

    let whole = Tar::new().file("f", &"x".repeat(2000)).bytes();
    for length in [1024, 700] {
        assert!(Layer::new(form).unpack(&whole[..length], LIMITS).is_err());
    }
}

#[test]
fn pax_records_carry_long_names_and_binary_attributes() {
    for form in forms() {
        pax_records_are_read(form);
    }
}

fn pax_records_are_read(form: Form) {
    let layer = Layer::new(form);
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    let capability = [1u8, 0, 0, 2, b'\n', b'=', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Tar::new();
    let attributes: [(&str, &[u8]); 4] = [
        ("path", long.as_bytes()),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("mtime", b"1234.5"),
    ];
    tar.0.append_pax_extensions(attributes).expect("pax");
    let meta = tar.file("short", "x").file("after", "y").unpack(&layer).expect("unpack");
    let file = layer.path(&long);
    let stat = std::fs::metadata(&file).expect("long name");
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (1234, 500_000_000));
    assert_eq!(xattr(&file, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&file, "trusted.overlay.opaque"), None);
    assert!(layer.path("after").is_file());
    assert_eq!(meta.implicit.len(), 2, "the root and one parent: {:?}", meta.implicit);

    let layer = Layer::new(form);
    let mut gnu = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    gnu.append_data(&mut header, &long, &b"z"[..]).expect("gnu");
    layer.unpack(&gnu.into_inner().expect("tar"), LIMITS).expect("GNU long name");
    assert!(layer.path(&long).is_file());
}

#[test]
fn an_entry_has_a_few_headers_before_it_and_no_more() {
    let archive = |count: usize| {
        let add = |all: Tar, _: usize| all.add(tar::EntryType::XHeader, "pax", "", 0o644, b"14 comment=ab\n");
        (0..count).fold(Tar::new(), add).file("f", "x")
    };
    archive(8).unpack(&Layer::new(Form::Tree)).expect("unpack");
    let error = archive(9).refused(Form::Tree);
    assert!(error.to_string().contains("more than 8 headers"), "{error}");
}

#[test]
fn gzip_zstd_and_plain_give_the_same_diff_id() {
    let plain = Tar::new().file("f", "content").bytes();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&plain).expect("gzip");
    let gz = gz.finish().expect("gzip");
    let zst = zstd::encode_all(plain.as_slice(), 3).expect("zstd");
    let ids: Vec<Digest> = [plain, gz, zst]
        .iter()
        .flat_map(|bytes| forms().into_iter().map(move |form| (bytes, form)))
        .map(|(bytes, form)| Layer::new(form).unpack(bytes, LIMITS).expect("unpack").diff_id)
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Flips bytes of a good archive (and mends the checksum half of the time): errors are fine, escapes and panics are not.
    #[test]
    fn mutated_archives_stay_inside(flips in proptest::collection::vec((0usize..6000, proptest::prelude::any::<u8>()), 1..20), mend: bool) {
        let mut bytes = Tar::new().dir("a/").symlink("a/l", "..").file("a/l/f", "x").file("a/.wh.b", "").add(tar::EntryType::Link, "h", "f", 0, b"").bytes();
        let len = bytes.len();
        for (at, value) in flips {
            bytes[at % len] = value;
        }
        if mend {
            for block in bytes.chunks_mut(512) {
                let sum: u32 = block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let told: Vec<_> = forms().into_iter().map(|form| {
            let outer = tempfile::tempdir().expect("tempdir");
            let root = outer.path().join("root");
            std::fs::create_dir_all(root.join(SHOWN)).expect("root");
            let result = unpack(bytes.as_slice(), &root, form, &like(), LIMITS);
            assert_eq!(std::fs::read_dir(outer.path()).expect("outer").count(), 1);
            result.ok().map(|meta| (meta.diff_id, meta.bytes, meta.implicit))
        }).collect();
        proptest::prop_assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    }
}
