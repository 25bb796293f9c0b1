//! From a built image to media.

use super::gpt_parts::derived;
use super::sign::Signer;
use super::tools::Tools;
use super::uki::{Parts, Uki, uki};
use super::{Format, bzimage, convert, fat, grub, iso, pxe, raw, verity};
use crate::{FileInfo, initramfs, manifest};
use anyhow::{Context, Result};
use rk_slots::Root;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a hash tree's salt.
const SALT: usize = 16;

/// What media are made of.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// A bzImage.
    pub kernel: Vec<u8>,
    /// An initramfs with `/init` alone, of [`crate::initramfs::bare`].
    pub starter: Vec<u8>,
    /// The root image.
    pub root: Vec<u8>,
    /// Signs EFI programs, when Secure Boot is wanted.
    pub signer: Option<Signer>,
    /// Kernel command line.
    pub cmdline: String,
    /// The distribution's tools.
    pub tools: Tools,
    /// Version of rk.
    pub version: String,
    /// A bill of materials, see [`super::cyclonedx`].
    pub sbom: Option<Value>,
    /// Folder for the results.
    pub out: PathBuf,
}

/// A finished file.
#[derive(Debug, Clone, Serialize)]
pub struct Artefact {
    /// The format that it belongs to.
    pub format: String,
    /// Path within the output folder.
    pub path: PathBuf,
    /// Size and hash.
    #[serde(flatten)]
    pub info: FileInfo,
}

struct Builder<'a> {
    inputs: &'a Inputs,
    release: String,
    initramfs: Vec<u8>,
    stub: Vec<u8>,
}

