//! What is mounted, and how full it is.

use super::text;
use rk_machine_proto::v1::Mount;

/// Mounts told; a node with many pods has a few thousand.
const MOST: usize = 4096;
/// File systems whose size means something; asking a dead network mount would wait.
const SIZED: [&str; 8] = ["ext4", "xfs", "btrfs", "tmpfs", "erofs", "vfat", "iso9660", "overlay"];

/// Reads the mount table of this process, which is PID 1's.
pub fn read() -> Vec<Mount> {
    let mut mounts = parse(&text("/proc/self/mounts", 4 << 20));
    for mount in mounts.iter_mut().filter(|mount| SIZED.contains(&mount.r#type.as_str())) {
        if let Ok(stat) = rustix::fs::statvfs(mount.target.as_str()) {
            mount.size_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
            mount.available_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        }
    }
    mounts
}

fn parse(table: &str) -> Vec<Mount> {
    table
        .lines()
        .take(MOST)
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some(Mount {
                source: rk_sys::unescape_path(fields.next()?),
                target: rk_sys::unescape_path(fields.next()?),
                r#type: fields.next()?.to_owned(),
                options: fields.next()?.to_owned(),
                size_bytes: 0,
                available_bytes: 0,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_line_by_line_and_torn_lines_left_out() {
        let mounts = parse("/dev/vda /var ext4 rw,nodev 0 0\ntmpfs /a\\040b tmpfs rw 0 0\ntorn line\n");
        assert_eq!(mounts.iter().map(|mount| mount.target.as_str()).collect::<Vec<_>>(), ["/var", "/a b"]);
    }
}
