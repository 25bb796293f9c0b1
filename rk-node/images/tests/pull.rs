//! Pulls from a registry in this process, over real sockets. Needs root, for devices, owners and overlay mounts.

mod registry;

use std::{os::unix::fs::MetadataExt, path::Path, sync::atomic::Ordering::SeqCst, time::Duration};

use registry::{Fault, Registry, layer};
use rk_images::{Archive, Auth, Config, Error, ErrorKind, ImageId, Images, Mirror, Shift};
use tokio_util::sync::CancellationToken;

async fn open(root: &Path, mirrors: Vec<Mirror>) -> Images {
    let mut config = Config::new(root);
    config.mirrors = mirrors;
    config.idle_timeout = Duration::from_secs(2);
    Images::open(config).await.expect("open")
}

async fn pull(images: &Images, name: &str) -> Result<ImageId, Error> {
    images.pull(name, None, CancellationToken::new()).await
}

fn mirror(registry: &Registry) -> Mirror {
    Mirror { matches: "*".into(), endpoints: vec![format!("http://{}", registry.address)], include_host: true }
}

/// An error with all that it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    error.source().map_or(text.clone(), |source| format!("{text}: {}", chain(source)))
}

fn count(root: &Path, directory: &str) -> usize {
    std::fs::read_dir(root.join(directory)).map(Iterator::count).unwrap_or(0)
}

/// Workers of a failed pull clean up on their own threads.
async fn nothing_is_kept(images: &Images, root: &Path) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        images.gc().await.expect("gc");
        let left = (count(root, "ingest"), count(root, "layers"), count(root, "records"));
        if left == (0, 0, 0) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "kept {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_mounted_and_survives_a_restart() {
    let registry = Registry::start().await;
    let lower = layer(&[("etc/", 0o700, ""), ("etc/passwd", 0o644, "root"), ("etc/old", 0o600, "old")]);
    let upper = layer(&[("etc/.wh.old", 0o600, ""), ("etc/new", 0o600, "new")]);
    registry.image(
        "rk.local_5000/app",
        "demo",
        &[lower, upper],
        r#"{"Env":["A=b"],"Entrypoint":["/app"],"StopSignal":"SIGQUIT"}"#,
    );
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.local:5000/app:demo").await.expect("pull");

    let image = images.status("rk.local:5000/app:demo").expect("by name");
    assert_eq!(images.status(id.as_str()).as_ref(), Some(&image));
    assert_eq!(images.status(&image.repo_digests[0]).as_ref(), Some(&image));
    assert_eq!(images.status(&image.id.as_str()[7..19]).as_ref(), Some(&image));
    assert_eq!((image.config.env.as_slice(), image.config.stop_signal.as_str()), (&["A=b".to_owned()][..], "SIGQUIT"));
    assert_eq!(image.repo_tags, ["rk.local:5000/app:demo"]);

    let snapshot = images.snapshot(&id, "c1").await.expect("snapshot");
    let rootfs = snapshot.rootfs();
    assert_eq!(std::fs::read_to_string(rootfs.join("etc/passwd")).ok().as_deref(), Some("root"));
    assert!(rootfs.join("etc/new").is_file() && !rootfs.join("etc/old").exists());
    let etc = std::fs::metadata(rootfs.join("etc")).expect("etc");
    assert_eq!(etc.mode() & 0o7777, 0o700, "the upper layer has no entry for etc, so the lower one's mode holds");
    std::fs::write(rootfs.join("written"), "x").expect("write");
    assert!(images.snapshot_usage("c1").await.expect("usage").inodes >= 1);

    drop(images);
    let images = open(dir.path(), vec![]).await;
    assert_eq!(images.list(), [image]);
    assert_eq!(images.snapshots(), ["c1"]);
    images.snapshot(&id, "c1").await.expect("again");
    assert!(rootfs.join("written").is_file());
    images.remove("rk.local:5000/app:demo").await.expect("remove");
    assert!(rootfs.join("etc/passwd").is_file(), "a running container keeps its layers");
    images.release("c1").await.expect("release");
    images.release("c1").await.expect("release again");
    nothing_is_kept(&images, dir.path()).await;
}

