//! A writer of FAT volumes: fixed times and serial number, every file in one piece, so that the same input gives the same
//! bytes and a file's place on the disk is known.
//!
//! FAT16 below 65 525 clusters, which a volume of up to 255 MiB with its 4 KiB clusters has: every firmware reads it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

const SECTOR: usize = 512;
const CLUSTER: usize = 4096;
const ROOT_ENTRIES: usize = 512;
const ENTRY: usize = 32;
/// FAT12 drivers would take a volume of fewer clusters for theirs.
const LEAST_CLUSTERS: usize = 4_200;
const MOST_CLUSTERS: usize = 65_000;
const ATTRIBUTE_VOLUME: u8 = 8;
const ATTRIBUTE_DIR: u8 = 16;
const ATTRIBUTE_ARCHIVE: u8 = 32;
/// Of entries that hold a long name: read-only, hidden, system and label at once, which no real file is.
const ATTRIBUTE_LONG: u8 = 15;
/// UTF-16 units of a long name in one entry.
const LONG_PIECE: usize = 13;
/// 1980-01-01, the first day of FAT.
const DATE: [u8; 2] = [0x21, 0];

/// A finished volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Byte offset of each file, by path.
    pub offsets: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Dir<'a> {
    dirs: BTreeMap<String, Dir<'a>>,
    files: BTreeMap<String, &'a [u8]>,
}

/// Writes a volume of at least `bytes` that holds `files` (path with `/`). Names that are not in 8.3 form, in capitals, get a long
/// one beside a short one.
///
/// # Errors
/// A name is no ASCII text of a reasonable length, or the files need more than a FAT16 volume can hold.
pub fn volume(label: &str, bytes: u64, files: &[(&str, &[u8])]) -> Result<Volume> {
    volume_of(SECTOR, label, bytes, files)
}

/// As [`volume`], with sectors of `sector` bytes: no system takes smaller ones than its disk's.
///
/// # Errors
/// As [`volume`].
pub fn volume_of(sector: usize, label: &str, bytes: u64, files: &[(&str, &[u8])]) -> Result<Volume> {
    let mut root = Dir::default();
    for (path, data) in files {
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = dirs
            .split('/')
            .filter(|d| !d.is_empty())
            .fold(&mut root, |dir, name| dir.dirs.entry(name.to_owned()).or_default());
        dir.files.insert(name.to_owned(), data);
    }
    let mut writer = Writer { data: Vec::new(), fat: vec![0xfff8, 0xffff], offsets: BTreeMap::new() };
    let mut root_dir = vec![entry(*padded(label)?, ATTRIBUTE_VOLUME, 0, 0)];
    writer.dir(&root, "", 0, &mut root_dir)?;
    ensure!(root_dir.len() <= ROOT_ENTRIES, "too many files in the root of the volume");
    let wanted = usize::try_from(bytes).context("volume size")?.div_ceil(CLUSTER);
    let clusters = (writer.data.len() / CLUSTER).max(wanted).max(LEAST_CLUSTERS);
    ensure!(clusters <= MOST_CLUSTERS, "{clusters} clusters do not fit a FAT16 volume");
    // Data starts at a cluster's multiple, so that files are aligned on the disk as well.
    let fat_sectors = ((clusters + 2) * 2).div_ceil(sector);
    let root_sectors = ROOT_ENTRIES * ENTRY / sector;
    let fixed = 2 * fat_sectors + root_sectors;
    let reserved = (fixed + 1).next_multiple_of(CLUSTER / sector) - fixed;
    let data_at = (reserved + fixed) * sector;
    let sectors = reserved + fixed + clusters * (CLUSTER / sector);
    let mut out = boot_sector(sector, label, reserved, fat_sectors, sectors)?;
    out.resize(reserved * sector, 0);
    for _ in 0..2 {
        let end = out.len() + fat_sectors * sector;
        out.extend(writer.fat.iter().flat_map(|entry| entry.to_le_bytes()));
        out.resize(end, 0);
    }
    out.extend(root_dir.concat());
    out.resize(data_at, 0);
    out.extend_from_slice(&writer.data);
    out.resize(sectors * sector, 0);
    let offsets = writer.offsets.into_iter().map(|(path, at)| (path, at + data_at as u64)).collect();
    Ok(Volume { bytes: out, offsets })
}

