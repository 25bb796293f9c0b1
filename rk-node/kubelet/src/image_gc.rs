//! Removing images that nobody uses when the disk fills.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;
use rustix::fs::statvfs;
use tokio::sync::Notify;
use tonic::Code;

use crate::events::{PodRef, Recorder};
use crate::images::PullRecords;
use crate::options::ImageGc;
use crate::pod::spec;
use crate::runtime::{Runtime, RuntimeError};
use crate::views::PodViews;

/// How often usage is looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// Who tells which images there are, and which of them are used.
pub struct Sources {
    /// The runtime.
    pub runtime: Runtime,
    /// The pods of this node.
    pub pods: PodViews,
}

impl Sources {
    /// All images, and the IDs of those that containers were made from or volumes of pods show.
    async fn look(&self) -> Result<(Vec<cri::Image>, BTreeSet<String>), RuntimeError> {
        let images = self.runtime.list_images().await?;
        let mut used = in_use(&images, &self.runtime.list_containers().await?);
        for reference in of_volumes(&self.pods.all()) {
            match self.runtime.image_status(&reference).await {
                Ok(found) => used.extend(found.map(|image| image.id)),
                // What is no name keeps no image, and no other from being removed.
                Err(error) if error.code == Code::InvalidArgument => {}
                Err(error) => return Err(error),
            }
        }
        Ok((images, used))
    }
}

/// An image that may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    id: String,
    size: u64,
    last_used: Instant,
}

/// In which order images go: those unused for longest first.
fn in_turn(mut candidates: Vec<Candidate>, youngest: Duration, now: Instant) -> Vec<Candidate> {
    // A fresh image may be about to be used.
    candidates.retain(|c| now.saturating_duration_since(c.last_used) >= youngest);
    candidates.sort_by_key(|c| c.last_used);
    candidates
}

/// The images that nobody uses.
fn unused(
    images: &[cri::Image],
    used: &BTreeSet<String>,
    last_used: &HashMap<String, Instant>,
    now: Instant,
) -> Vec<Candidate> {
    let may_go = images.iter().filter(|i| !used.contains(&i.id) && !i.pinned);
    let of = |i: &cri::Image| last_used.get(&i.id).copied().unwrap_or(now);
    may_go.map(|i| Candidate { id: i.id.clone(), size: i.size, last_used: of(i) }).collect()
}

/// What came of removing images.
struct Swept<E> {
    /// Bytes.
    freed: u64,
    /// Images.
    gone: usize,
    /// Why the first of those stays that could not be removed.
    failed: Option<E>,
}

/// Removes images until there are so many bytes more. One that cannot be removed keeps no other from going.
async fn sweep<E, F>(images: &[Candidate], wanted: u64, remove: impl Fn(String) -> F) -> Swept<E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut swept = Swept { freed: 0, gone: 0, failed: None };
    for image in images {
        if swept.freed >= wanted {
            break;
        }
        match remove(image.id.clone()).await {
            Ok(()) => {
                swept.freed = swept.freed.saturating_add(image.size);
                swept.gone += 1;
            }
            Err(error) => {
                swept.failed.get_or_insert(error);
            }
        }
    }
    swept
}

/// Removes an image, because of its `age` or for `space`.
async fn remove(runtime: &Runtime, image: String, why: &'static str) -> Result<(), RuntimeError> {
    tracing::info!(%image, why, "removing an image that nobody uses");
    if let Err(error) = runtime.remove_image(&image).await {
        tracing::warn!(%image, "an image that nobody uses stays: {error}");
        return Err(error);
    }
    runtime.meters.collected_images.add(&[why]);
    Ok(())
}

/// Takes out the images that were unused for longer than this; zero is never. Nobody knows what was used before this process began, so
/// that the time counts from then.
fn take_old(candidates: &mut Vec<Candidate>, oldest: Duration, now: Instant) -> Vec<Candidate> {
    if oldest.is_zero() {
        return Vec::new();
    }
    let (old, rest) =
        std::mem::take(candidates).into_iter().partition(|c| now.saturating_duration_since(c.last_used) > oldest);
    *candidates = rest;
    old
}

