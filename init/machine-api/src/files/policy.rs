//! Which paths may be read. What is not allowed is refused, and what is allowed has exceptions.

/// Folders that hold no secrets but those of [`SECRET`].
const ALLOWED: [&str; 11] = [
    "/bin",
    "/etc",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/cni",
    "/var/lib/rk/crash",
    "/var/log",
    // What else lies in `/opt` are volumes of pods.
    "/var/opt/cni",
];
/// Below the allowed folders, all the same secret: configs, keys, tokens of pods, sockets.
const SECRET: [&str; 12] = [
    // Networks that were installed keep a token for the API here.
    "/etc/cni/net.d",
    "/etc/kubernetes",
    "/run/rk",
    "/run/secrets",
    "/proc/cmdline",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kallsyms",
    // What the kernel says of its command line as well, now and before a crash; `dmesg` and the kept records have it without a config.
    "/proc/kmsg",
    "/sys/fs/pstore",
    // A config that the hypervisor gives lies here, by its number and by its name.
    "/sys/firmware/qemu_fw_cfg",
    "/usr/share/rk/machine.yaml",
];
/// Below those, all the same open.
const OPEN: [&str; 7] = [
    "/etc/cni/net.d/10-rk.conflist",
    "/run/rk/node-status",
    "/run/rk/time",
    "/run/rk/shutdown",
    "/run/rk/netd",
    "/run/rk/state/boots",
    "/run/rk/state/minimum-version",
];
/// Of a process, these alone: memory, environment and files of pods hold secrets.
const OF_PROCESS: [&str; 14] = [
    "cgroup",
    "cmdline",
    "comm",
    "io",
    "limits",
    "loginuid",
    "mountinfo",
    "mounts",
    "net",
    "oom_score",
    "oom_score_adj",
    "sched",
    "stat",
    "status",
];

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is outside of what may be read.
    #[error("{0} is not readable through the machine API; readable are {list}", list = ALLOWED.join(", "))]
    Outside(String),
    /// It holds secrets.
    #[error("{0} holds secrets and is not readable through the machine API")]
    Secret(String),
}

/// Judges a path that is absolute and resolved: no links, no dots.
///
/// # Errors
/// See [`Refusal`].
pub fn may_read(path: &str) -> Result<(), Refusal> {
    if below_any(path, &OPEN) {
        return Ok(());
    }
    if below_any(path, &SECRET) {
        return Err(Refusal::Secret(path.to_owned()));
    }
    if let Some(rest) = path.strip_prefix("/proc/") {
        return process(path, rest);
    }
    // The way down to an allowed folder may be listed.
    let way = ALLOWED.iter().any(|allowed| path == "/" || allowed.starts_with(&format!("{path}/")));
    if way || below_any(path, &ALLOWED) { Ok(()) } else { Err(Refusal::Outside(path.to_owned())) }
}

fn process(path: &str, rest: &str) -> Result<(), Refusal> {
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    let is_process = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    if !is_process {
        return Ok(());
    }
    let (mut kind, mut below) = below.split_once('/').unwrap_or((below, ""));
    if kind == "task" {
        // task/<tid>/<file>
        let file = below.split_once('/').map_or("", |(_, file)| file);
        (kind, below) = file.split_once('/').unwrap_or((file, ""));
    }
    let plain = kind.is_empty() || OF_PROCESS.contains(&kind);
    if plain && (below.is_empty() || kind == "net") { Ok(()) } else { Err(Refusal::Secret(path.to_owned())) }
}

fn below_any(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_facts_are_readable() {
        for path in [
            "/",
            "/var",
            "/var/lib",
            "/var/log/rk/node.log",
            "/var/log/pods/a_b_c/d/0.log",
            "/etc/resolv.conf",
            "/proc",
            "/proc/cpuinfo",
            "/proc/sys/kernel/panic",
            "/proc/12",
            "/proc/12/status",
            "/proc/12/net/tcp",
            "/proc/12/task/13/stat",
            "/sys/class/net",
            "/run/rk/node-status",
            "/etc/cni/net.d/10-rk.conflist",
            "/var/opt/cni/bin/bridge",
        ] {
            assert_eq!(may_read(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn secrets_and_what_leads_to_them_are_not() {
        for path in [
            "/run/rk",
            "/run/rk/machine.json",
            "/run/rk/state/machine.yaml",
            "/usr/share/rk/machine.yaml",
            "/var/lib/rk/pki/kubelet.key",
            "/var/lib/rk-control/pki/ca.key",
            "/var/lib/rk-control/admin.kubeconfig",
            "/var/lib/kubelet/pods/x/volumes/y/token",
            "/var/lib/rk/images/blobs",
            "/var/logs",
            "/dev/vda",
            "/root",
            "/home",
            "/proc/12/environ",
            "/proc/12/mem",
            "/proc/12/root/etc/shadow",
            "/proc/12/fd/3",
            "/proc/12/task/13/environ",
            "/proc/12/task/13/root/x",
            "/proc/cmdline",
            "/proc/kcore",
            "/proc/kmsg",
            "/sys/fs/pstore/dmesg-ramoops-0",
            "/sys/firmware/qemu_fw_cfg/by_key/41/raw",
            "/etc/kubernetes/admin.conf",
            "/etc/cni/net.d/calico-kubeconfig",
            "/var/opt/local-path-provisioner/pvc-1/data",
        ] {
            assert!(may_read(path).is_err(), "{path}");
        }
    }
}
