//! Media: how large they are, how long each takes to a node that is Ready, how long an installation and an upgrade take, and what a
//! machine's own processes keep in memory.

mod boots;
mod upkeep;

use super::host::mb;
use super::table::Row;
use crate::paths::Paths;
use crate::report::Report;
use crate::run;
use crate::setup::{self, FIRMWARE, Profile, Wanted};
use anyhow::{Context, Result};
use rk_image::media::{CMDLINE, Format};
use rk_qemu::Artifacts;
use rk_qemu::vm::Firmware;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is measured, and where.
pub struct Bench {
    artifacts: Artifacts,
    /// The media under measurement; `next` holds what is upgraded to.
    media: PathBuf,
    /// `rkctl`.
    rkctl: PathBuf,
    /// For machines.
    work: PathBuf,
}

/// Builds media with `profile` and measures them; answers the files that have a size to keep as well.
pub fn measure(
    paths: &Paths,
    report: &Report,
    artifacts: Artifacts,
    profile: Profile,
) -> Result<(Vec<Row>, Vec<PathBuf>)> {
    let media = paths.target.join("rk-media-bench");
    let next = media.join("next");
    std::fs::create_dir_all(&next).with_context(|| format!("create {}", next.display()))?;
    let wanted = Wanted { profile, formats: &Format::ALL, out: &media, cmdline: None, config: None };
    setup::media(paths, report, setup::Install::No, &wanted)?;
    let cmdline = format!("{CMDLINE} rk.image=next");
    let other = Wanted { formats: &[Format::Raw], out: &next, cmdline: Some(&cmdline), ..wanted };
    setup::media(paths, report, setup::Install::No, &other)?;
    setup::firmware(paths, report)?;
    // The quick build has it already.
    let rkctl = paths.target.join("x86_64-unknown-linux-gnu/release/rkctl");
    if profile == Profile::Image {
        let mut build = run::cargo(&paths.root);
        build.args(["build", "--release", "--package", "rkctl"]);
        report.step("rkctl", |_| Ok((run::output(&mut build)?, String::new())))?;
    }
    let work = artifacts.work.join("bench-media");
    let bench = Bench { artifacts, media, rkctl, work };
    let mut rows = bench.sizes()?;
    rows.extend(report.step("boots", |step| Ok((boots::measure(&bench, step)?, String::new())))?);
    rows.extend(report.step("installation and upgrade", |step| Ok((upkeep::measure(&bench, step)?, String::new())))?);
    let files = ["rk.efi", "rk.iso", "pxe/vmlinuz", "pxe/initramfs"].map(|name| bench.media.join(name));
    Ok((rows, files.to_vec()))
}

impl Bench {
    /// Every artefact beside its budget.
    fn sizes(&self) -> Result<Vec<Row>> {
        let size = |name: &str| -> Result<u64> {
            let path = self.media.join(name);
            Ok(std::fs::metadata(&path).with_context(|| format!("size of {}", path.display()))?.len())
        };
        let row = |name: &str, path: &str, budget: &str| -> Result<Row> {
            Ok(Row::new(format!("{name}: size"), mb(size(path)?), budget))
        };
        let pxe = size("pxe/vmlinuz")? + size("pxe/initramfs")?;
        Ok(vec![
            row("UKI", "rk.efi", "≤ 20 MB; Talos' initramfs alone is stated as 58 MB")?,
            row("ISO", "rk.iso", "≤ 24 MB")?,
            row("raw disk, empty slot B and partitions included", "rk.raw", "—")?,
            row("qcow2", "rk.qcow2", "—")?,
            row("vmdk", "rk.vmdk", "—")?,
            Row::new("PXE: kernel and initramfs", mb(pxe), "≤ 20 MB"),
        ])
    }

    /// An empty folder for a machine.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }

    /// UEFI that keeps its variables in `dir`.
    fn uefi(&self, dir: &Path) -> Result<Firmware> {
        let ovmf = self.artifacts.closures.join(FIRMWARE);
        let variables = dir.join("variables.fd");
        std::fs::copy(ovmf.join("OVMF_VARS_4M.fd"), &variables).context("copy the firmware's variables")?;
        Ok(Firmware::Uefi { code: ovmf.join("OVMF_CODE_4M.fd"), variables })
    }

    /// A copy of a medium that may be written to.
    fn copy(&self, name: &str, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(name);
        run::output(std::process::Command::new("cp").arg("--sparse=always").arg(self.media.join(name)).arg(&path))?;
        Ok(path)
    }

    fn limit(&self, seconds: u64) -> Duration {
        self.artifacts.accel.scale(Duration::from_secs(seconds))
    }
}
