//! `/etc`, made anew at every boot: names, identity, resolver.

use crate::console::Journal;
use crate::mounts::make_dir;
use std::fs;
use std::path::Path;

const KEPT_ID: &str = "/var/lib/rk/machine-id";

/// Writes the files that programs and containers expect. Returns the machine id.
pub fn populate(journal: &mut Journal) -> String {
    let id = machine_id(journal);
    let version = env!("CARGO_PKG_VERSION");
    let os_release = format!("NAME=rk\nID=rk\nPRETTY_NAME=\"rk {version}\"\nVERSION={version}\nVERSION_ID={version}\n");
    let files: [(&str, String); 10] = [
        ("machine-id", format!("{id}\n")),
        ("os-release", os_release),
        ("hosts", hosts("localhost")),
        ("resolv.conf", "# netd writes this file once it knows a resolver\n".to_owned()),
        ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        ("passwd", "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n".to_owned()),
        ("group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n".to_owned()),
        ("localtime", utc()),
        ("protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n".to_owned()),
        ("services", "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\n".to_owned()),
    ];
    for (name, text) in files {
        journal.check("writing /etc", fs::write(Path::new("/etc").join(name), text));
    }
    make_dir(journal, "/etc/cni/net.d", 0o755);
    make_dir(journal, "/etc/kubernetes/manifests", 0o755);
    make_dir(journal, "/etc/ssl/certs", 0o755);
    let _ = std::os::unix::fs::symlink("/proc/self/mounts", "/etc/mtab");
    id
}

/// Gives the machine its name, in the kernel and in `/etc`.
pub fn name_machine(journal: &mut Journal, hostname: &str) {
    journal.check("naming the machine", rk_sys::set_hostname(hostname));
    journal.check("writing /etc/hostname", fs::write("/etc/hostname", format!("{hostname}\n")));
    journal.check("writing /etc/hosts", fs::write("/etc/hosts", hosts(hostname)));
}

/// The time zone of machines, as zone files say it (RFC 9636): pods mount it of any host. Two versions of the same after each other, one
/// type of local time each, then the rule for all times.
fn utc() -> String {
    let counts = [0_u8, 0, 0, 0, 1, 4].map(|count| format!("\0\0\0{}", char::from(count))).concat();
    let block = format!("TZif2{}{counts}{}UTC\0", "\0".repeat(15), "\0".repeat(6));
    format!("{block}{block}\nUTC0\n")
}

fn hosts(hostname: &str) -> String {
    let own = if hostname == "localhost" { String::new() } else { format!("127.0.1.1 {hostname}\n") };
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{own}")
}

/// The id that this machine was given at its first boot; a new random one when it has no disk to keep it on.
fn machine_id(journal: &mut Journal) -> String {
    if let Some(id) = fs::read_to_string(KEPT_ID).ok().map(|id| id.trim().to_owned()).filter(|id| is_machine_id(id)) {
        return id;
    }
    let id: String = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let new = format!("{KEPT_ID}.new");
    let kept = fs::write(&new, format!("{id}\n"))
        .and_then(|()| fs::File::open(&new)?.sync_all())
        .and_then(|()| fs::rename(&new, KEPT_ID));
    journal.check("keeping the machine id", kept);
    id
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_machine_ids_are_taken_from_disk() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for bad in ["", "0123", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcde\0"] {
            assert!(!is_machine_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_time_zone_is_a_whole_file() {
        let zone = utc();
        assert_eq!(
            (zone.len(), zone.matches("TZif2").count(), zone.get(36..44)),
            (114, 2, Some("\0\0\0\u{1}\0\0\0\u{4}"))
        );
        let installed = std::fs::read("/usr/share/zoneinfo/Etc/UTC");
        assert!(installed.is_err() || installed.unwrap() == zone.as_bytes(), "as any machine has it");
    }

    #[test]
    fn the_hosts_file_names_the_machine_once() {
        assert!(hosts("worker-1").ends_with("127.0.1.1 worker-1\n"));
        assert_eq!(hosts("localhost").matches("localhost\n").count(), 1);
    }
}
