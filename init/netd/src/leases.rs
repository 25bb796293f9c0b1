//! Leases on disk, so that a restarted netd or machine asks for the address it had.

use crate::dhcp::Lease;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// On the data disk; by hardware address, for names may change.
const DIR: &str = "/var/lib/rk/netd";
/// A lease is a few hundred bytes.
const MOST_BYTES: u64 = 16 << 10;

/// Reads the lease of a link; none when there is none or it is torn.
pub fn load(mac: &str) -> Option<Lease> {
    load_from(&path(Path::new(DIR), mac))
}

/// Keeps the lease of a link.
///
/// # Errors
/// The disk is full or broken.
pub fn save(mac: &str, lease: &Lease) -> io::Result<()> {
    save_to(&path(Path::new(DIR), mac), lease)
}

/// Forgets the lease of a link.
pub fn forget(mac: &str) {
    let _ = fs::remove_file(path(Path::new(DIR), mac));
}

fn path(dir: &Path, mac: &str) -> PathBuf {
    dir.join(format!("{}.json", mac.replace(':', "-")))
}

fn load_from(path: &Path) -> Option<Lease> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn save_to(path: &Path, lease: &Lease) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(lease)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::lease;

    #[test]
    fn a_lease_survives_and_a_torn_one_counts_as_none() {
        let dir = std::env::temp_dir().join(format!("rk-netd-{}", std::process::id()));
        let file = path(&dir, "52:54:00:00:00:01");
        save_to(&file, &lease()).unwrap();
        assert_eq!(load_from(&file), Some(lease()));
        fs::write(&file, b"{\"address\":").unwrap();
        assert_eq!(load_from(&file), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