/// Collects for ever, once the pods of this node are known. `storage` is a path on the filesystem that holds images; `lack` is notified
/// of pulls that had no room: the disk need not be as full then.
pub async fn collect_loop(
    sources: Sources,
    recorder: Recorder,
    node: String,
    storage: PathBuf,
    bounds: ImageGc,
    records: Arc<PullRecords>,
    lack: Arc<Notify>,
) {
    let mut last_used: HashMap<String, Instant> = HashMap::new();
    let (mut high, mut failed) = (bounds.high, false);
    // What a volume of a pod shows, only the pod tells.
    sources.pods.known().await;
    loop {
        if let Err(error) = forget_pulls(&sources.runtime, &records).await {
            tracing::debug!("forgetting pulls of images that went: {error}");
        }
        let problem = match collect(&sources, &storage, ImageGc { high, ..bounds }, &mut last_used).await {
            Ok(full) => {
                full.inspect(|told| recorder.warning(&PodRef::node(&node), "FreeDiskSpaceFailed", told.clone()))
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            tracing::warn!("collecting unused images: {problem}");
        }
        // Once may be by chance.
        if let Some(problem) = problem.as_ref().filter(|_| failed) {
            recorder.warning(&PodRef::node(&node), "ImageGCFailed", problem.clone());
        }
        failed = problem.is_some();
        high = tokio::select! {
            () = tokio::time::sleep(PERIOD) => bounds.high,
            () = lack.notified() => bounds.low,
        };
    }
}

/// Forgets whose credentials pulled images that are not here any more.
async fn forget_pulls(runtime: &Runtime, records: &PullRecords) -> Result<(), RuntimeError> {
    let before = Timestamp::now();
    let here: Vec<String> = runtime.list_images().await?.into_iter().map(|image| image.id).collect();
    records.prune(&here, before);
    Ok(())
}

/// Collects once; answers with why the disk is still too full, if it is.
async fn collect(
    sources: &Sources,
    storage: &Path,
    bounds: ImageGc,
    last_used: &mut HashMap<String, Instant>,
) -> Result<Option<String>, RuntimeError> {
    let (now, runtime) = (Instant::now(), &sources.runtime);
    let (images, used) = sources.look().await?;
    last_used.retain(|id, _| images.iter().any(|i| i.id == *id));
    for image in &images {
        let at = last_used.entry(image.id.clone()).or_insert(now);
        if used.contains(&image.id) {
            *at = now;
        }
    }
    let mut candidates = unused(&images, &used, last_used, now);
    let old = take_old(&mut candidates, bounds.oldest, now);
    let aged = sweep(&old, u64::MAX, |image| remove(runtime, image, "age")).await;
    let Some(wanted) = to_free(storage, bounds) else { return aged.failed.map_or(Ok(None), Err) };
    let candidates = in_turn(candidates, bounds.youngest, now);
    let Swept { freed, failed, .. } = sweep(&candidates, wanted, |image| remove(runtime, image, "space")).await;
    if let Some(error) = aged.failed.or(failed) {
        return Err(error);
    }
    Ok(statvfs(storage).ok().filter(|_| freed < wanted).map(|disk| {
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        too_full(total, disk.f_bavail.saturating_mul(disk.f_frsize), freed)
    }))
}

/// What is told when images that nobody uses were not enough.
fn too_full(total: u64, available: u64, freed: u64) -> String {
    let share = total.saturating_sub(available).saturating_mul(100) / total.max(1);
    let gib = total as f64 / f64::from(1 << 30);
    format!(
        "Insufficient free disk space on the node's image filesystem ({share}% of {gib:.1} GiB used). Failed to free sufficient space by \
         deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or \
         other data."
    )
}

/// Removes every image that nobody uses, and says how many went; none before the pods of this node are known. For a node whose disk is
/// short.
pub async fn reclaim(sources: &Sources) -> Result<usize, RuntimeError> {
    if !sources.pods.are_known() {
        return Ok(0);
    }
    let (images, used) = sources.look().await?;
    let candidates = unused(&images, &used, &HashMap::new(), Instant::now());
    let swept = sweep(&candidates, u64::MAX, |image| remove(&sources.runtime, image, "space")).await;
    match swept.failed {
        Some(error) if swept.gone == 0 => Err(error),
        _ => Ok(swept.gone),
    }
}

/// IDs of the images that a container was made from.
fn in_use(images: &[cri::Image], containers: &[cri::Container]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for container in containers {
        let name = container.image.as_ref().map(|i| i.image.as_str()).unwrap_or_default();
        let refs = [container.image_id.as_str(), container.image_ref.as_str(), name];
        let hit = |i: &&cri::Image| {
            refs.iter().any(|r| i.id == *r || i.repo_tags.iter().chain(&i.repo_digests).any(|n| n == r))
        };
        used.extend(images.iter().filter(hit).map(|i| i.id.clone()));
    }
    used
}

/// The images that volumes of pods show which have not ended, by the names that they give them.
fn of_volumes(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let lasts = |pod: &&Arc<Pod>| !spec::terminal_phase(pod.status.as_ref().and_then(|s| s.phase.as_deref()));
    let specs = pods.iter().filter(lasts).filter_map(|pod| pod.spec.as_ref());
    let volumes = specs.flat_map(|spec| spec.volumes.iter().flatten());
    let references = volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone());
    references.filter(|reference| !reference.is_empty()).collect()
}

