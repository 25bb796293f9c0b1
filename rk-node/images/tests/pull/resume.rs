//! Pulls that go on where another process left them, and how far they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use rk_images::{Config, Images, LayerState, Reserve, Totals};
use tokio::time::Instant;

use crate::registry::{Fault, Registry, layer};
use crate::{count, mirror, opened, pull};

const NAME: &str = "localhost/app:1";
/// Bytes of the layer that come before the process ends.
const HELD: usize = 1_000_000;
/// Registries that do no more than this, with and without ranges.
const WHOLE: Fault = Fault::CutAfter { bytes: 0, times: 0, ranges: true };
const WHOLE_WITHOUT_RANGES: Fault = Fault::CutAfter { bytes: 0, times: 0, ranges: false };

/// The images of a directory, which keep what came of any layer.
async fn keeping(root: &Path, registry: &Registry) -> Images {
    let mut config = Config::new(root);
    config.mirrors = vec![mirror(registry)];
    config.reserve = Reserve { bytes: Vec::new(), inodes: Vec::new() };
    config.keep.least = 1;
    opened(&config).await
}

fn content() -> String {
    (0..3_000_000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect()
}

/// A registry, and what is left of a pull whose process ended while its layer came.
async fn broken_off(root: &Path) -> (Registry, PathBuf) {
    let registry = Registry::start().await;
    registry.image("localhost/app", "1", &[layer(&[("big", 0o644, &content())])], "{}");
    registry.fault(Fault::HoldAfter(HELD));
    let images = keeping(root, &registry).await;
    let puller = images.clone();
    let task = tokio::spawn(async move { pull(&puller, NAME).await });
    let deadline = Instant::now() + Duration::from_secs(60);
    let path = loop {
        let kept = std::fs::read_dir(root.join("partial")).expect("partial").flatten().map(|entry| entry.path()).next();
        if let Some(path) = kept.filter(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() == HELD as u64)) {
            break path;
        }
        assert!(Instant::now() < deadline, "the layer does not come: {:?}", images.pulls());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let told = images.pulls().ongoing;
    assert_eq!((told.len(), told[0].image.as_str(), told[0].layers.len()), (1, NAME, 1), "{told:?}");
    let of = &told[0].layers[0];
    assert_eq!((of.state, of.done, of.resumed), (LayerState::Downloading, HELD as u64, 0));
    assert!(of.digest.starts_with("sha256:") && of.total > 3_000_000, "{of:?}");
    task.abort();
    (registry, path)
}

/// Inside the stored file's content: the archive still reads well.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("kept");
    bytes[HELD / 2] ^= 1;
    std::fs::write(path, bytes).expect("flip");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_where_the_process_before_left_it() {
    for (fault, flipped, starts, anew) in [
        (WHOLE, false, vec![HELD], false),
        (WHOLE_WITHOUT_RANGES, false, vec![HELD], false),
        // Parts are refused, or come without a word of where they begin.
        (Fault::NoParts(StatusCode::RANGE_NOT_SATISFIABLE), false, vec![HELD, 0], false),
        (Fault::NoParts(StatusCode::PARTIAL_CONTENT), false, vec![HELD, 0], false),
        // What was kept is no longer what came: all of it comes, once.
        (WHOLE, true, vec![HELD, 0], true),
    ] {
        let dir = tempfile::tempdir().expect("tempdir");
        let (registry, path) = broken_off(dir.path()).await;
        if flipped {
            flip(&path);
        }
        registry.starts();
        registry.fault(fault);
        let images = keeping(dir.path(), &registry).await;
        assert!(path.exists(), "a start leaves it");
        let id = pull(&images, NAME).await.expect("pull");
        assert_eq!(registry.starts(), starts, "{flipped}");
        let snapshot = images.snapshot(&id, "c").await.expect("snapshot");
        let big = std::fs::read_to_string(snapshot.rootfs().join("big")).expect("big");
        assert!(big == content(), "the layer is not what was pushed");
        images.release("c").await.expect("release");
        let Totals { succeeded, failed, bytes, resumed_bytes } = images.pulls().totals;
        assert_eq!((succeeded, failed, resumed_bytes), (1, 0, HELD as u64));
        assert!(if anew { bytes > 4_000_000 } else { bytes > 2_000_000 && bytes < 3_000_000 }, "{bytes}");
        assert_eq!((images.pulls().ongoing, count(dir.path(), "partial")), (Vec::new(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_even_when_it_comes_as_a_whole_leaves_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (registry, path) = broken_off(dir.path()).await;
    flip(&path);
    registry.starts();
    registry.fault(Fault::Corrupt);
    let images = keeping(dir.path(), &registry).await;
    let error = pull(&images, NAME).await.expect_err("corrupt");
    assert!(error.to_string().contains("content has digest"), "{error}");
    assert_eq!((registry.starts(), count(dir.path(), "partial")), (vec![HELD, 0], 0));
    assert_eq!(images.pulls().totals.failed, 1);
}
