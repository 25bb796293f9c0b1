//! The source files of ours.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The top folders that hold code.
const FOLDERS: [&str; 7] = ["init", "rk-node", "rk-control", "image", "kernel-config", "qemu", "tests"];

/// Every Rust file of ours, in order.
///
/// # Errors
/// A folder cannot be read.
pub fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
