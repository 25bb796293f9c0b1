//! What the volumes hold that the kubelet itself has mounted: counted file by file, or told by a file system of their own.
//!
//! Looking may take long, and for ever where a server is silent: each volume is looked at by itself, and what it held before is told
//! meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};
use rk_figures::{Ask, Figures, SoFar, Taken, count_tree};
use tokio::sync::{Semaphore, oneshot};

use super::claim;
use super::csi::VolumeStats;
use super::nfs::NFS_VOLUMES;
use super::persistent::LOCAL_VOLUMES;
use crate::filesystem::FsUse;

/// How long one volume keeps whoever asks.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that look at file systems whose servers may be silent: each may be held for ever.
const THREADS: usize = 4;

/// Which volumes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those behind claims.
    Claimed,
    /// Those that count as ephemeral storage.
    Ephemeral,
}

/// A pod's UID and the name of a volume of it.
type Key = (String, String);

/// A volume whose content the kubelet counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where it is.
    path: PathBuf,
    /// The claim behind it.
    claim: Option<String>,
    /// Its file system counts as all its own, as upstream has it for volumes of others' making.
    whole: bool,
    /// Whether it is a part of the pod's ephemeral storage.
    ephemeral: bool,
}

impl Held {
    /// How a volume of a pod is counted that lies at `path`; directories of the host are not counted: they are nobody's own.
    pub fn of(pod: &Pod, volume: &Volume, path: &Path) -> Option<Self> {
        let files = |ephemeral| Some(Self { path: path.to_owned(), claim: None, whole: false, ephemeral });
        if let Some(empty) = &volume.empty_dir {
            return files(empty.medium.as_deref().unwrap_or_default().is_empty());
        }
        if volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
        {
            return files(false);
        }
        let claim = claim::claim_of(pod, volume);
        let below = |kind: &str| path.parent().is_some_and(|dir| dir.ends_with(kind));
        let own = below(NFS_VOLUMES) || (claim.is_some() && below(LOCAL_VOLUMES));
        own.then(|| Self { path: path.to_owned(), claim, whole: true, ephemeral: false })
    }

    fn fits(&self, which: Which) -> bool {
        match which {
            Which::All => true,
            Which::Claimed => self.claim.is_some(),
            Which::Ephemeral => self.ephemeral,
        }
    }

    /// Asks the file system, and nobody else: what it has is all the volume's.
    fn count_whole(&self, name: &str) -> Option<VolumeStats> {
        Some(self.stats(name, FsUse::of(&self.path)?))
    }

    /// Counts file by file, and tells now and then how far that is.
    fn count_files(&self, name: &str, so_far: &SoFar<Key, VolumeStats>) -> Option<VolumeStats> {
        let numbers = FsUse::of(&self.path)?;
        let told = |taken: Taken| self.stats(name, numbers.with_used(taken.bytes, taken.inodes));
        let taken = count_tree(&self.path, |taken| so_far.tell(|last| at_least(last, told(taken)))).ok()?;
        Some(told(taken))
    }

    fn stats(&self, name: &str, numbers: FsUse) -> VolumeStats {
        VolumeStats {
            name: name.to_owned(),
            claim: self.claim.clone(),
            bytes: Some(numbers.bytes),
            inodes: Some(numbers.inodes),
            abnormal: None,
            ephemeral: self.ephemeral,
        }
    }
}

/// A count that goes on says nothing yet where the last one had found more.
fn at_least(last: Option<&VolumeStats>, found: VolumeStats) -> VolumeStats {
    let used = |stats: &VolumeStats| stats.inodes.map_or(0, |[.., used]| used);
    last.filter(|last| used(last) > used(&found)).cloned().unwrap_or(found)
}

/// Counts in a thread of its own, which a silent server may keep: the runtime's are for all. Without a free one there is no figure.
async fn count_apart(held: Held, name: String, threads: Arc<Semaphore>) -> Option<VolumeStats> {
    let permit = threads.try_acquire_owned().ok()?;
    let (tell, told) = oneshot::channel();
    let look = move || {
        let stats = held.count_whole(&name);
        drop(permit);
        // Nobody may wait any more.
        let _ = tell.send(stats);
    };
    std::thread::Builder::new().name("volume".to_owned()).spawn(look).ok()?;
    told.await.ok().flatten()
}

/// The counted volumes of all pods, by UID and name.
pub struct Holdings {
    volumes: Mutex<HashMap<String, BTreeMap<String, Held>>>,
    threads: Arc<Semaphore>,
    figures: Figures<Key, VolumeStats>,
}

impl Default for Holdings {
    fn default() -> Self {
        let threads = Arc::new(Semaphore::new(THREADS));
        Self { volumes: Mutex::default(), threads, figures: Figures::new(PATIENCE) }
    }
}

