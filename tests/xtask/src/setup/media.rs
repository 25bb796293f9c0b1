//! CDs, disks and the like.

use super::binaries::Profile;
use super::closures;
use super::image::Image;
use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result};
use rk_image::media::{self, Artefact, CMDLINE, Format, Inputs, Tools};
use rk_image::{BINARIES, INIT};
use std::path::Path;

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
    closures::fetch(paths, step, &Tools::UNPACKED)?;
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
