//! What a machine forbids itself, read from the machine.

use super::{Guest, boot, folder};
use rk_tests::{Operator, artifacts};
use serde_json::Value;

/// Our processes by their command lines: bits of the capabilities that are left, whether system calls are filtered, the OOM score.
const PROCESSES: [(&str, &str, bool, &str); 4] = [
    // NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_TIME
    ("/sbin/rk-init netd", "0000000002003400", true, "-999"),
    // DAC_READ_SEARCH, NET_RAW, SYS_PTRACE, SYSLOG
    ("/bin/rk-machine-api", "0000000400082004", true, "-900"),
    // NET_BIND_SERVICE
    ("/bin/rk-control", "0000000000000400", true, "-999"),
    // It needs all capabilities, for what pods ask for; containers do not inherit its filter.
    ("/bin/rk-node", "", true, "-999"),
];

/// `bpf_jit_harden` is read by who has all rights alone.
const SETTINGS: [(&str, &str); 15] = [
    ("/proc/sys/kernel/kptr_restrict", "2"),
    ("/proc/sys/kernel/dmesg_restrict", "1"),
    ("/proc/sys/kernel/unprivileged_bpf_disabled", "1"),
    ("/proc/sys/kernel/yama/ptrace_scope", "1"),
    ("/proc/sys/kernel/perf_event_paranoid", "3"),
    ("/proc/sys/kernel/randomize_va_space", "2"),
    ("/proc/sys/kernel/sysrq", "0"),
    ("/proc/sys/net/ipv4/conf/all/accept_redirects", "0"),
    ("/proc/sys/net/ipv4/conf/default/accept_source_route", "0"),
    ("/proc/sys/fs/protected_symlinks", "1"),
    ("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait", "3600"),
    ("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", "86400"),
    ("/proc/sys/fs/protected_fifos", "2"),
    ("/proc/sys/fs/suid_dumpable", "0"),
    ("/sys/kernel/security/lockdown", "none [integrity] confidentiality"),
];

/// Mount points and flags that each must have.
const MOUNTS: [(&str, &[&str]); 12] = [
    ("/", &["ro"]),
    // From the initramfs: the image has an empty file there.
    ("/sbin/rk-init", &["ro", "nosuid", "nodev"]),
    ("/proc", &["nosuid", "nodev", "noexec"]),
    ("/sys", &["nosuid", "nodev", "noexec"]),
    ("/sys/fs/cgroup", &["nosuid", "nodev", "noexec", "nsdelegate", "memory_recursiveprot", "favordynmods"]),
    ("/dev/shm", &["nosuid", "nodev", "noexec"]),
    ("/dev/pts", &["nosuid", "noexec"]),
    ("/dev/mqueue", &["nosuid", "nodev", "noexec"]),
    ("/run", &["nosuid", "nodev"]),
    ("/tmp", &["nosuid", "nodev"]),
    ("/etc", &["nosuid", "nodev", "noexec"]),
    ("/var", &["nodev"]),
];

/// Bytes that no pod can take from a service.
const RESERVED: [&str; 5] = ["init", "netd", "machine", "node", "control"];

fn read(guest: &Guest, path: &str) -> String {
    let outcome = guest.rkctl(&["node", "read", path]);
    assert_eq!(outcome.code, 0, "{path}: {outcome:?}");
    outcome.out.trim().to_owned()
}

#[test]
fn every_process_of_ours_has_the_least_rights_and_the_kernel_is_locked() {
    let dir = folder("hardening");
    let operator = Operator::new(&artifacts(), &dir);
    operator.run(&["config", "gen", "paper", "https://10.0.2.15:6443"]).good();
    let config = std::fs::read_to_string(dir.join("control-plane.yaml")).expect("control-plane.yaml");
    let mut guest = boot("hardening", &dir, Some(&config), &[]);
    guest.says("config accepted");
    guest.answers();
    for (path, wanted) in SETTINGS {
        assert_eq!(read(&guest, path), wanted, "{path}");
    }
    let tracked = read(&guest, "/proc/sys/net/netfilter/nf_conntrack_max");
    assert!(tracked.parse::<u64>().is_ok_and(|connections| connections >= 131_072), "{tracked} connections");
    let refused = guest.rkctl(&["node", "read", "/proc/modules"]);
    assert_ne!(refused.code, 0, "the kernel has modules: {refused:?}");
    let told: Value =
        serde_json::from_str(&guest.rkctl(&["node", "ps", "-o", "json"]).good()).expect("JSON of processes");
    for (command, capabilities, filtered, score) in PROCESSES {
        let pid = process(&told, command).unwrap_or_else(|| panic!("{command} does not run: {told}"));
        let status = read(&guest, &format!("/proc/{pid}/status"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        assert_eq!(field("Seccomp") == "2" && field("NoNewPrivs") == "1", filtered, "{command}: {status}");
        if !capabilities.is_empty() {
            assert_eq!(field("CapEff"), capabilities, "{command}: {status}");
            assert_eq!(field("CapPrm"), capabilities, "{command}: {status}");
        }
        assert_eq!(read(&guest, &format!("/proc/{pid}/oom_score_adj")), score, "{command}");
    }
    for service in RESERVED {
        let reserved = read(&guest, &format!("/sys/fs/cgroup/rk/{service}/memory.min"));
        assert!(reserved.parse::<u64>().is_ok_and(|bytes| bytes >= 4 << 20), "{service}: {reserved}");
    }
    let mounts = read(&guest, "/proc/1/mounts");
    for (target, flags) in MOUNTS {
        // The last one on a place is the one that is seen.
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(target));
        let options = line.and_then(|line| line.split(' ').nth(3)).unwrap_or_else(|| panic!("no {target}: {mounts}"));
        assert!(flags.iter().all(|flag| options.split(',').any(|have| have == *flag)), "{target}: {options}");
    }
    let said = guest.vm.console().text();
    assert!(!said.contains("no watchdog"), "nobody watches PID 1: {said}");
}

/// The id of the process of this command line, wherever in the answer the list stands.
fn process(told: &Value, command: &str) -> Option<u64> {
    match told {
        Value::Array(items) => items.iter().find_map(|item| process(item, command)),
        Value::Object(fields) => {
            let line = fields.get("command").and_then(Value::as_str).unwrap_or_default();
            if line == command || line.starts_with(&format!("{command} -")) {
                return fields.get("pid")?.as_u64();
            }
            fields.values().find_map(|value| process(value, command))
        }
        _ => None,
    }
}
