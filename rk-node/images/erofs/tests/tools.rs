//! Images as erofs' own tools and the kernel read them.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::Path,
    process::Command,
};

use rk_erofs::{BLOCK, Body, Dress, Finished, Output, Tree, Writer};

/// A tree of everything that there is, with files of so many bytes.
fn image(sizes: &[usize]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let mut tree = Tree::default();
    tree.dress(Tree::ROOT, Dress { mode: 0o751, uid: 1, gid: 2, mtime: (1_000_000_000, 5) });
    let files = tree.add_directory(Tree::ROOT, b"files", 0o700).expect("files");
    for size in sizes {
        let mut contents = writer.contents().expect("contents");
        contents.write_all(&content(*size)).expect("content");
        let body = Body::File(contents.end().expect("end"));
        let file = tree.add(files, size.to_string().as_bytes(), body).expect("file");
        tree.dress(file, Dress { mode: 0o4755, uid: 100_000, gid: 70_000, mtime: (-5, 7) });
        tree.set_attribute(file, b"user.size", size.to_string().as_bytes()).expect("attribute");
        tree.link(Tree::ROOT, format!("again-{size}").as_bytes(), file).expect("link");
    }
    let mut contents = writer.contents().expect("contents");
    contents.write_all(b"begins").expect("content");
    contents.hole(1 << 20).expect("hole");
    contents.write_all(b"ends").expect("content");
    let sparse = Body::File(contents.end().expect("end"));
    tree.add(Tree::ROOT, b"sparse", sparse).expect("sparse");
    let many = tree.add_directory(Tree::ROOT, b"many", 0o755).expect("many");
    tree.set_attribute(many, b"trusted.overlay.opaque", b"y").expect("opaque");
    tree.set_attribute(many, b"user.large", &vec![b'v'; 6000]).expect("large");
    for n in 0..3000 {
        tree.add(many, format!("{n:060}").as_bytes(), Body::Symlink(format!("to-{n}").into_bytes().into())).expect("n");
    }
    for (name, body) in [
        ("gone", Body::Char(0, 0)),
        ("null", Body::Char(1, 3)),
        ("disk", Body::Block(259, 70_000)),
        ("pipe", Body::Fifo),
        ("long", Body::Symlink(vec![b'l'; 4090].into())),
    ] {
        tree.add(Tree::ROOT, name.as_bytes(), body).expect(name);
    }
    let Finished { out, first, size, .. } = writer.finish(&tree, [7; 16]).expect("finish");
    let whole = [first, out].concat();
    assert_eq!(whole.len() as u64, size);
    whole
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

const SIZES: [usize; 6] = [0, 1, 4095, 4096, 4097, 100_000];

/// What `image` made, below a directory.
fn compare(root: &Path) {
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).expect(name);
    for size in SIZES {
        let name = format!("files/{size}");
        assert!(fs::read(root.join(&name)).expect("file") == content(size), "{name}");
        let file = stat(&name);
        // Who extracts sets the owner last, which takes set-user-ID away.
        assert_eq!((file.mode() & !0o4000, file.uid(), file.gid()), (0o100_755, 100_000, 70_000), "{name}");
    }
    let sparse = [&b"begins"[..], &vec![0; 1 << 20], b"ends"].concat();
    assert!(fs::read(root.join("sparse")).expect("sparse") == sparse);
    let mut names: Vec<_> = fs::read_dir(root.join("many")).expect("many").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 3000);
    for n in [0, 1, 1500, 2999] {
        let link = fs::read_link(root.join(format!("many/{n:060}"))).expect("link");
        assert_eq!(link, Path::new(&format!("to-{n}")));
    }
    assert_eq!(fs::read_link(root.join("long")).expect("long").as_os_str().len(), 4090);
    assert!(stat("gone").file_type().is_char_device() && stat("gone").rdev() == 0);
    assert_eq!((stat("null").rdev() >> 8, stat("null").rdev() & 0xff), (1, 3));
    assert!(stat("disk").file_type().is_block_device() && stat("pipe").file_type().is_fifo());
}

/// Whether a program is here; tests that cannot ask it say so.
fn here(program: &str) -> bool {
    let found = Command::new(program).arg("--help").output().is_ok();
    if !found {
        eprintln!("{program} (package erofs-utils) is not here: its part is left out");
    }
    found
}

#[test]
fn the_formats_own_tools_find_no_fault_and_extract_what_was_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("image");
    fs::write(&file, image(&SIZES)).expect("image");
    if !here("fsck.erofs") {
        return;
    }
    let into = dir.path().join("out");
    let done =
        Command::new("fsck.erofs").arg(format!("--extract={}", into.display())).arg(&file).output().expect("fsck");
    assert!(done.status.success(), "{done:?}");
    compare(&into);
    let dump = Command::new("dump.erofs").arg(&file).output().expect("dump");
    let told = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.status.success() && told.contains("sb_csum mtime"), "{told}");
}

