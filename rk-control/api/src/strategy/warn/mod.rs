//! Settings that are accepted and deserve a word.
//!
//! What upstream warns of, of objects of each kind: fields and values that are deprecated, useless, or will be refused one day.

mod addresses;
mod containers;
mod labels;
mod network;
mod pods;
mod schemas;
mod storage;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::Value;

use crate::meta::{self, at, dns1123_label, text};
use crate::resources::Resource;
use crate::status::Path;

/// Most words about one object: an answer carries fewer than these.
const MOST: usize = 512;

/// The words about an object, in the order in which they were found.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    /// A word about one field.
    fn about(&mut self, path: &Path<'_>, what: impl Display) {
        self.say(format_args!("{path}: {what}"));
    }

    /// A word about the object.
    fn say(&mut self, what: impl Display) {
        if self.0.len() < MOST {
            self.0.push(what.to_string());
        }
    }
}

/// Texts for `Warning` headers about a new object, or about one that replaces `old`, by itself or through a subresource.
pub fn warnings(resource: &Resource, subresource: Option<&str>, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Found::default();
    match subresource {
        None if resource.custom.is_some() => finalizers(object, old, &mut found),
        None => {
            of_workload(resource, object, old, &mut found);
            of_object(resource, object, old, &mut found);
        }
        Some("status") => of_status(resource, object, &mut found),
        Some(_) => {}
    }
    found.0
}

/// What runs pods. Changes of pods themselves are too many to look at, as upstream says; of other kinds those count that give another
/// generation.
fn of_workload(resource: &Resource, object: &Value, old: Option<&Value>, found: &mut Found) {
    let generation = |object: &Value| at(object, &["metadata", "generation"]).as_i64();
    let renewed = old.is_none_or(|old| generation(old) != generation(object));
    if !renewed {
        return;
    }
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") if old.is_none() => {
            let what = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
            name(object, what, found);
            pods::pod(object, found);
        }
        ("", "PodTemplate") => pods::template(at(object, &["template"]), &Path::new("template"), found),
        ("apps", "DaemonSet" | "StatefulSet") => {
            pods::template(template(object), &Path::new("spec.template"), found);
        }
        ("apps", "Deployment" | "ReplicaSet") | ("", "ReplicationController") => {
            host(object, old, found);
            pods::template(template(object), &Path::new("spec.template"), found);
        }
        ("batch", "Job") => {
            host(object, old, found);
            job(at(object, &["spec"]), &Path::new("spec"), found);
        }
        ("batch", "CronJob") => {
            host(object, old, found);
            job(at(object, &["spec", "jobTemplate", "spec"]), &Path::new("spec.jobTemplate.spec"), found);
        }
        _ => {}
    }
}

fn of_object(resource: &Resource, object: &Value, old: Option<&Value>, found: &mut Found) {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("apps", "StatefulSet") => stateful_set(object, old, found),
        ("", "Node") => node(object, found),
        ("", "Service") => network::service(object, found),
        ("", "ServiceAccount") => service_account(object, old, found),
        ("", "Endpoints") => network::endpoints(object, found),
        ("discovery.k8s.io", "EndpointSlice") => network::slice(object, old, found),
        ("networking.k8s.io", "NetworkPolicy") => network::policy(object, found),
        ("networking.k8s.io", "Ingress") if old.is_none() => network::ingress(object, found),
        ("", "PersistentVolume") => storage::volume(object, found),
        ("", "PersistentVolumeClaim") => storage::claim(object, found),
        ("storage.k8s.io", "StorageClass") => storage::class(object, found),
        ("storage.k8s.io", "CSIStorageCapacity") => {
            labels::selector(at(object, &["nodeTopology"]), &Path::new("nodeTopology"), found);
        }
        ("node.k8s.io", "RuntimeClass") => {
            let selector = at(object, &["scheduling", "nodeSelector"]).as_object().into_iter().flatten();
            for what in selector.filter_map(|(key, _)| labels::of_old(key)) {
                found.about(&Path::new("scheduling.nodeSelector"), what);
            }
        }
        ("resource.k8s.io", "ResourceSlice") => {
            let driver = text(object, &["spec", "driver"]);
            if driver != driver.to_lowercase() {
                let path = Path::new("spec.driver");
                found.about(
                    &path,
                    format_args!("driver names should be lowercase; {driver:?} contains uppercase characters"),
                );
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => schemas::check(object, old, found),
        ("admissionregistration.k8s.io", _) if text(object, &["metadata", "name"]).ends_with(".static.k8s.io") => {
            let what = "names ending with \".static.k8s.io\" will be reserved for static manifest-based configurations when the \
                        ManifestBasedAdmissionControlConfig feature gate is enabled";
            found.about(&Path::new("metadata.name"), what);
        }
        _ => {}
    }
}

/// Addresses that a status tells.
fn of_status(resource: &Resource, object: &Value, found: &mut Found) {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => {
            for key in ["podIPs", "hostIPs"] {
                let path = Path::new("status");
                addresses::of_items(at(object, &["status", key]), "ip", &path.child(key), found);
            }
        }
        ("", "Service") | ("networking.k8s.io", "Ingress") => {
            let points = at(object, &["status", "loadBalancer", "ingress"]);
            addresses::of_items(points, "ip", &Path::new("status.loadBalancer.ingress"), found);
        }
        _ => {}
    }
}

