//! The EFI partition, as an upgrade changes it. At every moment a power cut leaves the running slot bootable, and the other one
//! either whole or unseen by the boot loader.

use rk_slots::program::{section, text};
use rk_slots::{ENV_PATH, Entry, Env, LEFT_PATH, PROGRAMS, Slot, TRIES, Tries, boot_commands, next_generation, sums};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A sector: written whole or not at all. It holds the mark by which a boot loader knows a program.
const FIRST: usize = 512;

/// The mounted partition.
#[derive(Debug)]
pub struct Esp {
    root: PathBuf,
    booted: Slot,
}

impl Esp {
    /// The one at this mount point, of a machine that runs this slot.
    pub fn new(root: &Path, booted: Slot) -> Esp {
        Esp { root: root.to_owned(), booted }
    }

    /// Takes the other slot away from the boot loaders, before a byte of it changes.
    ///
    /// # Errors
    /// As the file system.
    pub fn forget_other(&self) -> io::Result<()> {
        let other = self.booted.other();
        self.write_env(Env::good(self.booted))?;
        // What was said of the old root is no news of the new one.
        remove(&self.root.join(LEFT_PATH))?;
        let folder = self.folder(other);
        for name in ["boot.cfg", "sums", "vmlinuz", "initrd"] {
            remove(&folder.join(name))?;
        }
        for (path, _) in self.entries()?.into_iter().filter(|(_, entry)| entry.slot == other) {
            remove(&path)?;
        }
        sync(&self.root.join(PROGRAMS))
    }

    /// Gives the boot loaders the other slot's program, to be tried.
    ///
    /// # Errors
    /// It is no whole program, or the partition is full; the running slot is as it was.
    pub fn place_other(&self, program: &[u8]) -> io::Result<()> {
        let other = self.booted.other();
        let foreign = |err| io::Error::new(io::ErrorKind::InvalidData, err);
        let folder = self.folder(other);
        fs::create_dir_all(&folder)?;
        let kernel = section(program, ".linux").map_err(foreign)?;
        let initramfs = section(program, ".initrd").map_err(foreign)?;
        write(&folder.join("vmlinuz"), kernel)?;
        write(&folder.join("initrd"), initramfs)?;
        write(&folder.join("sums"), sums(kernel, initramfs).as_bytes())?;
        let commands = boot_commands(other, text(program, ".cmdline").map_err(foreign)?);
        sync(&folder)?;
        let all: Vec<Entry> = self.entries()?.into_iter().map(|(_, entry)| entry).collect();
        let entry =
            Entry { generation: next_generation(&all), slot: other, tries: Some(Tries { left: TRIES, done: 0 }) };
        self.place_program(&entry, program)?;
        // What GRUB boots by comes when everything else is there: before, the slot holds nothing that boots.
        write(&folder.join("boot.cfg"), commands.as_bytes())?;
        sync(&folder)?;
        self.write_env(Env::trial(self.booted, other))
    }

    /// The first sector goes last: until then the file is no program, and the boot loader passes it over.
    fn place_program(&self, entry: &Entry, program: &[u8]) -> io::Result<()> {
        let folder = self.root.join(PROGRAMS);
        let path = folder.join(entry.to_string());
        let (first, rest) = program.split_at_checked(FIRST).ok_or(io::ErrorKind::InvalidData)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(&[0; FIRST])?;
        file.write_all(rest)?;
        file.sync_all()?;
        sync(&folder)?;
        file.write_all_at(first, 0)?;
        file.sync_all()
    }

    fn folder(&self, slot: Slot) -> PathBuf {
        self.root.join("rk").join(slot.letter())
    }

    fn entries(&self) -> io::Result<Vec<(PathBuf, Entry)>> {
        let files = fs::read_dir(self.root.join(PROGRAMS))?.flatten();
        Ok(files.filter_map(|file| Some((file.path(), Entry::parse(file.file_name().to_str()?)?))).collect())
    }

    /// In place: GRUB knows where the block lies.
    fn write_env(&self, env: Env) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.root.join(ENV_PATH))?;
        file.write_all(&env.encode())?;
        file.sync_all()
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition as an image has it.
    fn esp() -> (tempfile::TempDir, Esp) {
        let dir = tempfile::tempdir().unwrap();
        for folder in [PROGRAMS, "grub", "rk/a"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join(ENV_PATH), Env::good(Slot::A).encode()).unwrap();
        fs::write(dir.path().join(PROGRAMS).join("rk-00001-a.efi"), "MZ").unwrap();
        let esp = Esp::new(dir.path(), Slot::A);
        (dir, esp)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().flatten().map(|file| file.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A PE32+ file with the sections that a slot needs.
    fn program() -> Vec<u8> {
        let mut pe = vec![0; 0x800];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x80;
        pe[0x80..0x84].copy_from_slice(b"PE\0\0");
        pe[0x86] = 3;
        pe[0x94] = 240;
        pe[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (n, name) in [".linux\0\0", ".initrd\0", ".cmdline"].into_iter().enumerate() {
            let header = 0x98 + 240 + n * 40;
            pe[header..header + 8].copy_from_slice(name.as_bytes());
            pe[header + 8] = 5;
            pe[header + 20..header + 24].copy_from_slice(&(0x600 + 16 * n as u32).to_le_bytes());
            pe[0x600 + 16 * n..0x605 + 16 * n].copy_from_slice(b"quiet");
        }
        pe
    }

    #[test]
    fn the_other_slot_is_placed_to_be_tried_and_the_running_one_is_kept() {
        let (dir, esp) = esp();
        esp.forget_other().unwrap();
        esp.place_other(&program()).unwrap();
        assert_eq!(names(&dir.path().join(PROGRAMS)), ["rk-00001-a.efi", "rk-00002-b+3.efi"]);
        assert_eq!(fs::read(dir.path().join(PROGRAMS).join("rk-00002-b+3.efi")).unwrap(), program());
        let env = Env::decode(&fs::read(dir.path().join(ENV_PATH)).unwrap());
        assert_eq!(env, Some(Env::trial(Slot::A, Slot::B)));
        assert!(fs::read_to_string(dir.path().join("rk/b/boot.cfg")).unwrap().contains(" quiet ; then\n"));
        assert_eq!(fs::read_to_string(dir.path().join("rk/b/sums")).unwrap(), sums(b"quiet", b"quiet"));
        esp.forget_other().unwrap();
        assert_eq!(names(&dir.path().join(PROGRAMS)), ["rk-00001-a.efi"]);
        assert!(names(&dir.path().join("rk/b")).is_empty());
    }

    #[test]
    fn a_torn_program_is_refused_before_the_loader_could_see_it() {
        let (dir, esp) = esp();
        assert!(esp.place_other(&program()[..0x300]).is_err());
        assert_eq!(names(&dir.path().join(PROGRAMS)), ["rk-00001-a.efi"]);
        assert_eq!(Env::decode(&fs::read(dir.path().join(ENV_PATH)).unwrap()), Some(Env::good(Slot::A)));
    }
}
