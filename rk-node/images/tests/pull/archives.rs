//! Images of an image layout on this machine.

use std::path::Path;

use rk_images::{Archive, Config, Error, ErrorKind, Part, Reserve};

use crate::registry::layer;
use crate::{count, nothing_is_kept, open, opened};

/// Writes a blob of a layout; answers its descriptor, with more members of it.
fn put(root: &Path, bytes: &[u8], more: &str) -> String {
    use sha2::Digest;
    let hex = hex::encode(sha2::Sha256::digest(bytes));
    std::fs::create_dir_all(root.join("blobs/sha256")).expect("blobs");
    std::fs::write(root.join("blobs/sha256").join(&hex), bytes).expect("blob");
    format!(r#"{{"digest":"sha256:{hex}","size":{}{more}}}"#, bytes.len())
}

/// Puts an image of one layer into a layout; answers its entry of the index.
fn image_of_layout(root: &Path, name: &str, content: &str) -> String {
    let layer = layer(&[("file", 0o644, content)]);
    let of_layer = put(root, &layer, r#","mediaType":"application/vnd.oci.image.layer.v1.tar""#);
    let diff_id = of_layer.split('"').nth(3).expect("digest");
    let config = format!(r#"{{"os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    let of_config = put(root, config.as_bytes(), "");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{of_config},"layers":[{of_layer}]}}"#);
    let more = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#);
    put(root, manifest.as_bytes(), &more)
}

fn tarred(root: &Path, into: &Path) {
    let mut tar = tar::Builder::new(std::fs::File::create(into).expect("tar"));
    tar.append_dir_all(".", root).expect("append");
    tar.finish().expect("finish");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_archive_holds_is_taken_pinned_and_what_lies_is_not() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (root, layout) = (dir.path().join("images"), dir.path().join("layout"));
    let good = image_of_layout(&layout, "rk.local/good:1", "good");
    let other = image_of_layout(&layout, "rk.local/lies:1", "lies");
    let unnamed = image_of_layout(&layout, "latest", "unnamed");
    // A layer whose bytes are no longer what its name says.
    let lies = layer(&[("file", 0o644, "lies")]);
    let name = put(&layout, &lies, "").split('"').nth(3).expect("digest").replace("sha256:", "blobs/sha256/");
    std::fs::write(layout.join(name), layer(&[("file", 0o644, "LIES")])).expect("blob");
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("mark");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{good},{other},{unnamed}]}}"#);
    std::fs::write(layout.join("index.json"), index).expect("index");
    let tar = dir.path().join("images.tar");
    tarred(&layout, &tar);

    let images = open(&root, vec![]).await;
    for archive in [Archive::Path(layout), Archive::File(std::fs::File::open(&tar).expect("open"))] {
        let taken = images.import(archive).await.expect("import");
        let told: Vec<(&str, Option<ErrorKind>)> =
            taken.iter().map(|(name, result)| (name.as_str(), result.as_ref().err().map(Error::kind))).collect();
        let corrupt = Some(ErrorKind::Corrupt);
        assert_eq!(told, [("", corrupt), ("rk.local/good:1", None), ("rk.local/lies:1", corrupt)]);
        let image = images.status("rk.local/good:1").expect("by name");
        assert!(image.pinned && image.repo_digests.first().is_some_and(|d| d.starts_with("rk.local/good@sha256:")));
        assert_eq!((images.list().len(), count(&root, "layers"), count(&root, "ingest")), (1, 1, 0));
        let snapshot = images.snapshot(&image.id, "c1").await.expect("snapshot");
        assert_eq!(std::fs::read_to_string(snapshot.rootfs().join("file")).ok().as_deref(), Some("good"));
        images.release("c1").await.expect("release");
        images.remove("rk.local/good:1").await.expect("remove");
    }
    let torn = std::fs::File::options().write(true).open(&tar).expect("open");
    torn.set_len(2000).expect("tear");
    assert!(images.import(Archive::Path(tar)).await.is_err());
    assert!(images.import(Archive::Path(dir.path().to_owned())).await.is_err(), "no layout");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_takes_no_more_than_an_image_of_a_registry_may() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (root, layout) = (dir.path().join("images"), dir.path().join("layout"));
    let large = image_of_layout(&layout, "rk.local/large:1", &"\0".repeat(20 << 20));
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("mark");
    std::fs::write(layout.join("index.json"), format!(r#"{{"manifests":[{large}]}}"#)).expect("index");
    for (most, kept, kind) in [(1 << 20, 0, ErrorKind::Corrupt), (128 << 30, u64::MAX, ErrorKind::NoSpace)] {
        let mut config = Config::new(&root);
        config.max_image_bytes = most;
        config.reserve = Reserve { bytes: vec![Part::Units(kept)], inodes: Vec::new() };
        let images = opened(&config).await;
        let taken = images.import(Archive::Path(layout.clone())).await.expect("import");
        let told: Vec<Option<ErrorKind>> =
            taken.iter().map(|(_, result)| result.as_ref().err().map(Error::kind)).collect();
        assert_eq!(told, [Some(kind)]);
        nothing_is_kept(&images, &root).await;
    }
}
