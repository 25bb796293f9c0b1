//! What the root holds.

/// PID 1: name of the built file. It lies in the initramfs alone, whose first stage shows it in its place in the root.
pub const INIT: &str = "rk-init";

/// The programs: name of the built file, and its place in the root.
pub const BINARIES: [(&str, &str); 3] = [(INIT, "sbin/rk-init"), ("rk", "bin/rk"), ("rk-shim", "bin/rk-shim")];

/// A machine config that lies in the initramfs beside PID 1, in its place in the root. Without one the file there is empty.
pub const CONFIG: &str = "usr/share/rk/machine.yaml";

/// Names under which `rk` is started.
pub const SERVICES: [&str; 3] = ["rk-node", "rk-control", "rk-machine-api"];

/// Names under which `rk` acts as a CNI plugin.
pub const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

/// Mount points and places that must exist in a read-only root, with their modes. Some are empty for ever: pods mount them of any host
/// (`/lib/modules`, `/boot`), and one that is missing cannot be made here.
const DIRS: [(&str, u32); 19] = [
    ("bin", 0o755),
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("lib/modules", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/lib", 0o755),
    ("usr/libexec/cni", 0o755),
    ("usr/local", 0o755),
    ("usr/share/rk", 0o755),
    ("usr/src", 0o755),
    ("var", 0o755),
];

/// Places that pods write to on any host, and where they lie here. Relative, so that they lead to the same below a mount of the root
/// in a pod.
const WRITABLE: [(&str, &str); 4] = [
    ("mnt", "var/mnt"),
    ("opt", "var/opt"),
    ("srv", "var/srv"),
    ("usr/libexec/kubernetes", "../../var/libexec/kubernetes"),
];

/// One name in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory of this mode; parents are made.
    Dir {
        /// Path without a leading slash.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// A program, copied from the directory of binaries.
    Program {
        /// Path without a leading slash.
        path: String,
        /// Name of the built file.
        from: String,
    },
    /// An empty file, in whose place one is shown that lies elsewhere.
    Place {
        /// Path without a leading slash.
        path: String,
    },
    /// A symbolic link.
    Link {
        /// Path without a leading slash.
        path: String,
        /// What it says.
        to: String,
    },
}

/// The whole root, parents before children.
pub fn layout() -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        DIRS.iter().map(|(path, mode)| Entry::Dir { path: (*path).to_owned(), mode: *mode }).collect();
    entries.extend(BINARIES.iter().map(|(from, path)| match *from {
        INIT => Entry::Place { path: (*path).to_owned() },
        from => Entry::Program { path: (*path).to_owned(), from: from.to_owned() },
    }));
    entries.push(Entry::Place { path: CONFIG.to_owned() });
    let link = |path: String, to: &str| Entry::Link { path, to: to.to_owned() };
    entries.extend(SERVICES.iter().map(|name| link(format!("bin/{name}"), "rk")));
    entries.extend(CNI_PLUGINS.iter().map(|name| link(format!("usr/libexec/cni/{name}"), "/bin/rk")));
    entries.extend(WRITABLE.iter().map(|(path, to)| link((*path).to_owned(), to)));
    entries.push(link("sbin/init".to_owned(), "rk-init"));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_place_and_pid_1_is_no_more_than_that() {
        let entries = layout();
        for (name, place) in BINARIES {
            let found = entries.iter().find(|entry| match entry {
                Entry::Program { path, .. } | Entry::Place { path } => path == place,
                Entry::Dir { .. } | Entry::Link { .. } => false,
            });
            assert_eq!(matches!(found, Some(Entry::Place { .. })), name == INIT, "{found:?}");
            assert!(found.is_some(), "{name} has no place");
        }
        assert!(entries.contains(&Entry::Place { path: CONFIG.to_owned() }));
    }

    #[test]
    fn what_pods_write_to_on_any_host_leads_to_var_from_wherever_the_root_is_mounted() {
        for (path, to) in WRITABLE {
            let depth = path.matches('/').count();
            assert_eq!(
                to.strip_prefix(&"../".repeat(depth)).and_then(|rest| rest.split('/').next()),
                Some("var"),
                "{path}"
            );
        }
        for entry in layout() {
            let (Entry::Dir { path, .. }
            | Entry::Program { path, .. }
            | Entry::Place { path }
            | Entry::Link { path, .. }) = entry;
            let hidden = WRITABLE.iter().any(|(link, _)| path.starts_with(&format!("{link}/")));
            assert!(!hidden, "{path} would lie below a link");
        }
    }
}