fn template(object: &Value) -> &Value {
    at(object, &["spec", "template"])
}

/// A name that is one of hosts, too.
fn name(object: &Value, what: &str, found: &mut Found) {
    let broken = dns1123_label(text(object, &["metadata", "name"]));
    if !broken.is_empty() {
        found.about(&Path::new("metadata.name"), format_args!("{what}: [{}]", broken.join(" ")));
    }
}

/// A new object whose pods are named after it.
fn host(object: &Value, old: Option<&Value>, found: &mut Found) {
    if old.is_none() {
        let what = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
        name(object, what, found);
    }
}

/// The spec of a Job. The bounds are those beyond which the status may not have room for the indexes that failed.
fn job(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let count = |key| at(spec, &[key]).as_i64().unwrap_or(0);
    let indexed = text(spec, &["completionMode"]) == "Indexed";
    if indexed && count("completions") > 100_000 && count("parallelism") > 10_000 {
        found.about(
            path,
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to \
             track completedIndexes when a big number of indexes fail",
        );
    }
    pods::template(at(spec, &["template"]), &path.child("template"), found);
}

fn stateful_set(object: &Value, old: Option<&Value>, found: &mut Found) {
    let path = Path::new("spec.volumeClaimTemplates");
    for (index, claim) in list(at(object, &["spec"]), "volumeClaimTemplates").iter().enumerate() {
        let path = path.index(index);
        // Upstream's own path of the one and of the other.
        let path = if old.is_some() { path.child("Spec") } else { path };
        storage::claim_spec(at(claim, &["spec"]), &path, found);
    }
    if at(object, &["spec", "revisionHistoryLimit"]).as_i64().is_some_and(|limit| limit < 0) {
        found.about(
            &Path::new("spec.revisionHistoryLimit"),
            "a negative value retains all historical revisions; a value >= 0 is recommended",
        );
    }
}

fn node(object: &Value, found: &mut Found) {
    let spec = at(object, &["spec"]);
    if !at(spec, &["configSource"]).is_null() {
        found.say("spec.configSource: the feature is removed");
    }
    if !text(spec, &["externalID"]).is_empty() {
        found.say("spec.externalID: this field is deprecated, and is unused by Kubernetes");
    }
    for (index, range) in list(spec, "podCIDRs").iter().enumerate() {
        addresses::range(range, &Path::new("spec.podCIDRs").index(index), found);
    }
}

/// The account's Secrets were once those that its pods may mount. Told when the annotation comes, not while it stays.
fn service_account(object: &Value, old: Option<&Value>, found: &mut Found) {
    const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";
    let set = |account: &Value| !at(account, &["metadata", "annotations", ENFORCED]).is_null();
    if set(object) && !old.is_some_and(set) {
        let what = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        found.about(&Path::new("metadata.annotations").key(ENFORCED), what);
    }
}

/// Finalizers that an object of a custom kind gained, and that others could mean something else by.
fn finalizers(object: &Value, old: Option<&Value>, found: &mut Found) {
    const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];
    let of = |object: &'_ Value| -> BTreeSet<String> {
        let all = list(at(object, &["metadata"]), "finalizers").iter();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let before = old.map(of).unwrap_or_default();
    for finalizer in of(object).difference(&before) {
        if !finalizer.contains('/') && !STANDARD.contains(&finalizer.as_str()) {
            let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
            found.about(
                &Path::new("metadata.finalizers"),
                format_args!(
                    "{finalizer:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
                ),
            );
        }
    }
}

/// The items of a list; none where there is no list.
fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    meta::list(object, &[key])
}
