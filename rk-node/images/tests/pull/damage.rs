//! Layers that a disk changed after they were unpacked.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rk_images::{Error, ErrorKind};

use crate::registry::{Registry, layer};
use crate::{count, mirror, nothing_is_kept, open, pull};

/// Whether a file has these bytes in it.
fn has(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// The one file of unpacked layers that has these bytes: a layer that is one file, or a file in the root of a tree.
fn holder(root: &Path, text: &str) -> PathBuf {
    let of = |layer: PathBuf| match layer.join("layer.erofs") {
        file if file.exists() => vec![file],
        _ => std::fs::read_dir(layer.join("fs")).expect("tree").flatten().map(|entry| entry.path()).collect(),
    };
    let layers = std::fs::read_dir(root.join("layers")).expect("layers").flatten();
    layers.flat_map(|entry| of(entry.path())).find(|path| has(path, text)).expect(text)
}

/// Takes the end of a file away, which in a layer that is one file is where its names are; a small one in a tree is gone.
fn lose(path: &Path) {
    let kept = std::fs::metadata(path).expect("size").len().saturating_sub(1000);
    match kept {
        0 => std::fs::remove_file(path).expect("remove"),
        kept => File::options().write(true).open(path).and_then(|file| file.set_len(kept)).expect("cut"),
    }
}

/// Changes one byte of what a file has.
fn flip(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).expect("read");
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect(text);
    bytes[at] ^= 0x20;
    File::options().write(true).open(path).and_then(|file| file.write_all_at(&bytes, 0)).expect("write");
}

/// Mounts below a directory.
fn mounts(root: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(root)).count()
}

/// A directory where layers are files, and one where the kernel mounts none and they are trees.
fn places() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")].map(|made| made.expect("tempdir"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_lost_a_part_makes_no_container_and_is_pulled_again() {
    for dir in places() {
        loses_a_part(dir.path()).await;
    }
}

