//! Ids of pods that have users of their own (`hostUsers: false`, KEP-127): each gets a range of the host's that no other pod has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;
use serde::{Deserialize, Serialize};

use crate::disk::{read_optional, write_atomically};
use crate::pod::spec;

/// Ids of a pod. The first range of this length is the host's own.
const LENGTH: u32 = 65_536;
/// The last range that can be given: the one after it holds the id that stands for none.
const LAST: u32 = u32::MAX / LENGTH - 1;
/// Upstream's name of the file in a pod's directory.
const FILE: &str = "userns";

/// The file: what a pod's ids are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    uid_mappings: Vec<SavedRange>,
    gid_mappings: Vec<SavedRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedRange {
    host_id: u32,
    container_id: u32,
    length: u32,
}

impl Saved {
    fn of(range: u32) -> Self {
        let ids = vec![SavedRange { host_id: range * LENGTH, container_id: 0, length: LENGTH }];
        Self { uid_mappings: ids.clone(), gid_mappings: ids }
    }

    /// The number of the range, if it is one that is given to pods.
    fn range(&self) -> Option<u32> {
        let range = self.uid_mappings.first()?.host_id / LENGTH;
        ((1..=LAST).contains(&range) && *self == Self::of(range)).then_some(range)
    }
}

/// Who has which range. Values only.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<String, u32>);

impl Ranges {
    /// The pod's range, else the lowest that nobody has; `true` when it is new.
    fn take(&mut self, uid: &str) -> Option<(u32, bool)> {
        if let Some(range) = self.0.get(uid) {
            return Some((*range, false));
        }
        let taken: BTreeSet<u32> = self.0.values().copied().collect();
        let range = (1..=LAST).find(|range| !taken.contains(range))?;
        self.0.insert(uid.to_owned(), range);
        Some((range, true))
    }

    /// Takes what a pod had before; false when another has it.
    fn restore(&mut self, uid: &str, range: u32) -> bool {
        let free = self.0.values().all(|taken| *taken != range);
        if free {
            self.0.insert(uid.to_owned(), range);
        }
        free
    }
}

/// The ranges of this node's pods; clones share them. What was given is in the pods' directories.
#[derive(Clone)]
pub struct PodUsers {
    pods: PathBuf,
    ranges: Arc<Mutex<Ranges>>,
}

impl PodUsers {
    /// With the ranges that pods below `<kubelet>/pods` have.
    pub fn open(kubelet: &Path) -> Self {
        let pods = kubelet.join("pods");
        let mut ranges = Ranges::default();
        for entry in fs::read_dir(&pods).into_iter().flatten().flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            match saved(&entry.path().join(FILE)) {
                Ok(None) => {}
                Ok(Some(range)) if ranges.restore(&uid, range) => {}
                // Such a pod gets another range when it is made again; until then it runs with what it has.
                Ok(Some(_)) => tracing::error!(uid, "two pods have the same range of user ids"),
                Err(problem) => tracing::warn!(uid, "the user ids of a pod cannot be read: {problem}"),
            }
        }
        Self { pods, ranges: Arc::new(Mutex::new(ranges)) }
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users of a pod in the runtime's words; those of its own are written down first.
    pub fn of(&self, pod: &Pod) -> Result<cri::UserNamespace, String> {
        if !own_users(pod) {
            return Ok(cri::UserNamespace { mode: cri::NamespaceMode::Node as i32, ..Default::default() });
        }
        let uid = spec::uid(pod);
        let mut ranges = self.ranges();
        let (range, new) = ranges.take(uid).ok_or("could not find an empty slot to allocate a user namespace")?;
        if new && let Err(problem) = self.save(uid, range) {
            ranges.0.remove(uid);
            return Err(problem);
        }
        let ids = vec![cri::IdMapping { host_id: range * LENGTH, container_id: 0, length: LENGTH }];
        Ok(cri::UserNamespace { mode: cri::NamespaceMode::Pod as i32, uids: ids.clone(), gids: ids })
    }

