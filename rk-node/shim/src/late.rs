//! Mounts that a container gets after libcontainer is done, before anything of it runs.
//!
//! Libcontainer makes links and nodes in `/dev` whatever is there, and fails where a name is taken; other runtimes leave a bound `/dev`, as
//! drivers of volumes have the node's, as it is. So it fills the container's own, and what was asked for is laid over that. And where any
//! mount shares with the node, it lets all share until they are made: a mount within another one would appear on the node. Here each
//! shares no more than it asked for before the next is made in it.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, mount_remount, move_mount,
    open_tree,
};

use crate::propagation;

const DEV: &str = "/dev";

/// Takes such mounts out of the spec; the outermost comes first.
pub fn take(spec: &mut Spec) -> Vec<Mount> {
    let all = spec.mounts().clone().unwrap_or_default();
    let bound: Vec<&Path> =
        all.iter().filter(|mount| is_bound(mount)).map(|mount| mount.destination().as_path()).collect();
    let over_dev = bound.contains(&Path::new(DEV));
    let propagation = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    // Read-only with all that is mounted in it is what libcontainer alone makes a mount.
    let shares = propagation == Some("shared") && !all.iter().any(|mount| asks(mount, "rro"));
    // The process is in its working directory already.
    let cwd = spec.process().as_ref().map(|process| process.cwd().clone()).unwrap_or_default();
    let is_within = |at: &Path| !cwd.starts_with(at) && bound.iter().any(|outer| *outer != at && at.starts_with(outer));
    let waits = |mount: &Mount| {
        let at = mount.destination().as_path();
        is_bound(mount) && ((over_dev && at.starts_with(DEV)) || (shares && is_within(at)))
    };
    let (mut late, rest): (Vec<Mount>, Vec<Mount>) = all.iter().cloned().partition(waits);
    if !late.is_empty() {
        late.sort_by_key(|mount| mount.destination().components().count());
        spec.set_mounts(Some(rest));
    }
    late
}

fn is_bound(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
}

/// Brings what [`take`] took to the container whose waiting first process is `init`. The caller must be a [`crate::worker`].
pub fn bring(init: i32, late: &[Mount]) -> Result<()> {
    if late.is_empty() {
        return Ok(());
    }
    let trees = late.iter().map(Tree::of).collect::<Result<Vec<_>>>()?;
    propagation::within(init, || {
        trees.iter().try_for_each(Tree::put)?;
        // When all are in their places: what is not to be written to could not get any.
        trees.iter().filter(|tree| asks(tree.mount, "ro")).try_for_each(Tree::protect)
    })
}

fn asks(mount: &Mount, name: &str) -> bool {
    mount.options().iter().flatten().any(|option| option == name)
}

/// A mount of the spec, and a copy of what it is of that is attached nowhere yet.
struct Tree<'a> {
    mount: &'a Mount,
    copy: OwnedFd,
    is_dir: bool,
}

impl<'a> Tree<'a> {
    fn of(mount: &'a Mount) -> Result<Self> {
        let at = mount.destination().display();
        ensure!(
            !asks(mount, "rro"),
            "mount {at}: below a bound {DEV} none is read-only with all that is mounted in it"
        );
        let source = mount.source().as_deref().with_context(|| format!("mount {at} has no source"))?;
        let shown = || format!("bind {}", source.display());
        let is_dir = fs::metadata(source).with_context(shown)?.is_dir();
        let how = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(CWD, source, how).with_context(shown)?;
        Ok(Self { mount, copy, is_dir })
    }

