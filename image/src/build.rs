//! From programs to an image.

use crate::blank;
use crate::erofs::Packer;
use crate::initramfs;
use crate::layout::{BINARIES, CONFIG, Entry, INIT, layout};
use crate::manifest::{Manifest, describe};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Raised when the way of building changes, so that images built before are built again.
const RECIPE: &str = "6";

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Directory that holds the programs of [`BINARIES`].
    pub binaries: PathBuf,
    /// Directory for the results: `initramfs`, `root.erofs`, `manifest.json`.
    pub out: PathBuf,
    /// What packs the root.
    pub packer: Packer,
    /// A machine config that is built in, used when neither the command line nor a drive brings one.
    pub machine_config: Option<PathBuf>,
}

/// A built image.
#[derive(Debug, Clone)]
pub struct Image {
    /// For the kernel's `-initrd`.
    pub initramfs: PathBuf,
    /// The root alone.
    pub root: PathBuf,
    /// Sizes and hashes.
    pub manifest: Manifest,
    /// Whether it was there already, from the same inputs.
    pub cached: bool,
}

/// Builds the image, or finds it built from the same files (by size and time) in `out`.
///
/// # Errors
/// A program is missing (all of them are named), `mkfs.erofs` is missing or failed, the disk is full.
pub fn build(inputs: &Inputs) -> Result<Image> {
    let stamp = stamp(inputs)?;
    let at = |name: &str| inputs.out.join(name);
    let (initramfs, root, manifest_file) = (at("initramfs"), at("root.erofs"), at("manifest.json"));
    if let Some(manifest) = Manifest::read(&manifest_file)
        && manifest.stamp == stamp
        && initramfs.is_file()
        && root.is_file()
    {
        return Ok(Image { initramfs, root, manifest, cached: true });
    }
    fs::create_dir_all(&inputs.out).with_context(|| format!("making {}", inputs.out.display()))?;
    // The manifest goes first and comes last: a build that is cut short leaves none behind.
    let _ = fs::remove_file(&manifest_file);
    let work = tempfile::tempdir_in(&inputs.out).context("making a work directory")?;
    let tree = work.path().join("root");
    lay_out(&tree, inputs)?;
    let packed = work.path().join("root.erofs");
    inputs.packer.pack(&tree, &packed)?;
    let root_bytes = fs::read(&packed).context("reading the root image")?;
    let init = fs::read(inputs.binaries.join(INIT)).with_context(|| format!("reading {INIT}"))?;
    let archive = initramfs::with_root(&init, &root_bytes)?;
    let new = work.path().join("initramfs");
    fs::write(&new, &archive).context("writing the initramfs")?;
    fs::rename(&packed, &root).context("placing the root image")?;
    fs::rename(&new, &initramfs).context("placing the initramfs")?;
    let manifest = Manifest {
        initramfs: Some(describe(&archive)),
        root: Some(describe(&root_bytes)),
        programs: programs(inputs)?,
        stamp,
    };
    manifest.write(&manifest_file)?;
    Ok(Image { initramfs, root, manifest, cached: false })
}

fn stamp(inputs: &Inputs) -> Result<String> {
    let mut stamp = format!("recipe {RECIPE}; {}", inputs.packer.describe());
    let mut missing = Vec::new();
    let mut files: Vec<PathBuf> = BINARIES.iter().map(|(name, _)| inputs.binaries.join(name)).collect();
    files.extend(inputs.machine_config.clone());
    for file in files {
        match fs::metadata(&file) {
            Ok(meta) => write!(stamp, "; {} {} {}.{:09}", file.display(), meta.len(), meta.mtime(), meta.mtime_nsec())?,
            Err(err) => missing.push(format!("{}: {err}", file.display())),
        }
    }
    if !missing.is_empty() {
        bail!("the image needs files that cannot be read:\n{}", missing.join("\n"));
    }
    Ok(stamp)
}

fn programs(inputs: &Inputs) -> Result<std::collections::BTreeMap<String, u64>> {
    let size = |name: &str| anyhow::Ok(fs::metadata(inputs.binaries.join(name))?.len());
    BINARIES.iter().map(|(name, _)| Ok(((*name).to_owned(), size(name)?))).collect()
}

fn lay_out(tree: &Path, inputs: &Inputs) -> Result<()> {
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("chmod {}", path.display()))
    };
    fs::create_dir_all(tree).context("making the root")?;
    chmod(tree, 0o755)?;
    for entry in layout() {
        match entry {
            Entry::Dir { path, mode } => {
                let path = tree.join(path);
                fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
                // Parents that were made on the way take the maker's umask.
                for parent in path.ancestors().skip(1).take_while(|parent| *parent != tree) {
                    chmod(parent, 0o755)?;
                }
                chmod(&path, mode)?;
            }
            Entry::Program { path, from } => {
                let path = tree.join(path);
                fs::copy(inputs.binaries.join(&from), &path).with_context(|| format!("copying {from}"))?;
                chmod(&path, 0o755)?;
            }
            Entry::Place { path } => {
                let path = tree.join(path);
                fs::write(&path, "").with_context(|| format!("making {}", path.display()))?;
                chmod(&path, 0o444)?;
            }
            Entry::Link { path, to } => symlink(&to, tree.join(&path)).with_context(|| format!("linking {path}"))?,
        }
    }
    for path in blank::write(&tree.join("usr/share/rk"))? {
        chmod(&path, 0o644)?;
    }
    if let Some(config) = &inputs.machine_config {
        let path = tree.join(CONFIG);
        // The place for one that comes with the initramfs cannot be written to.
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        fs::copy(config, &path).with_context(|| format!("copying {}", config.display()))?;
        chmod(&path, 0o600)?;
    }
    Ok(())
}
