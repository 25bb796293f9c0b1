//! The restricted level: what hardened workloads do without.

use rk_api::meta;
use serde_json::Value;

use super::{Subject, Violation};

const VOLUMES: &[&str] = &[
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn check(subject: &Subject<'_>, broken: &mut Vec<Violation>) {
    let spec = subject.spec;
    volumes(spec, broken);
    if !subject.is_windows() {
        if let Some(names) = subject.naming(|container| {
            meta::at(container, &["securityContext", "allowPrivilegeEscalation"]).as_bool() != Some(false)
        }) {
            broken.push(Violation::new(
                "allowPrivilegeEscalation != false",
                format!("{names} must set securityContext.allowPrivilegeEscalation=false"),
            ));
        }
        if let Some(names) = subject.naming(|container| !drops_all(container)) {
            broken.push(Violation::new(
                "unrestricted capabilities",
                format!("{names} must set securityContext.capabilities.drop=[\"ALL\"]"),
            ));
        } else if let Some(names) = subject.naming(adds_more) {
            broken.push(Violation::new(
                "unrestricted capabilities",
                format!("{names} must not include added capabilities other than \"NET_BIND_SERVICE\" in securityContext.capabilities.add"),
            ));
        }
    }
    run_as(subject, broken);
    if !subject.is_windows() {
        seccomp(subject, broken);
    }
}

fn volumes(spec: &Value, broken: &mut Vec<Violation>) {
    let bad: Vec<String> = meta::at(spec, &["volumes"])
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| {
            volume
                .as_object()
                .into_iter()
                .flatten()
                .any(|(source, value)| !value.is_null() && !VOLUMES.contains(&source.as_str()))
        })
        .map(|volume| format!("{:?}", meta::text(volume, &["name"])))
        .collect();
    if !bad.is_empty() {
        broken.push(Violation::new(
            "restricted volume types",
            format!("volumes {} use restricted volume types", bad.join(", ")),
        ));
    }
}

fn list<'a>(container: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    meta::at(container, &["securityContext", "capabilities", field])
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn drops_all(container: &Value) -> bool {
    list(container, "drop").any(|capability| capability == "ALL")
}

fn adds_more(container: &Value) -> bool {
    list(container, "add").any(|capability| capability != "NET_BIND_SERVICE")
}

fn run_as(subject: &Subject<'_>, broken: &mut Vec<Violation>) {
    let own = |value: &Value| meta::at(value, &["securityContext", "runAsNonRoot"]).as_bool();
    let of_pod = own(subject.spec);
    if let Some(names) = subject.naming(|container| own(container).or(of_pod) != Some(true)) {
        broken.push(Violation::new(
            "runAsNonRoot != true",
            format!("pod or {names} must set securityContext.runAsNonRoot=true"),
        ));
    }
    let root = |value: &Value| meta::at(value, &["securityContext", "runAsUser"]).as_i64() == Some(0);
    // Inside a user namespace root is nobody outside.
    if meta::at(subject.spec, &["hostUsers"]).as_bool() == Some(false) {
        return;
    }
    if root(subject.spec) {
        broken.push(Violation::new("runAsUser=0", "pod must not set runAsUser=0"));
    } else if let Some(names) = subject.naming(root) {
        broken.push(Violation::new("runAsUser=0", format!("{names} must not set runAsUser=0")));
    }
}

fn seccomp(subject: &Subject<'_>, broken: &mut Vec<Violation>) {
    let good = |value: &Value| match meta::text(value, &["securityContext", "seccompProfile", "type"]) {
        "" => None,
        "RuntimeDefault" | "Localhost" => Some(true),
        _ => Some(false),
    };
    let of_pod = good(subject.spec);
    // An unconfined profile is the baseline's finding already.
    let missing = subject.naming(|container| good(container).or(of_pod).is_none());
    if let Some(names) = missing {
        broken.push(Violation::new(
            "seccompProfile",
            format!(
                "pod or {names} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
            ),
        ));
    }
}
