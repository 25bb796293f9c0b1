//! Settings for the upkeep of a machine: who may upgrade it to what, and where its metrics and logs go.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What an upgrade must be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upgrade {
    /// Public keys (Ed25519, PEM); with any of them here, an image must be signed by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Older versions are refused, beside those that the machine refuses by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_version: Option<String>,
}

impl Upgrade {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Upgrade::default()
    }
}

/// How the machine's own disk is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disks {
    /// What is encrypted.
    pub encryption: Encryption,
    /// Swap in MiB, in a file of DATA; none when zero.
    #[serde(rename = "swapMiB", skip_serializing_if = "is_zero")]
    pub swap_mib: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Disks {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Disks::default()
    }
}

/// Which partitions are encrypted, and who opens them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encryption {
    /// Config and identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Unlock>,
    /// Images, pods, logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Unlock>,
    /// Measurements that a TPM must find as they were.
    pub pcrs: Vec<u8>,
    /// Opens what `passphrase` is said of, and beside the TPM what `tpm` is said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

impl Default for Encryption {
    fn default() -> Self {
        Encryption { state: None, data: None, pcrs: vec![7], passphrase: None }
    }
}

impl std::fmt::Debug for Encryption {
    /// The passphrase stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let passphrase = self.passphrase.as_ref().map(|_| "<secret>");
        let Encryption { state, data, pcrs, .. } = self;
        write!(f, "Encryption {{ state: {state:?}, data: {data:?}, pcrs: {pcrs:?}, passphrase: {passphrase:?} }}")
    }
}

/// What opens an encrypted partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlock {
    /// A key that the machine's TPM sealed.
    Tpm,
    /// A passphrase.
    Passphrase,
}

/// Figures of the machine itself, in Prometheus' text format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Where they are served, to anyone: without TLS, at `/metrics`.
    pub bind: SocketAddr,
}

impl Default for Metrics {
    /// Loopback, on the port that node exporters use.
    fn default() -> Self {
        Metrics { bind: SocketAddr::from(([127, 0, 0, 1], 9100)) }
    }
}

/// Where the machine's own logs go beside its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Each gets everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<LogTarget>,
}

impl Logging {
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

/// One receiver of logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// `tcp://host:port` or `udp://host:port`.
    pub url: String,
    /// How lines are written.
    #[serde(default)]
    pub format: LogFormat,
}

/// How lines of logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// An object per line.
    #[default]
    Json,
    /// RFC 5424; over TCP with the length before each message (RFC 6587, octet counting).
    Syslog,
}