/// A process in a user namespace whose id 0 is 65536 on the host.
fn in_own_users() -> std::process::Child {
    let child = std::process::Command::new("unshare").args(["--user", "sleep", "60"]).spawn().expect("unshare");
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/user")).expect("namespace");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while namespace(&child.id().to_string()) == namespace("self") {
        assert!(std::time::Instant::now() < deadline, "the process has no user namespace");
        std::thread::sleep(Duration::from_millis(10));
    }
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", child.id()), "0 65536 65536").expect(map);
    }
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn for_users_of_a_namespace_an_image_is_theirs_and_its_layers_stay_as_they_are() {
    let registry = Registry::start().await;
    let lower = layer(&[("etc/", 0o700, ""), ("etc/passwd", 0o644, "root")]);
    let upper = layer(&[("etc/new", 0o600, "new")]);
    registry.image("rk.local_5000/app", "demo", &[lower, upper], "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.local:5000/app:demo").await.expect("pull");
    let mut users = in_own_users();
    let namespace = format!("/proc/{}/ns/user", users.id()).into();
    let shift = Shift { namespace, root: (65_536, 65_536) };
    let snapshot = images.snapshot_for(&id, "c1", Some(shift)).await.expect("snapshot");
    users.kill().and_then(|()| users.wait()).expect("end of the namespace's process");
    let rootfs = snapshot.rootfs();
    for (path, mode) in [("", 0o755), ("etc", 0o700), ("etc/passwd", 0o644), ("etc/new", 0o600)] {
        let meta = std::fs::symlink_metadata(rootfs.join(path)).expect(path);
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (65_536, 65_536, mode), "{path}");
    }
    // Writing copies a file up, with the owner that it shows.
    std::fs::write(rootfs.join("etc/passwd"), "changed").expect("write");
    assert_eq!(std::fs::metadata(snapshot.upper.join("etc/passwd")).expect("copied").uid(), 65_536);
    let below = std::fs::metadata(snapshot.lower[1].join("etc/passwd")).expect("lower");
    assert_eq!((below.uid(), below.len()), (0, 4), "the layer itself is untouched");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    assert_eq!(
        points.filter(|point| point.contains("/c1/mapped-")).count(),
        0,
        "only the root stays mounted: {mounts}"
    );
    images.release("c1").await.expect("release");
    assert!(!dir.path().join("snapshots/c1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_are_resumed_with_or_without_range() {
    for ranges in [true, false] {
        let registry = Registry::start().await;
        let big: String =
            (0..200_000u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        registry.image("localhost/app", "x", &[layer(&[("big", 0o644, &big)])], "{}");
        registry.fault(Fault::CutAfter { bytes: 20_000, times: 3, ranges });
        let dir = tempfile::tempdir().expect("tempdir");
        let images = open(dir.path(), vec![mirror(&registry)]).await;
        pull(&images, "localhost/app:x").await.expect("pull");
        assert!(registry.cuts.load(SeqCst) >= 3, "the fault was met");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_is_refused_and_nothing_is_kept() {
    let registry = Registry::start().await;
    registry.image("localhost/app", "x", &[layer(&[("f", 0o644, "content")]), layer(&[("g", 0o644, "more")])], "{}");
    registry.fault(Fault::Corrupt);
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let error = pull(&images, "localhost/app:x").await.expect_err("corrupt");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("content has digest"), "{error}");
    nothing_is_kept(&images, dir.path()).await;

    registry.fault(Fault::None);
    registry.wrong_diff_ids("localhost/bad", "x", &layer(&[("f", 0o644, "content")]));
    let error = pull(&images, "localhost/bad:x").await.expect_err("diff id");
    assert!(error.to_string().contains("unpacked layer"), "{error}");
    nothing_is_kept(&images, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_image_is_not_found_and_the_next_endpoint_is_asked() {
    let (empty, full) = (Registry::start().await, Registry::start().await);
    full.image("app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let dead = Mirror { matches: "*".into(), endpoints: vec!["http://127.0.0.1:1".into()], include_host: false };
    let images = open(dir.path(), vec![mirror(&empty), dead]).await;
    let origin = format!("{}/app:x", full.address);
    pull(&images, &origin).await.expect("the registry itself holds it");
    assert!(empty.requests.load(SeqCst) > 0);
    let error = pull(&images, &format!("{}/nope:x", full.address)).await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().ends_with("/nope:x: not found"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_pulls_share_one_download() {
    let registry = Registry::start().await;
    registry.image("localhost/app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
    registry.fault(Fault::Slow);
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let cancel = CancellationToken::new();
    let quitter = images.pull("localhost/app:x", None, cancel.clone());
    let others = futures::future::join_all((0..8).map(|_| pull(&images, "localhost/app:x")));
    let quit = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let (quitted, others, ()) = tokio::join!(quitter, others, quit);
    assert_eq!(quitted.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    assert_eq!(registry.requests.load(SeqCst), 3, "manifest, config, layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_and_basic_authentication_work_and_wrong_ones_are_denied() {
    for scheme in ["Bearer", "Basic"] {
        let registry = Registry::start().await;
        registry.image("app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
        registry.guard(scheme, "user", "s3cret");
        let dir = tempfile::tempdir().expect("tempdir");
        let images = open(dir.path(), vec![]).await;
        let name = format!("{}/app:x", registry.address);
        let auth = |password: &str| Some(Auth::Basic { username: "user".into(), password: password.into() });
        for auth in [None, auth("wrong")] {
            let error = images.pull(&name, auth, CancellationToken::new()).await.expect_err("denied");
            assert_eq!(error.kind(), ErrorKind::Denied, "{scheme}: {error}");
            assert!(!error.to_string().contains("wrong"), "{error}");
        }
        images.pull(&name, auth("s3cret"), CancellationToken::new()).await.expect(scheme);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_a_certificate_of_its_own_is_trusted_only_when_told_so() {
    let (registry, certificate) = Registry::start_tls().await;
    registry.image("library/app", "1", &[layer(&[("a", 0o644, "a")])], "{}");
    let host = registry.address.to_string();
    let over_tls = Mirror { matches: "*".into(), endpoints: vec![format!("https://{host}")], include_host: false };
    let config = |root: &Path, host_roots| {
        let mut config = Config::new(root);
        config.mirrors = vec![over_tls.clone()];
        config.host_roots = host_roots;
        config.idle_timeout = Duration::from_secs(2);
        config
    };
    let dir = tempfile::tempdir().expect("tempdir");
    for roots in [vec![], vec![("other.example".to_owned(), vec![certificate.clone()])]] {
        let images = Images::open(config(dir.path(), roots)).await.expect("open");
        let error = pull(&images, "mirrored.invalid/library/app:1").await.expect_err("an unknown authority");
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
        nothing_is_kept(&images, dir.path()).await;
    }
    let images = Images::open(config(dir.path(), vec![(host, vec![certificate])])).await.expect("open");
    pull(&images, "mirrored.invalid/library/app:1").await.expect("pull");
}

/// A file system of so many bytes, gone with its owner.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: usize) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let size = format!("size={bytes}");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir.path()).status();
        assert!(mounted.expect("mount").success(), "mounting a tmpfs needs root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_a_pull_and_nothing_partial_is_kept() {
    let registry = Registry::start().await;
    let big = "0123456789abcdef".repeat(512 << 10);
    registry.image("full.invalid/big", "1", &[layer(&[("small", 0o644, "s")]), layer(&[("big", 0o644, &big)])], "{}");
    registry.image("full.invalid/small", "1", &[layer(&[("small", 0o644, "s")])], "{}");
    let disk = SmallDisk::new(4 << 20);
    let images = open(disk.0.path(), vec![mirror(&registry)]).await;
    let error = pull(&images, "full.invalid/big:1").await.expect_err("8 MiB on a disk of 4");
    assert!(chain(&error).contains("No space left on device"), "{}", chain(&error));
    assert_eq!(images.list(), []);
    nothing_is_kept(&images, disk.0.path()).await;
    pull(&images, "full.invalid/small:1").await.expect("what fits is pulled");
}

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