struct Writer {
    data: Vec<u8>,
    fat: Vec<u16>,
    offsets: BTreeMap<String, u64>,
}

impl Writer {
    /// Writes what is below `dir` and appends its entries; `own` is the cluster of `dir` itself, 0 for the root.
    fn dir(&mut self, dir: &Dir<'_>, path: &str, own: u16, entries: &mut Vec<[u8; ENTRY]>) -> Result<()> {
        for (name, below) in &dir.dirs {
            // `.` and `..`, then the entries of each name: its size is known before its content.
            let names: usize = below.dirs.keys().chain(below.files.keys()).map(|name| names(name).len()).sum();
            let size = (2 + names) * ENTRY;
            let (cluster, at) = self.place(&vec![0; size])?;
            let mut inner =
                vec![entry(*b".          ", ATTRIBUTE_DIR, cluster, 0), entry(*b"..         ", ATTRIBUTE_DIR, own, 0)];
            self.dir(below, &format!("{path}{name}/"), cluster, &mut inner)?;
            let inner = inner.concat();
            self.data.get_mut(at..at + inner.len()).context("directory")?.copy_from_slice(&inner);
            named(entries, name, |short| entry(short, ATTRIBUTE_DIR, cluster, 0))?;
        }
        for (name, data) in &dir.files {
            let (cluster, at) = self.place(data)?;
            self.offsets.insert(format!("{path}{name}"), at as u64);
            let size = u32::try_from(data.len()).context("file size")?;
            named(entries, name, |short| entry(short, ATTRIBUTE_ARCHIVE, cluster, size))?;
        }
        Ok(())
    }

    /// Appends `data` in one chain of neighbours; answers its first cluster and its offset in the data area.
    fn place(&mut self, data: &[u8]) -> Result<(u16, usize)> {
        let at = self.data.len();
        if data.is_empty() {
            return Ok((0, at));
        }
        let clusters = data.len().div_ceil(CLUSTER);
        ensure!(self.fat.len() + clusters <= MOST_CLUSTERS, "the files do not fit a FAT16 volume");
        let first = self.fat.len();
        for n in 1..=clusters {
            self.fat.push(if n == clusters { 0xffff } else { u16::try_from(first + n)? });
        }
        self.data.extend_from_slice(data);
        self.data.resize(at + clusters * CLUSTER, 0);
        Ok((u16::try_from(first)?, at))
    }
}

fn boot_sector(sector: usize, label: &str, reserved: usize, fat_sectors: usize, sectors: usize) -> Result<Vec<u8>> {
    let mut boot = vec![0xeb, 0x3c, 0x90];
    boot.extend_from_slice(b"RK      ");
    boot.extend_from_slice(&u16::try_from(sector)?.to_le_bytes());
    boot.push((CLUSTER / sector) as u8);
    boot.extend_from_slice(&u16::try_from(reserved)?.to_le_bytes());
    boot.push(2);
    boot.extend_from_slice(&(ROOT_ENTRIES as u16).to_le_bytes());
    boot.extend_from_slice(&u16::try_from(sectors).unwrap_or(0).to_le_bytes());
    boot.push(0xf8);
    boot.extend_from_slice(&u16::try_from(fat_sectors)?.to_le_bytes());
    boot.extend_from_slice(&[63, 0, 255, 0, 0, 0, 0, 0]);
    boot.extend_from_slice(&(if sectors > 0xffff { u32::try_from(sectors)? } else { 0 }).to_le_bytes());
    boot.extend_from_slice(&[0x80, 0, 0x29]);
    boot.extend_from_slice(b"rk01");
    boot.extend_from_slice(padded(label)?.as_slice());
    boot.extend_from_slice(b"FAT16   ");
    boot.resize(510, 0);
    boot.extend_from_slice(&[0x55, 0xaa]);
    Ok(boot)
}

