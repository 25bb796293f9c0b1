//! Files that have grown past one screenful of thought.

use super::tree::sources;
use anyhow::Result;
use std::path::Path;

/// More lines than this want a split by noun.
const MAX_LINES: usize = 400;

/// Every source file of ours that is longer.
///
/// # Errors
/// A folder of ours cannot be read.
pub fn long_files(root: &Path) -> Result<Vec<String>> {
    let mut long = Vec::new();
    for path in sources(root)? {
        let lines = std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        if lines > MAX_LINES {
            let shown = path.strip_prefix(root).unwrap_or(&path).display();
            long.push(format!("{shown} has {lines} lines; split it by noun"));
        }
    }
    Ok(long)
}
