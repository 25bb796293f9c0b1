//! The data disk: a sparse raw file, formatted on the host.

use crate::{Error, Result};
use std::fs::OpenOptions;
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// The label by which a node finds its data disk.
pub const LABEL: &str = "RK-DATA";

/// Makes `path` a sparse ext4 file system of `mib` MiB. Inode tables are left for the guest to initialize lazily, so that
/// the file starts with a few hundred kilobytes.
pub fn create_data(path: &Path, mib: u64) -> Result<()> {
    let file = std::fs::File::create(path).map_err(Error::file("create", path))?;
    file.set_len(mib << 20).map_err(Error::file("size", path))?;
    let out = Command::new("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-L",
            LABEL,
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
            "-J",
            "size=16",
        ])
        .arg(path)
        .env("PATH", sbin_path())
        .output()
        .map_err(|e| Error::program("mkfs.ext4", format!("{e} (package e2fsprogs)")))?;
    if out.status.success() { Ok(()) } else { Err(Error::program("mkfs.ext4", String::from_utf8_lossy(&out.stderr))) }
}

/// Zeros over the first bytes of a file of a FAT volume that lies at `at` of a disk and is at most `bytes` large, as a bad sector would leave it.
pub fn spoil_file(disk: &Path, at: u64, bytes: usize, name: &str) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk).map_err(Error::file("open", disk))?;
    let mut volume = vec![0; bytes];
    file.read_exact_at(&mut volume, at).map_err(Error::file("read", disk))?;
    let mut volume = Cursor::new(volume);
    spoil(&mut volume, name).map_err(Error::file("write a file of", disk))?;
    file.write_all_at(volume.get_ref(), at).map_err(Error::file("write", disk))
}

fn spoil(volume: &mut Cursor<Vec<u8>>, name: &str) -> std::io::Result<()> {
    let volume = fatfs::FileSystem::new(volume, fatfs::FsOptions::new())?;
    {
        let mut file = volume.root_dir().open_file(name)?;
        file.write_all(&[0; 4096])?;
        file.flush()?;
    }
    volume.unmount()
}

/// `PATH` with the sbin folders, which Debian leaves out for ordinary users.
pub fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_data_disk_is_sparse_and_carries_its_label() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("data.img");
        create_data(&path, 8192).expect("create");
        let meta = std::fs::metadata(&path).expect("stat");
        assert_eq!(meta.len(), 8192 << 20);
        assert!(meta.blocks() * 512 < 64 << 20, "{} blocks", meta.blocks());
        let mut head = vec![0; 4096];
        std::fs::File::open(&path).and_then(|mut f| f.read_exact(&mut head)).expect("head");
        assert!(head.windows(7).any(|w| w == LABEL.as_bytes()));
    }
}
