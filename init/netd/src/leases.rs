//! Leases on disk, so that a restarted netd or machine asks for the address it had.

use crate::dhcp::Lease;
use crate::selection::Traits;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// On the data disk.
const DIR: &str = "/var/lib/rk/netd";
/// A lease is a few hundred bytes.
const MOST_BYTES: u64 = 16 << 10;

/// By what the lease of a link is known: its hardware address, for names may change; of a link that the node made its name as well, for it has
/// the address of a link that it is made of.
pub fn key(link: &Traits) -> String {
    if link.device { link.mac.clone() } else { format!("{}-{}", link.mac, link.name) }
}

/// Reads the lease of a link; none when there is none or it is torn.
pub fn load(key: &str) -> Option<Lease> {
    load_from(&path(Path::new(DIR), key))
}

/// Keeps the lease of a link.
///
/// # Errors
/// The disk is full or broken.
pub fn save(key: &str, lease: &Lease) -> io::Result<()> {
    save_to(&path(Path::new(DIR), key), lease)
}

/// Forgets the lease of a link.
pub fn forget(key: &str) {
    let _ = fs::remove_file(path(Path::new(DIR), key));
}

fn path(dir: &Path, key: &str) -> PathBuf {
    dir.join(format!("{}.json", key.replace(':', "-")))
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
    fn links_that_share_a_hardware_address_have_leases_of_their_own() {
        let link = |name: &str, device: bool| {
            let mac = "52:54:00:00:00:12".to_owned();
            key(&Traits { name: name.to_owned(), mac, driver: None, path: None, device })
        };
        assert_eq!(link("eth0", true), link("eth1", true), "a card keeps its lease under another name");
        let mut keys = vec![link("eth0", true), link("bond0", false), link("bond0.7", false), link("bond0.8", false)];
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 4, "{keys:?}");
        let files: std::collections::BTreeSet<PathBuf> = keys.iter().map(|key| path(Path::new(DIR), key)).collect();
        let news: std::collections::BTreeSet<PathBuf> = files.iter().map(|file| file.with_extension("new")).collect();
        assert_eq!((files.len(), news.len()), (4, 4));
    }

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
