//! Files that have grown past one screenful of thought.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// More lines than this want a split by noun.
const MAX_LINES: usize = 400;

/// Every source file of ours that is longer.
pub fn long_files(root: &Path) -> Result<Vec<String>> {
    let mut long = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["init", "rk-node", "rk-control", "image", "kernel-config", "qemu", "tests"].map(|f| root.join(f)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
                if lines > MAX_LINES {
                    long.push(format!(
                        "{} has {lines} lines; split it by noun",
                        path.strip_prefix(root).unwrap_or(&path).display()
                    ));
                }
            }
        }
    }
    long.sort();
    Ok(long)
}
