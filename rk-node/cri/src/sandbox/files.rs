//! Files that all containers of a pod share: resolver, host name, hosts, shared memory.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rk_cri_api::v1::{DnsConfig, NamespaceMode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::run::hostname;
use crate::error::{IoContext, Result};
use crate::record::SandboxRecord;
use crate::runtime::Runtime;

/// Size of a pod's `/dev/shm`, as everywhere.
const SHM_OPTIONS: &std::ffi::CStr = c"mode=1777,size=65536k";

/// Writes them in the sandbox's directories.
pub(super) fn make(runtime: &Runtime, record: &SandboxRecord) -> Result<()> {
    let dir = runtime.sandbox_state(&record.id);
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).at("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).at("change mode of", &path)
    };
    let node = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    write("resolv.conf", &resolver(record.config.dns_config.as_ref(), || node(&runtime.config.resolv_conf)))?;
    write("hostname", &(hostname(&record.config) + "\n"))?;
    let hosts = node(Path::new("/etc/hosts"));
    write("hosts", if hosts.is_empty() { "127.0.0.1\tlocalhost\n::1\tlocalhost\n" } else { &hosts })?;
    if record.namespace(|o| o.ipc()) != NamespaceMode::Node {
        let shm = shm(runtime, &record.id);
        fs::create_dir_all(&shm).at("create", &shm)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("shm", &shm, "tmpfs", flags, Some(SHM_OPTIONS)).at("mount a tmpfs on", &shm)?;
    }
    Ok(())
}

/// Unmounts what [`make`] mounted.
pub(super) fn unmount_shm(runtime: &Runtime, id: &str) {
    let _ = unmount(shm(runtime, id), UnmountFlags::DETACH);
}

fn shm(runtime: &Runtime, id: &str) -> PathBuf {
    runtime.run_dir(id).join("shm")
}

/// (container path, host path) of each.
pub(crate) fn pod_files(runtime: &Runtime, record: &SandboxRecord) -> Vec<(&'static str, PathBuf)> {
    let dir = runtime.sandbox_state(&record.id);
    let shm =
        if record.namespace(|o| o.ipc()) == NamespaceMode::Node { "/dev/shm".into() } else { shm(runtime, &record.id) };
    vec![
        ("/etc/hostname", dir.join("hostname")),
        ("/etc/hosts", dir.join("hosts")),
        ("/etc/resolv.conf", dir.join("resolv.conf")),
        ("/dev/shm", shm),
    ]
}

/// What a pod asks for; the node's own file where it asks for nothing, as under other runtimes.
fn resolver(dns: Option<&DnsConfig>, node: impl FnOnce() -> String) -> String {
    dns.map(resolv_conf).filter(|text| !text.is_empty()).unwrap_or_else(node)
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_file_says_what_the_pods_dns_policy_says() {
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let dns = DnsConfig {
            servers: own(&["10.96.0.10"]),
            searches: own(&["ns.svc.cluster.local", "svc.cluster.local"]),
            options: own(&["ndots:5"]),
        };
        let node = || "nameserver 192.0.2.53\n".to_owned();
        let own = "search ns.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        for (asked, want) in [(Some(dns), own.to_owned()), (Some(DnsConfig::default()), node()), (None, node())] {
            assert_eq!(resolver(asked.as_ref(), node), want, "{asked:?}");
        }
    }
}
