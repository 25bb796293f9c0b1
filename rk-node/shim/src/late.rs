//! Mounts that a container gets after libcontainer is done, before anything of it runs.
//!
//! Libcontainer makes links and nodes in `/dev` whatever is there, and fails where a name is taken; other runtimes leave a bound `/dev`, as
//! drivers of volumes have the node's, as it is. So it fills the container's own, and what was asked for is laid over that. And where any
//! mount shares with the node, it lets all share until they are made: a mount within another one would appear on the node. Here each
//! shares no more than it asked for before the next is made in it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::{Mount, Spec};
use rk_sys::{MountChange, change_mount};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::{place, propagation};

const DEV: &str = "/dev";

/// Takes such mounts out of the spec; the outermost comes first.
pub fn take(spec: &mut Spec) -> Vec<Mount> {
    let all = spec.mounts().clone().unwrap_or_default();
    let bound: Vec<&Path> =
        all.iter().filter(|mount| is_bound(mount)).map(|mount| mount.destination().as_path()).collect();
    let over_dev = bound.contains(&Path::new(DEV));
    let propagation = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    let shares = propagation == Some("shared");
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
        let source = mount
            .source()
            .as_deref()
            .with_context(|| format!("mount {} has no source", mount.destination().display()))?;
        let shown = || format!("bind {}", source.display());
        let is_dir = fs::metadata(source).with_context(shown)?.is_dir();
        let how = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(CWD, source, how).with_context(shown)?;
        let tree = Self { mount, copy, is_dir };
        if asks(mount, "rro") {
            // While it has no more than it brings: what is mounted in it later is not meant.
            tree.change(MountChange { read_only: true, recursive: true, ..MountChange::default() })?;
        }
        Ok(tree)
    }

    fn at(&self) -> &'a Path {
        self.mount.destination()
    }

    fn change(&self, change: MountChange) -> Result<()> {
        Ok(change_mount(self.copy.as_fd(), change, self.at())?)
    }

    /// Attaches it, where a directory or a file is made for it if there is none.
    fn put(&self) -> Result<()> {
        let shown = || format!("mount {}", self.at().display());
        let place = place::make(Path::new("/"), self.at(), self.is_dir, None).with_context(shown)?;
        let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&self.copy, "", &place, "", how).with_context(shown)?;
        // One that is to share does as what it was copied from.
        let propagation = propagation::wish(self.mount).map_or(0, |wish| u64::from(wish.bits()));
        self.change(MountChange { propagation, recursive: true, ..MountChange::default() })
    }

    /// Takes writing away; what else the node holds the mount to stays.
    fn protect(&self) -> Result<()> {
        self.change(MountChange { read_only: true, ..MountChange::default() })
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
    fn what_is_read_only_all_the_way_waits_as_well() {
        let mut spec = Spec::default();
        spec.linux_mut().get_or_insert_default().set_rootfs_propagation(Some("shared".to_owned()));
        let at = |path: &str, options: &[&str]| bound(Path::new("/source"), Path::new(path), options);
        spec.set_mounts(Some(vec![at("/run", &["rbind", "rshared"]), at("/run/own", &["rbind", "ro", "rro"])]));
        let taken = take(&mut spec);
        assert_eq!(
            taken.iter().map(|mount| mount.destination().as_path()).collect::<Vec<_>>(),
            [Path::new("/run/own")]
        );
    }

    #[test]
    fn what_waited_gets_its_place_and_what_is_not_to_be_written_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [nodes, log, at, all] = ["nodes", "log", "dev", "all"].map(|name| dir.path().join(name));
        fs::create_dir_all(nodes.join("taken")).unwrap();
        fs::write(&log, "told").unwrap();
        let mounts = [
            bound(&nodes, &at, &["rbind", "rprivate", "ro"]),
            bound(&log, &at.join("termination-log"), &["rbind", "rprivate", "rw"]),
            // With the two before.
            bound(&at, &all, &["rbind", "rprivate", "ro", "rro"]),
            bound(&log, &all.join("own"), &["rbind", "rprivate", "rw"]),
        ];
        fs::write(nodes.join("own"), "").unwrap();
        let mut trees = Vec::new();
        for mount in &mounts {
            let tree = Tree::of(mount).unwrap();
            tree.put().unwrap();
            trees.push(tree);
        }
        trees.iter().filter(|tree| asks(tree.mount, "ro")).for_each(|tree| tree.protect().unwrap());
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let seen = (at.join("taken").is_dir(), read(&at.join("termination-log")), read(&all.join("termination-log")));
        let places = ["dev/new", "dev/termination-log", "all/new", "all/termination-log", "all/own"];
        let written = places.map(|place| fs::write(dir.path().join(place), "told").is_ok());
        for tree in trees.iter().rev() {
            unmount(tree.at(), UnmountFlags::DETACH).unwrap();
        }
        assert_eq!(seen, (true, "told".to_owned(), "told".to_owned()));
        assert_eq!(written, [false, true, false, false, true]);
        assert!(nodes.join("termination-log").exists(), "its place, as elsewhere");
    }
}
