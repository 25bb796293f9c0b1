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
    /// Path and query of its document of OpenAPI v3, if it has one.
    openapi: Option<String>,
    /// What its document of OpenAPI v2 says of this version.
    swagger: Option<Arc<Value>>,
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

    /// The one whose document of OpenAPI v3 is at a path.
    #[must_use]
    pub fn documented(&self, path: &str) -> Option<Remote> {
        let place = path.strip_prefix("/openapi/v3")?;
        let remote = self.serving(place).filter(|remote| remote.openapi.is_some())?;
        (place == format!("/apis/{}/{}", remote.group, remote.version)).then_some(remote)
    }

    /// What their documents of OpenAPI v2 say of them, by priority.
    fn swaggers(&self) -> Vec<Arc<Value>> {
        self.all().iter().filter_map(|remote| remote.swagger.clone()).collect()
    }

    /// Adds those that are not known yet as ones that do not answer; tells whether there were any. Until they are judged, requests
    /// for them are told to come again.
    fn announce<'a>(&self, remotes: impl Iterator<Item = &'a Remote>) -> bool {
        let known = self.all();
        let is_known =
            |remote: &Remote| known.iter().any(|own| (&own.group, &own.version) == (&remote.group, &remote.version));
        let new: Vec<Remote> = remotes.filter(|remote| !is_known(remote)).cloned().collect();
        !new.is_empty() && self.replace(known.iter().cloned().chain(new).collect())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remote(group: &str) -> Remote {
        let spec = json!({"group": group, "version": "v1", "service": {"namespace": "n", "name": "s"}});
        check::remote(&json!({ "spec": spec })).unwrap()
    }

    #[test]
    fn what_is_not_judged_yet_is_known_as_what_does_not_answer() {
        let aggregated = Aggregated::default();
        let good = Remote { available: true, ..remote("a.example") };
        assert!(aggregated.replace(vec![good.clone()]));
        let listed = [remote("a.example"), remote("b.example")];
        assert!(aggregated.announce(listed.iter()));
        assert!(!aggregated.announce(listed.iter()));
        assert_eq!(aggregated.serving("/apis/a.example/v1/things"), Some(good));
        assert!(aggregated.serving("/apis/b.example/v1").is_some_and(|own| !own.available));
        assert_eq!(aggregated.serving("/apis/b.example/v2"), None);
    }

    #[test]
    fn documents_are_at_the_path_of_their_version_alone() {
        let aggregated = Aggregated::default();
        let address = "/openapi/v3/apis/a.example/v1?hash=A";
        let told = Remote { openapi: Some(address.to_owned()), ..remote("a.example") };
        assert!(aggregated.replace(vec![told.clone(), remote("b.example")]));
        assert_eq!(aggregated.documented("/openapi/v3/apis/a.example/v1"), Some(told));
        for path in
            ["/openapi/v3", "/openapi/v3/apis/a.example", "/openapi/v3/apis/a.example/v1/x", "/apis/a.example/v1"]
        {
            assert_eq!(aggregated.documented(path), None, "{path}");
        }
        assert_eq!(aggregated.documented("/openapi/v3/apis/b.example/v1"), None, "it has none");
        let mut index = json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=B"}}});
        aggregated.extend_openapi(&mut index);
        let paths = json!({"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=B"},
            "apis/a.example/v1": {"serverRelativeURL": address}});
        assert_eq!(index["paths"], paths);
    }
}
