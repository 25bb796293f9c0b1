//! Aggregated APIs: groups that other servers serve, behind APIServices that name a Service.
//!
//! One loop ([`keeper`]) judges every such APIService: is its Service there, has it endpoints, does it answer for its version
//! ([`check`]); the verdict becomes the `Available` condition ([`status`]) and an entry of [`Aggregated`]. Requests below
//! `/apis/<group>/<version>` go to the one that has it ([`forward`]), with the user in headers that the other server trusts because
//! of the client certificate of the front proxy. Discovery tells of its resources as if they were served here.

mod check;
mod documents;
mod forward;
mod keeper;
mod status;

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

pub use forward::forward;
pub(crate) use forward::{EXTRA, GROUP, UID, USER};
pub use keeper::run;

/// One version of a group that another server serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Priority of the group and of the version in it: higher comes first.
    priority: (i64, i64),
    /// The Service, as a `clientConfig` names one, with the authorities that are trusted.
    client: Value,
    /// Whether its certificate is not looked at.
    insecure: bool,
    /// Whether it answered when it was last asked.
    pub available: bool,
    /// Its APIResources, as it told them.
    resources: Vec<Value>,
}

/// The aggregated APIs as of now.
#[derive(Default)]
pub struct Aggregated(RwLock<Arc<Vec<Remote>>>);

impl Aggregated {
    /// All of them, by priority.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Remote>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that serves a path.
    #[must_use]
    pub fn serving(&self, path: &str) -> Option<Remote> {
        let mut parts = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (parts.next()?, parts.next()?);
        self.all().iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    /// Replaces all; tells whether anything changed.
    fn replace(&self, mut remotes: Vec<Remote>) -> bool {
        remotes.sort_by(|a, b| (b.priority, &a.group, &a.version).cmp(&(a.priority, &b.group, &b.version)));
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if **own == remotes {
            return false;
        }
        *own = Arc::new(remotes);
        true
    }
}