/// How many bytes must go, when the disk is too full.
fn to_free(storage: &Path, bounds: ImageGc) -> Option<u64> {
    let stat = statvfs(storage).ok()?;
    excess(stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize), bounds)
}

fn excess(total: u64, available: u64, bounds: ImageGc) -> Option<u64> {
    let used = total.saturating_sub(available);
    (total > 0 && used.saturating_mul(100) >= total.saturating_mul(bounds.high))
        .then(|| used.saturating_sub(total / 100 * bounds.low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_unused_go_first_and_only_as_many_as_needed() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let image = |id: &str, size, age| Candidate { id: id.into(), size, last_used: now - Duration::from_secs(age) };
        let all = vec![image("young", 50, 10), image("b", 30, 300), image("a", 30, 900), image("c", 30, 200)];
        let turns = in_turn(all, Duration::from_secs(120), now);
        assert_eq!(turns.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        // One that cannot be removed keeps no other from going.
        for (stays, want) in [("", ["a", "b", ""]), ("a", ["a", "b", "c"]), ("b", ["a", "b", "c"])] {
            let tried = std::sync::Mutex::new(Vec::new());
            let swept = sweep(&turns, 50, |id| {
                let answer = if id == stays { Err("busy") } else { Ok(()) };
                tried.lock().unwrap().push(id);
                std::future::ready(answer)
            });
            let swept = swept.await;
            assert_eq!((swept.freed, swept.gone, swept.failed.is_some()), (60, 2, !stays.is_empty()), "{stays}");
            let want: Vec<&str> = want.into_iter().filter(|id| !id.is_empty()).collect();
            assert_eq!(tried.into_inner().unwrap(), want, "{stays}");
        }
    }

    #[test]
    fn images_that_nobody_used_for_too_long_go() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let image = |id: &str, age| Candidate { id: id.into(), size: 1, last_used: now - Duration::from_secs(age) };
        for (oldest, gone, left) in [(0, &[][..], 3), (500, &["b"][..], 2), (100, &["b", "c"][..], 1)] {
            let mut all = vec![image("a", 100), image("b", 900), image("c", 101)];
            let taken = take_old(&mut all, Duration::from_secs(oldest), now);
            assert_eq!(taken.into_iter().map(|c| c.id).collect::<Vec<_>>(), gone, "{oldest}");
            assert_eq!(all.len(), left, "{oldest}");
        }
    }

    #[test]
    fn a_disk_is_brought_from_above_the_high_bound_to_the_low_one() {
        let bounds = ImageGc { high: 85, low: 80, youngest: Duration::ZERO, oldest: Duration::ZERO };
        // After a pull that had no room, the low bound is high enough.
        let lacking = ImageGc { high: bounds.low, ..bounds };
        for (available, usual, lack) in [(0, Some(2000), Some(2000)), (1600, None, Some(400)), (2001, None, None)] {
            assert_eq!((excess(10_000, available, bounds), excess(10_000, available, lacking)), (usual, lack));
        }
    }

    #[test]
    fn a_disk_that_stays_too_full_is_told_of_with_what_was_done() {
        let told = too_full(10 << 30, 1 << 30, 77);
        let start = "Insufficient free disk space on the node's image filesystem (90% of 10.0 GiB used). Failed to free sufficient space";
        assert!(told.starts_with(start) && told.contains("(freed 77 bytes)"), "{told}");
        assert!(too_full(0, 0, 0).contains("(0% of 0.0 GiB used)"));
    }

    #[test]
    fn images_that_volumes_show_are_used_until_their_pod_has_ended() {
        let pod = |phase: &str, image: serde_json::Value| -> Arc<Pod> {
            let volumes = serde_json::json!([{"name": "v", "image": image}, {"name": "w", "emptyDir": {}}]);
            let pod = serde_json::json!({"spec": {"containers": [], "volumes": volumes}, "status": {"phase": phase}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let reference = |name: &str| serde_json::json!({"reference": name});
        let pods = [
            pod("Running", reference("a:1")),
            pod("Pending", reference("b:1")),
            pod("Succeeded", reference("c:1")),
            pod("Running", serde_json::json!({})),
            pod("Running", reference("")),
        ];
        assert_eq!(of_volumes(&pods).into_iter().collect::<Vec<_>>(), ["a:1", "b:1"]);
    }

    #[test]
    fn an_image_is_used_by_id_reference_or_name() {
        let image =
            |id: &str, tag: &str| cri::Image { id: id.into(), repo_tags: vec![tag.into()], ..Default::default() };
        let images = [image("1", "a:1"), image("2", "b:1"), image("3", "c:1")];
        let container = |image_id: &str, name: &str| cri::Container {
            image_id: image_id.into(),
            image: Some(cri::ImageSpec { image: name.into(), ..Default::default() }),
            ..Default::default()
        };
        let used = in_use(&images, &[container("1", ""), container("", "b:1")]);
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
