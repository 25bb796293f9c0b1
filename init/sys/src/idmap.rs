//! What mounts become by `mount_setattr(2)`: copies whose files' owners are seen through a user namespace (`MOUNT_ATTR_IDMAP`), read-only ones,
//! and such that share no more.

use crate::error::{Result, SysError};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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
    set(tree.as_fd(), &attr, false).map_err(|error| SysError::new("set MOUNT_ATTR_IDMAP on", shown(), error))?;
    Ok(tree)
}

/// What becomes of a mount; what is not named stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountChange {
    /// Takes writing away.
    pub read_only: bool,
    /// With whom it shares what is mounted in it, such as `MS_PRIVATE`; 0 leaves that.
    pub propagation: u64,
    /// With the mounts below it.
    pub recursive: bool,
}

/// Changes a mount that is attached nowhere yet, or in the caller's namespace. Errors call it `shown`.
///
/// # Errors
/// As `mount_setattr(2)`; `EBUSY` where writing is to be taken from a mount of which a file is open for that.
pub fn change_mount(mount: BorrowedFd<'_>, change: MountChange, shown: &Path) -> Result<()> {
    let attr = MountAttr {
        attr_set: if change.read_only { MOUNT_ATTR_RDONLY } else { 0 },
        propagation: change.propagation,
        ..MountAttr::default()
    };
    set(mount, &attr, change.recursive)
        .map_err(|error| SysError::new("mount_setattr", shown.display().to_string(), error))
}

fn set(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> std::io::Result<()> {
    let flags = libc::AT_EMPTY_PATH.unsigned_abs() | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: both pointers are valid for the call, and the size is that of the structure.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn libc_inval() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}
