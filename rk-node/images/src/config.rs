//! Where images are kept and where they come from.

use std::{fmt, path::PathBuf, time::Duration};

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::tls::ClientCertificate;

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
    /// What is shown to one registry or mirror that wants to know who connects: its host, with its port unless that is 443.
    pub client_certificates: Vec<(String, ClientCertificate)>,
    /// Layers of one image that are downloaded at once.
    pub parallel_layers: usize,
    /// Layers downloaded at once over all pulls; each holds a decompression window and one connection.
    pub most_layers: usize,
    /// Most bytes that one layer may unpack to.
    pub max_layer_bytes: u64,
    /// Most entries that one layer may have.
    pub max_layer_entries: u64,
    /// Most bytes that all layers of one image may unpack to.
    pub max_image_bytes: u64,
    /// What pulls leave free of the file system that images are on.
    pub reserve: Reserve,
    /// Longest silence of a registry before a transfer counts as broken.
    pub idle_timeout: Duration,
    /// The least that a transfer brings: who sends less is silent but for show.
    pub floor: Pace,
    /// What is kept of downloads that were broken off.
    pub keep: Keep,
}

impl Config {
    /// Defaults that suit a node: 3 layers of an image and 8 of all at once, 64 GiB and 2 million entries to a layer, 128 GiB to an
    /// image, 15 % of the disk and 5 % of its inodes free, 30 s of silence, 64 KiB a minute, and for a day what came of 16 layers, 4 GiB
    /// together, of 8 MiB or more each.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            mirrors: Vec::new(),
            extra_roots: Vec::new(),
            host_roots: Vec::new(),
            client_certificates: Vec::new(),
            parallel_layers: 3,
            most_layers: 8,
            max_layer_bytes: 64 << 30,
            max_layer_entries: 2_000_000,
            max_image_bytes: 128 << 30,
            reserve: Reserve { bytes: vec![Part::Share(1500)], inodes: vec![Part::Share(500)] },
            idle_timeout: Duration::from_secs(30),
            floor: Pace { bytes: 64 << 10, within: Duration::from_secs(60) },
            keep: Keep { least: 8 << 20, bytes: 4 << 30, count: 16, age: Duration::from_secs(24 * 3600) },
        }
    }
}

/// Bounds of what is kept of layers whose download was broken off, so that it goes on where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of a layer, as the registry has it, below which nothing is kept of it.
    pub least: u64,
    /// Most bytes of all; 0 keeps nothing.
    pub bytes: u64,
    /// Most layers that nobody pulls at present.
    pub count: usize,
    /// For how long since the last byte came.
    pub age: Duration,
}

/// Bytes within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub bytes: u64,
    /// In which time.
    pub within: Duration,
}

/// A part of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// So many.
    Units(u64),
    /// In hundredths of a percent.
    Share(u64),
}

impl Part {
    /// How many that are, of so many in all.
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Units(units) => units,
            Self::Share(share) => u64::try_from(u128::from(all) * u128::from(share) / 10_000).unwrap_or(u64::MAX),
        }
    }
}

/// What pulls leave free of a file system: the largest part of each list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Of its bytes.
    pub bytes: Vec<Part>,
    /// Of its inodes.
    pub inodes: Vec<Part>,
}

impl Reserve {
    /// What of a disk with these bytes and inodes, free and in all, would be short if so many more of each were taken; a file system
    /// that counts no inodes has enough.
    pub(crate) fn missed(&self, bytes: (u64, u64), inodes: (u64, u64), coming: (u64, u64)) -> Option<String> {
        let short = |parts: &[Part], (free, all): (u64, u64), coming: u64, what: &str| {
            let kept = parts.iter().map(|part| part.of(all)).max().unwrap_or(0);
            let taken = all > 0 && free < kept.saturating_add(coming);
            taken.then(|| format!("no space left for the image: {free} {what} are free, and {kept} must stay so"))
        };
        let bytes = short(&self.bytes, bytes, coming.0, "bytes");
        bytes.or_else(|| short(&self.inodes, inodes, coming.1, "inodes"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_part_must_stay_free_of_bytes_and_of_inodes() {
        let reserve = Reserve { bytes: vec![Part::Share(1000), Part::Units(20)], inodes: vec![Part::Share(500)] };
        for (bytes, inodes, coming, what) in [
            ((20, 100), (5, 100), (0, 0), None),
            ((19, 100), (5, 100), (0, 0), Some("19 bytes are free, and 20 must stay so")),
            ((99, 1000), (5, 100), (0, 0), Some("99 bytes are free, and 100 must stay so")),
            ((20, 100), (4, 100), (0, 0), Some("4 inodes are free, and 5 must stay so")),
            ((20, 100), (0, 0), (0, 9), None),
            ((22, 100), (8, 100), (2, 3), None),
            ((22, 100), (8, 100), (3, 3), Some("22 bytes are free, and 20 must stay so")),
            ((22, 100), (8, 100), (2, 4), Some("8 inodes are free, and 5 must stay so")),
        ] {
            let missed = reserve.missed(bytes, inodes, coming);
            assert_eq!(missed.as_deref().and_then(|text| text.strip_prefix("no space left for the image: ")), what);
        }
    }
}
