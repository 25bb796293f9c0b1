//! Config drives: a FAT volume labelled `CIDATA` with `user-data` (the machine config) and `meta-data`, as NoCloud has it; one labelled `config-2`,
//! as OpenStack has it.

use crate::{Error, Result};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Size of the volume: the smallest that every FAT driver takes, far above any machine config.
const BYTES: u64 = 2 << 20;

/// Writes the volume to `path`.
pub fn create(path: &Path, user_data: &str, meta_data: &str) -> Result<()> {
    let files = [("user-data", user_data), ("meta-data", meta_data)];
    write(path, *b"CIDATA     ", &files).map_err(Error::file("write config drive", path))
}

/// Writes OpenStack's to `path`.
pub fn create_openstack(path: &Path, user_data: &str) -> Result<()> {
    let files = [("openstack/latest/user_data", user_data)];
    write(path, *b"config-2   ", &files).map_err(Error::file("write config drive", path))
}

fn write(path: &Path, label: [u8; 11], files: &[(&str, &str)]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(BYTES)?;
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new().volume_label(label))?;
    file.seek(SeekFrom::Start(0))?;
    let volume = fatfs::FileSystem::new(&mut file, fatfs::FsOptions::new())?;
    {
        let root = volume.root_dir();
        for (name, text) in files {
            for (end, _) in name.match_indices('/') {
                root.create_dir(&name[..end])?;
            }
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
    fn openstacks_drive_has_its_label_and_its_folders() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("config-2.img");
        create_openstack(&path, "role: worker\n").expect("create");
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("open");
        let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).expect("mount");
        assert_eq!(volume.volume_label().trim(), "config-2");
        let mut text = String::new();
        let mut entry = volume.root_dir().open_file("openstack/latest/user_data").expect("file");
        entry.read_to_string(&mut text).expect("read");
        assert_eq!(text, "role: worker\n");
    }

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
