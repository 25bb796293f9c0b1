//! What is mounted later passes between the node and a container only as far as each mount asked.
//!
//! libcontainer gives the whole namespace one propagation (`rootfsPropagation`) and reads those of single mounts without applying
//! them, so that a private mount would go on receiving what the node mounts below it. Once the namespace is complete, and before
//! anything of the container runs, everything that a bind mount brought gets what that mount asked for (OCI runtime specification,
//! `mounts[].options`). A mount within another one keeps its own: what was made private once shares nothing any more.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{Mount, Spec};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};

/// Where a mount of the spec is, and what becomes of all that it brought.
type Asked = (PathBuf, Option<MountPropagationFlags>);

/// Applies the propagation that the mounts of `spec` ask for in the namespace of `init`, the container's waiting first process.
/// The caller is back in its own namespace afterwards, with `/` as its working directory.
pub fn apply(init: i32, spec: &Spec) -> Result<()> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    if mounts.iter().all(|mount| wish(mount).is_none()) {
        return Ok(());
    }
    let table = format!("/proc/{init}/mountinfo");
    let points = points(&fs::read(&table).with_context(|| format!("read {table}"))?);
    within(init, || {
        let asked: Vec<Asked> = mounts.iter().map(|mount| (real(mount.destination()), wish(mount))).collect();
        changes(&asked, &points).try_for_each(|(point, flags)| change(point, flags))
    })
}

/// Does `work` in the mount namespace of `init`, whose root is `/` meanwhile. The caller is back in its own namespace afterwards, with `/` as
/// its working directory.
pub fn within(init: i32, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let own = File::open("/proc/self/ns/mnt").context("open the node's mount namespace")?;
    let theirs = File::open(format!("/proc/{init}/ns/mnt")).context("open the container's mount namespace")?;
    setns(theirs.as_fd(), CloneFlags::CLONE_NEWNS).context("join the container's mount namespace")?;
    let done = work();
    setns(own.as_fd(), CloneFlags::CLONE_NEWNS).context("return to the node's mount namespace")?;
    done
}

/// What a mount asks for; none for one that shares, since its source's peers are its own from the start.
pub fn wish(mount: &Mount) -> Option<MountPropagationFlags> {
    let options = mount.options().as_deref().unwrap_or_default();
    let asks = |name: &str| options.iter().any(|option| option == name);
    if asks("rprivate") {
        Some(MountPropagationFlags::PRIVATE)
    } else if asks("rslave") {
        Some(MountPropagationFlags::DOWNSTREAM)
    } else {
        None
    }
}

/// The mount points of a `mountinfo` table (`proc_pid_mountinfo(5)`), in its order.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(plain).collect()
}