/// Builds the formats, and beside them `manifest.json` (versions, root hash, sizes, hashes) and `sbom.cdx.json`.
///
/// # Errors
/// An input or a tool is missing, or the disk is full.
pub fn build(inputs: &Inputs, formats: &[Format]) -> Result<Vec<Artefact>> {
    fs::create_dir_all(&inputs.out).with_context(|| format!("making {}", inputs.out.display()))?;
    let builder = Builder {
        inputs,
        release: bzimage::release(&inputs.kernel).context("what should be a kernel is no Linux kernel")?,
        initramfs: initramfs::and_root(inputs.starter.clone(), &inputs.root),
        stub: Tools::read(&inputs.tools.stub, "systemd-boot-efi")?,
    };
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    let disk = formats.iter().any(|format| matches!(format, Format::Raw | Format::Qcow2 | Format::Vmdk));
    let mut root_hash = None;
    if disk {
        root_hash = Some(builder.raw(&builder.disk(&formats))?);
    }
    let mut artefacts = Vec::new();
    for format in &formats {
        for path in builder.format(*format, &builder.disk(&formats))? {
            let info = manifest::describe_file(&path)?;
            let path = path.strip_prefix(&inputs.out).unwrap_or(&path).to_owned();
            artefacts.push(Artefact { format: format.to_string(), path, info });
        }
    }
    if disk && !formats.contains(&Format::Raw) {
        let _ = fs::remove_file(builder.disk(&formats));
    }
    let manifest = serde_json::json!({"versions": {"rk": inputs.version, "kernel": builder.release}, "rootHash": root_hash, "cmdline": inputs.cmdline, "artefacts": artefacts});
    write_json(&inputs.out.join("manifest.json"), &manifest)?;
    if let Some(sbom) = &inputs.sbom {
        write_json(&inputs.out.join("sbom.cdx.json"), sbom)?;
    }
    Ok(artefacts)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("encoding")?;
    fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

impl Builder<'_> {
    /// Where the disk is written: one that nobody asked for and others are made of is in nobody's place.
    fn disk(&self, formats: &[Format]) -> PathBuf {
        let name = Format::Raw.file_name();
        let wanted = formats.contains(&Format::Raw);
        self.inputs.out.join(if wanted { name.to_owned() } else { format!("{name}.partial") })
    }

    /// `raw`: the disk, where one was written.
    fn format(&self, format: Format, raw: &Path) -> Result<Vec<PathBuf>> {
        let Inputs { out, tools, cmdline, .. } = self.inputs;
        let path = out.join(format.file_name());
        match format {
            Format::Uki => write(&path, &self.whole()?.bytes)?,
            Format::Iso => write(&path, &self.iso()?)?,
            Format::Raw => {}
            Format::Qcow2 => convert::qcow2(&tools.qemu_img, raw, &path)?,
            Format::Vmdk => convert::vmdk(&tools.qemu_img, raw, &path)?,
            Format::Pxe => {
                return pxe::tree(&path, &self.inputs.kernel, &self.initramfs, &self.whole()?.bytes, cmdline);
            }
        }
        Ok(vec![path])
    }

    fn uki(&self, initramfs: &[u8], cmdline: &str) -> Result<Uki> {
        let (version, release) = (&self.inputs.version, &self.release);
        let kernel = &self.inputs.kernel;
        let mut uki = uki(&Parts { stub: &self.stub, kernel, initramfs, cmdline, version, release })?;
        uki.bytes = self.signed(uki.bytes)?;
        Ok(uki)
    }

    fn signed(&self, program: Vec<u8>) -> Result<Vec<u8>> {
        match &self.inputs.signer {
            Some(signer) => signer.sign(&self.inputs.tools, &program),
            None => Ok(program),
        }
    }

    /// The EFI program with the root inside.
    fn whole(&self) -> Result<Uki> {
        self.uki(&self.initramfs, &self.inputs.cmdline)
    }

    fn iso(&self) -> Result<Vec<u8>> {
        const PROGRAM: &str = "EFI/BOOT/BOOTX64.EFI";
        let Inputs { tools, cmdline, .. } = self.inputs;
        let uki = self.whole()?;
        let esp = fat::volume("RK-ESP", 0, &[(PROGRAM, &uki.bytes)])?;
        let program = esp.offsets.get(PROGRAM).copied().context("EFI program")?;
        let inner = |name, section| {
            let (offset, len) = uki.section(section).context("section")?;
            anyhow::Ok(iso::Inner { name, offset: program + offset, len })
        };
        let files = [inner("INITRD", ".initrd")?, inner("VMLINUZ", ".linux")?];
        let script = format!(
            "search.fs_label RK_BOOT root\nlinux /boot/vmlinuz {}\ninitrd /boot/initrd\nboot\n",
            rk_slots::grub_words(cmdline)
        );
        let core = grub::image(tools, grub::Medium::Cd, &script)?;
        let boot_sector = grub::boot_sector(tools, "boot_hybrid.img")?;
        iso::image(&iso::Contents {
            label: "RK_BOOT",
            grub: Some(iso::Grub { eltorito: &core, boot_sector: &boot_sector }),
            esp: &esp.bytes,
            files: &files,
            disk: derived(manifest::describe(&uki.bytes).sha256.as_bytes(), "iso"),
        })
    }

    /// Writes the disk; answers the root hash in hex.
    fn raw(&self, out: &Path) -> Result<String> {
        let Inputs { tools, cmdline, root, starter, kernel, .. } = self.inputs;
        // The same root under another kernel or command line is another slot.
        let mut hasher = Sha256::new();
        for part in [kernel, starter, cmdline.as_bytes()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let salt: [u8; 32] = hasher.finalize().into();
        let (salt, _) = salt.split_at(SALT);
        let tree = verity::tree(root, salt);
        let hash = hex::encode(tree.root);
        let root_word = Root { hash: hash.clone(), blocks: tree.blocks, salt: hex::encode(salt) }.word();
        let cmdline = format!("{cmdline} {root_word}");
        let uki = self.uki(starter, &cmdline)?;
        let loader = self.signed(Tools::read(&tools.loader, "systemd-boot-efi")?)?;
        let contents = raw::Contents {
            loader: &loader,
            root,
            tree: &tree,
            uki: &uki.bytes,
            bios: raw::Bios { kernel, initramfs: starter, cmdline: &cmdline },
            disk: derived(hash.as_bytes(), "disk"),
        };
        raw::write(tools, &contents, out)?;
        Ok(hash)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
