//! Containers of pods: variables, amounts, profiles, ports.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, list, storage};
use crate::meta::{at, text};
use crate::status::Path;
use crate::strategy::app_armor;

const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_OF_OLD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
/// The lists of containers.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Most ports of one number that are compared, since each is compared with each.
const COMPARED: usize = 16;

/// A pod or a template, with where its parts are.
pub(super) struct Pod<'a> {
    pub(super) spec: &'a Value,
    pub(super) path: Path<'a>,
    pub(super) annotations: &'a Value,
    pub(super) annotations_path: Path<'a>,
    /// Whether it is a template.
    pub(super) template: bool,
}

/// Every container by itself, and profiles that stand in annotations.
pub(super) fn check(pod: &Pod<'_>, found: &mut Found) {
    let confined = !at(pod.spec, &["securityContext", "seccompProfile"]).is_null();
    if !confined && pod.annotations.get(SECCOMP_OF_POD).is_some() {
        found.about(&pod.annotations_path.key(SECCOMP_OF_POD), SECCOMP_OF_OLD);
    }
    for kind in LISTS {
        let path = pod.path.child(kind);
        for (index, container) in list(pod.spec, kind).iter().enumerate() {
            let path = path.index(index);
            profiles(pod, container, found);
            amounts(container, &path, found);
            variables(list(container, "env"), &path, found);
        }
    }
}

fn profiles(pod: &Pod<'_>, container: &Value, found: &mut Found) {
    if pod.annotations.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let (name, context) = (text(container, &["name"]), at(container, &["securityContext"]));
    let annotated = |prefix: &str| Some(format!("{prefix}{name}")).filter(|key| pod.annotations.get(key).is_some());
    if let Some(key) = annotated(SECCOMP_OF_CONTAINER).filter(|_| at(context, &["seccompProfile"]).is_null()) {
        found.about(&pod.annotations_path.key(&key), SECCOMP_OF_OLD);
    }
    // Of a pod it is told before its fields are written from its annotations.
    let profile = |context: &Value| !at(context, &["appArmorProfile"]).is_null();
    if !pod.template || profile(context) || profile(at(pod.spec, &["securityContext"])) {
        return;
    }
    if let Some(key) = annotated(app_armor::ANNOTATION) {
        found.about(&pod.annotations_path.key(&key), app_armor::OF_OLD);
    }
}

fn amounts(container: &Value, path: &Path<'_>, found: &mut Found) {
    let path = path.child("resources");
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            storage::fractional(at(container, &["resources", kind]), name, &path.child(kind), found);
        }
    }
}

/// Variables of one name, unless the later one is made from the earlier one.
fn variables(variables: &[Value], path: &Path<'_>, found: &mut Found) {
    if variables.len() < 2 {
        return;
    }
    let path = path.child("env");
    let mut seen = std::collections::BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let name = text(variable, &["name"]);
        if seen.insert(name) {
            continue;
        }
        let (value, former) = (text(variable, &["value"]), format!("$({name})"));
        let extends = value.contains(&former) && value != former && at(variable, &["valueFrom"]).is_null();
        if !extends {
            let what = "which may be dropped when using apply";
            found.about(&path.index(index), format_args!("hides previous definition of {name:?}, {what}"));
        }
    }
}

/// A port of a container and where it is declared.
struct Port<'a> {
    declared: (&'static str, usize, usize),
    host_ip: &'a str,
    host_port: i64,
}

impl Port<'_> {
    fn place(&self, pod: &Pod<'_>) -> String {
        let (kind, container, port) = self.declared;
        format!("{}.{kind}[{container}].ports[{port}]", pod.path)
    }

    /// In which way another port is hard to tell from this one.
    fn clash(&self, other: &Port<'_>) -> Option<&'static str> {
        let same_port = self.host_port == other.host_port;
        match () {
            () if same_port && self.host_ip == other.host_ip => Some("duplicate"),
            () if self.host_port == 0 || other.host_port == 0 => Some("overlapping"),
            () if same_port && self.host_ip.is_empty() != other.host_ip.is_empty() => Some("dangerously ambiguous"),
            () => None,
        }
    }
}

/// Ports of all containers, which share the pod's addresses.
pub(super) fn ports(pod: &Pod<'_>, found: &mut Found) {
    let mut all: BTreeMap<(i64, &str), Vec<Port<'_>>> = BTreeMap::new();
    for kind in LISTS {
        for (container, spec) in list(pod.spec, kind).iter().enumerate() {
            for (index, declared) in list(spec, "ports").iter().enumerate() {
                let port = Port {
                    declared: (kind, container, index),
                    host_ip: text(declared, &["hostIP"]),
                    host_port: at(declared, &["hostPort"]).as_i64().unwrap_or(0),
                };
                let number = at(declared, &["containerPort"]).as_i64().unwrap_or(0);
                let protocol = text(declared, &["protocol"]);
                without_host_port(&port, declared, pod, found);
                let others = all.entry((number, protocol)).or_default();
                compare(port, others, pod, found);
            }
        }
    }
}

fn compare<'a>(port: Port<'a>, others: &mut Vec<Port<'a>>, pod: &Pod<'_>, found: &mut Found) {
    for other in others.iter() {
        if let Some(how) = port.clash(other) {
            found.say(format_args!("{}: {how} port definition with {}", port.place(pod), other.place(pod)));
        }
    }
    if others.len() < COMPARED {
        others.push(port);
    }
}

fn without_host_port(port: &Port<'_>, declared: &Value, pod: &Pod<'_>, found: &mut Found) {
    if port.host_ip.is_empty() || port.host_port != 0 {
        return;
    }
    let (name, protocol) = (text(declared, &["name"]), text(declared, &["protocol"]));
    let (number, ip) = (at(declared, &["containerPort"]).as_i64().unwrap_or(0), port.host_ip);
    let shown = format!("{{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}");
    found.say(format_args!("{}: hostIP set without hostPort: {shown}", port.place(pod)));
}
