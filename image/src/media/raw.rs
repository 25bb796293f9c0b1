//! A disk: EFI partition, two root slots with their hash trees, STATE, DATA.
//!
//! | number | name | what |
//! |---|---|---|
//! | 1 | `rk-bios` | GRUB for BIOS machines |
//! | 2 | `rk-esp` | systemd-boot and the slots' EFI programs; kernels and initramfs for GRUB, and its block of variables |
//! | 3 | `rk-root-a` | root, hash tree behind it |
//! | 4 | `rk-root-b` | the other slot, empty |
//! | 5 | `rk-state` | ext4 `RK-STATE` |
//! | 6 | `rk-data` | ext4 `RK-DATA`; grows to the end of the disk on the first boot |

use super::gpt_parts::{efi_partition, partition};
use super::tools::Tools;
use super::{fat, grub};
use crate::program::run;
use anyhow::{Context, Result, ensure};
use rk_gpt::{Guid, Table};
use rk_slots::verity::{BLOCK, Tree};
use rk_slots::{ENV_PATH, Entry, Env, PROGRAMS, STATE, Slot};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Sizes of the partitions in MiB. DATA is as small as the nodes' software can start with: it grows.
const SIZES: [u64; 6] = [1, 96, 64, 64, 64, 256];
/// Kept free at both ends for partition tables.
const EDGE: u64 = 1;
/// systemd-boot: no menu, no editor, nothing but our own programs.
const LOADER_CONF: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n";

/// What goes on the disk.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The root image.
    pub root: &'a [u8],
    /// Its hash tree.
    pub tree: &'a Tree,
    /// The unified kernel image that starts it.
    pub uki: &'a [u8],
    /// systemd-boot.
    pub loader: &'a [u8],
    /// The same for GRUB: kernel, initramfs, command line.
    pub bios: Bios<'a>,
    /// Identity of the disk.
    pub disk: Guid,
}

/// Parts that GRUB loads one by one.
#[derive(Debug, Clone, Copy)]
pub struct Bios<'a> {
    /// A bzImage.
    pub kernel: &'a [u8],
    /// Its initramfs.
    pub initramfs: &'a [u8],
    /// Its command line.
    pub cmdline: &'a str,
}

/// Writes the disk into a sparse file.
///
/// # Errors
/// A part does not fit its partition, a tool is missing, the disk is full.
pub fn write(tools: &Tools, contents: &Contents<'_>, out: &Path) -> Result<()> {
    let table = table(contents);
    let part =
        |n: usize| table.partitions.get(n).map(|p| (p.first * SECTOR, p.sectors() * SECTOR)).context("partition");
    let (bios_at, bios_room) = part(0)?;
    let script = "search.fs_label RK-ESP root\nset prefix=($root)/grub\nconfigfile ($root)/grub/grub.cfg\n";
    let core = grub::placed_core(&grub::image(tools, grub::Medium::Disk, script)?, bios_at / SECTOR)?;
    ensure!(core.len() as u64 <= bios_room, "GRUB does not fit its partition");
    let boot_code = grub::disk_boot_sector(&grub::boot_sector(tools, "boot.img")?, bios_at / SECTOR)?;
    let file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    file.set_len(table.sectors * SECTOR).context("sizing the disk")?;
    let mut disk = Disk { file };
    let ends = table.encode(&boot_code);
    disk.put(0, &ends.start)?;
    disk.put(ends.end_at, &ends.end)?;
    disk.put(bios_at, &core)?;
    let (esp_at, esp_room) = part(1)?;
    disk.put(esp_at, &esp(contents, esp_room)?)?;
    let (slot_at, slot_room) = part(2)?;
    let tree_at = contents.root.len().next_multiple_of(BLOCK) as u64;
    ensure!(tree_at + contents.tree.bytes.len() as u64 <= slot_room, "the root does not fit its slot");
    disk.put(slot_at, contents.root)?;
    disk.put(slot_at + tree_at, &contents.tree.bytes)?;
    for (n, label) in [(4, "RK-STATE"), (5, "RK-DATA")] {
        let (at, room) = part(n)?;
        // The end of STATE is where it is written down while it moves into its encrypted self.
        let room = if label == "RK-STATE" { room - MIB } else { room };
        disk.ext4(tools, label, table.partitions.get(n).map(|p| p.id).unwrap_or_default(), at, room)?;
    }
    disk.file.sync_all().context("writing the disk")
}

