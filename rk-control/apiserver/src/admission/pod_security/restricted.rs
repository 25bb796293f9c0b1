//! The restricted level: what hardened workloads do without.

use std::collections::BTreeSet;

use rk_api::meta;
use serde_json::Value;

use super::baseline;
use super::subject::{Setters, Subject, Violation, plural, quoted, security, told};

/// Sources of volumes that hold nothing of the host.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// From this version on, pods for Windows are not asked for what Linux alone has.
const WINDOWS_SINCE: u64 = 25;
/// From this version on, users of a pod's own may be root inside of it.
const OWN_USERS_SINCE: u64 = 35;

fn excused(subject: &Subject<'_>, minor: u64) -> bool {
    minor >= WINDOWS_SINCE && subject.is_windows()
}

pub(super) fn privilege_escalation(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if excused(subject, minor) {
        return None;
    }
    let names = subject.names(|container| security(container, &["allowPrivilegeEscalation"]).as_bool() != Some(false));
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", told(&names));
    (!names.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", detail()))
}

pub(super) fn capabilities(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if excused(subject, minor) {
        return None;
    }
    let keeping = subject.names(|container| !drops_all(container));
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", told(&keeping)));
    }
    details.extend(baseline::adding_beyond(subject, &["NET_BIND_SERVICE"]));
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

fn drops_all(container: &Value) -> bool {
    let dropped = security(container, &["capabilities", "drop"]).as_array();
    dropped.into_iter().flatten().any(|capability| capability == "ALL")
}

pub(super) fn proc_mount(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    baseline::unmasked(subject)
}

pub(super) fn volumes(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let all = meta::at(subject.spec, &["volumes"]).as_array().into_iter().flatten();
    let wrong: Vec<(&str, &str)> =
        all.filter_map(|volume| Some((meta::text(volume, &["name"]), restricted_source(volume)?))).collect();
    if wrong.is_empty() {
        return None;
    }
    let (names, kinds): (Vec<&str>, BTreeSet<&str>) = wrong.into_iter().unzip();
    let (noun, uses) = (plural(names.len(), "volume", "volumes"), plural(names.len(), "uses", "use"));
    let types = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let detail = format!("{noun} {} {uses} {types} {}", quoted(names), quoted(kinds));
    Some(Violation::new("restricted volume types", detail))
}

/// The sources of a volume (validation sees to it that there is one).
fn sources(volume: &Value) -> impl Iterator<Item = &str> {
    let fields = volume.as_object().into_iter().flatten();
    fields.filter(|(field, value)| *field != "name" && !value.is_null()).map(|(field, _)| field.as_str())
}

/// Which source a volume has, when it is none of those that are allowed.
fn restricted_source(volume: &Value) -> Option<&str> {
    let allowed = sources(volume).any(|source| VOLUMES.contains(&source));
    (!allowed).then(|| sources(volume).next().unwrap_or("unknown"))
}

pub(super) fn run_as_non_root(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if minor >= OWN_USERS_SINCE && subject.has_own_users() {
        return None;
    }
    let own = |holder: &Value| security(holder, &["runAsNonRoot"]).as_bool();
    let of_pod = own(subject.spec);
    let containers = subject.names(|container| own(container) == Some(false));
    let setters = Setters { pod: of_pod == Some(false), containers, values: BTreeSet::new() };
    let silent = subject.names(|container| own(container).is_none() && of_pod != Some(true));
    let detail = if let Some(who) = setters.told() {
        format!("{who} must not set securityContext.runAsNonRoot=false")
    } else if silent.is_empty() {
        return None;
    } else {
        format!("pod or {} must set securityContext.runAsNonRoot=true", told(&silent))
    };
    Some(Violation::new("runAsNonRoot != true", detail))
}

pub(super) fn run_as_user(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if minor >= OWN_USERS_SINCE && subject.has_own_users() {
        return None;
    }
    let root = |holder: &Value| security(holder, &["runAsUser"]).as_i64() == Some(0);
    let setters = Setters { pod: root(subject.spec), containers: subject.names(root), values: BTreeSet::new() };
    let who = setters.told()?;
    Some(Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

pub(super) fn seccomp(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if excused(subject, minor) {
        return None;
    }
    if let Some(unconfined) = baseline::unconfined(subject) {
        return Some(unconfined);
    }
    let set = |holder: &Value| !security(holder, &["seccompProfile"]).is_null();
    if set(subject.spec) {
        return None;
    }
    let names = subject.names(|container| !set(container));
    let detail = || {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            told(&names)
        )
    };
    (!names.is_empty()).then(|| Violation::new("seccompProfile", detail()))
}
