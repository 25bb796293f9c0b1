//! emptyDir: a directory that lives as long as its pod, on the disk, in memory or in huge pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{ownership, tmpfs};
use crate::pod::spec;
use crate::quantity;
use crate::resources::{all_limited, pod_total};

/// Huge pages of the one size that the pod asks for; with `-<size>` behind it, of that size.
const HUGE_PAGES: &str = "HugePages";
/// What a resource of huge pages begins with.
const RESOURCE: &str = "hugepages-";
/// Mode of the volume: everybody's, as upstream's. With a group, what is made in it is the group's as well.
const OPEN: u32 = 0o777;
/// In memory nobody removes what is another's, as in upstream's: the root of a tmpfs is made so, and parts of the volume are made like it.
const STICKY: u32 = 0o1000;

/// Makes the volume at `path`. `room`: the memory that the node has for pods. Safe to repeat.
pub fn place(pod: &Pod, empty: &EmptyDirVolumeSource, room: Option<&Quantity>, path: &Path) -> Result<(), String> {
    let medium = empty.medium.as_deref().unwrap_or_default();
    let huge = match medium.starts_with(HUGE_PAGES) {
        true => Some(page_size(pod, medium)?),
        false => None,
    };
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let group = context.and_then(|c| c.fs_group).and_then(|group| u32::try_from(group).ok());
    let mode = mode(medium, group);
    let placed = match (medium, huge) {
        ("", _) => on_disk(path, mode, group),
        ("Memory", _) => tmpfs::ensure_tmpfs(path, memory_size(pod, empty, room), mode, group),
        (_, Some(page)) => tmpfs::ensure_hugetlbfs(path, page, mode, group),
        (other, None) => Err(io::Error::other(format!("unknown storage medium {other:?}"))),
    };
    placed.map_err(|e| format!("{}: {e}", path.display()))
}

fn mode(medium: &str, group: Option<u32>) -> u32 {
    let sticky = if medium == "Memory" { STICKY } else { 0 };
    OPEN | sticky | group.map_or(0, |_| ownership::SET_GID)
}

/// Makes the directory, as it is to be or not at all. One that is there is its pod's: the mode and the owner that a container gave it stay.
fn on_disk(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no parent"));
    };
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    // No volume has a name that begins with a dot.
    let half = parent.join(format!(".{}", name.to_string_lossy()));
    fs::create_dir_all(&half)?;
    if group.is_some() {
        chown(&half, None, group)?;
    }
    fs::set_permissions(&half, fs::Permissions::from_mode(mode))?;
    fs::rename(&half, path)
}

/// Most bytes of a volume in memory: its own limit or the pod's, whichever is less; what the node has for all pods is the limit of a pod
/// that has none, as upstream has it.
fn memory_size(pod: &Pod, empty: &EmptyDirVolumeSource, room: Option<&Quantity>) -> Option<u64> {
    let whole = match all_limited(pod, "memory") {
        true => u64::try_from(pod_total(pod, "memory", true) / 1000).ok(),
        false => room.and_then(|room| bytes(&room.0)),
    };
    let own = empty.size_limit.as_ref().and_then(|limit| bytes(&limit.0));
    own.into_iter().chain(whole).filter(|bytes| *bytes > 0).min()
}

/// Bytes of one page: as the medium says, or the one size that the pod asks for. Upstream's rule: it must be asked for.
fn page_size(pod: &Pod, medium: &str) -> Result<u64, String> {
    let asked = asked_sizes(pod);
    let none =
        || format!("medium {medium}: hugePages storage requested, but there is no resource request for huge pages");
    if medium == HUGE_PAGES {
        if asked.len() > 1 {
            return Err(format!("medium: {medium} can't be used if container requests multiple huge page sizes"));
        }
        return asked.first().copied().ok_or_else(none);
    }
    let named = medium.strip_prefix(HUGE_PAGES).and_then(|rest| rest.strip_prefix('-')).and_then(bytes);
    let named = named.ok_or_else(|| format!("medium: {medium} doesn't have valid size"))?;
    Some(named).filter(|size| asked.contains(size)).ok_or_else(none)
}

/// Sizes of huge pages that the pod or one of its containers asks for, bytes. Requests are equal to limits.
fn asked_sizes(pod: &Pod) -> BTreeSet<u64> {
    let containers = spec::app_containers(pod).iter().chain(spec::init_containers(pod));
    let own = containers.filter_map(|c| c.resources.as_ref());
    let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref());
    own.chain(whole)
        .flat_map(|r| [r.limits.as_ref(), r.requests.as_ref()])
        .flatten()
        .flat_map(BTreeMap::keys)
        .filter_map(|name| name.strip_prefix(RESOURCE).and_then(bytes))
        .collect()
}

