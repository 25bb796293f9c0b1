//! Which resources the API serves, for controllers that act on all of them.

use kube::Client;
use kube::core::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an answer is used; a new CustomResourceDefinition shows up after this at the latest.
const FRESH: Duration = Duration::from_secs(10);

/// Metadata of an object of any kind.
pub(crate) type AnyMeta = PartialObjectMeta<DynamicObject>;

/// One resource in its group's preferred version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    /// Whether it is sized by a `scale` of its own.
    pub(crate) has_scale: bool,
    verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// `pods` or `deployments.apps`.
    pub(crate) fn name(&self) -> String {
        if self.api.group.is_empty() {
            self.api.plural.clone()
        } else {
            format!("{}.{}", self.api.plural, self.api.group)
        }
    }
}

#[cfg(test)]
impl Resource {
    /// A resource of which nothing is known but where it is.
    pub(crate) fn of_test(group: &str, version: &str, plural: &str) -> Self {
        let api = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: plural.to_owned(),
            plural: plural.to_owned(),
        };
        Self { api, namespaced: true, has_scale: false, verbs: Vec::new() }
    }
}

/// What discovery answered, with the groups that did not.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) resources: Vec<Resource>,
    /// Versions of each group, the preferred one first.
    groups: Vec<(String, Vec<String>)>,
    /// Group-versions whose resources could not be read, with the reason.
    pub(crate) failed: Vec<String>,
}

impl Served {
    /// The resource of a kind in a group, whatever the version: owner references outlive versions.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        let group = group_of(api_version);
        self.resources.iter().find(|r| r.api.kind == kind && r.api.group == group)
    }

    /// As [`Served::of_kind`]; fails in upstream's words where there is none.
    pub(crate) fn mapped(&self, api_version: &str, kind: &str) -> Result<&Resource, String> {
        let none = || format!("no matches for kind {kind:?} in group {:?}", group_of(api_version));
        self.of_kind(api_version, kind).ok_or_else(none)
    }

    /// Versions of a group, the preferred one first; `None` where nobody serves the group.
    pub(crate) fn versions(&self, group: &str) -> Option<&[String]> {
        self.groups.iter().find(|(name, _)| name == group).map(|(_, versions)| versions.as_slice())
    }
}

/// The group of an `apiVersion`, empty for the first of all groups.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// What was served, and when it was asked.
type Answer = (Instant, Arc<Served>);

/// Discovery with a short memory, shared by its users.
#[derive(Clone)]
pub(crate) struct Discovery {
    client: Client,
    last: Arc<Mutex<Option<Answer>>>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, last: Arc::default() }
    }

    /// What is served, as of a moment ago; fails only when not even the groups can be read.
    pub(crate) async fn served(&self) -> kube::Result<Arc<Served>> {
        self.asked(|at| at.elapsed() < FRESH).await
    }

    /// What is served, asked for at this time at the earliest: for who must not miss what is new.
    pub(crate) async fn served_since(&self, earliest: Instant) -> kube::Result<Arc<Served>> {
        self.asked(|at| at >= earliest).await
    }

    async fn asked(&self, is_fresh: impl Fn(Instant) -> bool) -> kube::Result<Arc<Served>> {
        let mut last = self.last.lock().await;
        if let Some((at, served)) = last.as_ref()
            && is_fresh(*at)
        {
            return Ok(Arc::clone(served));
        }
        // What comes into service while the answers come in may be in none of them.
        let at = Instant::now();
        let served = Arc::new(read(&self.client).await?);
        *last = Some((at, Arc::clone(&served)));
        Ok(served)
    }
}

async fn read(client: &Client) -> kube::Result<Served> {
    let mut served = Served::default();
    let core = client.list_core_api_resources("v1").await?;
    add(&mut served, "", "v1", core.resources);
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().map(|v| v.version.clone());
        let mut versions = group.versions;
        versions.sort_by_key(|v| Some(&v.version) != preferred.as_ref());
        served.groups.push((group.name.clone(), versions.iter().map(|v| v.version.clone()).collect()));
        for version in versions {
            match client.list_api_group_resources(&version.group_version).await {
                Ok(list) => add(&mut served, &group.name, &version.version, list.resources),
                Err(error) => served.failed.push(format!("{}: {}", version.group_version, rk_client::message(&error))),
            }
        }
    }
    Ok(served)
}

fn add(
    served: &mut Served,
    group: &str,
    version: &str,
    resources: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource>,
) {
    let scaled: HashSet<String> =
        resources.iter().filter_map(|r| r.name.strip_suffix("/scale")).map(str::to_owned).collect();
    for resource in resources {
        let known = served.resources.iter().any(|r| r.api.group == group && r.api.plural == resource.name);
        if known || resource.name.contains('/') {
            continue;
        }
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let has_scale = scaled.contains(&resource.name);
        let api = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: resource.kind,
            plural: resource.name,
        };
        served.resources.push(Resource { api, namespaced: resource.namespaced, has_scale, verbs: resource.verbs });
    }
}

/// Whether an object carries a finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn who_must_not_miss_what_is_new_is_answered_anew() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let answer = match request.uri().path() {
                "/api/v1" => {
                    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": []})
                }
                _ => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
            };
            count.fetch_add(1, Ordering::Relaxed);
            let body = Body::from(answer.to_string().into_bytes());
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
        });
        let discovery = Discovery::new(Client::new(server, "default"));
        let begun = Instant::now();
        discovery.served().await.expect("an answer");
        let once = asked.load(Ordering::Relaxed);
        discovery.served().await.expect("what is at hand");
        discovery.served_since(begun).await.expect("that was asked since");
        assert_eq!(asked.load(Ordering::Relaxed), once);
        discovery.served_since(Instant::now()).await.expect("another answer");
        assert_eq!(asked.load(Ordering::Relaxed), 2 * once);
    }
}
