//! Where images are kept and where they come from.

use std::{fmt, path::PathBuf, time::Duration};

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

/// Settings of [`crate::Images`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of all state, on a file system that can hold overlay upper directories.
    pub root: PathBuf,
    /// Endpoints to try before an image's own registry, in order.
    pub mirrors: Vec<Mirror>,
    /// Certificate authorities trusted besides the public ones.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Certificate authorities trusted for one registry or mirror only: its host, with its port unless that is 443.
    pub host_roots: Vec<(String, Vec<CertificateDer<'static>>)>,
    /// Layers downloaded at once over all pulls; each holds a decompression window and one connection.
    pub parallel_layers: usize,
    /// Most bytes that one layer may unpack to.
    pub max_layer_bytes: u64,
    /// Most entries that one layer may have.
    pub max_layer_entries: u64,
    /// Longest silence of a registry before a transfer counts as broken.
    pub idle_timeout: Duration,
}

impl Config {
    /// Defaults that suit a node: 3 layers at once, 64 GiB and 2 million entries to a layer, 30 s of silence.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            mirrors: Vec::new(),
            extra_roots: Vec::new(),
            host_roots: Vec::new(),
            parallel_layers: 3,
            max_layer_bytes: 64 << 30,
            max_layer_entries: 2_000_000,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// One `registries.mirrors` entry of the machine config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// `*`, or a registry host with its port, such as `docker.io` or `localhost:5000`.
    #[serde(rename = "match")]
    pub matches: String,
    /// Base URLs, tried in order: `http://10.0.2.2:5000`.
    pub endpoints: Vec<String>,
    /// Ask for `/v2/<registry host>/<repository>/…` with `:` in the host replaced by `_`.
    #[serde(default)]
    pub include_host: bool,
}

/// Credentials for an image's own registry; never sent to mirrors.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// User name and password, for Basic or to obtain a bearer token.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// An OAuth2 refresh token (`identitytoken` in Docker's config).
    IdentityToken(String),
    /// A bearer token that is sent as it is (`registrytoken`).
    RegistryToken(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::IdentityToken(_) => "IdentityToken(..)",
            Self::RegistryToken(_) => "RegistryToken(..)",
        })
    }
}
