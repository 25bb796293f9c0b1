//! APIServices of what this server serves itself: every group and version has one, those of custom kinds come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use rk_api::meta;
use rk_api::resources::Registry;
use rk_api::status::{Reason, Status};
use serde_json::{Value, json};

use crate::front_door::{remove, write};
use crate::server::Core;

/// Marks the objects that the server keeps: `onstart` for its own groups, `true` for those of custom kinds.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Upstream's priorities of groups, which order them where versions are merged: group, of the group, of its version.
const PRIORITIES: &[(&str, i64, i64)] = &[
    ("", 18_000, 1),
    ("apps", 17_800, 15),
    ("events.k8s.io", 17_750, 5),
    ("authentication.k8s.io", 17_700, 15),
    ("authorization.k8s.io", 17_600, 15),
    ("autoscaling", 17_500, 15),
    ("batch", 17_400, 15),
    ("certificates.k8s.io", 17_300, 15),
    ("networking.k8s.io", 17_200, 15),
    ("policy", 17_100, 15),
    ("rbac.authorization.k8s.io", 17_000, 15),
    ("storage.k8s.io", 16_800, 15),
    ("apiextensions.k8s.io", 16_700, 15),
    ("admissionregistration.k8s.io", 16_700, 15),
    ("scheduling.k8s.io", 16_600, 15),
    ("coordination.k8s.io", 16_500, 15),
    ("node.k8s.io", 16_300, 15),
    ("discovery.k8s.io", 16_200, 15),
    ("flowcontrol.apiserver.k8s.io", 16_100, 21),
    ("resource.k8s.io", 16_000, 15),
];
/// The priorities of custom groups: of the group, of its versions.
pub(crate) const CUSTOM: (i64, i64) = (1000, 100);

/// The objects that should be there, by name.
fn wanted(registry: &Registry, builtin: &Registry) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    for served in registry.group_versions() {
        // The aggregator does not register itself.
        if served.group == "apiregistration.k8s.io" {
            continue;
        }
        let own = builtin.group_versions().contains(served);
        let known = PRIORITIES.iter().find(|(group, ..)| *group == served.group);
        let (group, mut version) = known.map_or(CUSTOM, |(_, group, version)| (*group, *version));
        if served.group == "autoscaling" && served.version == "v2" {
            version = 30;
        }
        let name = format!("{}.{}", served.version, served.group);
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name, "labels": {MANAGED: if own { "onstart" } else { "true" }}},
            "spec": {"group": served.group, "version": served.version, "groupPriorityMinimum": group, "versionPriority": version},
        });
        wanted.insert(name, object);
    }
    wanted
}

/// Creates what is missing and removes what the server kept for kinds that are gone.
pub(super) async fn sync(core: &Arc<Core>, builtin: &Registry) -> Result<(), Status> {
    let resource = core.resource("apiregistration.k8s.io", "v1", "apiservices")?;
    let present = core.objects("apiregistration.k8s.io", "v1", "apiservices", "").await?;
    let mut missing = wanted(&core.registry(), builtin);
    for object in &present {
        let name = meta::name(object);
        if missing.remove(name).is_none() && meta::labels(object).get(MANAGED).is_some() {
            match remove(core, &resource, "", name).await {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => {}
            }
        }
    }
    for object in missing.values() {
        match write(core, Method::POST, &resource, "", object).await {
            Err(status) if status.reason != Reason::AlreadyExists => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_and_version_is_registered_under_its_priority() {
        let builtin = Registry::builtin();
        let wanted = wanted(&builtin, &builtin);
        assert_eq!(wanted["v1."]["spec"]["groupPriorityMinimum"], 18_000);
        assert_eq!(wanted["v2.autoscaling"]["spec"]["versionPriority"], 30);
        assert!(wanted.values().all(|object| object["spec"]["groupPriorityMinimum"] != 1000), "each has upstream's");
    }
}
