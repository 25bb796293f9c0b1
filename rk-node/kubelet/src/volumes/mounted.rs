//! What is mounted below the directories of pods: finding it, showing trees in other places, and undoing all of it at the end.
//!
//! Whatever is still used when it is to go stays mounted, and that is an error for the caller to try again: a device that leaves the node
//! under a file system that lives on would be torn (ADR 0331). Only what loses nothing is taken out of sight at once, and ends with its last user.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// How long a server may be silent before what waits for it is broken off; upstream's `unMountTimeout`.
const SILENT: Duration = Duration::from_secs(60);
/// How long it has for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Port of NFS where a mount names none.
const NFS_PORT: u16 = 2049;

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted<'a> {
    /// Of its file system, as `major:minor`.
    device: &'a str,
    point: PathBuf,
    /// Type of its file system.
    kind: &'a str,
    /// Options of its file system.
    options: &'a str,
}

impl<'a> Mounted<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (own, of_system) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(2);
        let (device, point) = (own.next()?, own.nth(1)?);
        let mut of_system = of_system.split(' ');
        let (kind, options) = (of_system.next()?, of_system.nth(1).unwrap_or_default());
        Some(Self { device, point: PathBuf::from(rk_sys::unescape_path(point)), kind, options })
    }

    /// Where its server listens, when it is of one that the kernel itself speaks to.
    fn server(&self) -> Option<SocketAddr> {
        if !matches!(self.kind, "nfs" | "nfs4") {
            return None;
        }
        let option = |name: &str| self.options.split(',').find_map(|option| option.strip_prefix(name));
        let ip: IpAddr = option("addr=")?.parse().ok()?;
        Some(SocketAddr::new(ip, option("port=").and_then(|port| port.parse().ok()).unwrap_or(NFS_PORT)))
    }

    /// Whether nothing is lost when it lives on unseen: it is memory, or its file system stays mounted outside of the kubelet's directory.
    fn may_linger(&self, all: &[Self], kubelet: &Path) -> bool {
        let stays = |other: &Self| other.device == self.device && !other.point.starts_with(kubelet);
        matches!(self.kind, "tmpfs" | "hugetlbfs") || all.iter().any(stays)
    }

    /// Whether nothing is mounted in it: that would be taken out of sight as well, whatever it may lose.
    fn is_bare(&self) -> bool {
        points_below(&self.point).is_ok_and(|points| points.len() <= 1)
    }

    /// Unmounts it; what is gone already is no error.
    fn unmount(&self, linger: bool) -> Result<(), Errno> {
        let done = match self.server() {
            Some(server) => self.unmount_served(server),
            None => umount2(&self.point, MntFlags::UMOUNT_NOFOLLOW),
        };
        match done {
            Err(Errno::EBUSY) if linger && self.is_bare() => {
                umount2(&self.point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            }
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// The same of what a server has. Whoever waits for one that is silent keeps the mount busy, and is broken off in the end; while it
    /// answers, nothing is: what is still to be written would be lost.
    fn unmount_served(&self, server: SocketAddr) -> Result<(), Errno> {
        let begun = Instant::now();
        loop {
            let waited = begun.elapsed();
            let force = if waited < SILENT { MntFlags::empty() } else { MntFlags::MNT_FORCE };
            let done = apart(self.point.clone(), force | MntFlags::UMOUNT_NOFOLLOW);
            if done != Err(Errno::EBUSY) || waited > SILENT + ANSWER || answers(server) {
                return done;
            }
            thread::sleep(ANSWER);
        }
    }
}

/// Whether a server takes connections.
fn answers(server: SocketAddr) -> bool {
    TcpStream::connect_timeout(&server, ANSWER).is_ok()
}

/// Unmounts in a thread of its own, which a silent server may keep: the mount is out of sight by then, and gone for the next try.
fn apart(point: PathBuf, flags: MntFlags) -> Result<(), Errno> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        // Nobody may listen any more.
        let _ = tell.send(umount2(&point, flags));
    };
    if thread::Builder::new().spawn(work).is_err() {
        return Err(Errno::EAGAIN);
    }
    told.recv_timeout(SILENT).unwrap_or(Err(Errno::ETIMEDOUT))
}

