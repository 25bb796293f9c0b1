//! Where things lie.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The folders that commands work in.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Clusters, images and logs of ours: `target/rk`.
    pub rk: PathBuf,
    /// Caches that survive `cargo clean`: `${RK_CACHE:-$HOME/.cache/rk}`.
    pub cache: PathBuf,
}

impl Paths {
    /// Finds them from this program's own source folder and the environment.
    pub fn find() -> Result<Paths> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().context("the repository that this xtask was built from is gone")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let rk = target.join("rk");
        std::fs::create_dir_all(&rk).with_context(|| format!("create {}", rk.display()))?;
        Ok(Paths { root, target, rk, cache: rk_kernel::cache_dir() })
    }

    /// The folder of a cluster.
    pub fn cluster(&self, name: &str) -> PathBuf {
        self.rk.join(name)
    }

    /// The log of the process that owns a cluster; beside the folder, which a start empties.
    pub fn supervisor_log(&self, name: &str) -> PathBuf {
        self.rk.join(format!("{name}.supervisor.log"))
    }

    /// The list of built and fetched files.
    pub fn artifacts(&self) -> PathBuf {
        self.rk.join("artifacts.json")
    }

    /// Unpacked packages that build images, each with all that it depends on in a folder of its name.
    pub fn closures(&self) -> PathBuf {
        self.cache.join("closures").join("trixie")
    }

    /// The media that tests boot.
    pub fn media(&self) -> PathBuf {
        self.target.join("rk-media")
    }

    /// A path as a person in the repository would write it.
    pub fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
