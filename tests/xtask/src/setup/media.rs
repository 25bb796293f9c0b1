//! CDs, disks and the like.

use super::binaries::Profile;
use super::image::{Image, SUITE};
use super::peers::Packages;
use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result};
use rk_image::media::{self, Artefact, CMDLINE, Format, Inputs, Tools};
use rk_image::{BINARIES, INIT};
use std::path::{Path, PathBuf};

/// Firmware for machines of tests, and what they boot beside.
const FIRMWARE: [(&str, &str); 6] = [
    // A DHCP and TFTP server for network boot.
    ("dnsmasq-base", "usr/sbin/dnsmasq"),
    ("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd"),
    // Signing, and putting keys into a machine's variables.
    ("sbsigntool", "usr/bin/sbsign"),
    TPM,
    CRYPTSETUP,
    ("python3-virt-firmware", "usr/lib/python3/dist-packages/virt/firmware/vars.py"),
];

/// A TPM, for machines and for tests of what speaks with one.
const TPM: (&str, &str) = ("swtpm", "usr/bin/swtpm");
/// What else reads and writes LUKS2.
const CRYPTSETUP: (&str, &str) = ("cryptsetup-bin", "usr/sbin/cryptsetup");

/// Fetches the programs that host tests compare encryption with, and names the environment variables that point to them.
pub fn cryptography(paths: &Paths, step: &Step) -> Result<([(&'static str, PathBuf); 2], String)> {
    let mut packages = Packages::new(&paths.cache);
    let mut get = |(package, proof)| packages.unpacked_closure(step, SUITE, package, proof);
    Ok(([("RK_SWTPM", get(TPM)?), ("RK_CRYPTSETUP", get(CRYPTSETUP)?)], "there".to_owned()))
}

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
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let inputs = Inputs {
        kernel: read(&image.kernel)?,
        starter: rk_image::initramfs::bare(&read(&binaries.join(INIT))?)?,
        root: read(&image.root)?,
        signer: None,
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
    for (package, proof) in FIRMWARE {
        packages.unpacked_closure(step, SUITE, package, proof)?;
    }
    Ok(((), "there".to_owned()))
}
