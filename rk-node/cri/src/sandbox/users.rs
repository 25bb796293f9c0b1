//! The users of a pod: the host's, or a range of ids of its own (KEP-127).

use rk_cri_api::v1::{IdMapping, NamespaceMode, NamespaceOption, UserNamespace};
use rk_shim_protocol::{IdRange, UserMapping, namespace_file};

use crate::record::SandboxRecord;
use crate::runtime::Runtime;

/// Whether what is asked for makes sense.
pub(super) fn check(options: Option<&NamespaceOption>) -> Result<(), String> {
    let Some(options) = options else { return Ok(()) };
    let own = read(options.userns_options.as_ref())?.is_some();
    let host = [("network", options.network()), ("pid", options.pid()), ("ipc", options.ipc())];
    match host.iter().find(|(_, mode)| own && *mode == NamespaceMode::Node) {
        Some((which, _)) => Err(format!("a pod with a user namespace cannot have the host's {which} namespace")),
        None => Ok(()),
    }
}

/// The ids of a pod; `None` are the host's.
fn read(wish: Option<&UserNamespace>) -> Result<Option<UserMapping>, String> {
    let Some(wish) = wish else { return Ok(None) };
    match wish.mode() {
        NamespaceMode::Node if wish.uids.is_empty() && wish.gids.is_empty() => Ok(None),
        NamespaceMode::Node => Err("a pod with the host's users cannot have mappings of ids".into()),
        // The zero value: what clients send that know nothing of user namespaces.
        NamespaceMode::Pod if wish.uids.is_empty() && wish.gids.is_empty() => {
            Err("a user namespace needs one mapping of uids and one of gids".into())
        }
        NamespaceMode::Pod => {
            Ok(Some(UserMapping { uids: range(&wish.uids, "uid")?, gids: range(&wish.gids, "gid")? }))
        }
        mode => Err(format!("unsupported user namespace mode {}", mode.as_str_name())),
    }
}

fn range(list: &[IdMapping], what: &str) -> Result<IdRange, String> {
    let [one] = list else { return Err(format!("a user namespace needs one mapping of {what}s, not {}", list.len())) };
    if one.container_id != 0 || one.length == 0 || one.host_id.checked_add(one.length).is_none() {
        return Err(format!(
            "mapping of {what}s {}:{}:{} must begin at 0 in the container and fit the host's ids",
            one.container_id, one.host_id, one.length
        ));
    }
    Ok(IdRange { host: one.host_id, length: one.length })
}

/// The ids of a sandbox that was checked when it was made.
pub(crate) fn mapping(record: &SandboxRecord) -> Option<UserMapping> {
    let security = record.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    read(security.and_then(|s| s.namespace_options.as_ref())?.userns_options.as_ref()).ok().flatten()
}

/// Whether the ids of a mount are those of the pod, which are the only ones that it can have.
pub(crate) fn is_of_pod(uids: &[IdMapping], gids: &[IdMapping], pod: Option<&UserMapping>) -> bool {
    let same = |list: &[IdMapping], range: IdRange| matches!(list, [one] if one.container_id == 0 && one.host_id == range.host && one.length == range.length);
    match pod {
        _ if uids.is_empty() && gids.is_empty() => true,
        Some(pod) => same(uids, pod.uids) && same(gids, pod.gids),
        None => false,
    }
}

/// How images are shown to the pod's users.
pub(crate) fn shift(runtime: &Runtime, record: &SandboxRecord) -> Option<rk_images::Shift> {
    mapping(record).map(|users| rk_images::Shift {
        namespace: namespace_file(&runtime.run_dir(&record.id), "user"),
        root: (users.uids.host, users.gids.host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(container_id: u32, host_id: u32, length: u32) -> Vec<IdMapping> {
        vec![IdMapping { host_id, container_id, length }]
    }

    fn wish(mode: NamespaceMode, uids: Vec<IdMapping>, network: NamespaceMode) -> Result<(), String> {
        let user = UserNamespace { mode: mode as i32, gids: uids.clone(), uids };
        check(Some(&NamespaceOption { userns_options: Some(user), network: network as i32, ..Default::default() }))
    }

    #[test]
    fn a_pods_users_are_one_range_and_exclude_the_hosts_other_namespaces() {
        use NamespaceMode::{Container, Node, Pod};
        assert_eq!(wish(Node, Vec::new(), Node), Ok(()));
        assert_eq!(wish(Pod, ids(0, 65_536, 65_536), Pod), Ok(()));
        for (mode, list, network, word) in [
            (Node, ids(0, 65_536, 65_536), Pod, "cannot have mappings"),
            (Pod, Vec::new(), Pod, "needs one mapping of uids and one of gids"),
            (Pod, [ids(0, 1, 1), ids(1, 2, 1)].concat(), Pod, "not 2"),
            (Pod, ids(1, 65_536, 65_536), Pod, "must begin at 0"),
            (Pod, ids(0, 65_536, 0), Pod, "0:65536:0"),
            (Pod, ids(0, u32::MAX, 65_536), Pod, "fit the host's ids"),
            (Pod, ids(0, 65_536, 65_536), Node, "the host's network namespace"),
            (Container, Vec::new(), Pod, "unsupported user namespace mode CONTAINER"),
        ] {
            assert!(wish(mode, list.clone(), network).is_err_and(|e| e.contains(word)), "{mode:?} {list:?}");
        }
    }

    #[test]
    fn mounts_have_the_pods_ids_or_none() {
        let range = IdRange { host: 65_536, length: 65_536 };
        let pod = UserMapping { uids: range, gids: range };
        let (right, wrong) = (ids(0, 65_536, 65_536), ids(0, 131_072, 65_536));
        assert!(is_of_pod(&[], &[], None) && is_of_pod(&[], &[], Some(&pod)) && is_of_pod(&right, &right, Some(&pod)));
        assert!(!is_of_pod(&right, &wrong, Some(&pod)) && !is_of_pod(&right, &[], Some(&pod)));
        assert!(!is_of_pod(&right, &right, None), "the pod has the host's users");
    }
}
