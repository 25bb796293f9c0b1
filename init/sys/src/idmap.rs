//! Copies of mounts whose files' owners are seen through a user namespace (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`).

use crate::error::{Result, SysError};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// linux/mount.h; older C libraries lack them.
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// `struct mount_attr` of the kernel.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// How a mount is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MappedMount {
    /// With the mounts below it; these keep the owners that they show.
    pub recursive: bool,
    /// Without writes.
    pub read_only: bool,
}

/// A copy of the mount at `path`, attached nowhere yet: what belongs to id N on disk belongs to the id that N is in `userns`.
///
/// # Errors
/// As `open_tree(2)` and `mount_setattr(2)`; `EINVAL` for a file system that cannot do it.
pub fn mapped_mount(path: &Path, how: MappedMount, userns: BorrowedFd<'_>) -> Result<OwnedFd> {
    let shown = || path.display().to_string();
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| SysError::new("open_tree", shown(), libc_inval()))?;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs();
    if how.recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: `name` is a C string that outlives the call; the kernel reads nothing else of ours.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, name.as_ptr(), flags) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(|| SysError::last("open_tree", shown()))?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    let tree = unsafe { OwnedFd::from_raw_fd(fd) };
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP | if how.read_only { MOUNT_ATTR_RDONLY } else { 0 },
        userns_fd: u64::from(userns.as_raw_fd().unsigned_abs()),
        ..MountAttr::default()
    };
    // SAFETY: both pointers are valid for the call, and the size is that of the structure.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attr),
            size_of::<MountAttr>(),
        )
    };
    if set == 0 { Ok(tree) } else { Err(SysError::last("set MOUNT_ATTR_IDMAP on", shown())) }
}

fn libc_inval() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}
