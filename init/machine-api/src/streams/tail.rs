//! The last lines of a file, read from its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: u64 = 64 << 10;

/// Where the last `lines` lines of a file begin. Reads backwards, and at most `most` bytes of it.
///
/// # Errors
/// The file cannot be read.
pub fn last_lines(file: &mut File, lines: u32, most: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let floor = size.saturating_sub(most);
    let (mut end, mut left) = (size, u64::from(lines));
    let mut buffer = Vec::new();
    while end > floor && left > 0 {
        let start = end.saturating_sub(BLOCK).max(floor);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        file.take(end - start).read_to_end(&mut buffer)?;
        for (at, byte) in buffer.iter().enumerate().rev() {
            let position = start + at as u64;
            // The line end at the very end closes the last line and begins none.
            if *byte == b'\n' && position + 1 < size {
                left -= 1;
                if left == 0 {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tail(text: &str, lines: u32) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let at = last_lines(&mut file, lines, 1 << 20).unwrap();
        text[usize::try_from(at).unwrap()..].to_owned()
    }

    #[test]
    fn as_many_lines_as_there_are_come_from_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\nb\n", 9), "a\nb\n");
        assert_eq!(tail("", 3), "");
        let long = "x".repeat(100_000);
        assert_eq!(tail(&format!("first\n{long}\nlast\n"), 2), format!("{long}\nlast\n"));
    }
}