fn bytes(text: &str) -> Option<u64> {
    quantity::units(text).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn pages_are_of_the_size_that_the_pod_asks_for() {
        let asks = |names: &[&str]| {
            let limits: serde_json::Map<String, Value> =
                names.iter().map(|name| ((*name).to_owned(), json!("4Mi"))).collect();
            pod(json!({"containers": [{"name": "a", "resources": {"limits": limits}}]}))
        };
        let (two, both) = (asks(&["hugepages-2Mi", "cpu"]), asks(&["hugepages-2Mi", "hugepages-1Gi"]));
        let whole = pod(json!({"containers": [{"name": "a"}], "resources": {"requests": {"hugepages-1Gi": "1Gi"}}}));
        for (pod, medium, want) in [
            (&two, "HugePages", Ok(2 << 20)),
            (&two, "HugePages-2Mi", Ok(2 << 20)),
            (&two, "HugePages-1Gi", Err("no resource request")),
            (&both, "HugePages", Err("multiple huge page sizes")),
            (&both, "HugePages-1Gi", Ok(1 << 30)),
            (&whole, "HugePages", Ok(1 << 30)),
            (&asks(&["memory"]), "HugePages", Err("no resource request")),
            (&two, "HugePages-", Err("valid size")),
            (&two, "HugePagesX", Err("valid size")),
        ] {
            match (page_size(pod, medium), want) {
                (Ok(size), Ok(want)) => assert_eq!(size, want, "{medium}"),
                (Err(told), Err(words)) => assert!(told.contains(words), "{told}"),
                (found, _) => panic!("{medium}: {found:?}"),
            }
        }
    }

    #[test]
    fn memory_is_held_to_the_lesser_of_the_volumes_limit_and_the_pods() {
        let limited = json!({"containers": [{"name": "a", "resources": {"limits": {"memory": "64Mi"}}}]});
        let free = json!({"containers": [{"name": "a"}]});
        for (spec, limit, want) in [
            (&limited, None, Some(64 << 20)),
            (&limited, Some("1Mi"), Some(1 << 20)),
            (&limited, Some("1Gi"), Some(64 << 20)),
            (&limited, Some("0"), Some(64 << 20)),
            (&free, Some("1Mi"), Some(1 << 20)),
            (&free, Some("8Gi"), Some(2 << 30)),
            (&free, None, Some(2 << 30)),
        ] {
            let empty: EmptyDirVolumeSource =
                serde_json::from_value(json!({"medium": "Memory", "sizeLimit": limit})).unwrap();
            let room = Quantity("2Gi".to_owned());
            assert_eq!(memory_size(&pod(spec.clone()), &empty, Some(&room)), want, "{limit:?}");
        }
        assert_eq!(memory_size(&pod(free), &EmptyDirVolumeSource::default(), None), None, "nobody knows yet");
    }

    #[test]
    fn a_volume_is_its_groups_from_the_start_and_stays_as_its_containers_make_it() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        // One's own group is the one that everybody may give.
        let group = fs::metadata(dir.path()).unwrap().gid();
        let empty = EmptyDirVolumeSource::default();
        for (context, want) in [(json!({}), 0o777), (json!({"fsGroup": group}), 0o2777)] {
            let pod = pod(json!({"containers": [], "securityContext": context}));
            let path = dir.path().join(format!("volumes/{want:o}"));
            let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
            // What a kubelet left that died half way is in nobody's way.
            fs::create_dir_all(path.with_file_name(format!(".{want:o}"))).unwrap();
            place(&pod, &empty, None, &path).unwrap();
            assert_eq!((mode(), fs::metadata(&path).unwrap().gid()), (want, group));
            let file = path.join("file");
            fs::write(&file, "").unwrap();
            for own in [&path, &file] {
                fs::set_permissions(own, fs::Permissions::from_mode(0o700)).unwrap();
            }
            place(&pod, &empty, None, &path).unwrap();
            assert_eq!((mode(), fs::metadata(&file).unwrap().mode() & 0o7777), (0o700, 0o700));
        }
        assert_eq!(fs::read_dir(dir.path().join("volumes")).unwrap().count(), 2);
    }

    #[test]
    fn everybody_may_write_and_in_memory_remove_only_what_is_his() {
        for (medium, group, want) in [
            ("", None, 0o777),
            ("", Some(7), 0o2777),
            ("Memory", None, 0o1777),
            ("Memory", Some(7), 0o3777),
            ("HugePages", Some(7), 0o2777),
        ] {
            assert_eq!(mode(medium, group), want, "{medium} {group:?}");
        }
    }

    #[test]
    fn a_medium_that_nobody_knows_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let empty: EmptyDirVolumeSource = serde_json::from_value(json!({"medium": "Tape"})).unwrap();
        let told = place(&pod(json!({"containers": []})), &empty, None, &dir.path().join("v")).unwrap_err();
        assert!(told.ends_with("unknown storage medium \"Tape\""), "{told}");
    }
}
