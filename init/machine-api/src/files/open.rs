//! Opening what a caller names, so that what was judged is what is read.

use super::policy::may_read;
use rk_machine_proto::v1::{DirectoryEntry, DirectoryReply};
use rk_sys::patiently;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use tonic::Status;

/// Longest path.
const MOST_PATH: usize = 4096;
/// Entries told of one folder.
const MOST_ENTRIES: usize = 4096;

/// Opens a regular file for reading.
///
/// # Errors
/// It is refused, not there, or no regular file.
pub fn open(path: &str) -> Result<File, Status> {
    let (handle, resolved) = locate(path)?;
    let stat = rustix::fs::fstat(&handle).map_err(|errno| failed(&resolved, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Status::failed_precondition(format!("{resolved} is not a regular file")));
    }
    reopen(&handle, &resolved, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC).map(File::from)
}

/// Lists a folder, in order of name.
///
/// # Errors
/// It is refused, not there, or no folder.
pub fn list(path: &str) -> Result<DirectoryReply, Status> {
    let (handle, resolved) = locate(path)?;
    let dir = reopen(&handle, &resolved, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let reader = rustix::fs::Dir::read_from(&dir).map_err(|errno| failed(&resolved, errno))?;
    let mut reply = DirectoryReply::default();
    for entry in reader {
        let Ok(entry) = entry else { break };
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        if reply.entries.len() >= MOST_ENTRIES {
            reply.truncated = true;
            break;
        }
        // One that went away meanwhile is left out.
        if let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let target = match kind {
                FileType::Symlink => readlinkat(&dir, name, Vec::new()).ok().map(|t| t.to_string_lossy().into_owned()),
                _ => None,
            };
            reply.entries.push(DirectoryEntry {
                name: name.to_owned(),
                kind: word(kind).to_owned(),
                size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
                mode: stat.st_mode & 0o7777,
                modified_seconds: stat.st_mtime,
                link_target: target.unwrap_or_default(),
            });
        }
    }
    reply.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(reply)
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        _ => "other",
    }
}

/// Resolves a path without opening what it names, and judges where it led.
///
/// `openat2` follows ordinary links below the root and none of those that the kernel conjures in `/proc`; the judged path is the
/// handle's own, so that a link which changes meanwhile gains nothing.
fn locate(path: &str) -> Result<(OwnedFd, String), Status> {
    if !path.starts_with('/') || path.len() > MOST_PATH || path.contains('\0') {
        return Err(Status::invalid_argument(format!("a path must be absolute and at most {MOST_PATH} bytes long")));
    }
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("/", errno))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let handle = patiently(|| openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve))
        .map_err(|errno| failed(path, errno))?;
    let resolved = rustix::fs::readlink(own(&handle), Vec::new()).map_err(|errno| failed(path, errno))?;
    let resolved = resolved.to_str().map_err(|_| Status::invalid_argument("the path is not UTF-8"))?.to_owned();
    may_read(&resolved).map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
    Ok((handle, resolved))
}

fn own(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

fn reopen(handle: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Status> {
    rustix::fs::open(own(handle), flags, Mode::empty()).map_err(|errno| failed(path, errno))
}

fn failed(path: &str, errno: rustix::io::Errno) -> Status {
    use rustix::io::Errno;
    let text = format!("{path}: {}", std::io::Error::from(errno));
    match errno {
        Errno::NOENT => Status::not_found(text),
        Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Status::failed_precondition(text),
        Errno::ACCESS | Errno::PERM => Status::permission_denied(text),
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn a_link_to_a_secret_is_judged_by_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc/self/environ", &link).unwrap();
        // The folder itself is outside, and so is whatever the link names.
        let refused = open(link.to_str().unwrap()).unwrap_err();
        assert!([Code::PermissionDenied, Code::FailedPrecondition].contains(&refused.code()), "{refused:?}");
        for path in ["/proc/self/root/etc/hostname", "/proc/self/cwd", "/proc/1/environ"] {
            assert!(open(path).is_err(), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_refused_and_plain_ones_open() {
        assert_eq!(open("etc/hostname").unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(open(&format!("/{}", "a".repeat(5000))).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(open("/etc").unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(open("/etc/no-such-file").unwrap_err().code(), Code::NotFound);
        assert_eq!(open("/etc/../../root/x").unwrap_err().code(), Code::NotFound);
        open("/proc/cpuinfo").unwrap();
        let listed = list("/proc").unwrap();
        assert!(listed.entries.iter().any(|entry| entry.name == "cpuinfo" && entry.kind == "file"));
    }
}
