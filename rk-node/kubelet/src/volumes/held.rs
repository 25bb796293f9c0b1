//! What the volumes hold that the kubelet itself has made: counted file by file, or told by a file system of their own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::claim;
use super::csi::VolumeStats;
use super::persistent::LOCAL_VOLUMES;
use crate::eviction::usage::tree;
use crate::filesystem::FsUse;

/// A volume whose content the kubelet counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where it is.
    path: PathBuf,
    /// The claim behind it; its file system is all its own then, as upstream counts.
    claim: Option<String>,
    /// Whether it is a part of the pod's ephemeral storage.
    ephemeral: bool,
}

impl Held {
    /// How a volume of a pod is counted that lies at `path`; directories of the host and of servers are not counted: they are
    /// nobody's own, and a server that is silent would take a thread with each look.
    pub fn of(pod: &Pod, volume: &Volume, path: &Path) -> Option<Self> {
        let held = |claim, ephemeral| Some(Self { path: path.to_owned(), claim, ephemeral });
        if let Some(empty) = &volume.empty_dir {
            return held(None, empty.medium.as_deref().unwrap_or_default().is_empty());
        }
        if volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
        {
            return held(None, false);
        }
        let claim = claim::claim_of(pod, volume)?;
        let local = path.parent().is_some_and(|dir| dir.ends_with(LOCAL_VOLUMES));
        local.then(|| held(Some(claim), false)).flatten()
    }

    fn count(&self, name: &str) -> Option<VolumeStats> {
        let mut numbers = FsUse::of(&self.path)?;
        if self.claim.is_none() {
            let taken = tree(&self.path);
            numbers = numbers.with_used(taken.bytes, taken.inodes);
        }
        Some(VolumeStats {
            name: name.to_owned(),
            claim: self.claim.clone(),
            bytes: Some(numbers.bytes),
            inodes: Some(numbers.inodes),
            abnormal: None,
            ephemeral: self.ephemeral,
        })
    }
}

/// The counted volumes of all pods, by UID and name.
#[derive(Default)]
pub struct Holdings(Mutex<HashMap<String, BTreeMap<String, Held>>>);

impl Holdings {
    /// Remembers the volumes of a pod.
    pub fn set(&self, uid: &str, volumes: BTreeMap<String, Held>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), volumes);
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn of(&self, uid: &str) -> BTreeMap<String, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    /// Counts a pod's volumes, or those behind claims alone.
    pub async fn stats(&self, uid: &str, claims_only: bool) -> Vec<VolumeStats> {
        let mut volumes = self.of(uid);
        volumes.retain(|_, held| held.claim.is_some() || !claims_only);
        if volumes.is_empty() {
            return Vec::new();
        }
        // Walking trees blocks.
        let counted = tokio::task::spawn_blocking(move || {
            volumes.iter().filter_map(|(name, held)| held.count(name)).collect::<Vec<_>>()
        });
        counted.await.unwrap_or_default()
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
        let of = |claim: Option<&str>, ephemeral, path: &str| {
            Some(Held { path: path.into(), claim: claim.map(str::to_owned), ephemeral })
        };
        let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let local = "/pods/u/volumes/kubernetes.io~local-volume/pv";
        for (volume, path, want) in [
            (json!({"name": "v", "emptyDir": {}}), "/v", of(None, true, "/v")),
            (json!({"name": "v", "emptyDir": {"medium": "Memory"}}), "/v", of(None, false, "/v")),
            (json!({"name": "v", "configMap": {"name": "m"}}), "/v", of(None, false, "/v")),
            (json!({"name": "v", "hostPath": {"path": "/v"}}), "/v", None),
            (claim.clone(), local, of(Some("c"), false, local)),
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
        let empty = Held { path: dir.path().to_owned(), claim: None, ephemeral: true };
        let claimed = Held { claim: Some("c".into()), ephemeral: false, ..empty.clone() };
        holdings.set("u", [("cache".to_owned(), empty), ("data".to_owned(), claimed)].into());
        let all = holdings.stats("u", false).await;
        let used = |at: usize| all[at].bytes.map(|[.., used]| used).unwrap();
        assert_eq!(
            all.iter().map(|v| (v.name.as_str(), v.ephemeral)).collect::<Vec<_>>(),
            [("cache", true), ("data", false)]
        );
        assert!((10_000..1_000_000).contains(&used(0)), "{all:?}");
        assert_eq!(all[0].inodes.map(|[.., used]| used), Some(2));
        assert_eq!(holdings.stats("u", true).await.len(), 1);
        holdings.forget("u");
        assert!(holdings.stats("u", false).await.is_empty());
    }
}
