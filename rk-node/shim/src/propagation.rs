//! What is mounted later passes between the node and a container only as far as each mount asked.
//!
//! libcontainer gives the whole namespace one propagation (`rootfsPropagation`) and reads those of single mounts without applying
//! them, so that a private mount would go on receiving what the node mounts below it. Once the namespace is complete, and before
//! anything of the container runs, each bind mount gets its own (OCI runtime specification, `mounts[].options`).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{Mount, Spec};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};

/// Applies the propagation that the mounts of `spec` ask for in the namespace of `init`, the container's waiting first process.
/// The caller is back in its own namespace afterwards, with `/` as its working directory.
pub fn apply(init: i32, spec: &Spec) -> Result<()> {
    let wishes: Vec<_> = spec.mounts().iter().flatten().filter_map(wish).collect();
    if wishes.is_empty() {
        return Ok(());
    }
    let own = File::open("/proc/self/ns/mnt").context("open the node's mount namespace")?;
    let theirs = File::open(format!("/proc/{init}/ns/mnt")).context("open the container's mount namespace")?;
    setns(theirs.as_fd(), CloneFlags::CLONE_NEWNS).context("join the container's mount namespace")?;
    let applied = wishes.iter().try_for_each(|(path, flags)| change(path, *flags));
    setns(own.as_fd(), CloneFlags::CLONE_NEWNS).context("return to the node's mount namespace")?;
    applied
}

/// A bind mount's destination and what it becomes; none for one that shares, since its source's peers are its own from the start.
fn wish(mount: &Mount) -> Option<(&Path, MountPropagationFlags)> {
    let options = mount.options().as_deref().unwrap_or_default();
    let asks = |name: &str| options.iter().any(|option| option == name);
    let kind = if asks("rprivate") {
        MountPropagationFlags::PRIVATE
    } else if asks("rslave") {
        MountPropagationFlags::DOWNSTREAM
    } else {
        return None;
    };
    Some((mount.destination(), kind | MountPropagationFlags::REC))
}

fn change(path: &Path, flags: MountPropagationFlags) -> Result<()> {
    match mount_change(path, flags) {
        // A later mount lies over this one: nobody sees what it would receive.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        changed => changed.with_context(|| format!("set the propagation of the mount {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::MountBuilder;

    use super::*;

    #[test]
    fn mounts_become_what_their_options_say() {
        let of = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let mount = MountBuilder::default().destination("/m").source("/s").typ("bind").options(options).build();
            wish(&mount.unwrap()).map(|(path, flags)| (path.to_owned(), flags))
        };
        let told = |kind| Some((Path::new("/m").to_owned(), kind | MountPropagationFlags::REC));
        assert_eq!(of(&["rbind", "rprivate", "rw"]), told(MountPropagationFlags::PRIVATE));
        assert_eq!(of(&["rbind", "rslave", "ro"]), told(MountPropagationFlags::DOWNSTREAM));
        assert_eq!(of(&["rbind", "rshared"]), None);
        assert_eq!(of(&["nosuid", "noexec"]), None);
    }
}
