//! NFS version 4 over TCP by the kernel's own client, without `mount.nfs`: what that program does besides asking the kernel is to
//! find the server's address and to try older versions.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{NFSVolumeSource, PersistentVolume};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::mounted;
use crate::probes::addresses;

/// Minor versions, newest first, for who names none.
const VERSIONS: [&str; 3] = ["4.2", "4.1", "4.0"];
/// Where a pod's directories of servers are, below the pod's own.
pub const NFS_VOLUMES: &str = "volumes/kubernetes.io~nfs";
/// The port of version 4.
const PORT: u16 = 2049;
/// What named mount options before volumes had a field for them; upstream lets it come before the field, but for volumes of CSI.
const OPTIONS_OF_OLD: &str = "volume.beta.kubernetes.io/mount-options";
/// How long a server may take to answer before the pod hears of it: the kernel itself would wait for minutes, and not be stopped.
const CONNECT: Duration = Duration::from_secs(10);

/// An exported directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Host name or address.
    pub server: String,
    /// Path on the server.
    pub path: String,
    /// Nothing is written.
    pub read_only: bool,
    /// [`options`] of the persistent volume.
    pub options: Vec<String>,
}

impl Export {
    /// What a source names; it may itself ask for nothing to be written.
    pub fn of(source: &NFSVolumeSource, options: Vec<String>, read_only: bool) -> Self {
        let read_only = read_only || source.read_only == Some(true);
        Export { server: source.server.clone(), path: source.path.clone(), read_only, options }
    }
}

/// How a persistent volume is to be mounted: by its annotation of old, else by its `mountOptions`.
pub fn options(volume: &PersistentVolume) -> Vec<String> {
    let of_old = volume.metadata.annotations.as_ref().and_then(|all| all.get(OPTIONS_OF_OLD));
    let named = || volume.spec.as_ref().and_then(|spec| spec.mount_options.clone());
    of_old.map(|options| vec![options.clone()]).or_else(named).unwrap_or_default()
}

/// How the kernel is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    flags: MsFlags,
    port: u16,
    /// Options that go to the kernel as they are, each with a comma before it.
    rest: String,
    /// Versions to be tried.
    versions: Vec<String>,
}

/// A mount option as the kernel's flag, empty for its defaults and what other programs read; `None`: it is for the file system.
pub(super) fn flag(name: &str) -> Option<MsFlags> {
    Some(match name {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        "strictatime" => MsFlags::MS_STRICTATIME,
        "sync" => MsFlags::MS_SYNCHRONOUS,
        "rw" | "suid" | "dev" | "exec" | "atime" | "diratime" | "async" | "defaults" => MsFlags::empty(),
        "_netdev" | "nofail" | "auto" | "noauto" => MsFlags::empty(),
        _ => return None,
    })
}

impl Request {
    fn of(export: &Export) -> Result<Self, String> {
        let mut request = Self {
            flags: MsFlags::empty(),
            port: PORT,
            rest: String::new(),
            versions: VERSIONS.map(str::to_owned).to_vec(),
        };
        for option in export.options.iter().flat_map(|options| options.split(',')).filter(|o| !o.is_empty()) {
            request.take(option)?;
        }
        request.flags.set(MsFlags::MS_RDONLY, export.read_only || request.flags.contains(MsFlags::MS_RDONLY));
        Ok(request)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if let Some(flag) = flag(name) {
            self.flags.insert(flag);
            return Ok(());
        }
        match name {
            // Meant for the program that is not here.
            "bg" | "fg" | "retry" => {}
            "addr" | "clientaddr" => return Err(format!("mount option {name} is the node's own")),
            "vers" | "nfsvers" | "minorversion" => return self.version(name, value),
            "port" => {
                self.port = value.parse().map_err(|_| format!("mount option {option} is no port"))?;
            }
            "sec" if value != "sys" => {
                return Err(format!("mount option {option}: only sec=sys is supported by this node"));
            }
            "proto" if !["tcp", "tcp6"].contains(&value) => {
                return Err(format!("mount option {option}: only TCP is supported by this node"));
            }
            _ => self.rest.push_str(&format!(",{option}")),
        }
        Ok(())
    }

    fn version(&mut self, name: &str, value: &str) -> Result<(), String> {
        let version = if name == "minorversion" { format!("4.{value}") } else { value.to_owned() };
        self.versions.retain(|known| *known == version || version == "4");
        match self.versions.is_empty() {
            true => Err(format!("NFS version {version} is not supported by this node: 4.0, 4.1 and 4.2 are")),
            false => Ok(()),
        }
    }

    /// The option string of one try.
    fn data(&self, server: IpAddr, version: &str) -> String {
        let proto = if server.is_ipv6() { "tcp6" } else { "tcp" };
        let proto = if self.rest.contains(",proto=") { String::new() } else { format!(",proto={proto}") };
        format!("vers={version},addr={server},port={}{proto}{}", self.port, self.rest)
    }
}

/// How the server is named to the kernel.
fn source(server: &str, path: &str) -> String {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{path}"),
        _ => format!("{server}:{path}"),
    }
}

/// Whether something is mounted here. The file system is not asked: its server may be away.
fn is_mounted(target: &Path) -> Result<bool, String> {
    let parent = target.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    let real = parent.zip(target.file_name()).map(|(parent, name)| parent.join(name));
    let Some(real) = real else { return Ok(false) };
    let points = mounted::points_below(&real).map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    Ok(points.contains(&real))
}

