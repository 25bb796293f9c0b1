//! The machine's swap: a file in `/var` of the size that the config names. On an encrypted DATA it is encrypted with it.

use crate::console::Journal;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file.
pub const FILE: &str = "/var/lib/rk/swap";
const PAGE: u64 = 4096;
/// At the end of the first page.
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";
/// Where the header begins: before it there is room for a boot sector.
const HEADER: usize = 1024;

/// The first page of a swap area of so many pages: version 1, the number of its last page, none of them bad.
fn header(pages: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    for (at, value) in [(HEADER, 1), (HEADER + 4, pages.saturating_sub(1)), (HEADER + 8, 0)] {
        page.splice(at..at + 4, value.to_le_bytes());
    }
    page.truncate(PAGE as usize - SIGNATURE.len());
    page.extend(SIGNATURE);
    page
}

/// Makes a file that can be swapped to: its blocks are there before it is, and it is not readable for others.
fn make(file: &Path, bytes: u64) -> io::Result<()> {
    let pages = u32::try_from(bytes / PAGE).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let new = file.with_extension("new");
    let _ = fs::remove_file(&new);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    rk_sys::allocate(&made, bytes).map_err(|err| err.source)?;
    made.write_all_at(&header(pages), 0)?;
    made.sync_all()?;
    fs::rename(&new, file)
}

fn try_on(file: &Path, bytes: u64) -> Result<(), String> {
    // A file of that size was made by us: what an earlier start swapped out means nothing to this one.
    if fs::metadata(file).map(|meta| meta.len()).unwrap_or(0) != bytes {
        make(file, bytes).map_err(|err| format!("making {}: {err}", file.display()))?;
    }
    rk_sys::swap_on(file).map_err(|err| crate::console::chain(&err))
}

/// Swaps to as many MiB as the config says; without a disk, and without such a key, the machine has no swap.
pub fn on(journal: &mut Journal, mib: u32, has_disk: bool) {
    let file = Path::new(FILE);
    if fs::read_to_string("/proc/swaps").is_ok_and(|text| text.contains(FILE)) {
        return;
    }
    if mib == 0 {
        // What an earlier config asked for takes no room any more.
        let _ = fs::remove_file(file);
        return;
    }
    if !has_disk {
        return journal.say("no swap: /var is in memory");
    }
    match try_on(file, u64::from(mib) << 20) {
        Ok(()) => journal.say(format_args!("swapping to {mib} MiB of {FILE}")),
        Err(problem) => journal.say(format_args!("no swap: {problem}")),
    }
}

/// Gives the file back, so that `/var` can be unmounted.
pub fn off(journal: &mut Journal) {
    if fs::read_to_string("/proc/swaps").is_ok_and(|text| text.contains(FILE)) {
        journal.check("ending swap", rk_sys::swap_off(Path::new(FILE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_size_and_the_header_that_the_kernel_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("swap");
        make(&file, 8 << 20).unwrap();
        let content = fs::read(&file).unwrap();
        assert_eq!((content.len(), &content[4086..4096]), (8 << 20, &SIGNATURE[..]));
        assert_eq!(
            (content[1024..1028].to_vec(), content[1028..1032].to_vec()),
            (vec![1, 0, 0, 0], vec![255, 7, 0, 0])
        );
        assert!(!file.with_extension("new").exists());
    }
}
