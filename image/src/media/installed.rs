//! Reading a disk image back: what an upgrade needs of it.

use anyhow::{Context, Result, ensure};
use rk_gpt::{Partition, Table};
use rk_slots::{ESP, Entry, PROGRAMS, Root, Slot, program, slot_bytes};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

pub(super) const SECTOR: u64 = 512;
/// No EFI program of ours comes near this.
const MOST_PROGRAM: u64 = 64 << 20;

/// The system on a raw disk image.
#[derive(Debug)]
pub struct Installed {
    /// Version of rk.
    pub version: String,
    /// The EFI program of its first slot.
    pub program: Vec<u8>,
    /// The root that it starts.
    pub root: Root,
    /// Bytes of that root and its hash tree.
    pub slot_bytes: u64,
    /// Its partitions by name, with their bytes, as they lie behind one another.
    pub partitions: Vec<(String, u64)>,
    slot_at: u64,
    file: File,
}

impl Installed {
    /// Opens a raw disk image.
    ///
    /// # Errors
    /// It is none of ours, or torn.
    pub fn open(path: &Path) -> Result<Installed> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut start = Vec::new();
        Read::by_ref(&mut file).take(Table::decode_bytes(SECTOR)).read_to_end(&mut start)?;
        let table = Table::decode(&start, SECTOR)
            .with_context(|| format!("{} is not a raw disk image (format raw, rk.raw)", path.display()))?;
        let part = |name: &str| -> Result<&Partition> {
            let found = table.partitions.iter().find(|partition| partition.name == name);
            found.with_context(|| format!("{} has no partition {name}: it is not a disk image of rk", path.display()))
        };
        let (esp, slot) = (part(ESP)?, part(Slot::A.partition())?);
        let program = first_program(Window::of(file.try_clone()?, esp)).context("reading the EFI partition")?;
        let cmdline = program::text(&program, ".cmdline")?;
        let root = Root::of_cmdline(cmdline).context("the EFI program does not say which root it starts")?;
        let slot_bytes = slot_bytes(&root);
        ensure!(slot_bytes <= slot.sectors() * SECTOR, "the root is larger than its slot");
        let release = program::text(&program, ".osrel")?;
        let version = release.lines().find_map(|line| line.strip_prefix("RK_VERSION=")).unwrap_or("unknown").to_owned();
        let slot_at = slot.first * SECTOR;
        let partitions = table.partitions.iter().map(|part| (part.name.clone(), part.sectors() * SECTOR)).collect();
        Ok(Installed { version, root, slot_bytes, partitions, slot_at, file, program })
    }

    /// The root image, without its hash tree.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold the root that its hash says.
    pub fn root_image(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.slot()?.take(self.root.tree_at()).read_to_end(&mut bytes)?;
        let hash = hex::encode(rk_slots::verity::tree(&bytes, &self.root.salt_bytes()).root);
        ensure!(hash == self.root.hash, "the root of the image has hash {hash}, not {}", self.root.hash);
        Ok(bytes)
    }

    /// A section of its EFI program.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn section(&self, name: &str) -> Result<Vec<u8>> {
        Ok(program::section(&self.program, name)?.to_vec())
    }

    /// The command line of its EFI program, without what says where the root is.
    ///
    /// # Errors
    /// The program has none.
    pub fn cmdline(&self) -> Result<String> {
        let word = self.root.word();
        let words = program::text(&self.program, ".cmdline")?.split_ascii_whitespace().filter(|w| *w != word);
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    /// The bytes of the root and its hash tree.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn slot(&self) -> Result<impl Read + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.slot_at))?;
        Ok(file.take(self.slot_bytes))
    }
}

/// The EFI program of slot A.
fn first_program(esp: Window) -> Result<Vec<u8>> {
    let volume = fatfs::FileSystem::new(esp, fatfs::FsOptions::new())?;
    let folder = volume.root_dir().open_dir(PROGRAMS)?;
    for file in folder.iter() {
        let file = file?;
        if Entry::parse(&file.file_name()).is_some_and(|entry| entry.slot == Slot::A) {
            ensure!(file.len() <= MOST_PROGRAM, "{} is too large", file.file_name());
            let mut bytes = Vec::new();
            file.to_file().read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("there is no EFI program in {PROGRAMS}")
}

/// A part of a file; nothing is ever written.
pub(super) struct Window {
    file: File,
    start: u64,
    length: u64,
    at: u64,
}

impl Window {
    pub(super) fn of(file: File, partition: &Partition) -> Window {
        Window { file, start: partition.first * SECTOR, length: partition.sectors() * SECTOR, at: 0 }
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let left = self.length.saturating_sub(self.at);
        let size = (&mut self.file).take(left).read(buffer)?;
        self.at += size as u64;
        Ok(size)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.length, by),
        };
        self.at = base.checked_add_signed(by).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
