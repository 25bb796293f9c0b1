//! A hybrid ISO image: one file that boots as a CD and as a USB stick, on UEFI and on BIOS.
//!
//! A writer of our own, because the kernel and the initramfs need to be there once only: they lie inside the unified kernel
//! image in the EFI partition, and the CD's file system, which GRUB reads on BIOS machines, points into it. ISO 9660
//! (ECMA-119) level 1 with an El Torito catalogue; GPT and MBR in the system area, which ISO 9660 leaves alone.

use super::gpt_parts::efi_partition;
use anyhow::{Context, Result, ensure};
use rk_gpt::{Guid, Table};

/// Bytes of a CD's sector.
pub const SECTOR: usize = 2048;
const PRIMARY: usize = 16;
const CATALOGUE: usize = 19;
const PATHS_LITTLE: usize = 20;
const PATHS_BIG: usize = 21;
const ROOT: usize = 22;
const BOOT: usize = 23;
const CONTENT: usize = 24;
/// Sectors behind the content, as CD writers leave them: readers that look ahead in blocks of their own fail at the end of the medium,
/// and GRUB then leaves out the last part of a file.
const PADDING: usize = 150;
/// 2025-01-01 00:00:00 UTC, as directory records have it.
const DATE: [u8; 7] = [125, 1, 1, 0, 0, 0, 0];

/// A file that lies inside the EFI partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    /// Name in the directory `BOOT`: 8.3 in capitals.
    pub name: &'static str,
    /// Byte offset within the EFI partition: a multiple of [`SECTOR`].
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// What goes on the CD.
#[derive(Debug)]
pub struct Contents<'a> {
    /// Volume label: capitals, digits, `_`.
    pub label: &'a str,
    /// GRUB's image for El Torito, and its boot sector for disks.
    pub grub: Option<Grub<'a>>,
    /// The EFI partition.
    pub esp: &'a [u8],
    /// Files within it that the CD's file system shows too.
    pub files: &'a [Inner],
    /// Identity of the disk that a stick with this image is.
    pub disk: Guid,
}

/// GRUB for BIOS machines.
#[derive(Debug, Clone, Copy)]
pub struct Grub<'a> {
    /// As `grub-mkimage -O i386-pc-eltorito` writes it.
    pub eltorito: &'a [u8],
    /// `boot_hybrid.img`.
    pub boot_sector: &'a [u8],
}

/// Writes the image.
///
/// # Errors
/// A part is not of the shape that its description above demands, or the whole is larger than an ISO image can be.
pub fn image(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let core = contents.grub.map(|grub| eltorito(grub.eltorito, CONTENT)).transpose()?.unwrap_or_default();
    let esp_at = (CONTENT + core.len().div_ceil(SECTOR)).next_multiple_of(2);
    let esp_end = esp_at + contents.esp.len().div_ceil(SECTOR);
    // Room for the second table at the end, in whole sectors of both sizes.
    let total = esp_end + PADDING + (33 * 512_usize).div_ceil(SECTOR);
    let mut out = vec![0; total * SECTOR];
    let mut put = |sector: usize, bytes: &[u8]| -> Result<()> {
        let at = sector * SECTOR;
        out.get_mut(at..at + bytes.len()).context("beyond the end of the image")?.copy_from_slice(bytes);
        Ok(())
    };
    put(PRIMARY, &primary(contents.label, total)?)?;
    put(PRIMARY + 1, &boot_record())?;
    put(PRIMARY + 2, b"\xffCD001\x01")?;
    put(CATALOGUE, &catalogue(contents.grub.is_some(), esp_at, contents.esp.len())?)?;
    put(PATHS_LITTLE, &paths(u32::to_le_bytes, u16::to_le_bytes))?;
    put(PATHS_BIG, &paths(u32::to_be_bytes, u16::to_be_bytes))?;
    let parent = [record(&[0], ROOT, SECTOR, true)?, record(&[1], ROOT, SECTOR, true)?].concat();
    put(ROOT, &[parent, record(b"BOOT", BOOT, SECTOR, true)?].concat())?;
    let mut boot = [record(&[0], BOOT, SECTOR, true)?, record(&[1], ROOT, SECTOR, true)?].concat();
    for file in contents.files {
        ensure!(file.offset % SECTOR as u64 == 0, "{} does not start at a sector of the CD", file.name);
        let sector = esp_at + usize::try_from(file.offset)? / SECTOR;
        boot.extend(record(format!("{};1", file.name).as_bytes(), sector, usize::try_from(file.len)?, false)?);
    }
    ensure!(boot.len() <= SECTOR, "too many files on the CD");
    put(BOOT, &boot)?;
    put(CONTENT, &core)?;
    put(esp_at, contents.esp)?;
    let boot_code = contents.grub.map(|grub| hybrid_boot_sector(grub.boot_sector)).transpose()?.unwrap_or_default();
    partition(&mut out, contents, esp_at, &boot_code)?;
    Ok(out)
}

