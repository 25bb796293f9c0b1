//! Settings of what keeps a machine: who may upgrade it to what, what it tells of itself and to whom.

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
