//! A writer of `newc` cpio archives, as the kernel reads them: fixed times, owners and inode numbers.

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// A directory.
    Dir,
    /// A file with this content.
    File(&'a [u8]),
    /// A character device of these numbers.
    CharDevice(u32, u32),
}

/// An archive being written.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;

impl Cpio {
    /// Appends an entry; `path` without a leading slash, parents first.
    pub fn add(&mut self, path: &str, mode: u32, node: Node<'_>) {
        self.entries += 1;
        let (kind, links, data, device): (_, _, &[u8], _) = match node {
            Node::Dir => (DIR, 2, &[], (0, 0)),
            Node::File(data) => (FILE, 1, data, (0, 0)),
            Node::CharDevice(major, minor) => (CHAR_DEVICE, 1, &[], (major, minor)),
        };
        self.header(path, self.entries, kind | mode, links, data.len(), device);
        self.bytes.extend_from_slice(data);
        self.align();
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.header("TRAILER!!!", 0, 0, 1, 0, (0, 0));
        self.bytes
    }

    fn header(&mut self, path: &str, inode: u32, mode: u32, links: u32, size: usize, device: (u32, u32)) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, time, size, device of the file system, device, name length, checksum
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_stock_cpio_reads_what_is_written() {
        use std::io::Write;
        let mut cpio = Cpio::default();
        cpio.add("dev", 0o755, Node::Dir);
        cpio.add("odd", 0o600, Node::File(b"12345"));
        cpio.add("init", 0o755, Node::File(b"#!"));
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 4, 0);
        let Ok(mut child) =
            Command::new("cpio").args(["-tv", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        else {
            eprintln!("no cpio on this machine; the guests' kernels read it in the boot tests");
            return;
        };
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(
            lines[0].starts_with("drwxr-xr-x")
                && lines[1].starts_with("-rw-------")
                && lines[2].starts_with("-rwxr-xr-x"),
            "{said}"
        );
    }
}
