//! What a pull may not take: more of the disk than there is or than may be used, and the others' time.

use std::time::Duration;

use rk_images::{Config, ErrorKind, Mirror, Pace, Part, Reserve};

use crate::registry::{Fault, Registry, layer};
use crate::{chain, mirror, nothing_is_kept, open, opened, pull};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_given_up_while_what_must_stay_free_is_free() {
    let registry = Registry::start().await;
    let zeros = "\0".repeat(20 << 20);
    let halves = [layer(&[("one", 0o644, &zeros)]), layer(&[("two", 0o644, &zeros)])];
    registry.image("bomb.invalid/large", "1", &halves, "{}");
    registry.image("bomb.invalid/small", "1", &[layer(&[("some", 0o644, &zeros[..8 << 20])])], "{}");
    let disk = SmallDisk::new(64 << 20);
    let config = |most| {
        let mut config = Config::new(disk.0.path());
        config.mirrors = vec![mirror(&registry)];
        config.max_image_bytes = most;
        config.reserve = Reserve { bytes: vec![Part::Share(5000)], inodes: vec![Part::Units(10)] };
        config
    };
    let images = opened(&config(128 << 30)).await;
    let error = pull(&images, "bomb.invalid/large:1").await.expect_err("40 MiB where 32 may be used");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", chain(&error));
    assert!(chain(&error).contains("must stay so"), "{}", chain(&error));
    nothing_is_kept(&images, disk.0.path()).await;
    pull(&images, "bomb.invalid/small:1").await.expect("what fits is pulled");
    drop(images);
    let images = opened(&config(8 << 20)).await;
    let error = pull(&images, "bomb.invalid/large:1").await.expect_err("40 MiB where an image may have 8");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", chain(&error));
    assert!(chain(&error).contains("more bytes than allowed"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_drips_is_given_up_and_keeps_nobody_from_pulling_elsewhere() {
    let (slow, good) = (Registry::start().await, Registry::start().await);
    let layers: Vec<_> = ["a", "b", "c", "d"].map(|name| layer(&[(name, 0o644, "content")])).into();
    slow.image("slow.invalid/app", "x", &layers, "{}");
    slow.fault(Fault::Drip);
    good.image("good.invalid/app", "x", &[layer(&[("f", 0o644, "more")])], "{}");
    let of = |registry: &Registry, host: &str| Mirror { matches: host.to_owned(), ..mirror(registry) };
    let dir = tempfile::tempdir().expect("tempdir");
    let mut config = Config::new(dir.path());
    config.mirrors = vec![of(&slow, "slow.invalid"), of(&good, "good.invalid")];
    // The slow image has more layers than it may have slots, and leaves one.
    (config.parallel_layers, config.most_layers) = (3, 4);
    config.floor = Pace { bytes: 1024, within: Duration::from_secs(15) };
    let images = opened(&config).await;
    let timed = async |name: &str, after: u64| {
        tokio::time::sleep(Duration::from_millis(after)).await;
        (pull(&images, name).await, tokio::time::Instant::now())
    };
    let (slow, good) = tokio::join!(timed("slow.invalid/app:x", 0), timed("good.invalid/app:x", 200));
    good.0.expect("the registry beside it sends");
    let error = slow.0.expect_err("fifty bytes a second");
    assert!(chain(&error).contains(" bytes in "), "{}", chain(&error));
    assert!(good.1 < slow.1, "the good pull waited for the slow one");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_an_image_come_side_by_side_as_many_as_may() {
    let registry = Registry::start().await;
    let layers: Vec<_> = ["a", "b", "c", "d"].map(|name| layer(&[(name, 0o644, "content")])).into();
    registry.image("rk.invalid/app", "x", &layers, "{}");
    // No layer ends, so that those which were asked for were so at once.
    registry.fault(Fault::HoldAfter(64));
    let dir = tempfile::tempdir().expect("tempdir");
    let mut config = Config::new(dir.path());
    config.mirrors = vec![mirror(&registry)];
    config.parallel_layers = 3;
    let images = opened(&config).await;
    let asked = async {
        let (mut asked, mut quiet) = (0, 0);
        while asked < 3 || quiet < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            asked += registry.starts().len();
            quiet += u32::from(asked >= 3);
        }
        asked
    };
    tokio::select! {
        pulled = pull(&images, "rk.invalid/app:x") => panic!("{pulled:?}"),
        asked = tokio::time::timeout(Duration::from_secs(60), asked) => assert_eq!(asked, Ok(3)),
    }
}
