//! Removing trees that others have made, however deep these are.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Levels that are gone down at once: each takes two descriptors, a buffer and a part of the stack.
const DEEPEST: usize = 32;
/// No link is followed.
const HOW: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes a directory with all that is below it; absent is fine. Who goes from directory to directory makes trees that no path is long
/// enough for, and that have more levels than a stack has room for or a process has descriptors: what lies deep is brought up first.
///
/// # Errors
/// The first thing that cannot be removed. What is mounted in the tree is one, though it was mounted just now: it is not looked into.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    let top = match open(root, HOW, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let mut raised = 0;
    loop {
        let before = raised;
        empty(&top, &top, 0, &mut raised)?;
        // What was brought up may have been read already, or not.
        if raised == before {
            break;
        }
    }
    match std::fs::remove_dir(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what is in `dir`, which lies so many levels below `top`. `raised` counts what is brought up there.
fn empty(top: &OwnedFd, dir: &OwnedFd, depth: usize, raised: &mut u64) -> io::Result<()> {
    let mut entries = Dir::openat(dir, ".", HOW, Mode::empty())?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // Some file systems do not tell the types of entries.
        let removed = match entry.file_type() {
            Some(Type::Directory) => Err(Errno::EISDIR),
            _ => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir),
        };
        match removed {
            Err(Errno::EISDIR) if depth < DEEPEST => {
                let how = OpenHow::new().flags(HOW).resolve(ResolveFlag::RESOLVE_NO_XDEV);
                empty(top, &openat2(dir, name, how)?, depth + 1, raised)?;
                unlinkat(dir, name, UnlinkatFlags::RemoveDir)?;
            }
            Err(Errno::EISDIR) => raise(top, dir, name, raised)?,
            Err(error) if error != Errno::ENOENT => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Brings a directory up to `top`, under a name that nothing else has there.
fn raise(top: &OwnedFd, dir: &OwnedFd, name: &CStr, raised: &mut u64) -> io::Result<()> {
    loop {
        *raised += 1;
        match renameat(dir, name, top, format!(".{raised}").as_str()) {
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::openat;
    use nix::sys::stat::mkdirat;
    use std::fs;

    #[test]
    fn a_tree_that_is_deeper_than_any_path_or_stack_is_removed() {
        let dir = std::env::temp_dir().join(format!("rk-sys-tree-{}", std::process::id()));
        let (tree, kept) = (dir.join("tree"), dir.join("kept"));
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        // A name that something brought up would have.
        fs::write(tree.join(".1"), "").unwrap();
        fs::create_dir_all(tree.join(".2/full")).unwrap();
        let mut at = open(&tree, HOW, Mode::empty()).unwrap();
        for _ in 0..20_000 {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = openat(&at, "d", HOW, Mode::empty()).unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").is_file(), "links are not followed");
        remove_tree(&tree).unwrap();
        assert!(remove_tree(&kept.join("file")).is_err(), "it is none");
        fs::remove_dir_all(&dir).unwrap();
    }
}