fn partition(out: &mut [u8], contents: &Contents<'_>, esp_at: usize, boot_code: &[u8]) -> Result<()> {
    let first = (esp_at * SECTOR / 512) as u64;
    let esp = efi_partition(contents.disk, first, first + (contents.esp.len() / 512) as u64 - 1);
    let table = Table { disk: contents.disk, sector: 512, sectors: (out.len() / 512) as u64, partitions: vec![esp] };
    let bytes = table.encode(boot_code);
    out.get_mut(..bytes.start.len()).context("no system area")?.copy_from_slice(&bytes.start);
    let end = usize::try_from(bytes.end_at)?;
    out.get_mut(end..end + bytes.end.len()).context("no end")?.copy_from_slice(&bytes.end);
    Ok(())
}

/// `boot_hybrid.img` with the place of the second sector of GRUB's image, counted in sectors of 512 bytes.
fn hybrid_boot_sector(image: &[u8]) -> Result<Vec<u8>> {
    const KERNEL_SECTOR: usize = 0x1b0;
    let mut code = image.get(..440).context("boot_hybrid.img is cut short")?.to_vec();
    let sector = (CONTENT * SECTOR / 512 + 4) as u64;
    code.get_mut(KERNEL_SECTOR..KERNEL_SECTOR + 8).context("boot sector")?.copy_from_slice(&sector.to_le_bytes());
    Ok(code)
}

/// GRUB's image told where it lies: the boot information table, and the block list that a disk's boot sector goes by.
fn eltorito(image: &[u8], sector: usize) -> Result<Vec<u8>> {
    const TABLE: usize = 8;
    const TABLE_END: usize = 64;
    const BLOCK_LIST: usize = 2048 + 0x1f4;
    ensure!(image.len() > BLOCK_LIST + 8, "GRUB's CD image is cut short");
    let mut image = image.to_vec();
    image.resize(image.len().next_multiple_of(4), 0);
    let sum = image
        .get(TABLE_END..)
        .unwrap_or_default()
        .as_chunks::<4>()
        .0
        .iter()
        .fold(0_u32, |sum, word| sum.wrapping_add(u32::from_le_bytes(*word)));
    let words = [PRIMARY as u32, u32::try_from(sector)?, u32::try_from(image.len())?, sum];
    let table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(TABLE, &table);
    // The sum covers the image as it was; the block list is read by our own boot sector alone, which checks none.
    put(BLOCK_LIST, &((sector * SECTOR / 512 + 5) as u64).to_le_bytes());
    Ok(image)
}

/// A number in both byte orders, as most fields of ISO 9660 are.
fn both32(value: usize) -> Result<[u8; 8]> {
    let value = u32::try_from(value).context("larger than an ISO image can be")?;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    Ok(bytes)
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn record(name: &[u8], sector: usize, len: usize, dir: bool) -> Result<Vec<u8>> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![u8::try_from(size)?, 0];
    record.extend_from_slice(&both32(sector)?);
    record.extend_from_slice(&both32(len)?);
    record.extend_from_slice(&DATE);
    record.extend_from_slice(&[if dir { 2 } else { 0 }, 0, 0]);
    record.extend_from_slice(&both16(1));
    record.push(u8::try_from(name.len())?);
    record.extend_from_slice(name);
    record.resize(size, 0);
    Ok(record)
}

/// The root and `BOOT`.
fn paths(number: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut table = Vec::new();
    for (name, sector) in [(b"\0".as_slice(), ROOT), (b"BOOT", BOOT)] {
        table.extend_from_slice(&[name.len() as u8, 0]);
        table.extend_from_slice(&number(sector as u32));
        table.extend_from_slice(&short(1));
        table.extend_from_slice(name);
        table.resize(table.len().next_multiple_of(2), 0);
    }
    table
}