fn table() -> io::Result<String> {
    fs::read_to_string("/proc/self/mountinfo")
}

/// Mounts at `root` and below it, as they were made.
fn below<'a>(mountinfo: &'a str, root: &Path) -> Vec<Mounted<'a>> {
    mountinfo.lines().filter_map(Mounted::of).filter(|mounted| mounted.point.starts_with(root)).collect()
}

/// Mount points at `root` and below it, deepest last as they were made. No file system is asked: a server may be away.
///
/// # Errors
/// The kernel's table cannot be read.
pub fn points_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(below(&table()?, root).into_iter().map(|mounted| mounted.point).collect())
}

/// Whether something is mounted exactly here, bind mounts included.
///
/// # Errors
/// There is no such path, or the kernel's table cannot be read.
pub fn is_point(path: &Path) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    Ok(points_below(&path)?.contains(&path))
}

/// Shows a tree in another place, with what is and what will be mounted in it. What is mounted or unmounted in that place stays there: all
/// mounts of a node are shared, and who unmounts a plain copy with what is in it unmounts that in the original as well.
///
/// # Errors
/// As `mount(2)`.
pub fn bind(source: &Path, target: &Path) -> Result<(), Errno> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    // Shared again, so that a container may mount something there for others to see.
    [MsFlags::MS_SLAVE, MsFlags::MS_SHARED]
        .into_iter()
        .try_for_each(|kind| mount(None::<&str>, target, None::<&str>, kind | MsFlags::MS_REC, None::<&str>))
}

/// Unmounts everything at `root` and below, last made first; what cannot be keeps no other.
///
/// # Errors
/// Something stays: it is used, or its server does not answer.
pub fn unmount_below(root: &Path) -> io::Result<()> {
    let info = table()?;
    let all: Vec<Mounted<'_>> = info.lines().filter_map(Mounted::of).collect();
    // Of a pod's directory, else that which is to go itself.
    let pods = root.ancestors().filter(|dir| dir.ends_with("pods")).last();
    let kubelet = pods.and_then(Path::parent).unwrap_or(root);
    let mut problem = None;
    for mounted in below(&info, root).iter().rev() {
        if let Err(errno) = mounted.unmount(mounted.may_linger(&all, kubelet)) {
            let text = format!("unmounting {}: {}", mounted.point.display(), errno.desc());
            problem.get_or_insert(io::Error::other(text));
        }
    }
    match points_below(root)?.first() {
        Some(left) => Err(problem.unwrap_or_else(|| io::Error::other(format!("{} is still mounted", left.display())))),
        None => problem.map_or(Ok(()), Err),
    }
}

