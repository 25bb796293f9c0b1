//! What nobody here wrote: kubectl, etcd, the registry, the reference CNI plugins, the definitions of CRI, taken from Debian's packages
//! without touching the system.

use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result, bail};
use rk_kernel::apt::Isolated;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite whose kubectl, etcd and definitions of CRI are recent enough.
const RECENT: &str = "sid";

/// A package and the file in it that proves that it was unpacked whole.
struct Peer {
    package: &'static str,
    proof: &'static str,
}

const KUBECTL: Peer = Peer { package: "kubectl", proof: "usr/bin/kubectl" };
const ETCD: Peer = Peer { package: "etcd-server", proof: "usr/bin/etcd" };
const REGISTRY: Peer = Peer { package: "docker-registry", proof: "usr/bin/docker-registry" };
const CNI: Peer = Peer { package: "containernetworking-plugins", proof: "usr/lib/cni/bridge" };
const CRI: Peer = Peer {
    package: "golang-k8s-cri-api-dev",
    proof: "usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto",
};

/// Where the peers are.
pub struct Peers {
    pub kubectl: PathBuf,
    pub etcd: PathBuf,
    pub registry: PathBuf,
    pub cni_plugins: PathBuf,
    pub cri_api: PathBuf,
}

/// Finds them in the cache or fetches them.
pub fn fetch(paths: &Paths, step: &Step) -> Result<(Peers, String)> {
    let mut store = Packages::new(&paths.cache);
    let mut get = |peer: &Peer| -> Result<PathBuf> {
        Ok(store.unpacked(step, RECENT, peer.package, peer.proof)?.join(peer.proof))
    };
    let peers = Peers {
        kubectl: get(&KUBECTL)?,
        etcd: get(&ETCD)?,
        registry: get(&REGISTRY)?,
        cni_plugins: get(&CNI)?.parent().map(Path::to_owned).unwrap_or_default(),
        cri_api: get(&CRI)?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    link(&peers.kubectl, &paths.rk.join("bin/kubectl"))?;
    let note = if store.fetched == 0 { "cached".to_owned() } else { format!("{} packages fetched", store.fetched) };
    Ok((peers, note))
}

/// Debian packages in the cache. Each is fetched once; apt verifies it.
pub struct Packages {
    cache: PathBuf,
    apt: Option<(String, Isolated)>,
    /// How many had to be fetched.
    pub fetched: usize,
}

impl Packages {
    /// Over the cache folder.
    pub fn new(cache: &Path) -> Packages {
        Packages { cache: cache.to_owned(), apt: None, fetched: 0 }
    }

    /// The folder that `package` of `suite` is unpacked in; `proof` is a file that must be in it.
    pub fn unpacked(&mut self, step: &Step, suite: &str, package: &str, proof: &str) -> Result<PathBuf> {
        self.unpack(step, suite, package, proof, false)
    }

    /// As [`Packages::unpacked`], with all dependencies unpacked into the same folder.
    pub fn unpacked_closure(&mut self, step: &Step, suite: &str, package: &str, proof: &str) -> Result<PathBuf> {
        self.unpack(step, suite, package, proof, true)
    }

    fn unpack(&mut self, step: &Step, suite: &str, package: &str, proof: &str, closure: bool) -> Result<PathBuf> {
        let folder = if closure { "closures" } else { "packages" };
        let home = self.cache.join(folder).join(suite).join(package);
        if home.join(proof).exists() {
            return Ok(home);
        }
        step.say(format!("fetching {package}"));
        let new = home.with_extension("new");
        for stale in [&home, &new] {
            if stale.exists() {
                std::fs::remove_dir_all(stale).with_context(|| format!("remove {}", stale.display()))?;
            }
        }
        let debs = new.join(".debs");
        std::fs::create_dir_all(&debs).with_context(|| format!("create {}", debs.display()))?;
        let apt = self.apt(suite)?;
        let files = if closure { apt.download_closure(package, &debs)? } else { vec![apt.download(package, &debs)?] };
        for file in &files {
            run::output(Command::new("dpkg-deb").arg("-x").arg(file).arg(&new))?;
        }
        std::fs::remove_dir_all(&debs).with_context(|| format!("remove {}", debs.display()))?;
        if !new.join(proof).exists() {
            bail!("package {package} of {suite} has no {proof}; its layout has changed");
        }
        std::fs::rename(&new, &home).with_context(|| format!("place {}", home.display()))?;
        self.fetched += 1;
        Ok(home)
    }

    /// The index of a suite is fetched when the first package of it is.
    fn apt(&mut self, suite: &str) -> Result<&Isolated> {
        if self.apt.as_ref().is_none_or(|(open, _)| open != suite) {
            self.apt = Some((suite.to_owned(), Isolated::open(&self.cache.join("apt"), suite)?));
        }
        self.apt.as_ref().map(|(_, apt)| apt).context("apt was just opened")
    }
}

/// Makes `link` a symbolic link to `target`, replacing what is there.
pub fn link(target: &Path, link: &Path) -> Result<()> {
    if std::fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(target, link).with_context(|| format!("link {}", link.display()))
}
