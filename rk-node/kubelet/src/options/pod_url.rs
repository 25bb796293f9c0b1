//! An address that static pods come from.

use std::collections::BTreeMap;
use std::time::Duration;

/// Where static pods are asked for besides manifests, how, and how often.
#[derive(Clone, PartialEq, Eq)]
pub struct PodUrl {
    /// The address (`staticPodURL`); empty is none.
    pub url: String,
    /// Headers that are sent along (`staticPodURLHeader`).
    pub headers: BTreeMap<String, Vec<String>>,
    /// Between two questions (`httpCheckFrequency`).
    pub every: Duration,
}

impl Default for PodUrl {
    fn default() -> Self {
        Self { url: String::new(), headers: BTreeMap::new(), every: Duration::from_secs(20) }
    }
}

impl std::fmt::Debug for PodUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers are how the node proves who it is, and so may the address be.
        f.debug_struct("PodUrl").field("every", &self.every).finish_non_exhaustive()
    }
}
