//! The image, from our binaries.

use crate::paths::Paths;
use anyhow::Result;
use rk_image::Inputs;
use rk_kernel::KernelArtifact;
use std::path::{Path, PathBuf};

/// What boots.
pub struct Image {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
}

/// Builds it or finds it.
pub fn build(paths: &Paths, binaries: &Path, kernel: &KernelArtifact) -> Result<(Image, String)> {
    let out = paths.target.join("rk-image");
    let image = rk_image::build(&Inputs { binaries: binaries.to_owned(), out, machine_config: None })?;
    let size = std::fs::metadata(&image.initramfs).map_or(0, |m| m.len());
    let note = format!("initramfs {:.1} MB{}", size as f64 / 1e6, if image.cached { ", cached" } else { "" });
    Ok((Image { kernel: kernel.bzimage.clone(), initramfs: image.initramfs }, note))
}
