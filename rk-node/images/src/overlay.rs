//! A container's root: one overlay mount over an image's layers.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs, io,
    os::fd::AsFd,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    move_mount,
};

use crate::{
    error::{IoContext, Result},
    image::{Shift, Snapshot},
    mounts::{is_mounted, unmount},
    repairs::repairs,
};

/// Beginning of the names of layers that are attached with other owners, in a snapshot's directory.
const MAPPED: &str = "mapped-";

/// Makes the writable layer's directories, that of the mount last: it tells that all was done. `implicit` lists, layer by layer from
/// the top, the directories without an entry of their own: they would hide the owner and mode that a lower layer gives, so the right
/// ones are repeated in the writable layer. Owners are those of layers plus `root`.
pub(crate) fn prepare(snapshot: &Snapshot, implicit: &[&BTreeSet<String>], root: (u32, u32)) -> Result<()> {
    let make = |directory: &Path| {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.at("create", directory)
    };
    make(&snapshot.upper)?;
    make(&snapshot.work)?;
    for (path, dress) in repairs(&snapshot.lower, implicit)? {
        let target = snapshot.upper.join(&path);
        if !path.as_os_str().is_empty() {
            match fs::create_dir(&target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.at("create", &target)?,
            }
        }
        let (uid, gid) = (dress.uid.saturating_add(root.0), dress.gid.saturating_add(root.1));
        std::os::unix::fs::chown(&target, Some(uid), Some(gid)).at("chown", &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(dress.mode)).at("chmod", &target)?;
    }
    make(&snapshot.rootfs)
}

/// Mounts the overlay unless it is mounted already; whether it did.
pub(crate) fn mount(snapshot: &Snapshot, shift: Option<&Shift>) -> Result<bool> {
    if is_mounted(&snapshot.rootfs).at("stat", &snapshot.rootfs)? {
        return Ok(false);
    }
    match shift {
        None => mount_overlay(snapshot, &snapshot.lower)
            .map_err(io::Error::from)
            .at("mount overlay at", &snapshot.rootfs)?,
        Some(shift) => mount_mapped(snapshot, shift)?,
    }
    Ok(true)
}

/// Mounts the overlay over layers with owners of a user namespace.
fn mount_mapped(snapshot: &Snapshot, shift: &Shift) -> Result<()> {
    let directory = snapshot.rootfs.parent().unwrap_or(&snapshot.rootfs);
    drop_mapped(directory);
    let mounted = map_layers(snapshot, directory, shift).and_then(|lower| {
        mount_overlay(snapshot, &lower).map_err(io::Error::from).at("mount overlay at", &snapshot.rootfs)
    });
    // The overlay keeps copies of its own.
    drop_mapped(directory);
    mounted
}

/// Attaches a copy of each layer with owners of the user namespace, since an overlay takes paths of attached mounts only.
fn map_layers(snapshot: &Snapshot, directory: &Path, shift: &Shift) -> Result<Vec<PathBuf>> {
    let users = fs::File::open(&shift.namespace).at("open user namespace", &shift.namespace)?;
    // Whatever goes wrong, nobody can write to a layer through its copy.
    let how = rk_sys::MappedMount { recursive: false, read_only: true };
    let mut lower = Vec::new();
    for (at, layer) in snapshot.lower.iter().enumerate() {
        let target = directory.join(format!("{MAPPED}{at}"));
        fs::create_dir_all(&target).at("create", &target)?;
        let tree =
            rk_sys::mapped_mount(layer, how, users.as_fd()).map_err(|error| error.source).at("map ids of", layer)?;
        move_mount(&tree, "", rustix::fs::CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(io::Error::from)
            .at("mount", &target)?;
        lower.push(target);
    }
    Ok(lower)
}

/// Detaches what [`map_layers`] attached under a snapshot's directory; after a crash that may still be there.
pub(crate) fn drop_mapped(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(MAPPED) {
            unmount(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The new mount API takes one layer at a time, where `mount(2)` has one page for all of them.
fn mount_overlay(snapshot: &Snapshot, lower: &[PathBuf]) -> rustix::io::Result<()> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = &overlay;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| rustix::io::Errno::INVAL);
    fsconfig_set_string(fd, "source", "overlay")?;
    for layer in lower {
        fsconfig_set_string(fd, "lowerdir+", text(layer)?)?;
    }
    fsconfig_set_string(fd, "upperdir", text(&snapshot.upper)?)?;
    fsconfig_set_string(fd, "workdir", text(&snapshot.work)?)?;
    fsconfig_create(fd)?;
    let mounted = fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", rustix::fs::CWD, &snapshot.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
