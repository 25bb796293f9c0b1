//! Layers that a disk changed after they were unpacked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rk_images::{Error, ErrorKind};

use crate::registry::{Registry, layer};
use crate::{count, mirror, nothing_is_kept, open, pull};

/// The one unpacked layer that holds a file.
fn holder(root: &Path, file: &str) -> PathBuf {
    let layers = std::fs::read_dir(root.join("layers")).expect("layers").flatten();
    layers.map(|entry| entry.path().join("fs").join(file)).find(|path| path.exists()).expect(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_lost_a_file_makes_no_container_and_is_pulled_again() {
    let registry = Registry::start().await;
    registry.image("rk.invalid/app", "1", &[layer(&[("below", 0o644, "b")]), layer(&[("lost", 0o644, "l")])], "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    drop(images);
    std::fs::remove_file(holder(dir.path(), "lost")).expect("remove");

    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let error = images.snapshot(&id, "c").await.expect_err("a file is lost");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!((images.list(), images.snapshots()), (Vec::new(), Vec::new()), "so that the image is pulled again");
    assert_eq!(pull(&images, "rk.invalid/app:1").await.expect("again"), id);
    let snapshot = images.snapshot(&id, "c").await.expect("snapshot");
    assert!(snapshot.rootfs().join("lost").is_file() && snapshot.rootfs().join("below").is_file());
    images.remove(id.as_str()).await.expect("remove");
    images.release("c").await.expect("release");
    nothing_is_kept(&images, dir.path()).await;
    assert_eq!(count(dir.path(), "damaged"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found_by_reading_and_its_containers_keep_what_is_left() {
    let registry = Registry::start().await;
    registry.image("rk.invalid/app", "1", &[layer(&[("kept", 0o644, "k"), ("text", 0o644, "content")])], "{}");
    registry.image("rk.invalid/other", "1", &[layer(&[("other", 0o644, "o")])], "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    pull(&images, "rk.invalid/other:1").await.expect("pull");
    let before = images.snapshot(&id, "before").await.expect("snapshot");
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 0);

    std::fs::write(holder(dir.path(), "text"), "cOntent").expect("flip");
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 1);
    let names: Vec<String> = images.list().into_iter().flat_map(|image| image.repo_tags).collect();
    assert_eq!(names, ["rk.invalid/other:1"]);
    assert!(before.rootfs().join("kept").is_file(), "a container goes on with what is left");
    images.gc().await.expect("gc");
    assert_eq!(count(dir.path(), "damaged"), 1, "its files are below a container");

    assert_eq!(pull(&images, "rk.invalid/app:1").await.expect("again"), id);
    let after = images.snapshot(&id, "after").await.expect("snapshot");
    assert_eq!(std::fs::read_to_string(after.rootfs().join("text")).ok().as_deref(), Some("content"));
    assert_eq!(images.scrub(Duration::ZERO).await.expect("scrub"), 0);
    images.release("before").await.expect("release");
    assert_eq!(count(dir.path(), "damaged"), 0, "nobody stands on it");
    assert!(after.rootfs().join("text").is_file());
    images.release("after").await.expect("release");
}
