//! What goes wrong on the runtime's side.

use std::{io, path::PathBuf};

use crate::types::CniError;

/// Result of the runtime side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to set pods up with yet. The words are those that the kubelet's users know.
    #[error("cni plugin not initialized: no network config found in {}", .0.display())]
    NotConfigured(PathBuf),
    /// A configuration cannot be used.
    #[error("network config {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No directory holds the plugin.
    #[error("failed to find plugin {name:?} in path {searched:?}")]
    NoPlugin {
        /// The plugin's type.
        name: String,
        /// Directories searched.
        searched: Vec<PathBuf>,
    },
    /// The plugin reported a failure.
    #[error("plugin type={plugin:?} name={network:?} failed ({command}): {error}")]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// The network.
        network: String,
        /// ADD, DEL and so on.
        command: &'static str,
        /// What the plugin said.
        error: Box<CniError>,
    },
    /// The plugin could not be run, or answered with something else than JSON.
    #[error("plugin type={plugin:?} ({command}): {reason}")]
    Exec {
        /// The plugin's type.
        plugin: String,
        /// ADD, DEL and so on.
        command: &'static str,
        /// What happened.
        reason: String,
    },
    /// The disk or the kernel failed us.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A request to the kernel failed.
    #[error("netlink: {0}")]
    Netlink(String),
}

/// Names the action and the path of an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|e| Error::Io { action, path: path.into(), source: e.into() })
    }
}
