//! Exit records: written before anybody hears of the exit, read again by a CRI server that was away.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use rk_shim_protocol::{Exit, exit_file};

/// Puts the exit of `container` on disk whole or not at all.
pub fn write(dir: &Path, container: &str, exit: &Exit) -> Result<()> {
    let path = exit_file(dir, container);
    let parent = path.parent().context("an exit file has a directory")?;
    fs::create_dir_all(parent)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new).with_context(|| format!("create {}", new.display()))?;
    file.write_all(&serde_json::to_vec(exit)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(parent)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_exit_reads_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let exit = Exit { code: 137, signal: 9, finished_at: 5, oom_killed: true };
        write(dir.path(), "c1", &exit).unwrap();
        let read: Exit = serde_json::from_slice(&fs::read(exit_file(dir.path(), "c1")).unwrap()).unwrap();
        assert_eq!(read, exit);
    }
}