/// Lets the kernel show an image that is written to a path; where it mounts none, the test says so.
fn shown(write: impl FnOnce(&Path), look: fn(&Path)) {
    let dir = tempfile::tempdir().expect("tempdir");
    let (file, point) = (dir.path().join("image"), dir.path().join("point"));
    write(&file);
    fs::create_dir(&point).expect("point");
    let mut mount = Command::new("mount");
    mount.args(["-t", "erofs", "-o", "ro,loop"]).args([&file, &point]);
    let mounted = mount.output().expect("mount");
    if !mounted.status.success() {
        eprintln!("this kernel, or who runs the test, mounts no erofs: {mounted:?}");
        return;
    }
    let looked = std::panic::catch_unwind(|| look(&point));
    // Lazily: a program that another test is starting has what this one had open for a moment longer.
    let unmounted = Command::new("umount").arg("-l").arg(&point).status().expect("umount");
    assert!(unmounted.success());
    looked.expect("what the kernel shows");
}

#[test]
fn the_kernel_mounts_it_and_shows_what_was_written() {
    let write = |file: &Path| fs::write(file, image(&SIZES)).expect("image");
    shown(write, |point| {
        compare(point);
        let stat = |name: &str| fs::symlink_metadata(point.join(name)).expect(name);
        let root = fs::metadata(point).expect("root");
        let dress = (root.mode(), root.uid(), root.gid(), root.mtime(), root.mtime_nsec(), root.nlink());
        assert_eq!(dress, (0o040_751, 1, 2, 1_000_000_000, 5, 4));
        let file = stat("files/4097");
        assert_eq!((file.mode(), file.mtime(), file.mtime_nsec(), file.nlink()), (0o104_755, -5, 7, 2));
        assert_eq!(file.ino(), stat("again-4097").ino());
        assert_eq!((stat("disk").rdev() >> 8 & 0xfff, stat("disk").size(), stat("long").size()), (259, 0, 4090));
        for name in ["files/nothing", "many/nothing", "zzz", "!"] {
            assert!(fs::symlink_metadata(point.join(name)).is_err(), "{name}");
        }
    });
}

/// Names of the longest kind, and one that fills a block of their directory to its last byte.
fn filling() -> Vec<String> {
    (0..15).map(|n| format!("{n:0255}")).chain(["z".repeat(52)]).collect()
}

#[test]
fn the_kernel_finds_what_is_at_the_edges_of_the_format() {
    let writer = Writer::new(Vec::new());
    let mut tree = Tree::default();
    let full = tree.add_directory(Tree::ROOT, b"full", 0o755).expect("full");
    for name in filling() {
        tree.add(full, name.as_bytes(), Body::Fifo).expect(&name);
    }
    // One link of the longest kind, by more names than 16 bits count.
    let link = tree.add(Tree::ROOT, b"link", Body::Symlink(vec![b'l'; 4095].into())).expect("link");
    let names = tree.add_directory(Tree::ROOT, b"names", 0o755).expect("names");
    for n in 0..70_000 {
        tree.link(names, format!("{n:05}").as_bytes(), link).expect("another name");
    }
    let Finished { out, first, .. } = writer.finish(&tree, [8; 16]).expect("finish");
    let write = |file: &Path| fs::write(file, [first, out].concat()).expect("image");
    shown(write, |point| {
        for name in filling() {
            assert!(fs::symlink_metadata(point.join("full").join(&name)).is_ok(), "{name}");
        }
        assert_eq!(fs::read_dir(point.join("full")).expect("full").count(), 16);
        for name in ["full/0", "full/zz", "full/{", "names/70000", "names/00000x"] {
            assert!(fs::symlink_metadata(point.join(name)).is_err(), "{name}");
        }
        let link = fs::symlink_metadata(point.join("link")).expect("link");
        assert_eq!((link.nlink(), link.size()), (70_001, 4095));
        for name in ["names/00000", "names/35000", "names/69999"] {
            assert_eq!(fs::symlink_metadata(point.join(name)).expect(name).ino(), link.ino(), "{name}");
        }
        assert_eq!(fs::read_link(point.join("names/69999")).expect("target").as_os_str().len(), 4095);
        assert_eq!(fs::read_dir(point.join("names")).expect("names").count(), 70_000);
    });
}

/// A file whose holes are not stored.
struct Holes(File);

impl Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for Holes {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.0.seek(SeekFrom::Current(bytes as i64)).map(drop)
    }
}

#[test]
fn the_kernel_reads_files_of_more_bytes_than_32_bits_count() {
    const HOLE: u64 = 6 << 30;
    let write = |path: &Path| {
        let mut file = File::create(path).expect("image");
        file.seek(SeekFrom::Start(BLOCK)).expect("seek");
        let mut writer = Writer::new(Holes(file));
        let mut tree = Tree::default();
        for name in ["large", "behind"] {
            let mut contents = writer.contents().expect("contents");
            contents.hole(HOLE).expect("hole");
            contents.write_all(name.as_bytes()).expect("content");
            let body = Body::File(contents.end().expect("end"));
            tree.add(Tree::ROOT, name.as_bytes(), body).expect(name);
        }
        let Finished { out, first, .. } = writer.finish(&tree, [9; 16]).expect("finish");
        out.0.write_all_at(&first, 0).expect("first");
    };
    shown(write, |point| {
        for name in ["large", "behind"] {
            let file = File::open(point.join(name)).expect(name);
            let wanted = [&[0; 4][..], name.as_bytes()].concat();
            let mut end = vec![1; wanted.len()];
            file.read_exact_at(&mut end, HOLE - 4).expect(name);
            assert_eq!((file.metadata().expect(name).len(), end), (HOLE + name.len() as u64, wanted), "{name}");
        }
    });
}
