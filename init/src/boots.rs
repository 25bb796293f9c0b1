//! How often the machine was started, counted on the state disk.

use crate::console::Journal;
use crate::services;
use rk_config::STATE_DIR;
use std::fs;
use std::path::Path;

const FILE: &str = "boots";

/// Counts this start. After the state is mounted.
pub fn count(journal: &mut Journal) {
    journal.check("counting starts", count_in(&Path::new(STATE_DIR).join(FILE)));
}

/// What cannot be read counts from the beginning.
fn count_in(path: &Path) -> std::io::Result<()> {
    let before: u64 = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    services::write_new(path, &before.saturating_add(1).to_string(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted_and_a_torn_count_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for (before, after) in [("7\n", "8"), ("\0\0", "1")] {
            fs::write(&path, before).unwrap();
            count_in(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
