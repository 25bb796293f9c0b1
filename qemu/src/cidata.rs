//! The config drive: a FAT volume labelled `CIDATA` with `user-data` (the machine config) and `meta-data`, as NoCloud has it.

use crate::{Error, Result};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Size of the volume: the smallest that every FAT driver takes, far above any machine config.
const BYTES: u64 = 2 << 20;

/// Writes the volume to `path`.
pub fn create(path: &Path, user_data: &str, meta_data: &str) -> Result<()> {
    write(path, user_data, meta_data).map_err(Error::file("write config drive", path))
}

fn write(path: &Path, user_data: &str, meta_data: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(BYTES)?;
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     "))?;
    file.seek(SeekFrom::Start(0))?;
    let volume = fatfs::FileSystem::new(&mut file, fatfs::FsOptions::new())?;
    {
        let root = volume.root_dir();
        for (name, text) in [("user-data", user_data), ("meta-data", meta_data)] {
            let mut entry = root.create_file(name)?;
            entry.truncate()?;
            entry.write_all(text.as_bytes())?;
            entry.flush()?;
        }
    }
    volume.unmount()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_drive_reads_back_by_label_and_name() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("cidata.img");
        create(&path, "role: worker\n", "instance-id: w1\n").expect("create");
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("open");
        let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).expect("mount");
        assert_eq!(volume.volume_label().trim(), "CIDATA");
        let mut text = String::new();
        volume.root_dir().open_file("user-data").expect("file").read_to_string(&mut text).expect("read");
        assert_eq!(text, "role: worker\n");
    }
}
