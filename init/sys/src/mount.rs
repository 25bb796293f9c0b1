//! Mounting, moving the root, unmounting.

use crate::error::{Result, SysError};
use nix::mount::{MntFlags, MsFlags};
use std::path::Path;

/// Flags of a mount that a table can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFlags {
    /// No writes.
    pub read_only: bool,
    /// No set-user-ID programs.
    pub nosuid: bool,
    /// No device nodes.
    pub nodev: bool,
    /// No programs.
    pub noexec: bool,
    /// No access times.
    pub noatime: bool,
}

impl MountFlags {
    fn bits(self) -> MsFlags {
        let mut bits = MsFlags::empty();
        bits.set(MsFlags::MS_RDONLY, self.read_only);
        bits.set(MsFlags::MS_NOSUID, self.nosuid);
        bits.set(MsFlags::MS_NODEV, self.nodev);
        bits.set(MsFlags::MS_NOEXEC, self.noexec);
        bits.set(MsFlags::MS_NOATIME, self.noatime);
        bits
    }
}

/// Mounts a file system.
///
/// # Errors
/// As `mount(2)`.
pub fn mount(source: &str, target: &str, fstype: &str, flags: MountFlags, data: &str) -> Result<()> {
    let data = Some(data).filter(|data| !data.is_empty());
    nix::mount::mount(Some(source), target, Some(fstype), flags.bits(), data)
        .map_err(|errno| SysError::new("mount", format!("{fstype} {source} at {target}"), errno))
}

/// Shows the file at `from` in the place of the file at `to` as well.
///
/// # Errors
/// As `mount(2)`; one of them does not exist.
pub fn bind_file(from: &str, to: &str, flags: MountFlags) -> Result<()> {
    let failed = |errno: nix::errno::Errno| SysError::new("mount --bind", format!("{from} at {to}"), errno);
    nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(failed)?;
    // The first step takes no flags of its own (mount(2)).
    let bits = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags.bits();
    nix::mount::mount(None::<&str>, to, None::<&str>, bits, None::<&str>).map_err(failed)
}

/// Makes a mount and all below it shared, so that mounts made in containers can be seen outside when asked for.
///
/// # Errors
/// As `mount(2)`.
pub fn make_shared(target: &str) -> Result<()> {
    nix::mount::mount(None::<&str>, target, None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .map_err(|errno| SysError::new("mount --make-rshared", target, errno))
}

/// Moves one mount to another place.
///
/// # Errors
/// As `mount(2)`.
pub fn mount_point(from: &str, to: &str) -> Result<()> {
    nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(|errno| SysError::new("mount --move", format!("{from} to {to}"), errno))
}

/// Makes the mount at `new_root` the root of this process: `MS_MOVE` onto `/` and `chroot`, the way that works on the
/// kernel's first root, where `pivot_root` does not.
///
/// # Errors
/// As `chdir(2)`, `mount(2)`, `chroot(2)`.
pub fn move_root(new_root: &str) -> Result<()> {
    let chdir = |to: &str| nix::unistd::chdir(to).map_err(|errno| SysError::new("chdir", to, errno));
    chdir(new_root)?;
    mount_point(".", "/")?;
    nix::unistd::chroot(".").map_err(|errno| SysError::new("chroot", new_root, errno))?;
    chdir("/")
}

/// Unmounts.
///
/// # Errors
/// As `umount2(2)`.
pub fn unmount(target: &Path) -> Result<()> {
    nix::mount::umount2(target, MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|errno| SysError::new("umount", target.display().to_string(), errno))
}

/// Takes a mount out of the tree now; the kernel ends it when its last user is gone.
///
/// # Errors
/// As `umount2(2)`.
pub fn unmount_detached(target: &Path) -> Result<()> {
    nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|errno| SysError::new("umount --lazy", target.display().to_string(), errno))
}

/// A path as a table of `/proc` writes it: blanks, tabs, line ends and backslashes are three octal digits there (proc(5)).
pub fn unescape_path(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Against the kernel; only root has a mount namespace to give.
    #[test]
    fn a_file_is_seen_in_the_place_of_another_and_written_to_in_its_own_alone() {
        // A thread of its own: what it mounts is seen by nobody else.
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace, which takes root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let dir = std::env::temp_dir().join(format!("rk-sys-bind-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            let (own, place) = (dir.join("own"), dir.join("place"));
            let (from, to) = (own.to_str().unwrap(), place.to_str().unwrap());
            fs::write(&own, "program").unwrap();
            let flags = MountFlags { read_only: true, nosuid: true, nodev: true, ..MountFlags::default() };
            assert!(bind_file(from, to, flags).is_err(), "there is no place yet");
            fs::write(&place, "").unwrap();
            bind_file(from, to, flags).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), "program");
            assert_eq!(fs::write(&place, "other").unwrap_err().raw_os_error(), Some(libc::EROFS));
            fs::write(&own, "newer").unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), "newer");
            unmount(&place).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), "");
            fs::remove_dir_all(&dir).unwrap();
        })
        .join()
        .unwrap();
    }
}