/// Removes a directory tree that holds no mount any more. Never walks into a mount: that could delete what is not ours.
///
/// # Errors
/// As [`unmount_below`], or the disk's.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    if !root.exists() {
        return Ok(());
    }
    unmount_below(root)?;
    rk_sys::remove_tree(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n2 1 0:5 / /k/pods/a/v rw - tmpfs t rw\n\
        3 1 0:6 / /k/pods/a/v/x\\040y rw shared:4 master:2 - ext4 /dev/sdb rw\n4 1 0:7 / /k/pods/ab rw - tmpfs t rw\n\
        5 1 0:6 / /k/plugins/p rw - ext4 /dev/sdb rw\n6 1 8:1 /data /k/pods/a/d rw - ext4 /dev/sda rw\n\
        7 1 0:8 / /k/pods/a/n rw shared:9 - nfs4 s:/x rw,vers=4.2,port=4000,clientaddr=10.0.0.9,addr=10.0.0.1\n";

    #[test]
    fn mount_points_below_a_root_are_found_and_unescaped() {
        let found: Vec<PathBuf> = below(INFO, Path::new("/k/pods/a")).into_iter().map(|one| one.point).collect();
        let want = ["/k/pods/a/v", "/k/pods/a/v/x y", "/k/pods/a/d", "/k/pods/a/n"];
        assert_eq!(found, want.map(PathBuf::from));
    }

    #[test]
    fn only_what_loses_nothing_lives_on_unseen() {
        let all: Vec<Mounted<'_>> = INFO.lines().filter_map(Mounted::of).collect();
        let told = |point: &str| {
            let found = all.iter().find(|one| one.point == Path::new(point)).unwrap();
            (found.may_linger(&all, Path::new("/k")), found.server())
        };
        assert_eq!(told("/k/pods/a/v"), (true, None), "memory");
        assert_eq!(told("/k/pods/a/d"), (true, None), "a part of what stays");
        assert_eq!(told("/k/pods/a/v/x y"), (false, None), "where it is staged it is to go as well");
        assert_eq!(told("/k/pods/a/n"), (false, Some(SocketAddr::from(([10, 0, 0, 1], 4000)))));
    }

    #[test]
    fn what_is_used_stays_until_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let pod = fs::canonicalize(dir.path()).unwrap().join("pods/u");
        let (disk, memory) = (pod.join("disk"), pod.join("memory"));
        // A file system that is nowhere else, like that of a device.
        for (kind, at) in [("ramfs", &disk), ("tmpfs", &memory)] {
            fs::create_dir_all(at).unwrap();
            mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
        }
        let used = fs::File::create(disk.join("file")).unwrap();
        let _unseen = fs::File::create(memory.join("file")).unwrap();
        let problem = remove_tree(&pod).unwrap_err().to_string();
        assert_eq!(problem, format!("unmounting {}: {}", disk.display(), Errno::EBUSY.desc()));
        assert_eq!(points_below(&pod).unwrap(), [disk]);
        drop(used);
        remove_tree(&pod).unwrap();
        assert!(!pod.exists());
    }

    #[test]
    fn what_is_used_stays_within_what_may_live_on_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let pod = fs::canonicalize(dir.path()).unwrap().join("pods/u");
        let memory = pod.join("memory");
        let disk = memory.join("disk");
        // A container may mount a device in a volume in memory, for all to see.
        for (kind, at) in [("tmpfs", &memory), ("ramfs", &disk)] {
            fs::create_dir_all(at).unwrap();
            mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
        }
        let used = fs::File::create(disk.join("file")).unwrap();
        let problem = remove_tree(&pod).unwrap_err().to_string();
        assert_eq!(problem, format!("unmounting {}: {}", disk.display(), Errno::EBUSY.desc()));
        assert_eq!(points_below(&pod).unwrap(), [memory, disk]);
        drop(used);
        remove_tree(&pod).unwrap();
        assert!(!pod.exists());
    }

    #[test]
    fn what_is_unmounted_in_a_copy_stays_in_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let (data, copy) = (dir.join("data"), dir.join("pods/u/copy"));
        let tmpfs = |at: &Path| {
            fs::create_dir_all(at).unwrap();
            mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        };
        tmpfs(&data);
        // As PID 1 makes all of them.
        mount(None::<&str>, &data, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
        tmpfs(&data.join("early"));
        fs::create_dir_all(&copy).unwrap();
        bind(&data, &copy).unwrap();
        tmpfs(&data.join("late"));
        let seen = |root: &Path| {
            let mut all = points_below(root).unwrap();
            all.sort();
            all
        };
        assert_eq!(seen(&copy), [copy.clone(), copy.join("early"), copy.join("late")]);
        remove_tree(&copy).unwrap();
        assert_eq!(seen(&data), [data.clone(), data.join("early"), data.join("late")]);
        unmount_below(&data).unwrap();
    }

    #[test]
    fn a_server_answers_or_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(answers(at));
        drop(listener);
        assert!(!answers(at));
    }
}
