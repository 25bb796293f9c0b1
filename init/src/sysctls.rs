//! Kernel settings, as a table.

use crate::console::Journal;
use std::fs;
use std::io::ErrorKind;

/// Setting and value. What Kubernetes expects of a node first, then limits for many pods, then hardening.
const TABLE: [(&str, &str); 52] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
    // Strict reverse-path checks drop answers that come back through another link than they left by.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv4/neigh/default/gc_thresh2", "4096"),
    ("net/ipv4/neigh/default/gc_thresh3", "8192"),
    ("net/ipv6/neigh/default/gc_thresh2", "4096"),
    ("net/ipv6/neigh/default/gc_thresh3", "8192"),
    ("net/core/somaxconn", "4096"),
    ("net/core/default_qdisc", "fq_codel"),
    // As upstream's proxy sets them: half-closed connections through NAT are kept for an hour, idle ones for a day.
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "3600"),
    ("net/netfilter/nf_conntrack_tcp_timeout_established", "86400"),
    // Tunnels built into the kernel must not show up in every pod.
    ("net/core/fb_tunnels_only_for_init_net", "2"),
    // As the kubelet of upstream demands with protectKernelDefaults.
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
    ("vm/max_map_count", "262144"),
    ("kernel/pid_max", "4194304"),
    ("fs/file-max", "2097152"),
    ("fs/inotify/max_user_watches", "524288"),
    ("fs/inotify/max_user_instances", "8192"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/sysrq", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("net/core/bpf_jit_harden", "2"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_rfc1337", "1"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_source_route", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("fs/suid_dumpable", "0"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
];

/// Connections that are tracked at least, for each processor and on any machine, as upstream's proxy has it: a kernel with little memory
/// settles for fewer, and drops what is new.
const CONNECTIONS_PER_CPU: usize = 32_768;
const CONNECTIONS: usize = 131_072;
/// Connections that share a chain of the kernel's table.
const CONNECTIONS_PER_CHAIN: usize = 4;

/// Writes the table. A setting that this kernel lacks is passed over; a refused one is told.
pub fn apply(journal: &mut Journal) {
    for (name, value) in TABLE {
        match fs::write(format!("/proc/sys/{name}"), value) {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => journal.failed(&format!("setting {name} to {value}"), &err),
        }
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let connections = CONNECTIONS.max(cpus * CONNECTIONS_PER_CPU);
    raise("/proc/sys/net/netfilter/nf_conntrack_max", connections, journal);
    raise("/sys/module/nf_conntrack/parameters/hashsize", connections / CONNECTIONS_PER_CHAIN, journal);
}

/// Writes a number where a lower one is.
fn raise(path: &str, least: usize, journal: &mut Journal) {
    let raised = fs::read_to_string(path).and_then(|now| match is_below(&now, least) {
        true => fs::write(path, least.to_string()),
        false => Ok(()),
    });
    match raised {
        Err(err) if err.kind() != ErrorKind::NotFound => journal.failed(&format!("raising {path} to {least}"), &err),
        _ => {}
    }
}

/// What is no number is not the kernel's, and left alone.
fn is_below(now: &str, least: usize) -> bool {
    now.trim().parse().is_ok_and(|now: usize| now < least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_raised_but_never_lowered() {
        for (now, raised) in [("65536\n", true), ("131072\n", false), ("262144", false), ("", false), ("x", false)] {
            assert_eq!(is_below(now, CONNECTIONS), raised, "{now}");
        }
    }
}