async fn loses_a_part(root: &Path) {
    let registry = Registry::start().await;
    let lost = layer(&[("lost", 0o644, "what is lost")]);
    registry.image("rk.invalid/app", "1", &[layer(&[("below", 0o644, "b")]), lost], "{}");
    let images = open(root, vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    drop(images);
    lose(&holder(root, "what is lost"));

    let images = open(root, vec![mirror(&registry)]).await;
    let error = images.snapshot(&id, "c").await.expect_err("a file is lost");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!((images.list(), images.snapshots()), (Vec::new(), Vec::new()), "so that the image is pulled again");
    assert_eq!(pull(&images, "rk.invalid/app:1").await.expect("again"), id);
    let snapshot = images.snapshot(&id, "c").await.expect("snapshot");
    assert!(snapshot.rootfs().join("lost").is_file() && snapshot.rootfs().join("below").is_file());
    images.remove(id.as_str()).await.expect("remove");
    images.release("c").await.expect("release");
    nothing_is_kept(&images, root).await;
    assert_eq!((count(root, "damaged"), mounts(root)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found_by_reading_and_its_containers_keep_what_is_left() {
    for dir in places() {
        flips_a_byte(dir.path()).await;
    }
}

async fn flips_a_byte(root: &Path) {
    let registry = Registry::start().await;
    registry.image("rk.invalid/app", "1", &[layer(&[("kept", 0o644, "k"), ("text", 0o644, "content")])], "{}");
    registry.image("rk.invalid/other", "1", &[layer(&[("other", 0o644, "o")])], "{}");
    let images = open(root, vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    pull(&images, "rk.invalid/other:1").await.expect("pull");
    let before = images.snapshot(&id, "before").await.expect("snapshot");
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 0);

    flip(&holder(root, "content"), "content");
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 1);
    let names: Vec<String> = images.list().into_iter().flat_map(|image| image.repo_tags).collect();
    assert_eq!(names, ["rk.invalid/other:1"]);
    assert!(before.rootfs().join("kept").is_file(), "a container goes on with what is left");
    images.gc().await.expect("gc");
    assert_eq!(count(root, "damaged"), 1, "its files are below a container");

    assert_eq!(pull(&images, "rk.invalid/app:1").await.expect("again"), id);
    let after = images.snapshot(&id, "after").await.expect("snapshot");
    assert_eq!(std::fs::read_to_string(after.rootfs().join("text")).ok().as_deref(), Some("content"));
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 0);
    images.release("before").await.expect("release");
    assert_eq!(count(root, "damaged"), 0, "nobody stands on it");
    assert!(after.rootfs().join("text").is_file());
    images.release("after").await.expect("release");
    assert_eq!(mounts(root), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_mounted_once_while_containers_stand_on_it_and_found_again_after_a_restart() {
    let registry = Registry::start().await;
    let layers = [layer(&[("below", 0o644, "b")]), layer(&[("above", 0o644, "a")])];
    registry.image("rk.invalid/app", "1", &layers, "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path();
    let images = open(root, vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    if !root.join("layers").read_dir().expect("layers").flatten().all(|layer| layer.path().join("layer.erofs").exists())
    {
        eprintln!("this kernel mounts no erofs from files");
        return;
    }
    assert_eq!(mounts(root), 0, "nobody uses the layers");
    let all = futures::future::join_all(["a", "b", "c"].map(|key| images.snapshot(&id, key))).await;
    let all: Vec<_> = all.into_iter().map(|snapshot| snapshot.expect("snapshot")).collect();
    assert_eq!(mounts(root), 3 + 2, "a root for each, and a mount for each layer");
    images.release("c").await.expect("release");
    assert_eq!(mounts(root), 2 + 2);

    drop(images);
    let images = open(root, vec![]).await;
    assert_eq!(mounts(root), 2 + 2, "what is in use stays");
    images.snapshot(&id, "d").await.expect("snapshot");
    assert_eq!(mounts(root), 3 + 2);
    images.remove("rk.invalid/app:1").await.expect("remove");
    for (key, left) in [("d", 4), ("a", 3)] {
        images.release(key).await.expect("release");
        assert_eq!(mounts(root), left);
        assert!(all[1].rootfs().join("above").is_file() && all[1].rootfs().join("below").is_file());
    }
    // As after the machine's restart: nothing is mounted, and the container wants its root again.
    drop(images);
    for point in ["snapshots/b/rootfs", "layers"] {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
        for point in points.filter(|mounted| mounted.starts_with(root.join(point))) {
            // Lazily: a program that another test is starting has the files of this process for a moment.
            assert!(Command::new("umount").arg("-l").arg(&point).status().expect("umount").success(), "{point:?}");
        }
    }
    assert_eq!(mounts(root), 0);
    let images = open(root, vec![mirror(&registry)]).await;
    pull(&images, "rk.invalid/app:1").await.expect("pull");
    let snapshot = images.snapshot(&id, "b").await.expect("snapshot");
    assert!(snapshot.rootfs().join("above").is_file());
    images.release("b").await.expect("release");
    images.remove("rk.invalid/app:1").await.expect("remove");
    nothing_is_kept(&images, root).await;
    assert_eq!(mounts(root), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_an_earlier_release_left_as_trees_are_used_on() {
    let registry = Registry::start().await;
    let layers = [layer(&[("etc/old", 0o644, "b")]), layer(&[("etc/.wh.old", 0o644, ""), ("etc/new", 0o600, "n")])];
    registry.image("rk.invalid/app", "1", &layers, "{}");
    let [dir, before] = places();
    let images = open(before.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    drop(images);
    let from = before.path().join(".");
    assert!(Command::new("cp").arg("-a").args([&from, dir.path()]).status().expect("cp").success());
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    assert!(dir.path().join("layers").read_dir().expect("layers").flatten().all(|l| l.path().join("fs/etc").is_dir()));
    registry.image("rk.invalid/other", "1", &[layers[0].clone(), layer(&[("more", 0o644, "m")])], "{}");
    let other = pull(&images, "rk.invalid/other:1").await.expect("a layer of each form");
    let [first, second] = [(&id, "a"), (&other, "b")].map(|(image, key)| images.snapshot(image, key));
    let (first, second) = (first.await.expect("a tree alone"), second.await.expect("both"));
    assert!(first.rootfs().join("etc/new").is_file() && !first.rootfs().join("etc/old").exists());
    assert!(second.rootfs().join("etc/old").is_file() && second.rootfs().join("more").is_file());
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 0);
    for key in ["a", "b"] {
        images.release(key).await.expect("release");
    }
    for name in ["rk.invalid/app:1", "rk.invalid/other:1"] {
        images.remove(name).await.expect("remove");
    }
    nothing_is_kept(&images, dir.path()).await;
    assert_eq!(mounts(dir.path()), 0);
}
