//! Pulls from a registry in this process, over real sockets. Needs root, for devices, owners and overlay mounts.

#[path = "pull/archives.rs"]
mod archives;
#[path = "pull/damage.rs"]
mod damage;
#[path = "pull/limits.rs"]
mod limits;
mod registry;
#[path = "pull/resume.rs"]
mod resume;
#[path = "pull/trust.rs"]
mod trust;

use std::{os::unix::fs::MetadataExt, path::Path, sync::atomic::Ordering::SeqCst, time::Duration};

use http::StatusCode;
use registry::{Fault, Registry, layer};
use rk_images::{Auth, ClientCertificate, Config, Error, ErrorKind, ImageId, Images, Mirror, Shift};
use tokio_util::sync::CancellationToken;

async fn open(root: &Path, mirrors: Vec<Mirror>) -> Images {
    let mut config = Config::new(root);
    config.mirrors = mirrors;
    opened(&config).await
}

/// The images of a directory, as soon as its lock is let go of: by those before, and by programs that other tests are starting, which
/// have every file of this process until they are executed.
async fn opened(config: &Config) -> Images {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match Images::open(config.clone()).await {
            Ok(images) => return images,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{}", chain(&error)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
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
    assert!(images.snapshot_usage("c1", |_| {}).await.expect("usage").inodes >= 1);

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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_below_a_layer_whose_root_is_opaque() {
    let registry = Registry::start().await;
    let lowest = layer(&[("lowest", 0o644, "l"), ("etc/passwd", 0o644, "l")]);
    let opaque = layer(&[(".wh..wh..opq", 0o644, ""), ("etc/group", 0o644, "o")]);
    registry.image("rk.invalid/app", "1", &[lowest, opaque, layer(&[("above", 0o644, "a")])], "{}");
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let id = pull(&images, "rk.invalid/app:1").await.expect("pull");
    let snapshot = images.snapshot(&id, "c1").await.expect("snapshot");
    assert_eq!(snapshot.lower.len(), 2);
    for (name, seen) in [("above", true), ("etc/group", true), ("lowest", false), ("etc/passwd", false)] {
        assert_eq!(snapshot.rootfs().join(name).exists(), seen, "{name}");
    }
    images.release("c1").await.expect("release");
    images.remove("rk.invalid/app:1").await.expect("remove");
    nothing_is_kept(&images, dir.path()).await;
}

/// A process in a user namespace whose id 0 is 65536 on the host.
fn in_own_users() -> std::process::Child {
    let child = std::process::Command::new("unshare").args(["--user", "sleep", "300"]).spawn().expect("unshare");
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/user")).expect("namespace");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
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
async fn a_pull_that_fails_says_why_whatever_cannot_be_cleared_behind_it() {
    let registry = Registry::start().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![]).await;
    std::fs::remove_dir(dir.path().join("partial")).expect("what is kept of downloads");
    let error = pull(&images, &format!("{}/nope:x", registry.address)).await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_pulls_share_one_download() {
    let registry = Registry::start().await;
    registry.image("localhost/app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
    registry.fault(Fault::Late);
    let dir = tempfile::tempdir().expect("tempdir");
    let images = open(dir.path(), vec![mirror(&registry)]).await;
    let cancel = CancellationToken::new();
    let quitter = async {
        let quitted = images.pull("localhost/app:x", None, cancel.clone()).await;
        registry.fault(Fault::None);
        quitted
    };
    let others = futures::future::join_all((0..8).map(|_| pull(&images, "localhost/app:x")));
    let quit = async {
        let asked = async {
            while registry.requests.load(SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the manifest is asked for");
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
async fn a_busy_registry_is_asked_again_when_it_says() {
    for (status, after, waited) in [
        (StatusCode::TOO_MANY_REQUESTS, "1", Duration::from_secs(3)),
        // It has passed, and is not asked at once for that.
        (StatusCode::SERVICE_UNAVAILABLE, "Sun, 06 Nov 1994 08:49:37 GMT", Duration::from_secs(3)),
        // For longer nobody waits: a manifest and blobs have few attempts, which come at once.
        (StatusCode::TOO_MANY_REQUESTS, "3600", Duration::ZERO),
    ] {
        let registry = Registry::start().await;
        registry.image("localhost/app", "x", &[layer(&[("f", 0o644, "content")])], "{}");
        registry.fault(Fault::Busy(status, after));
        let dir = tempfile::tempdir().expect("tempdir");
        let images = open(dir.path(), vec![mirror(&registry)]).await;
        let began = std::time::Instant::now();
        pull(&images, "localhost/app:x").await.expect("pull");
        let took = began.elapsed();
        assert!(took >= waited && took < Duration::from_secs(60), "{after:?}: {took:?}");
        assert_eq!(registry.requests.load(SeqCst), 6, "manifest, config and layer, each twice");
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
        config
    };
    let dir = tempfile::tempdir().expect("tempdir");
    for roots in [vec![], vec![("other.example".to_owned(), vec![certificate.clone()])]] {
        let images = opened(&config(dir.path(), roots)).await;
        let error = pull(&images, "mirrored.invalid/library/app:1").await.expect_err("an unknown authority");
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
        nothing_is_kept(&images, dir.path()).await;
    }
    let images = opened(&config(dir.path(), vec![(host, vec![certificate])])).await;
    pull(&images, "mirrored.invalid/library/app:1").await.expect("pull");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_who_connects_is_shown_the_certificate_that_is_for_it() {
    let mine = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).expect("certificate");
    let (registry, certificate) = Registry::start_tls_for(Some(mine.cert.der().clone())).await;
    registry.image("library/app", "1", &[layer(&[("a", 0o644, "a")])], "{}");
    let host = registry.address.to_string();
    let config = |root: &Path, shown_to: &str| {
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(mine.signing_key.serialize_der().into());
        let shown = ClientCertificate::new(vec![mine.cert.der().clone()], key).expect("a pair");
        let mut config = Config::new(root);
        let endpoints = vec![format!("https://{host}")];
        config.mirrors = vec![Mirror { matches: "*".into(), endpoints, include_host: false }];
        config.host_roots = vec![(host.clone(), vec![certificate.clone()])];
        config.client_certificates = vec![(shown_to.to_owned(), shown)];
        config
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let images = opened(&config(dir.path(), "other.example")).await;
    pull(&images, "mirrored.invalid/library/app:1").await.expect_err("nothing is shown");
    nothing_is_kept(&images, dir.path()).await;
    drop(images);
    let images = opened(&config(dir.path(), &host)).await;
    pull(&images, "mirrored.invalid/library/app:1").await.expect("pull");

    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).expect("certificate");
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(other.signing_key.serialize_der().into());
    assert!(ClientCertificate::new(vec![mine.cert.der().clone()], key).is_err(), "another's key");
}