/// A path without the escapes of the table: a backslash and three octal digits.
fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..]) => {
                bytes.push(((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'));
                tail
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Where a destination is in the container, whose image may have symbolic links on the way.
fn real(destination: &Path) -> PathBuf {
    fs::canonicalize(destination).unwrap_or_else(|_| destination.to_owned())
}

/// The mount points to be changed, and into what. A mount takes along all that lies below it, unless a later one of the spec lies there
/// that asks for something else: then each mount point that is its own is changed by itself.
fn changes<'a>(
    asked: &'a [Asked],
    points: &'a [PathBuf],
) -> impl Iterator<Item = (&'a Path, MountPropagationFlags)> + 'a {
    asked.iter().enumerate().filter_map(|(at, (place, wish))| Some((at, place, (*wish)?))).flat_map(
        move |(at, place, flags)| -> Vec<(&'a Path, MountPropagationFlags)> {
            let other = |(below, wish): &Asked| below.starts_with(place) && *wish != Some(flags);
            if !asked.iter().skip(at + 1).any(other) {
                return vec![(place.as_path(), flags | MountPropagationFlags::REC)];
            }
            let own = points.iter().filter(|point| owner(point, asked) == Some(at));
            own.map(|point| (point.as_path(), flags)).collect()
        },
    )
}

/// The mount of the spec that what is seen at a mount point belongs to: the last one there or around it, which covers those before.
fn owner(point: &Path, asked: &[Asked]) -> Option<usize> {
    asked.iter().rposition(|(place, _)| point.starts_with(place))
}

fn change(point: &Path, flags: MountPropagationFlags) -> Result<()> {
    match mount_change(point, flags) {
        // A later mount lies over this one: nobody sees what it would receive.
        Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(()),
        changed => changed.with_context(|| format!("set the propagation of the mount {}", point.display())),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::MountBuilder;

    use super::*;

    const PRIVATE: Option<MountPropagationFlags> = Some(MountPropagationFlags::PRIVATE);
    const SLAVE: Option<MountPropagationFlags> = Some(MountPropagationFlags::DOWNSTREAM);

    #[test]
    fn mounts_become_what_their_options_say() {
        let of = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let mount = MountBuilder::default().destination("/m").source("/s").typ("bind").options(options).build();
            wish(&mount.unwrap())
        };
        assert_eq!(of(&["rbind", "rprivate", "rw"]), PRIVATE);
        assert_eq!(of(&["rbind", "rslave", "ro"]), SLAVE);
        assert_eq!(of(&["rbind", "rshared"]), None);
        assert_eq!(of(&["nosuid", "noexec"]), None);
    }

    #[test]
    fn a_mount_within_another_one_keeps_its_own() {
        const REC: MountPropagationFlags = MountPropagationFlags::REC;
        let asked = [
            ("/dev/pts", None),
            ("/dev", PRIVATE),
            ("/data", PRIVATE),
            ("/data/shared", None),
            ("/data/slave", SLAVE),
            ("/data/slave/own", PRIVATE),
            ("/database", PRIVATE),
            ("/database/same", PRIVATE),
        ]
        .map(|(path, flags)| (PathBuf::from(path), flags));
        let points = [
            "/",
            "/dev/pts",
            "/dev",
            "/data",
            "/data/of/the source",
            "/data/shared",
            "/data/shared/below",
            "/data/slave",
            "/data/slave/below",
            "/data/slave/own",
            "/database",
        ]
        .map(PathBuf::from);
        let [private, slave] = [MountPropagationFlags::PRIVATE, MountPropagationFlags::DOWNSTREAM];
        let want = [
            ("/dev", private | REC),
            ("/data", private),
            ("/data/of/the source", private),
            ("/data/slave", slave),
            ("/data/slave/below", slave),
            ("/data/slave/own", private | REC),
            ("/database", private | REC),
            ("/database/same", private | REC),
        ]
        .map(|(path, flags)| (Path::new(path), flags));
        assert_eq!(changes(&asked, &points).collect::<Vec<_>>(), want);
        let covered = [("/m/below", SLAVE), ("/m", PRIVATE), ("/m/over", SLAVE)];
        let covered = covered.map(|(path, flags)| (PathBuf::from(path), flags));
        assert_eq!(owner(Path::new("/m/below"), &covered), Some(1), "a later mount lies over it");
        assert_eq!(owner(Path::new("/m/over/x"), &covered), Some(2));
        assert_eq!(owner(Path::new("/mx"), &covered), None);
    }

    #[test]
    fn mount_points_are_read_without_their_escapes() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 /x /a\\040b\\134040 rw master:1 - tmpfs t rw\n\
            3 1 0:6 / /c\\9\xff rw - tmpfs t rw\n\ntorn line";
        let want = [&b"/"[..], b"/a b\\040", b"/c\\9\xff"].map(|path| PathBuf::from(OsString::from_vec(path.to_vec())));
        assert_eq!(points(table), want);
    }

    #[test]
    fn a_destination_is_where_its_links_lead() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("run")).unwrap();
        std::os::unix::fs::symlink("run", root.join("link")).unwrap();
        assert_eq!(real(&root.join("link/")), root.join("run"));
        assert_eq!(real(&root.join("none")), root.join("none"));
    }
}