fn primary(label: &str, total: usize) -> Result<Vec<u8>> {
    let text = |text: &str, len: usize| format!("{text:len$}").into_bytes();
    ensure!(label.len() <= 32, "label {label} is longer than 32 bytes");
    let path_table = paths(u32::to_le_bytes, u16::to_le_bytes).len();
    let mut out = b"\x01CD001\x01\0".to_vec();
    out.extend(text("", 32));
    out.extend(text(label, 32));
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&both32(total)?);
    out.extend_from_slice(&[0; 32]);
    out.extend_from_slice(&both16(1));
    out.extend_from_slice(&both16(1));
    out.extend_from_slice(&both16(SECTOR as u16));
    out.extend_from_slice(&both32(path_table)?);
    out.extend_from_slice(&(PATHS_LITTLE as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(PATHS_BIG as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend(record(&[0], ROOT, SECTOR, true)?);
    // Volume set, publisher, preparer, application; copyright, abstract and bibliographic file.
    for len in [128, 128, 128, 128, 37, 37, 37] {
        out.extend(text("", len));
    }
    for _ in 0..2 {
        out.extend_from_slice(b"2025010100000000\0");
    }
    for _ in 0..2 {
        out.extend_from_slice(b"0000000000000000\0");
    }
    out.push(1);
    out.resize(SECTOR, 0);
    Ok(out)
}

fn boot_record() -> Vec<u8> {
    let mut out = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    out.resize(71, 0);
    out.extend_from_slice(&(CATALOGUE as u32).to_le_bytes());
    out
}

/// BIOS first when there is a loader for it, then UEFI.
fn catalogue(bios: bool, esp_at: usize, esp_len: usize) -> Result<Vec<u8>> {
    const BIOS: u8 = 0;
    const UEFI: u8 = 0xef;
    // Beyond what the field holds, firmware takes all up to the end of the medium.
    let esp_sectors = u16::try_from(esp_len.div_ceil(512)).unwrap_or(0);
    let mut out = vec![1, if bios { BIOS } else { UEFI }];
    out.resize(30, 0);
    out.extend_from_slice(&[0x55, 0xaa]);
    let sum = out.as_chunks::<2>().0.iter().fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)));
    out.splice(28..30, sum.wrapping_neg().to_le_bytes());
    let mut entry = |sectors: u16, at: usize| -> Result<()> {
        let end = out.len() + 32;
        out.extend_from_slice(&[0x88, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&sectors.to_le_bytes());
        out.extend_from_slice(&u32::try_from(at)?.to_le_bytes());
        out.resize(end, 0);
        Ok(())
    };
    if !bios {
        entry(esp_sectors, esp_at)?;
        return Ok(out);
    }
    entry(4, CONTENT)?;
    let end = out.len() + 32;
    out.extend_from_slice(&[0x91, UEFI, 1, 0]);
    out.resize(end, 0);
    let mut tail = vec![0x88, 0, 0, 0, 0, 0];
    tail.extend_from_slice(&esp_sectors.to_le_bytes());
    tail.extend_from_slice(&u32::try_from(esp_at)?.to_le_bytes());
    tail.resize(32, 0);
    out.extend(tail);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents<'a>(grub: Option<Grub<'a>>, esp: &'a [u8], files: &'a [Inner]) -> Contents<'a> {
        Contents { label: "RK", grub, esp, files, disk: Guid::ESP }
    }

    #[test]
    fn the_file_system_points_into_the_efi_partition() {
        let mut esp = vec![0; 1 << 20];
        esp[4096..4101].copy_from_slice(b"hello");
        let files = [Inner { name: "VMLINUZ", offset: 4096, len: 5 }];
        let iso = image(&contents(None, &esp, &files)).unwrap();
        let boot = &iso[BOOT * SECTOR..];
        // Behind the records of the directory itself and of its parent.
        let record = &boot[68..];
        assert_eq!(&record[33..42], b"VMLINUZ;1");
        let sector = u32::from_le_bytes(record[2..6].try_into().unwrap()) as usize;
        assert_eq!(&iso[sector * SECTOR..sector * SECTOR + 5], b"hello");
        assert_eq!(iso.len() % SECTOR, 0);
    }

    #[test]
    fn a_stick_with_the_image_has_the_efi_partition_in_its_table() {
        let esp = vec![0x11; 1 << 20];
        let iso = image(&contents(None, &esp, &[])).unwrap();
        let table = Table::decode(&iso, 512).unwrap();
        let partition = &table.partitions[0];
        assert_eq!((partition.kind, partition.sectors()), (Guid::ESP, 2048));
        let at = partition.first as usize * 512;
        assert!(iso[at..at + esp.len()] == esp);
    }

    #[test]
    fn the_catalogue_s_checksum_is_nought() {
        let sum =
            |bytes: &[u8]| bytes.as_chunks::<2>().0.iter().fold(0_u16, |s, w| s.wrapping_add(u16::from_le_bytes(*w)));
        for bios in [true, false] {
            assert_eq!(sum(&catalogue(bios, 100, 1 << 20).unwrap()[..32]), 0);
        }
    }

    #[test]
    fn grub_is_told_where_it_lies() {
        let (core, sector) = (vec![1; 5000], vec![2; 512]);
        let iso = image(&contents(Some(Grub { eltorito: &core, boot_sector: &sector }), &[0; 4096], &[])).unwrap();
        let at = CONTENT * SECTOR;
        assert_eq!(u32::from_le_bytes(iso[at + 12..at + 16].try_into().unwrap()) as usize, CONTENT);
        let list = at + 2048 + 0x1f4;
        assert_eq!(u64::from_le_bytes(iso[list..list + 8].try_into().unwrap()) as usize, CONTENT * 4 + 5);
        assert_eq!(u64::from_le_bytes(iso[0x1b0..0x1b8].try_into().unwrap()) as usize, CONTENT * 4 + 4);
    }
}
