//! Which sockets are in the registry directory. Values only, apart from reading the directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A plugin may nest its socket in directories of its own; deeper ones are not looked for.
const DEPTH: usize = 4;

/// What tells a socket from a later one of the same path.
pub type Socket = (u64, i64, i64);
/// Sockets by path.
pub type Sockets = BTreeMap<PathBuf, Socket>;

/// What is in the directory now.
pub fn sockets(dir: &Path) -> Sockets {
    let mut found = Sockets::new();
    walk(dir, 0, &mut found);
    found
}

fn walk(dir: &Path, depth: usize, found: &mut Sockets) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if meta.is_dir() && depth < DEPTH {
            walk(&entry.path(), depth + 1, found);
        } else if meta.file_type().is_socket() {
            found.insert(entry.path(), (meta.ino(), meta.ctime(), meta.ctime_nsec()));
        }
    }
}

/// Paths that went (or were replaced) and paths that came (or replaced one).
pub fn changes(before: &Sockets, after: &Sockets) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let differs =
        |a: &Sockets, b: &Sockets| a.iter().filter(|(p, id)| b.get(*p) != Some(id)).map(|(p, _)| p.clone()).collect();
    (differs(before, after), differs(after, before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_come_go_and_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let (a, b) = (dir.path().join("a.sock"), dir.path().join("sub/b.sock"));
        let _hidden = UnixListener::bind(dir.path().join(".hidden")).unwrap();
        let _first = UnixListener::bind(&a).unwrap();
        let _second = UnixListener::bind(&b).unwrap();
        let before = sockets(dir.path());
        assert_eq!(changes(&Sockets::new(), &before), (vec![], vec![a.clone(), b.clone()]));
        fs::remove_file(&b).unwrap();
        let mut after = sockets(dir.path());
        assert_eq!(changes(&before, &after), (vec![b], vec![]));
        // Replaced: the same name is another socket.
        after.insert(a.clone(), (0, 0, 0));
        assert_eq!(changes(&sockets(dir.path()), &after), (vec![a.clone()], vec![a]));
    }
}
