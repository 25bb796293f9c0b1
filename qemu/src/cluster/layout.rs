//! Addresses of nodes and files of a cluster.

use crate::{Error, Result};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The kernel takes 107 bytes; the longest name of a socket of ours and some.
const MAX_SOCKET_DIR: usize = 107 - 32;

/// Where a node sits on the two networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// On the network between the nodes.
    pub ip: Ipv4Addr,
    /// There too, in a dual-stack cluster; its last digits read as those of `ip`.
    pub ipv6: Ipv6Addr,
    /// Card on that network.
    pub mac: String,
    /// Card of the uplink.
    pub uplink_mac: String,
}

/// The addresses of node `index`: 0 is the control plane, then the workers.
pub fn address_of(index: u8) -> Address {
    let host = 10 + index;
    Address {
        ip: Ipv4Addr::new(192, 168, 77, host),
        ipv6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, digits(host)),
        mac: format!("52:54:00:77:01:{host:02x}"),
        uplink_mac: format!("52:54:00:77:00:{host:02x}"),
    }
}

/// The number whose hexadecimal digits are the decimal ones of `number`.
fn digits(number: u8) -> u16 {
    let number = u16::from(number);
    ((number / 100) << 8) | (((number / 10) % 10) << 4) | (number % 10)
}

/// Empties the folder of a cluster.
pub(super) fn clear(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(Error::file("clear", dir))?;
    }
    std::fs::create_dir_all(dir).map_err(Error::file("create", dir))
}

/// A folder for sockets: the cluster's own, or one in the temporary folder when the paths would be too long.
pub(super) fn socket_dir(dir: &Path) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if dir.as_os_str().len() <= MAX_SOCKET_DIR {
        return Ok((dir.to_owned(), None));
    }
    let held = tempfile::Builder::new().prefix("rk-").tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
    Ok((held.path().to_owned(), Some(held)))
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_by_node_and_by_network() {
        let (a, b) = (address_of(0), address_of(1));
        assert_eq!((a.ip.to_string().as_str(), b.ip.to_string().as_str()), ("192.168.77.10", "192.168.77.11"));
        assert_eq!(address_of(115).ipv6.to_string(), "fd00:77::125");
        assert_eq!((a.ipv6.to_string().as_str(), b.ipv6.to_string().as_str()), ("fd00:77::10", "fd00:77::11"));
        let macs = [&a.mac, &a.uplink_mac, &b.mac, &b.uplink_mac];
        assert_eq!(macs.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn sockets_move_when_the_folder_is_deep() {
        let (near, held) = socket_dir(Path::new("/short")).expect("dir");
        assert!(near == Path::new("/short") && held.is_none());
        let deep = PathBuf::from(format!("/{}", "d".repeat(90)));
        let (far, held) = socket_dir(&deep).expect("dir");
        assert!(far != deep && held.is_some());
    }
}
