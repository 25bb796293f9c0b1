//! What a container of a pod with its own users is made of, gathered where its root may go.
//!
//! The pod's root is nobody special on the host: it cannot pass the directories above volumes and images, make device nodes, or map
//! ids. So the worker, still the host's root, binds all that the spec names into a directory of a mount namespace of its own, with
//! owners mapped where the spec wants it, and points the spec there. The container's mount namespace is a copy of that one.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, Mount, MountBuilder, Spec};
use rk_shim_protocol::stage_dir;
use rk_sys::{MappedMount, mapped_mount};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    move_mount,
};

/// Devices that every container has anyway, bound from the host's, and one that becomes a link.
const USUAL: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/urandom", "/dev/random", "/dev/ptmx"];
/// Room for the directory's entries, which are all empty.
const SIZE: &std::ffi::CStr = c"mode=0755,size=1m";

/// Where id 0 of the container is on the host, for users and groups; `None` when the container has the host's users.
pub fn owner(spec: &Spec) -> Option<(u32, u32)> {
    let linux = spec.linux().as_ref()?;
    let first = |maps: &Option<Vec<LinuxIdMapping>>| maps.iter().flatten().next().map(LinuxIdMapping::host_id);
    Some((first(linux.uid_mappings())?, first(linux.gid_mappings())?))
}

/// Gives stdio to the container's user: ids of the pod mean nothing to the process that would do it later.
pub fn give_stdio(pipes: &[OwnedFd], uid: u32) {
    for pipe in pipes {
        let fifo = rustix::fs::fstat(pipe).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
        if fifo {
            // As with any stdio that cannot be given away: it is still usable by descriptor.
            let _ = rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), None);
        }
    }
}

/// Gathers everything and rewrites `spec`. The caller must be a [`crate::worker`]: its mount namespace changes.
pub fn prepare(dir: &Path, spec: &mut Spec, owner: (u32, u32)) -> Result<()> {
    let stage = stage_dir(dir);
    let root = stage.join("rootfs");
    // Also on the host, where the runtime resolves the path again when a process joins the container.
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    let users = File::open(user_namespace(spec)?).context("open the pod's user namespace")?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context("detach from the host's mounts")?;
    mount("rk-stage", &stage, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, Some(SIZE)).context("mount a stage")?;
    mount_change(&stage, MountPropagationFlags::PRIVATE).context("keep the stage private")?;
    if let Some(spec_root) = spec.root_mut() {
        fs::create_dir(&root)?;
        mount_bind_recursive(spec_root.path(), &root)
            .with_context(|| format!("bind root filesystem {}", spec_root.path().display()))?;
        spec_root.set_path(root);
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (at, mount) in mounts.iter_mut().enumerate().filter(|(_, mount)| mount.typ().as_deref() == Some("bind")) {
        bind(mount, &stage.join(format!("mount-{at}")), &users)?;
    }
    mounts.extend(devices(spec, &stage, owner)?);
    spec.set_mounts(Some(mounts));
    join_by(spec, &stage)
}

fn user_namespace(spec: &Spec) -> Result<PathBuf> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let found = namespaces.into_iter().flatten().find(|ns| ns.typ() == LinuxNamespaceType::User);
    found.and_then(|ns| ns.path().clone()).context("the spec maps ids but names no user namespace")
}

/// An empty file or directory, whichever can be covered by `source`.
fn place(source: &Path, target: &Path) -> Result<()> {
    let meta = fs::metadata(source).with_context(|| format!("find mount source {}", source.display()))?;
    if meta.is_dir() {
        fs::create_dir(target)?
    } else {
        drop(File::create(target)?)
    }
    Ok(())
}

fn bind(mount: &mut Mount, target: &Path, users: &File) -> Result<()> {
    let source =
        mount.source().clone().with_context(|| format!("mount {} has no source", mount.destination().display()))?;
    place(&source, target)?;
    let recursive = mount.options().iter().flatten().any(|option| option == "rbind");
    if mount.uid_mappings().is_some() {
        let how = MappedMount { recursive, read_only: false };
        let tree = mapped_mount(&source, how, users.as_fd()).map_err(|error| unmappable(&error))?;
        move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| format!("attach {}", source.display()))?;
    } else if recursive {
        mount_bind_recursive(&source, target).with_context(|| format!("bind {}", source.display()))?;
    } else {
        mount_bind(&source, target).with_context(|| format!("bind {}", source.display()))?;
    }
    mount.set_uid_mappings(None).set_gid_mappings(None).set_source(Some(target.to_owned()));
    Ok(())
}

fn unmappable(error: &rk_sys::SysError) -> anyhow::Error {
    match error.errno() {
        Some(libc::EINVAL) => {
            anyhow!("failed to {error} (maybe the filesystem used doesn't support idmap mounts on this kernel?)")
        }
        _ => anyhow!("failed to {error}"),
    }
}

/// Nodes of the devices asked for, as mounts: the container may not make any.
fn devices(spec: &mut Spec, stage: &Path, owner: (u32, u32)) -> Result<Vec<Mount>> {
    let Some(linux) = spec.linux_mut() else { return Ok(Vec::new()) };
    let wanted = linux.devices().clone().unwrap_or_default();
    linux.set_devices(None);
    let mut mounts = Vec::new();
    for (at, device) in wanted.iter().enumerate() {
        if USUAL.iter().any(|usual| device.path() == Path::new(usual)) {
            continue;
        }
        let node = stage.join(format!("device-{at}"));
        make_node(device, &node, owner).with_context(|| format!("make a node for {}", device.path().display()))?;
        let mount = MountBuilder::default()
            .destination(device.path().clone())
            .typ("bind")
            .source(node)
            .options(vec!["bind".to_owned(), "rprivate".to_owned()]);
        mounts.push(mount.build()?);
    }
    Ok(mounts)
}

fn make_node(device: &LinuxDevice, node: &Path, owner: (u32, u32)) -> Result<()> {
    let kind = if device.typ() == LinuxDeviceType::B { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = rustix::fs::makedev(u32::try_from(device.major())?, u32::try_from(device.minor())?);
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666));
    rustix::fs::mknodat(CWD, node, kind, mode, number)?;
    // The umask has no say in it.
    rustix::fs::chmod(node, mode)?;
    let (uid, gid) =
        (owner.0.saturating_add(device.uid().unwrap_or(0)), owner.1.saturating_add(device.gid().unwrap_or(0)));
    rustix::fs::chown(node, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(())
}

/// Names the namespaces where the pod's root can open them.
fn join_by(spec: &mut Spec, stage: &Path) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    linux.set_uid_mappings(None).set_gid_mappings(None);
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        let Some(path) = namespace.path().clone() else { continue };
        let target = stage.join(format!("ns-{}", namespace.typ()));
        File::create(&target)?;
        mount_bind(&path, &target).with_context(|| format!("bind namespace {}", path.display()))?;
        namespace.set_path(Some(target));
    }
    linux.set_namespaces(Some(namespaces));
    Ok(())
}
