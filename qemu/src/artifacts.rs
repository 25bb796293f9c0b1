//! The files that machines and tests are made of. `cargo xtask` builds and fetches them and tells tests by one variable.

use crate::{Accel, Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Names the JSON file that holds an [`Artifacts`].
pub const ARTIFACTS_ENV: &str = "RK_ARTIFACTS";

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    /// The kernel of the nodes.
    pub kernel: PathBuf,
    /// The initramfs with the whole root.
    pub initramfs: PathBuf,
    /// The accelerator that works here.
    pub accel: Accel,
    /// Folder of our own release binaries.
    pub binaries: PathBuf,
    /// Debian's `docker-registry`.
    pub registry: PathBuf,
    /// Where registries keep images; holds the demo images.
    pub registry_storage: PathBuf,
    /// Layouts of the demo images.
    pub images: PathBuf,
    /// A stock kubectl.
    pub kubectl: PathBuf,
    /// A stock etcd.
    pub etcd: PathBuf,
    /// Folder of `api.proto`: the definitions of CRI as its own project has them.
    pub cri_api: PathBuf,
    /// Folder of unpacked Debian packages, each with all that it depends on in a folder of its name.
    pub closures: PathBuf,
    /// Media, by the names of `rk_image::media::Format`; there when the tests of the tier `media` run.
    pub media: PathBuf,
    /// Folder of the reference CNI plugins.
    pub cni_plugins: PathBuf,
    /// Folder for clusters and logs of tests.
    pub work: PathBuf,
}

impl Artifacts {
    /// Reads the file that [`ARTIFACTS_ENV`] names.
    pub fn from_env() -> Result<Artifacts> {
        let path = std::env::var_os(ARTIFACTS_ENV).map(PathBuf::from);
        let path = path.ok_or_else(|| {
            Error::State(format!("{ARTIFACTS_ENV} is not set: run these tests by `cargo xtask test`"))
        })?;
        let text = std::fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::State(format!("{}: {e}; run `cargo xtask test` again", path.display())))
    }

    /// Writes them to `path`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        std::fs::write(path, text).map_err(Error::file("write", path))
    }
}