    fn save(&self, uid: &str, range: u32) -> Result<(), String> {
        let path = self.pods.join(uid).join(FILE);
        let text = serde_json::to_vec(&Saved::of(range)).map_err(|error| error.to_string())?;
        write_atomically(&path, &text, 0o600).map_err(|error| format!("writing {}: {error}", path.display()))
    }

    /// Nothing of the pod is left, not even its directory.
    pub fn forget(&self, uid: &str) {
        self.ranges().0.remove(uid);
    }
}

/// Whether the pod has users of its own.
pub fn own_users(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_users) == Some(false)
}

fn saved(path: &Path) -> Result<Option<u32>, String> {
    let Some(text) = read_optional(path).map_err(|error| error.to_string())? else { return Ok(None) };
    let saved: Saved = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    saved.range().map(Some).ok_or_else(|| format!("{} names no range that pods are given", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, host_users: Option<bool>) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {"hostUsers": host_users, "containers": []}}))
            .unwrap()
    }

    fn host_ids(users: &PodUsers, uid: &str) -> u32 {
        users.of(&pod(uid, Some(false))).unwrap().uids[0].host_id
    }

    #[test]
    fn pods_have_the_hosts_users_unless_they_want_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let users = PodUsers::open(dir.path());
        for host_users in [None, Some(true)] {
            let given = users.of(&pod("a", host_users)).unwrap();
            assert_eq!((given.mode(), given.uids.len(), given.gids.len()), (cri::NamespaceMode::Node, 0, 0));
        }
        let own = users.of(&pod("a", Some(false))).unwrap();
        let ids = vec![cri::IdMapping { host_id: 65_536, container_id: 0, length: 65_536 }];
        assert_eq!((own.mode(), &own.uids, &own.gids), (cri::NamespaceMode::Pod, &ids, &ids));
    }

    #[test]
    fn ranges_are_a_pods_alone_survive_a_restart_and_are_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let users = PodUsers::open(dir.path());
        assert_eq!(["a", "b", "a", "c"].map(|uid| host_ids(&users, uid)), [65_536, 131_072, 65_536, 196_608]);
        fs::remove_dir_all(dir.path().join("pods/b")).unwrap();
        users.forget("b");
        assert_eq!(["d", "e"].map(|uid| host_ids(&users, uid)), [131_072, 262_144]);
        let after = PodUsers::open(dir.path());
        assert_eq!(
            ["e", "d", "c", "a", "f"].map(|uid| host_ids(&after, uid)),
            [262_144, 131_072, 196_608, 65_536, 327_680]
        );
        let text = fs::read_to_string(dir.path().join("pods/a/userns")).unwrap();
        let range = json!([{"hostId": 65536, "containerId": 0, "length": 65536}]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, json!({"uidMappings": range, "gidMappings": range}));
    }

    #[test]
    fn foreign_files_give_no_pod_the_hosts_ids() {
        let range = |host: u32, container: u32, length: u32| {
            let ids = json!([{"hostId": host, "containerId": container, "length": length}]);
            serde_json::from_value::<Saved>(json!({"uidMappings": ids, "gidMappings": ids})).unwrap().range()
        };
        for (host, container, length, want) in [
            (65_536, 0, 65_536, Some(1)),
            (LAST * LENGTH, 0, 65_536, Some(LAST)),
            (0, 0, 65_536, None),
            (65_537, 0, 65_536, None),
            (65_536, 1, 65_536, None),
            (65_536, 0, 131_072, None),
            ((LAST + 1) * LENGTH, 0, 65_536, None),
        ] {
            assert_eq!(range(host, container, length), want, "{host} {container} {length}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("pods/torn")).unwrap();
        fs::write(dir.path().join("pods/torn/userns"), "{\"uidMap").unwrap();
        assert_eq!(host_ids(&PodUsers::open(dir.path()), "torn"), 65_536);
    }

    #[test]
    fn when_all_ranges_are_taken_the_pod_hears_so() {
        let mut ranges = Ranges((1..=LAST).map(|range| (range.to_string(), range)).collect());
        assert_eq!(ranges.take("x"), None);
        assert!(!ranges.restore("x", 7));
        ranges.0.remove("7");
        assert_eq!(ranges.take("x"), Some((7, true)));
    }
}
