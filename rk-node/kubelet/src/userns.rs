//! Ids of pods that have users of their own (`hostUsers: false`, KEP-127): each gets a range of the host's that no other pod has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;
use serde::{Deserialize, Serialize};

use crate::disk::{read_json, write_atomically};
use crate::pod::spec;

/// Ids of a pod unless said otherwise, and the unit in which they are counted: the first so many are the host's own.
pub const IDS_PER_POD: u32 = 65_536;
/// The last unit that can be given: the one after it holds the id that stands for none.
const LAST: u32 = u32::MAX / IDS_PER_POD - 1;
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

/// Units of ids, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    units: u32,
}

impl Range {
    fn last(self) -> u32 {
        self.first.saturating_add(self.units).saturating_sub(1)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    fn host_id(self) -> u32 {
        self.first.saturating_mul(IDS_PER_POD)
    }

    fn length(self) -> u32 {
        self.units.saturating_mul(IDS_PER_POD)
    }
}

impl Saved {
    fn of(range: Range) -> Self {
        let ids = vec![SavedRange { host_id: range.host_id(), container_id: 0, length: range.length() }];
        Self { uid_mappings: ids.clone(), gid_mappings: ids }
    }

    /// The range, if it is one that pods may be given.
    fn range(&self) -> Option<Range> {
        let ids = self.uid_mappings.first()?;
        let range = Range { first: ids.host_id / IDS_PER_POD, units: ids.length / IDS_PER_POD };
        let given = range.first > 0 && range.units > 0 && range.last() <= LAST && *self == Self::of(range);
        given.then_some(range)
    }
}

/// Who has which range. Values only.
#[derive(Debug)]
struct Ranges {
    /// Units of each new range.
    units: u32,
    given: BTreeMap<String, Range>,
}

impl Ranges {
    /// The pod's range, else the lowest that nobody has; `true` when it is new.
    fn take(&mut self, uid: &str) -> Option<(Range, bool)> {
        if let Some(range) = self.given.get(uid) {
            return Some((*range, false));
        }
        let mut taken: Vec<Range> = self.given.values().copied().collect();
        taken.sort_unstable_by_key(|range| range.first);
        let mut range = Range { first: self.units, units: self.units };
        for other in taken {
            if other.overlaps(range) {
                range.first = (other.last() / self.units).saturating_add(1).saturating_mul(self.units);
            }
        }
        if range.last() > LAST {
            return None;
        }
        self.given.insert(uid.to_owned(), range);
        Some((range, true))
    }

    fn is_free(&self, range: Range) -> bool {
        !self.given.values().any(|taken| taken.overlaps(range))
    }

    /// Takes what a pod had before; false when another has of it.
    fn restore(&mut self, uid: &str, range: Range) -> bool {
        let free = self.is_free(range);
        if free {
            self.given.insert(uid.to_owned(), range);
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
    /// With the ranges that pods below `<kubelet>/pods` have; new ones are of `ids` (`userNamespaces.idsPerPod`).
    pub fn open(kubelet: &Path, ids: u32) -> Self {
        let pods = kubelet.join("pods");
        let mut ranges = Ranges { units: (ids / IDS_PER_POD).max(1), given: BTreeMap::new() };
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
            ranges.given.remove(uid);
            return Err(problem);
        }
        let ids = vec![cri::IdMapping { host_id: range.host_id(), container_id: 0, length: range.length() }];
        Ok(cri::UserNamespace { mode: cri::NamespaceMode::Pod as i32, uids: ids.clone(), gids: ids })
    }

    fn save(&self, uid: &str, range: Range) -> Result<(), String> {
        let path = self.pods.join(uid).join(FILE);
        let text = serde_json::to_vec(&Saved::of(range)).map_err(|error| error.to_string())?;
        write_atomically(&path, &text, 0o600).map_err(|error| format!("writing {}: {error}", path.display()))
    }

    /// Nothing of the pod is left, not even its directory.
    pub fn forget(&self, uid: &str) {
        self.ranges().given.remove(uid);
    }
}

/// Whether the pod has users of its own.
pub fn own_users(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_users) == Some(false)
}

fn saved(path: &Path) -> Result<Option<Range>, String> {
    let Some(saved) = read_json::<Saved>(path).map_err(|error| error.to_string())? else { return Ok(None) };
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
        let users = PodUsers::open(dir.path(), IDS_PER_POD);
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
        let users = PodUsers::open(dir.path(), IDS_PER_POD);
        assert_eq!(["a", "b", "a", "c"].map(|uid| host_ids(&users, uid)), [65_536, 131_072, 65_536, 196_608]);
        fs::remove_dir_all(dir.path().join("pods/b")).unwrap();
        users.forget("b");
        assert_eq!(["d", "e"].map(|uid| host_ids(&users, uid)), [131_072, 262_144]);
        let after = PodUsers::open(dir.path(), IDS_PER_POD);
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
            let saved: Saved = serde_json::from_value(json!({"uidMappings": ids, "gidMappings": ids})).unwrap();
            saved.range().map(|range| (range.first, range.units))
        };
        for (host, container, length, want) in [
            (65_536, 0, 65_536, Some((1, 1))),
            (LAST * IDS_PER_POD, 0, 65_536, Some((LAST, 1))),
            (131_072, 0, 131_072, Some((2, 2))),
            (LAST * IDS_PER_POD, 0, 131_072, None),
            (0, 0, 65_536, None),
            (65_537, 0, 65_536, None),
            (65_536, 1, 65_536, None),
            (65_536, 0, 131_073, None),
            ((LAST + 1) * IDS_PER_POD, 0, 65_536, None),
        ] {
            assert_eq!(range(host, container, length), want, "{host} {container} {length}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("pods/torn")).unwrap();
        fs::write(dir.path().join("pods/torn/userns"), "{\"uidMap").unwrap();
        assert_eq!(host_ids(&PodUsers::open(dir.path(), IDS_PER_POD), "torn"), 65_536);
    }

    #[test]
    fn when_all_ranges_are_taken_the_pod_hears_so() {
        let one = |first: u32| Range { first, units: 1 };
        let mut ranges = Ranges { units: 1, given: (1..=LAST).map(|n| (n.to_string(), one(n))).collect() };
        assert_eq!(ranges.take("x"), None);
        assert!(!ranges.restore("x", one(7)));
        ranges.given.remove("7");
        assert_eq!(ranges.take("x"), Some((one(7), true)));
    }

    #[test]
    fn ranges_of_other_lengths_do_not_overlap() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(host_ids(&PodUsers::open(dir.path(), IDS_PER_POD), "a"), 65_536);
        let wide = PodUsers::open(dir.path(), 2 * IDS_PER_POD);
        assert_eq!(["b", "a", "c"].map(|uid| host_ids(&wide, uid)), [131_072, 65_536, 262_144]);
        let narrow = PodUsers::open(dir.path(), IDS_PER_POD);
        assert_eq!(["b", "d", "c"].map(|uid| host_ids(&narrow, uid)), [131_072, 393_216, 262_144]);
        assert_eq!(narrow.of(&pod("b", Some(false))).unwrap().uids[0].length, 131_072);
    }
}
