//! The image, from our binaries.

use super::binaries::Profile;
use super::peers::Packages;
use crate::paths::Paths;
use crate::report::Step;
use anyhow::Result;
use rk_image::{Inputs, Packer};
use rk_kernel::KernelArtifact;
use std::path::{Path, PathBuf};

/// The suite whose packages are unpacked for building images; its `mkfs.erofs` knows Zstandard.
pub const SUITE: &str = "trixie";

/// What boots.
pub struct Image {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub root: PathBuf,
}

/// What it is made of.
pub struct Parts<'a> {
    pub kernel: &'a KernelArtifact,
    pub binaries: &'a Path,
    pub profile: Profile,
    /// A machine config to build in.
    pub config: Option<&'a Path>,
}

/// Builds it or finds it.
pub fn build(paths: &Paths, step: &Step, parts: &Parts<'_>) -> Result<(Image, String)> {
    let Parts { kernel, binaries, profile, config } = *parts;
    let packer = packer(paths, step, profile)?;
    step.say("packing");
    // An image with a config in it is never taken for the one without.
    let kind = match profile {
        Profile::Release => "",
        Profile::Test => "-test",
        Profile::Image => "-small",
    };
    let out = paths.target.join(format!("rk-image{kind}{}", if config.is_some() { "-config" } else { "" }));
    let machine_config = config.map(Path::to_owned);
    let image = rk_image::build(&Inputs { binaries: binaries.to_owned(), out, packer, machine_config })?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0.0, |m| m.len() as f64 / 1e6);
    let (kernel_size, initramfs_size) = (size(&kernel.bzimage), size(&image.initramfs));
    let note = format!(
        "kernel {kernel_size:.1} + initramfs {initramfs_size:.1} = {:.1} MB{}",
        kernel_size + initramfs_size,
        if image.cached { ", cached" } else { "" }
    );
    Ok((Image { kernel: kernel.bzimage.clone(), initramfs: image.initramfs, root: image.root }, note))
}

/// The system's `mkfs.erofs` is quick; the small image wants a newer one.
fn packer(paths: &Paths, step: &Step, profile: Profile) -> Result<Packer> {
    if profile != Profile::Image {
        return Ok(Packer::default());
    }
    let (package, proof) = Packer::UNPACKED;
    Packages::new(&paths.cache).unpacked_closure(step, SUITE, package, proof)?;
    Ok(Packer::unpacked(&paths.closures()))
}
