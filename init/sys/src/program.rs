//! The memory in which a process has its own program.

use crate::error::{Result, SysError};
use std::ops::Range;

const MAPPINGS: &str = "/proc/self/smaps";

/// Lets go of the pages of the program that is running: those that are used again come back from the page cache, sixteen at a
/// time, and no others. For a process that did much once and waits now. Answers how many bytes were let go of.
///
/// # Errors
/// The kernel does not tell of them, or refuses.
pub fn release_program() -> Result<u64> {
    let text = std::fs::read_to_string(MAPPINGS).map_err(|err| SysError::new("read", MAPPINGS, err))?;
    let mut released = 0;
    for (range, resident) in of_files_alone(&text) {
        let length = range.end.saturating_sub(range.start);
        // SAFETY: the range is a mapping of a file that is not writable and of which this process has no page of its own, so that
        // every byte of it is the file's, and the kernel reads it back before anyone sees it.
        let done = unsafe { libc::madvise(range.start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        if done < 0 {
            return Err(SysError::last("madvise", format!("{:x}-{:x}", range.start, range.end)));
        }
        released += resident;
    }
    Ok(released)
}

/// Mappings that hold what their file holds and nothing else, with the bytes of each that are in memory.
fn of_files_alone(text: &str) -> Vec<(Range<usize>, u64)> {
    let mut found = Vec::new();
    let mut current: Option<(Range<usize>, u64)> = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        match first {
            "Rss:" => {
                let kilobytes: u64 = second.parse().unwrap_or(0);
                current = current.map(|(range, _)| (range, kilobytes << 10));
            }
            // What was written once, by the loader for instance, is in no file.
            "Anonymous:" => {
                if let Some(mapping) = current.take().filter(|(_, resident)| second == "0" && *resident > 0) {
                    found.push(mapping);
                }
            }
            // `start-end perms offset device inode path`; `[vdso]` is no file.
            _ => {
                if let Some(range) = range(first) {
                    let file = words.nth(3).is_some_and(|path| path.starts_with('/'));
                    let fixed = matches!(second, "r--p" | "r-xp");
                    current = (file && fixed).then_some((range, 0));
                }
            }
        }
    }
    found
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00200000-01310000 r--p 00000000 fe:00 123   /bin/rk\nSize: 17472 kB\nRss:    1344 kB\nAnonymous:             0 kB\n\
01310000-03b30000 r-xp 0110f000 fe:00 123   /bin/rk\nRss:    7292 kB\nAnonymous:             0 kB\n\
03b30000-03b3c000 r--p 0392e000 fe:00 123   /bin/rk\nRss:      48 kB\nAnonymous:            16 kB\n\
03b3c000-03b49000 rw-p 03939000 fe:00 123   /bin/rk\nRss:      36 kB\nAnonymous:             0 kB\n\
04000000-04001000 r--s 00000000 fe:00 7     /var/shared\nRss:       4 kB\nAnonymous:             0 kB\n\
05000000-05001000 r--p 00000000 fe:00 8     /bin/untouched\nRss:       0 kB\nAnonymous:             0 kB\n\
293f3000-29437000 rw-p 00000000 00:00 0     [heap]\nRss:      92 kB\nAnonymous:            92 kB\n\
7f2e863cc000-7f2e863ce000 r-xp 00000000 00:00 0  [vdso]\nRss:       4 kB\nAnonymous:             0 kB\n";

    #[test]
    fn only_what_a_file_gives_back_unchanged_is_let_go_of() {
        assert_eq!(
            of_files_alone(MAPS),
            [(0x0020_0000..0x0131_0000, 1344 << 10), (0x0131_0000..0x03b3_0000, 7292 << 10)]
        );
        assert_eq!(of_files_alone("Rss: 1 kB\nAnonymous: 0 kB\nx-y r-xp 0 0 0 /a\n\n?"), []);
    }

    #[test]
    fn a_process_goes_on_after_it_let_go_of_its_program() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        let released = release_program().unwrap();
        assert!(released > 0 && resident() < before, "{released} bytes; {before} kB before, {} kB after", resident());
    }
}