impl Holdings {
    /// Remembers the volumes of a pod.
    pub fn set(&self, uid: &str, volumes: BTreeMap<String, Held>) {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), volumes);
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn of(&self, uid: &str) -> BTreeMap<String, Held> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    /// Counts a pod's volumes.
    pub async fn stats(&self, uid: &str, which: Which, ask: Ask) -> Vec<VolumeStats> {
        let mut all = Vec::new();
        for (name, held) in self.of(uid).into_iter().filter(|(_, held)| held.fits(which)) {
            let key = (uid.to_owned(), name.clone());
            let threads = Arc::clone(&self.threads);
            let look = |so_far: SoFar<Key, VolumeStats>| async move {
                if held.whole {
                    return count_apart(held, name, threads).await;
                }
                // Walking trees blocks.
                tokio::task::spawn_blocking(move || held.count_files(&name, &so_far)).await.ok().flatten()
            };
            all.extend(self.figures.get_growing(&key, ask, look).await);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held(volume: serde_json::Value, path: &str) -> Option<Held> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u"}})).unwrap();
        Held::of(&pod, &serde_json::from_value(volume).unwrap(), Path::new(path))
    }

    #[test]
    fn volumes_of_the_kubelets_own_are_counted_and_no_others() {
        let files = |ephemeral, path: &str| Some(Held { path: path.into(), claim: None, whole: false, ephemeral });
        let whole = |claim: Option<&str>, path: &str| {
            Some(Held { path: path.into(), claim: claim.map(str::to_owned), whole: true, ephemeral: false })
        };
        let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let local = "/pods/u/volumes/kubernetes.io~local-volume/pv";
        let served = "/pods/u/volumes/kubernetes.io~nfs/v";
        for (volume, path, want) in [
            (json!({"name": "v", "emptyDir": {}}), "/v", files(true, "/v")),
            (json!({"name": "v", "emptyDir": {"medium": "Memory"}}), "/v", files(false, "/v")),
            (json!({"name": "v", "configMap": {"name": "m"}}), "/v", files(false, "/v")),
            (json!({"name": "v", "hostPath": {"path": "/v"}}), "/v", None),
            (claim.clone(), local, whole(Some("c"), local)),
            (claim.clone(), served, whole(Some("c"), served)),
            (json!({"name": "v", "nfs": {"server": "s", "path": "/"}}), served, whole(None, served)),
            (claim, "/srv/data", None),
        ] {
            assert_eq!(held(volume.clone(), path), want, "{volume} at {path}");
        }
    }

    #[tokio::test]
    async fn a_volume_without_a_claim_is_counted_file_by_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), vec![1; 10_000]).unwrap();
        let holdings = Holdings::default();
        let empty = Held { path: dir.path().to_owned(), claim: None, whole: false, ephemeral: true };
        let claimed = Held { claim: Some("c".into()), whole: true, ephemeral: false, ..empty.clone() };
        holdings.set("u", [("cache".to_owned(), empty), ("data".to_owned(), claimed)].into());
        let ask = Ask::new(Duration::from_secs(60), Duration::from_secs(60));
        let all = holdings.stats("u", Which::All, ask).await;
        let used = |at: usize| all[at].bytes.map(|[.., used]| used).unwrap();
        assert_eq!(
            all.iter().map(|v| (v.name.as_str(), v.ephemeral)).collect::<Vec<_>>(),
            [("cache", true), ("data", false)]
        );
        assert!((10_000..1_000_000).contains(&used(0)), "{all:?}");
        assert_eq!(all[0].inodes.map(|[.., used]| used), Some(2));
        assert_eq!(holdings.stats("u", Which::Claimed, ask).await[0].name, "data");
        assert_eq!(holdings.stats("u", Which::Ephemeral, ask).await[0].name, "cache");
        holdings.forget("u");
        assert!(holdings.stats("u", Which::All, ask).await.is_empty());
    }

    #[tokio::test]
    async fn servers_that_are_silent_hold_a_few_threads_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let holdings = Holdings::default();
        let served = Held { path: dir.path().to_owned(), claim: None, whole: true, ephemeral: false };
        let own = Held { whole: false, ..served.clone() };
        holdings.set("u", [("own".to_owned(), own), ("served".to_owned(), served)].into());
        let now = || Ask::new(Duration::ZERO, Duration::from_secs(60));
        let held = Arc::clone(&holdings.threads).try_acquire_many_owned(u32::try_from(THREADS).unwrap()).unwrap();
        let names = |all: Vec<VolumeStats>| all.into_iter().map(|v| v.name).collect::<Vec<_>>();
        assert_eq!(names(holdings.stats("u", Which::All, now()).await), ["own"]);
        drop(held);
        for _ in 0..=THREADS {
            assert_eq!(names(holdings.stats("u", Which::All, now()).await), ["own", "served"]);
        }
    }
}
