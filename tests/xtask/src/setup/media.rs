//! CDs, disks and the like.

use super::binaries::Profile;
use super::image::{Image, SUITE};
use super::peers::Packages;
use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result};
use rk_image::BINARIES;
use rk_image::media::{self, Artefact, CMDLINE, Format, Inputs, Tools};
use std::path::Path;

/// Firmware for machines of tests.
const OVMF: (&str, &str) = ("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd");

/// What to build.
pub struct Wanted<'a> {
    pub profile: Profile,
    pub formats: &'a [Format],
    pub out: &'a Path,
    pub cmdline: Option<&'a str>,
    /// A machine config to build in.
    pub config: Option<&'a Path>,
}

/// Builds media of an image.
pub fn build(
    paths: &Paths,
    step: &Step,
    image: &Image,
    binaries: &Path,
    wanted: &Wanted<'_>,
) -> Result<(Vec<Artefact>, String)> {
    let mut packages = Packages::new(&paths.cache);
    for (package, proof) in Tools::UNPACKED {
        packages.unpacked_closure(step, SUITE, package, proof)?;
    }
    step.say("listing what is inside");
    let metadata = ["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let metadata = run::output(run::cargo(&paths.root).args(metadata))?;
    let metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    let programs = BINARIES.map(|(name, _)| name);
    let version = env!("CARGO_PKG_VERSION");
    step.say("building");
    let inputs = Inputs {
        kernel: image.kernel.clone(),
        initramfs: image.initramfs.clone(),
        root: image.root.clone(),
        init: binaries.join("rk-init"),
        cmdline: wanted.cmdline.unwrap_or(CMDLINE).to_owned(),
        tools: Tools::unpacked(&paths.closures()),
        version: version.to_owned(),
        sbom: Some(media::cyclonedx(
            &metadata,
            &programs,
            version,
            &[("linux", "6.12", "GPL-2.0-only WITH Linux-syscall-note")],
        )),
        out: wanted.out.to_owned(),
    };
    let artefacts = media::build(&inputs, wanted.formats)?;
    let note = format!("{} files", artefacts.len());
    Ok((artefacts, note))
}

/// Fetches the firmware that tests boot media with.
pub fn firmware(paths: &Paths, step: &Step) -> Result<((), String)> {
    let mut packages = Packages::new(&paths.cache);
    packages.unpacked_closure(step, SUITE, OVMF.0, OVMF.1)?;
    Ok(((), "there".to_owned()))
}