fn table(contents: &Contents<'_>) -> Table {
    let kinds: [(Guid, &str); 6] = [
        (Guid::BIOS_BOOT, "rk-bios"),
        (Guid::ESP, "rk-esp"),
        (Guid::LINUX_ROOT_X86_64, Slot::A.partition()),
        (Guid::LINUX_ROOT_X86_64, Slot::B.partition()),
        (Guid::LINUX_DATA, STATE),
        (Guid::LINUX_VAR, "rk-data"),
    ];
    let mut first = EDGE * MIB / SECTOR;
    let mut partitions = Vec::new();
    for ((kind, name), mib) in kinds.into_iter().zip(SIZES) {
        let last = first + mib * MIB / SECTOR - 1;
        partitions.push(match kind {
            Guid::ESP => efi_partition(contents.disk, first, last),
            kind => partition(contents.disk, kind, name, first, last),
        });
        first = last + 1;
    }
    Table { disk: contents.disk, sector: SECTOR, sectors: first + EDGE * MIB / SECTOR, partitions }
}

fn esp(contents: &Contents<'_>, room: u64) -> Result<Vec<u8>> {
    let Bios { kernel, initramfs, cmdline } = contents.bios;
    let program = Entry { generation: 1, slot: Slot::A, tries: None };
    let program = format!("{PROGRAMS}/{program}");
    let (menu, commands, env) = (Env::script(), rk_slots::boot_commands(Slot::A, cmdline), Env::good(Slot::A).encode());
    let sums = rk_slots::sums(kernel, initramfs);
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", contents.loader),
        (program.as_str(), contents.uki),
        ("loader/loader.conf", LOADER_CONF.as_bytes()),
        ("grub/grub.cfg", menu.as_bytes()),
        (ENV_PATH, env.as_slice()),
        ("rk/a/boot.cfg", commands.as_bytes()),
        ("rk/a/initrd", initramfs),
        ("rk/a/sums", sums.as_bytes()),
        ("rk/a/vmlinuz", kernel),
    ];
    // A FAT's own tables take less than this.
    let volume = fat::volume("RK-ESP", room - MIB, &files)?;
    ensure!(volume.bytes.len() as u64 <= room, "the kernel does not fit the EFI partition");
    Ok(volume.bytes)
}

struct Disk {
    file: File,
}

impl Disk {
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.write_all(bytes))
            .with_context(|| format!("writing the disk at {at}"))
    }

    /// An empty file system, made the same way every time.
    fn ext4(&mut self, tools: &Tools, label: &str, id: Guid, at: u64, room: u64) -> Result<()> {
        let work = tempfile::NamedTempFile::new().context("making a work file")?;
        work.as_file().set_len(room).context("sizing a work file")?;
        let mut command = tools.mkfs_ext4.command()?;
        command.args(["-q", "-F", "-L", label, "-m", "0", "-b", "4096", "-J", "size=16", "-U", &id.to_string()]);
        command.arg("-E").arg(format!("hash_seed={id},lazy_itable_init=1,nodiscard")).arg(work.path());
        command.env("E2FSPROGS_FAKE_TIME", "1735689600").env("SOURCE_DATE_EPOCH", "1735689600");
        run("mkfs.ext4 (package e2fsprogs)", &mut command)?;
        let mut source = work.reopen().context("reading a work file")?;
        let mut block = vec![0; MIB as usize];
        for step in 0..room / MIB {
            source.read_exact(&mut block).context("reading a work file")?;
            for (n, page) in block.chunks(BLOCK).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0)) {
                self.put(at + step * MIB + (n * BLOCK) as u64, page)?;
            }
        }
        Ok(())
    }
}
