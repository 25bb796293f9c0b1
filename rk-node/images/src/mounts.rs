//! Layers that are files are mounted in their own directories while containers stand on them.
//!
//! One mount serves all containers of a layer: each mount of a file is a file system of its own to the kernel, which would keep its
//! pages in memory once more. Mounts outlive the process that made them, are found again by the next, and go with the last container.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
};

use rustix::{
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

use crate::layer::{FILE, Form, SHOWN};

/// Shows a layer of this form in its directory, unless it is shown already. Not to be called for one layer twice at once.
pub(crate) fn attach(directory: &Path, form: Form) -> io::Result<()> {
    let point = directory.join(SHOWN);
    if form == Form::Tree || is_mounted(&point)? {
        return Ok(());
    }
    let mounted = erofs(&directory.join(FILE))?;
    Ok(move_mount(&mounted, "", rustix::fs::CWD, &point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Takes away what [`attach`] may have mounted; who uses it still goes on.
pub(crate) fn detach(directory: &Path) {
    unmount(&directory.join(SHOWN));
}

/// Mounts an image where nobody sees it, and lets it go.
pub(crate) fn try_erofs(file: &Path) -> io::Result<()> {
    Ok(erofs(file).map(drop)?)
}

/// A mount of a file, which is nowhere yet. Reads go past the page cache of the disk, where the kernel knows how: the mount has one of
/// its own. Devices and set-user-ID programs are an overlay's to allow, whose own mount decides.
fn erofs(file: &Path) -> rustix::io::Result<OwnedFd> {
    match open(file, true) {
        Err(Errno::INVAL) => open(file, false),
        other => other,
    }
}

fn open(file: &Path, direct: bool) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", CString::new(file.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?)?;
    fsconfig_set_flag(&context, "ro")?;
    if direct {
        fsconfig_set_flag(&context, "directio")?;
    }
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// A directory on another device than its parent is a mount point.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    Ok(device(path)? != device(path.parent().unwrap_or(path))?)
}

/// Unmounts lazily: a process that still stands in it must not keep the container from going.
pub(crate) fn unmount(point: &Path) {
    while rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}