/// Mounts an export below the pod, unless it is there.
pub async fn place(pod_dir: &Path, volume: &str, export: &Export) -> Result<PathBuf, String> {
    let target = pod_dir.join(NFS_VOLUMES).join(volume);
    std::fs::create_dir_all(pod_dir.join(NFS_VOLUMES))
        .map_err(|e| format!("making the directory of {}: {e}", target.display()))?;
    if is_mounted(&target)? {
        return Ok(target);
    }
    let request = Request::of(export)?;
    let server = reach(&export.server, request.port).await?;
    let (from, place) = (source(&export.server, &export.path), target.clone());
    let work = move || {
        std::fs::create_dir_all(&place).map_err(|e| format!("making {}: {e}", place.display()))?;
        mount_any(&from, &place, &request, server)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())??;
    Ok(target)
}

/// An address of the server at which somebody listens.
async fn reach(server: &str, port: u16) -> Result<IpAddr, String> {
    let mut problem = format!("lookup {server}: no such host");
    for ip in addresses(server).await? {
        match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect((ip, port))).await {
            Ok(Ok(_)) => return Ok(ip),
            Ok(Err(error)) => problem = format!("NFS server {server} at {ip}:{port}: {error}"),
            Err(_) => problem = format!("NFS server {server} at {ip}:{port}: Connection timed out"),
        }
    }
    Err(problem)
}

fn mount_any(from: &str, target: &Path, request: &Request, server: IpAddr) -> Result<(), String> {
    let mut last = Errno::EPROTONOSUPPORT;
    for version in &request.versions {
        let data = request.data(server, version);
        match mount(Some(from), target, Some("nfs4"), request.flags, Some(data.as_str())) {
            Ok(()) => return Ok(()),
            // The server does not speak this one, or the kernel does not.
            Err(error @ (Errno::EPROTONOSUPPORT | Errno::EINVAL)) => last = error,
            Err(error) => return Err(format!("mounting {from} by NFS {version}: {}", error.desc())),
        }
    }
    Err(format!("mounting {from} by NFS {}: {}", request.versions.join(", "), last.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(options: &[&str], read_only: bool) -> Result<Request, String> {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Request::of(&Export { server: "s".into(), path: "/x".into(), read_only, options })
    }

    #[test]
    fn options_are_flags_or_the_kernels_or_refused() {
        let server = IpAddr::from([10, 0, 0, 1]);
        for (options, want) in [
            (&[][..], "vers=4.2,addr=10.0.0.1,port=2049,proto=tcp"),
            (&["hard,timeo=100", "nconnect=2"], "vers=4.2,addr=10.0.0.1,port=2049,proto=tcp,hard,timeo=100,nconnect=2"),
            (&["nfsvers=4.1", "port=4000", "_netdev"], "vers=4.1,addr=10.0.0.1,port=4000,proto=tcp"),
            (&["vers=4", "minorversion=0", "proto=tcp"], "vers=4.0,addr=10.0.0.1,port=2049,proto=tcp"),
        ] {
            let request = request(options, false).unwrap();
            assert_eq!(request.data(server, &request.versions[0]), want, "{options:?}");
            assert_eq!(request.flags, MsFlags::empty(), "{options:?}");
        }
        assert_eq!(
            request(&["noatime,nosuid"], true).unwrap().flags,
            MsFlags::MS_RDONLY | MsFlags::MS_NOATIME | MsFlags::MS_NOSUID
        );
        for (option, word) in [
            ("vers=3", "version 3 is not supported"),
            ("nfsvers=5", "version 5"),
            ("sec=krb5", "only sec=sys"),
            ("proto=udp", "only TCP"),
            ("addr=1.1.1.1", "the node's own"),
            ("port=x", "no port"),
        ] {
            assert!(request(&[option], false).unwrap_err().contains(word), "{option}");
        }
        assert_eq!(source("fd00::1", "/a"), "[fd00::1]:/a");
        assert_eq!(source("server.example", "/a"), "server.example:/a");
    }

    #[test]
    fn options_of_old_come_before_those_of_the_field() {
        let named = |metadata: serde_json::Value, spec: serde_json::Value| {
            let volume = serde_json::json!({"metadata": metadata, "spec": spec});
            options(&serde_json::from_value(volume).unwrap())
        };
        let old = || serde_json::json!({"annotations": {OPTIONS_OF_OLD: "vers=4.1,noatime"}});
        let (none, field) = (serde_json::json!({}), serde_json::json!({"mountOptions": ["hard", "nosuid"]}));
        assert_eq!(named(old(), field.clone()), ["vers=4.1,noatime"]);
        assert_eq!(named(old(), none.clone()), ["vers=4.1,noatime"]);
        assert_eq!(named(none.clone(), field), ["hard", "nosuid"]);
        assert!(named(none.clone(), none).is_empty());
        let asked = request(&["vers=4.1,noatime"], false).unwrap();
        assert_eq!((asked.versions, asked.flags), (vec!["4.1".to_owned()], MsFlags::MS_NOATIME));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        // Bound, so that it is nobody's, and not listened at.
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let free = held.local_addr().unwrap().port();
        let export = Export {
            server: "127.0.0.1".into(),
            path: "/x".into(),
            read_only: false,
            options: vec![format!("port={free}")],
        };
        let problem = place(dir.path(), "v", &export).await.unwrap_err();
        assert!(problem.contains("127.0.0.1") && problem.contains("refused"), "{problem}");
    }
}
