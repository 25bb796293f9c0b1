//! Disk formats of hypervisors, by `qemu-img` from the raw disk.

use crate::program::{Program, run};
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Identity of the content in a VMDK's descriptor, which `qemu-img` rolls dice for.
const CONTENT_ID: &str = "726b0001";
/// The descriptor lies within this.
const DESCRIPTOR_WITHIN: u64 = 64 << 10;

/// A compressed qcow2.
///
/// # Errors
/// The tool is missing or fails.
pub fn qcow2(qemu_img: &Program, raw: &Path, out: &Path) -> Result<()> {
    convert(qemu_img, raw, out, &["-O", "qcow2", "-c", "-o", "compat=1.1,lazy_refcounts=off"])
}

/// A stream-optimized VMDK, as OVA files have it.
///
/// # Errors
/// The tool is missing or fails, or writes a descriptor that is not understood.
pub fn vmdk(qemu_img: &Program, raw: &Path, out: &Path) -> Result<()> {
    convert(qemu_img, raw, out, &["-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic"])?;
    let mut file = fs::OpenOptions::new().read(true).write(true).open(out).context("opening the VMDK")?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(DESCRIPTOR_WITHIN).read_to_end(&mut head).context("reading the VMDK")?;
    let at = find(&head, b"\nCID=").context("the VMDK has no content id")? + 5;
    file.seek(SeekFrom::Start(at as u64))
        .and_then(|_| file.write_all(CONTENT_ID.as_bytes()))
        .context("writing the VMDK")
}

fn convert(qemu_img: &Program, raw: &Path, out: &Path, options: &[&str]) -> Result<()> {
    // One coroutine, for clusters land in the order in which they are finished.
    let mut command = qemu_img.command()?;
    command.args(["convert", "-m", "1", "-f", "raw"]).args(options).arg(raw).arg(out);
    run("qemu-img (package qemu-utils)", &mut command)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