fn entry(name: [u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let [c0, c1] = cluster.to_le_bytes();
    let [s0, s1, s2, s3] = size.to_le_bytes();
    entry[..11].copy_from_slice(&name);
    entry[11] = attributes;
    // Created, accessed, written.
    entry[16..18].copy_from_slice(&DATE);
    entry[18..20].copy_from_slice(&DATE);
    entry[24..26].copy_from_slice(&DATE);
    entry[26..32].copy_from_slice(&[c0, c1, s0, s1, s2, s3]);
    entry
}

fn padded(label: &str) -> Result<Box<[u8; 11]>> {
    let mut bytes = Box::new([b' '; 11]);
    let text = label.as_bytes();
    bytes
        .get_mut(..text.len())
        .with_context(|| format!("label {label} is longer than 11 bytes"))?
        .copy_from_slice(text);
    Ok(bytes)
}

/// Pieces of a long name; one empty piece stands for a name that needs none.
fn names(name: &str) -> Vec<Vec<u16>> {
    let mut pieces = vec![Vec::new()];
    if short_name(name).is_err() {
        pieces.extend(name.encode_utf16().collect::<Vec<_>>().chunks(LONG_PIECE).map(<[u16]>::to_vec));
    }
    pieces
}

/// Appends the entries of a name: its long pieces, last one first, then the entry itself.
fn named(entries: &mut Vec<[u8; ENTRY]>, name: &str, entry: impl Fn([u8; 11]) -> [u8; ENTRY]) -> Result<()> {
    let pieces = names(name);
    if pieces.len() == 1 {
        entries.push(entry(short_name(name)?));
        return Ok(());
    }
    let sound = name.bytes().all(|b| b.is_ascii_graphic() && !b"\"*/:<>?\\|".contains(&b));
    ensure!(
        sound && name.len() <= 200 && !name.starts_with('.'),
        "{name} cannot be the name of a file on a FAT volume"
    );
    // Unique in its folder, for every entry there has another number.
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let plain = |text: &str, most: usize| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).take(most).collect::<String>().to_ascii_uppercase()
    };
    let short = short_name(&format!("{}~{:03}.{}", plain(stem, 4), entries.len() % 1000, plain(extension, 3)))?;
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    for (n, piece) in pieces.iter().enumerate().skip(1).rev() {
        let last = if n + 1 == pieces.len() { 0x40 } else { 0 };
        let mut units = piece.clone();
        if units.len() < LONG_PIECE {
            units.push(0);
        }
        units.resize(LONG_PIECE, 0xffff);
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut long = [0; ENTRY];
        long[0] = u8::try_from(n)? | last;
        long[1..11].copy_from_slice(&bytes[..10]);
        long[11] = ATTRIBUTE_LONG;
        long[13] = sum;
        long[14..26].copy_from_slice(&bytes[10..22]);
        long[28..32].copy_from_slice(&bytes[22..26]);
        entries.push(long);
    }
    entries.push(entry(short));
    Ok(())
}

fn short_name(name: &str) -> Result<[u8; 11]> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let sound = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_~".contains(&b));
    ensure!(
        (1..=8).contains(&stem.len()) && extension.len() <= 3 && sound(stem) && sound(extension),
        "{name} is no 8.3 name in capitals"
    );
    let mut bytes = [b' '; 11];
    bytes[..stem.len()].copy_from_slice(stem.as_bytes());
    bytes[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[test]
    fn another_implementation_reads_the_files_and_they_lie_where_it_is_said() {
        let big: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let files = [
            ("EFI/BOOT/BOOTX64.EFI", big.as_slice()),
            ("EFI/Linux/rk-00001-a.efi", b"one"),
            ("EFI/Linux/rk-00002-b+2-1.efi", b"two"),
            ("loader/loader.conf", b"timeout 0"),
            ("RK/A.TXT", b"hello"),
            ("EMPTY", b""),
        ];
        let volume = volume("RK-ESP", 0, &files).unwrap();
        let at = volume.offsets["EFI/BOOT/BOOTX64.EFI"] as usize;
        assert_eq!(at % CLUSTER, 0);
        assert_eq!(&volume.bytes[at..at + big.len()], big);
        let disk = fatfs::FileSystem::new(Cursor::new(volume.bytes.clone()), fatfs::FsOptions::new()).unwrap();
        assert_eq!(disk.fat_type(), fatfs::FatType::Fat16);
        assert_eq!(disk.volume_label(), "RK-ESP");
        for (path, data) in files {
            let mut read = Vec::new();
            disk.root_dir().open_file(path).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == data, "{path}");
        }
        assert!(super::volume("RK-ESP", 0, &files).unwrap() == volume, "not reproducible");
    }

    #[test]
    fn names_that_no_file_can_have_are_refused() {
        for name in [".x", "a b", "a:b", "a*", "\u{e9}t\u{e9}"] {
            assert!(volume("X", 0, &[(name, b"")]).is_err(), "{name}");
        }
    }
}
