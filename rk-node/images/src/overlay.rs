//! A container's root: one overlay mount over an image's layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
        fsmount, fsopen, move_mount,
    },
};

use crate::{
    error::{IoContext, Result},
    image::{Snapshot, Usage},
};

/// Owner and mode of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dress {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Makes the writable layer's directories. `implicit` lists, layer by layer from the top, the directories without an entry of
/// their own: they would hide the owner and mode that a lower layer gives, so the right ones are repeated in the writable layer.
pub(crate) fn prepare(snapshot: &Snapshot, implicit: &[BTreeSet<String>]) -> Result<()> {
    for directory in [&snapshot.upper, &snapshot.work, &snapshot.rootfs] {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.at("create", directory)?;
    }
    for (path, dress) in repairs(&snapshot.lower, implicit) {
        let target = snapshot.upper.join(&path);
        if !path.as_os_str().is_empty() {
            match fs::create_dir(&target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.at("create", &target)?,
            }
        }
        std::os::unix::fs::chown(&target, Some(dress.uid), Some(dress.gid)).at("chown", &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(dress.mode)).at("chmod", &target)?;
    }
    Ok(())
}

/// The directories to repeat with their dress, parents first. The root always needs one: an overlay shows its upper root.
fn repairs(layers: &[PathBuf], implicit: &[BTreeSet<String>]) -> BTreeMap<PathBuf, Dress> {
    let mut repairs = BTreeMap::new();
    let wanted: BTreeSet<&String> = implicit.iter().flatten().collect();
    let root = String::new();
    for path in wanted.into_iter().chain([&root]) {
        let Some((dress, hidden)) = resolve(layers, implicit, Path::new(path)) else { continue };
        if !hidden && !path.is_empty() {
            continue;
        }
        // Repeating a directory repeats its parents, so these need their own dress too.
        for parent in Path::new(path).ancestors().skip(1) {
            if let Some((dress, _)) = resolve(layers, implicit, parent) {
                repairs.insert(parent.to_owned(), dress);
            }
        }
        repairs.insert(PathBuf::from(path), dress);
    }
    repairs
}

/// The dress by the topmost layer that states one, and whether a layer above hides it. Without any, the topmost implicit one.
fn resolve(layers: &[PathBuf], implicit: &[BTreeSet<String>], path: &Path) -> Option<(Dress, bool)> {
    let mut fallback = None;
    for (index, layer) in layers.iter().enumerate() {
        let Some(meta) = stat_beneath(layer, path) else { continue };
        if !meta.is_dir() {
            break;
        }
        let dress = Dress { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 };
        let stated = implicit.get(index).is_none_or(|set| path.to_str().is_none_or(|path| !set.contains(path)));
        if stated {
            return Some((dress, fallback.is_some()));
        }
        fallback.get_or_insert(dress);
    }
    fallback.map(|dress| (dress, false))
}

/// Never through a link: layers are foreign content.
fn stat_beneath(layer: &Path, path: &Path) -> Option<fs::Metadata> {
    let root = fs::File::open(layer).ok()?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found =
        rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
            .ok()?;
    fs::File::from(found).metadata().ok()
}

/// Mounts the overlay unless it is mounted already.
pub(crate) fn mount(snapshot: &Snapshot) -> Result<()> {
    if is_mounted(&snapshot.rootfs)? {
        return Ok(());
    }
    mount_overlay(snapshot).map_err(io::Error::from).at("mount overlay at", &snapshot.rootfs)
}

/// The new mount API takes one layer at a time, where `mount(2)` has one page for all of them.
fn mount_overlay(snapshot: &Snapshot) -> rustix::io::Result<()> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = &overlay;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| rustix::io::Errno::INVAL);
    fsconfig_set_string(fd, "source", "overlay")?;
    for layer in &snapshot.lower {
        fsconfig_set_string(fd, "lowerdir+", text(layer)?)?;
    }
    fsconfig_set_string(fd, "upperdir", text(&snapshot.upper)?)?;
    fsconfig_set_string(fd, "workdir", text(&snapshot.work)?)?;
    fsconfig_create(fd)?;
    let mounted = fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", rustix::fs::CWD, &snapshot.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A directory on another device than its parent is a mount point.
fn is_mounted(path: &Path) -> Result<bool> {
    let parent = path.parent().unwrap_or(path);
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).at("stat", path);
    Ok(device(path)? != device(parent)?)
}

/// Unmounts lazily: a process that still stands in it must not keep the container from going.
pub(crate) fn unmount(rootfs: &Path) {
    while rustix::mount::unmount(rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

/// Walks a writable layer.
pub(crate) fn usage(upper: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut queue = vec![upper.to_owned()];
    while let Some(directory) = queue.pop() {
        // Files come and go under a running container.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            usage.inodes += 1;
            usage.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                queue.push(entry.path());
            }
        }
    }
    Ok(usage)
}