    fn at(&self) -> &'a Path {
        self.mount.destination()
    }

    /// Attaches it, where a directory or a file is made for it if there is none.
    fn put(&self) -> Result<()> {
        let at = self.at();
        let shown = || format!("mount {}", at.display());
        let parent = if self.is_dir { Some(at) } else { at.parent() };
        parent.map_or(Ok(()), fs::create_dir_all).with_context(shown)?;
        if !self.is_dir && !at.exists() {
            File::create(at).with_context(shown)?;
        }
        let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(&self.copy, "", CWD, at, how).with_context(shown)?;
        match propagation::wish(self.mount) {
            Some(wish) => mount_change(at, wish | MountPropagationFlags::REC).with_context(shown),
            None => Ok(()),
        }
    }

    /// Takes writing away; what else the node holds the mount to stays.
    fn protect(&self) -> Result<()> {
        let shown = || format!("make {} read-only", self.at().display());
        let has = statvfs(self.at()).with_context(shown)?.f_flag;
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        flags.set(MountFlags::NOSUID, has.contains(StatVfsMountFlags::NOSUID));
        flags.set(MountFlags::NODEV, has.contains(StatVfsMountFlags::NODEV));
        flags.set(MountFlags::NOEXEC, has.contains(StatVfsMountFlags::NOEXEC));
        mount_remount(self.at(), flags, "").with_context(shown)
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::MountBuilder;
    use rustix::mount::{UnmountFlags, unmount};

    use super::*;

    fn bound(source: &Path, at: &Path, options: &[&str]) -> Mount {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        MountBuilder::default().destination(at).typ("bind").source(source).options(options).build().unwrap()
    }

    #[test]
    fn what_is_in_a_bound_dev_waits_and_so_does_what_is_in_another_mount_where_any_is_shared() {
        let at = |path: &str| bound(Path::new("/source"), Path::new(path), &["rbind"]);
        let own = MountBuilder::default().destination(DEV).typ("tmpfs").source("tmpfs").build().unwrap();
        let places =
            |mounts: &[Mount]| mounts.iter().map(|m| m.destination().display().to_string()).collect::<Vec<_>>();
        for (shares, bound, late, rest) in [
            (false, vec!["/dev/shm", "/run", "/run/own"], vec![], vec!["/dev", "/dev/shm", "/run", "/run/own"]),
            (true, vec!["/dev/shm", "/run", "/run/own"], vec!["/run/own"], vec!["/dev", "/dev/shm", "/run"]),
            (
                false,
                vec!["/dev/shm", "/dev", "/run", "/devices", "/dev/termination-log"],
                vec!["/dev", "/dev/shm", "/dev/termination-log"],
                vec!["/dev", "/run", "/devices"],
            ),
        ] {
            let mut spec = Spec::default();
            let propagation = if shares { "shared" } else { "slave" };
            spec.linux_mut().get_or_insert_default().set_rootfs_propagation(Some(propagation.to_owned()));
            spec.set_mounts(Some([own.clone()].into_iter().chain(bound.into_iter().map(at)).collect()));
            let taken = take(&mut spec);
            assert_eq!(places(&taken), late);
            assert_eq!(places(spec.mounts().as_deref().unwrap()), rest);
        }
    }

    #[test]
    fn what_waited_gets_its_place_and_what_is_not_to_be_written_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (nodes, log, at) = (dir.path().join("nodes"), dir.path().join("log"), dir.path().join("dev"));
        fs::create_dir_all(nodes.join("taken")).unwrap();
        fs::write(&log, "told").unwrap();
        let mounts = [
            bound(&nodes, &at, &["rbind", "rprivate", "ro"]),
            bound(&log, &at.join("termination-log"), &["rbind", "rprivate", "rw"]),
        ];
        let trees = mounts.iter().map(Tree::of).collect::<Result<Vec<_>>>().unwrap();
        trees.iter().try_for_each(Tree::put).unwrap();
        trees[0].protect().unwrap();
        let seen = (at.join("taken").is_dir(), fs::read_to_string(at.join("termination-log")).unwrap());
        let written = [fs::write(at.join("new"), ""), fs::write(at.join("termination-log"), "more")];
        for tree in trees.iter().rev() {
            unmount(tree.at(), UnmountFlags::DETACH).unwrap();
        }
        assert_eq!(seen, (true, "told".to_owned()));
        assert_eq!(written.map(|done| done.is_ok()), [false, true]);
        assert!(nodes.join("termination-log").exists(), "its place, as elsewhere");
        let all_the_way = bound(&nodes, &at, &["rbind", "ro", "rro"]);
        assert!(Tree::of(&all_the_way).is_err());
    }
}
