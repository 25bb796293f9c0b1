//! Capability sets of a container.

use std::collections::BTreeSet;

use rk_cri_api::v1::Capability;

/// Every capability in the order of its kernel number.
const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said; the set that other runtimes give.
const DEFAULT: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The two sets from which all five of a process follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bounding, effective and permitted.
    pub held: BTreeSet<&'static str>,
    /// Ambient and inheritable.
    pub ambient: BTreeSet<&'static str>,
}

/// Capabilities for the wishes in `change`. Unknown names are an error that says so.
pub fn capabilities(privileged: bool, change: Option<&Capability>) -> Result<Capabilities, String> {
    if privileged {
        return Ok(Capabilities { held: ALL.iter().copied().collect(), ambient: BTreeSet::new() });
    }
    let mut held: BTreeSet<&'static str> = DEFAULT.iter().copied().collect();
    let mut ambient = BTreeSet::new();
    let Some(change) = change else { return Ok(Capabilities { held, ambient }) };
    // "ALL" first, so that single names may be taken out of it or put into nothing.
    if change.add_capabilities.iter().any(|name| is_all(name)) {
        held = ALL.iter().copied().collect();
    }
    if change.drop_capabilities.iter().any(|name| is_all(name)) {
        held.clear();
    }
    for name in change.add_ambient_capabilities.iter().filter(|name| !is_all(name)) {
        let name = known(name)?;
        held.insert(name);
        ambient.insert(name);
    }
    for name in change.add_capabilities.iter().filter(|name| !is_all(name)) {
        held.insert(known(name)?);
    }
    for name in change.drop_capabilities.iter().filter(|name| !is_all(name)) {
        let name = known(name)?;
        held.remove(name);
        ambient.remove(name);
    }
    Ok(Capabilities { held, ambient })
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("all")
}

fn known(name: &str) -> Result<&'static str, String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter()
        .copied()
        .find(|known| known.strip_prefix("CAP_") == Some(bare))
        .ok_or_else(|| format!("unknown capability {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(add: &[&str], drop: &[&str], ambient: &[&str]) -> Capability {
        let own = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Capability { add_capabilities: own(add), drop_capabilities: own(drop), add_ambient_capabilities: own(ambient) }
    }

    #[test]
    fn adding_and_dropping_follow_the_order_that_pod_authors_expect() {
        for (add, drop, ambient, holds, lacks) in [
            (&[][..], &[][..], &[][..], "CAP_CHOWN", "CAP_SYS_ADMIN"),
            (&["NET_ADMIN"], &["ALL"], &[], "CAP_NET_ADMIN", "CAP_CHOWN"),
            (&["ALL"], &["SYS_ADMIN"], &[], "CAP_BPF", "CAP_SYS_ADMIN"),
            (&["cap_sys_time"], &["chown"], &[], "CAP_SYS_TIME", "CAP_CHOWN"),
            (&[], &["ALL"], &["NET_RAW"], "CAP_NET_RAW", "CAP_KILL"),
        ] {
            let got = capabilities(false, Some(&change(add, drop, ambient))).unwrap();
            assert!(got.held.contains(holds), "{add:?} {drop:?} holds {holds}");
            assert!(!got.held.contains(lacks), "{add:?} {drop:?} lacks {lacks}");
            assert_eq!(got.ambient.len(), ambient.len());
        }
        assert!(capabilities(false, Some(&change(&["FLY"], &[], &[]))).unwrap_err().contains("FLY"));
        assert_eq!(capabilities(true, None).unwrap().held.len(), 41);
    }
}
