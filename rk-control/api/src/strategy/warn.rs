//! Settings that are accepted and deserve a word.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::meta::{at, dns1123_label, text};
use crate::resources::Resource;

/// Texts for `Warning` headers: deprecated or useless settings of a new object, or new in a changed one.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => {
            let broken = crate::meta::dns1123_label(text(object, &["metadata", "name"]));
            if !broken.is_empty() {
                let what = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
                out.push(format!("metadata.name: {what}: [{}]", broken.join(" ")));
            }
            pod_spec(at(object, &["spec"]), "spec", &mut out);
        }
        ("", "PodTemplate") => pod_spec(at(object, &["template", "spec"]), "template.spec", &mut out),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => {
            pod_spec(at(object, &["spec", "template", "spec"]), "spec.template.spec", &mut out);
        }
        ("batch", "CronJob") => {
            pod_spec(
                at(object, &["spec", "jobTemplate", "spec", "template", "spec"]),
                "spec.jobTemplate.spec.template.spec",
                &mut out,
            );
        }
        ("", "ComponentStatus") => out.push("v1 ComponentStatus is deprecated in v1.19+".into()),
        ("", "Endpoints") => {
            out.push("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into())
        }
        ("", "Service") => service(object, &mut out),
        ("networking.k8s.io", "Ingress")
            if !text(object, &["metadata", "annotations", "kubernetes.io/ingress.class"]).is_empty() =>
        {
            out.push(
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                    .into(),
            );
        }
        _ => {}
    }
    if old.is_none() {
        of_names(resource, object, &mut out);
    }
    if let Some(old) = old {
        let known = warnings(resource, old, None);
        out.retain(|w| !known.contains(w));
    }
    out
}

/// Names that are those of pods and hosts too.
fn of_names(resource: &Resource, object: &Value, out: &mut Vec<String>) {
    let hosts = matches!(
        (&*resource.gvk.group, &*resource.gvk.kind),
        ("", "ReplicationController") | ("apps", "Deployment" | "ReplicaSet") | ("batch", "Job" | "CronJob")
    );
    let broken = dns1123_label(text(object, &["metadata", "name"]));
    if hosts && !broken.is_empty() {
        let broken = broken.join(" ");
        out.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{broken}]"
        ));
    }
}

fn service(object: &Value, out: &mut Vec<String>) {
    if !text(object, &["spec", "externalName"]).is_empty() && text(object, &["spec", "type"]) != "ExternalName" {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if text(object, &["spec", "clusterIP"]) == "None" && !text(object, &["spec", "loadBalancerIP"]).is_empty() {
        out.push("spec.loadBalancerIP is ignored for headless services".into());
    }
}

const VOLUMES_OF_OLD: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn pod_spec(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        for (source, what) in VOLUMES_OF_OLD {
            if volume.get(source).is_some() {
                out.push(format!("{path}.volumes[{index}].{source}: {what}"));
            }
        }
    }
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            out.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        out.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for containers in ["initContainers", "containers"] {
        for (index, container) in list(spec, containers).iter().enumerate() {
            let here = format!("{path}.{containers}[{index}]");
            duplicate_names(container, "env", &here, out);
            for kind in ["requests", "limits"] {
                let fractional =
                    at(container, &["resources", kind, "memory"]).as_str().is_some_and(|m| m.ends_with('m'));
                if fractional {
                    let value = text(container, &["resources", kind, "memory"]);
                    out.push(format!("{here}.resources.{kind}[memory]: fractional byte value {value:?} is invalid, must be an integer"));
                }
            }
        }
    }
}

/// The items of a list; none where there is no list.
fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    at(object, &[key]).as_array().map_or(&[], Vec::as_slice)
}

fn duplicate_names(container: &Value, key: &str, path: &str, out: &mut Vec<String>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, item) in list(container, key).iter().enumerate() {
        let name = text(item, &["name"]);
        if !seen.insert(name) {
            out.push(format!("{path}.{key}[{index}]: hides previous definition of {name:?}, which may cause problems when using apply"));
        }
    }
}
