//! A `/dev` that is bound into a container: most often the node's, which drivers of volumes and devices want.
//!
//! libcontainer makes links and nodes in `/dev` whatever is there, and fails where a name is taken; other runtimes leave a bound one as it
//! is. So libcontainer fills the container's own, and what was asked for is laid over that once the namespace is complete, before anything
//! of the container runs. Each mount shares no more than it asked for before the next is made in it: what is a container's own must not
//! appear in the node's `/dev`.

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

/// Takes out of the spec what is bound at and below `/dev`, when there is something at `/dev` itself; the outermost comes first.
pub fn take(spec: &mut Spec) -> Vec<Mount> {
    let all = spec.mounts().clone().unwrap_or_default();
    let is_bound = |mount: &Mount| mount.typ().as_deref() == Some("bind");
    if !all.iter().any(|mount| is_bound(mount) && mount.destination() == Path::new(DEV)) {
        return Vec::new();
    }
    let below = |mount: &Mount| is_bound(mount) && mount.destination().starts_with(DEV);
    let (mut late, rest): (Vec<Mount>, Vec<Mount>) = all.into_iter().partition(below);
    late.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(rest));
    late
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
        move_mount(&self.copy, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).with_context(shown)?;
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
    fn what_is_bound_at_and_below_dev_waits_when_there_is_something_at_dev_itself() {
        let at = |path: &str| bound(Path::new("/source"), Path::new(path), &["rbind"]);
        let own = MountBuilder::default().destination(DEV).typ("tmpfs").source("tmpfs").build().unwrap();
        let places = |mounts: &[Mount]| mounts.iter().map(|m| m.destination().clone()).collect::<Vec<_>>();
        for (bound, late, rest) in [
            (vec!["/dev/shm", "/data"], vec![], vec!["/dev", "/dev/shm", "/data"]),
            (
                vec!["/dev/shm", "/dev", "/data", "/devices", "/dev/termination-log"],
                vec!["/dev", "/dev/shm", "/dev/termination-log"],
                vec!["/dev", "/data", "/devices"],
            ),
        ] {
            let mut spec = Spec::default();
            spec.set_mounts(Some([own.clone()].into_iter().chain(bound.into_iter().map(at)).collect()));
            let taken = take(&mut spec);
            assert_eq!(places(&taken), late.iter().map(Into::into).collect::<Vec<std::path::PathBuf>>());
            let left = places(spec.mounts().as_deref().unwrap());
            assert_eq!(left, rest.iter().map(Into::into).collect::<Vec<std::path::PathBuf>>());
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
