//! The baseline level: nothing that is known to lead to the host.

use std::collections::BTreeSet;

use rk_api::meta;
use serde_json::Value;

use super::subject::{Setters, Subject, Violation, plural, quoted, security, told};

/// Profiles of AppArmor and seccomp that confine.
pub(super) const CONFINING: &[&str] = &["RuntimeDefault", "Localhost"];
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sysctls that touch one pod alone, each with the version of the standards that found it safe.
const SYSCTLS: &[(u64, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];
/// SELinux types that containers may have.
const SELINUX_TYPES: &[(u64, &str)] =
    &[(0, ""), (0, "container_t"), (0, "container_init_t"), (0, "container_kvm_t"), (31, "container_engine_t")];
const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The annotation that was a pod's seccomp profile before there was a field.
pub(super) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// What stands before a container's name in the annotation that was its seccomp profile.
pub(super) const SECCOMP_PREFIX: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn allows(list: &[(u64, &str)], minor: u64, word: &str) -> bool {
    list.iter().any(|(since, name)| *since <= minor && *name == word)
}

pub(super) fn app_armor(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let setters = subject.setters(&["appArmorProfile", "type"], CONFINING);
    let annotations: BTreeSet<String> = meta::at(subject.metadata, &["annotations"])
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| unconfined_annotation(key, value.as_str().unwrap_or_default()))
        .collect();
    let mut who: Vec<String> = setters.told().into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let count = setters.values.len() + annotations.len();
    let values = setters.values.iter().copied().chain(annotations.iter().map(String::as_str));
    Some(Violation::new(
        plural(count, "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
    ))
}

/// An annotation of the time before the field, where it takes a container's profile away.
fn unconfined_annotation(key: &str, profile: &str) -> Option<String> {
    let confined = profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
    (key.starts_with(APP_ARMOR_PREFIX) && !confined).then(|| format!("{key}={profile:?}"))
}

/// Capabilities that a container adds.
pub(super) fn added(container: &Value) -> impl Iterator<Item = &str> {
    security(container, &["capabilities", "add"]).as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Containers that add other capabilities than these; the message names what they add.
pub(super) fn adding_beyond(subject: &Subject<'_>, allowed: &[&str]) -> Option<String> {
    let foreign = |capability: &&str| !allowed.contains(capability);
    let names = subject.names(|container| added(container).any(|capability| foreign(&capability)));
    let what: BTreeSet<&str> = subject.containers().flat_map(added).filter(foreign).collect();
    (!names.is_empty())
        .then(|| format!("{} must not include {} in securityContext.capabilities.add", told(&names), quoted(what)))
}

pub(super) fn capabilities(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    adding_beyond(subject, CAPABILITIES).map(|detail| Violation::new("non-default capabilities", detail))
}

pub(super) fn host_namespaces(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| meta::at(subject.spec, &[field]).as_bool() == Some(true))
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

pub(super) fn host_path_volumes(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let names: Vec<&str> = meta::at(subject.spec, &["volumes"])
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| !meta::at(volume, &["hostPath"]).is_null())
        .map(|volume| meta::text(volume, &["name"]))
        .collect();
    let noun = plural(names.len(), "volume", "volumes");
    (!names.is_empty()).then(|| Violation::new("hostPath volumes", format!("{noun} {}", quoted(names))))
}

fn host_ports_of(container: &Value) -> impl Iterator<Item = i64> {
    let ports = meta::at(container, &["ports"]).as_array().into_iter().flatten();
    ports.filter_map(|port| port.get("hostPort")?.as_i64()).filter(|port| *port != 0)
}

pub(super) fn host_ports(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let names = subject.names(|container| host_ports_of(container).next().is_some());
    if names.is_empty() {
        return None;
    }
    // In the order of their digits, as upstream's sets of words are.
    let ports: BTreeSet<String> = subject.containers().flat_map(host_ports_of).map(|port| port.to_string()).collect();
    let uses = plural(names.len(), "uses", "use");
    let noun = plural(ports.len(), "hostPort", "hostPorts");
    let ports: Vec<String> = ports.into_iter().collect();
    Some(Violation::new("hostPort", format!("{} {uses} {noun} {}", told(&names), ports.join(", "))))
}

/// Hosts other than the pod that probes and hooks of a container would have the kubelet ask.
fn hosts_of(container: &Value) -> impl Iterator<Item = &str> {
    const PLACES: &[&[&str]] = &[
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    PLACES
        .iter()
        .map(move |place| meta::at(container, place))
        .flat_map(|handler| [meta::text(handler, &["httpGet", "host"]), meta::text(handler, &["tcpSocket", "host"])])
        .filter(|host| !host.is_empty())
}

pub(super) fn probe_hosts(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let mut names = subject.names(|container| hosts_of(container).next().is_some());
    if names.is_empty() {
        return None;
    }
    names.sort_unstable();
    names.dedup();
    let hosts: BTreeSet<&str> = subject.containers().flat_map(hosts_of).collect();
    let uses = plural(names.len(), "uses", "use");
    let noun = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    Some(Violation::new("probe or lifecycle host", format!("{} {uses} {noun} {}", told(&names), quoted(hosts))))
}

pub(super) fn privileged(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let names = subject.names(|container| security(container, &["privileged"]).as_bool() == Some(true));
    (!names.is_empty())
        .then(|| Violation::new("privileged", format!("{} must not set securityContext.privileged=true", told(&names))))
}

/// Whoever unmasks /proc, users of its own or not.
pub(super) fn unmasked(subject: &Subject<'_>) -> Option<Violation> {
    // Pods have no such field: whatever is found is a container's.
    let Setters { containers, values, .. } = subject.setters(&["procMount"], &["Default"]);
    let detail = || format!("{} must not set securityContext.procMount to {}", told(&containers), quoted(values));
    (!containers.is_empty()).then(|| Violation::new("procMount", detail()))
}

pub(super) fn proc_mount(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    if minor >= 35 && subject.has_own_users() { None } else { unmasked(subject) }
}

fn foreign_type(holder: &Value, minor: u64) -> Option<&str> {
    let kind = meta::text(security(holder, &["seLinuxOptions"]), &["type"]);
    (!allows(SELINUX_TYPES, minor, kind)).then_some(kind)
}

fn sets_selinux(holder: &Value, field: &str) -> bool {
    !meta::text(security(holder, &["seLinuxOptions"]), &[field]).is_empty()
}

pub(super) fn selinux(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    let foreign = |holder: &Value| {
        foreign_type(holder, minor).is_some() || sets_selinux(holder, "user") || sets_selinux(holder, "role")
    };
    let setters = Setters { pod: foreign(subject.spec), containers: subject.names(foreign), values: BTreeSet::new() };
    let who = setters.told()?;
    let types: BTreeSet<&str> = subject.holders().filter_map(|holder| foreign_type(holder, minor)).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    }
    for field in ["user", "role"] {
        if subject.holders().any(|holder| sets_selinux(holder, field)) {
            what.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

/// Whoever names a profile that does not confine.
pub(super) fn unconfined(subject: &Subject<'_>) -> Option<Violation> {
    let setters = subject.setters(&["seccompProfile", "type"], CONFINING);
    let who = setters.told()?;
    let values = quoted(setters.values);
    Some(Violation::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {values}"),
    ))
}

pub(super) fn seccomp(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    // The field came with 1.19; the standards of before know annotations alone.
    if minor >= 19 { unconfined(subject) } else { unconfined_annotations(subject) }
}

fn unconfined_annotations(subject: &Subject<'_>) -> Option<Violation> {
    let of_containers =
        subject.containers().map(|container| format!("{SECCOMP_PREFIX}{}", meta::text(container, &["name"])));
    let wrong: BTreeSet<String> = std::iter::once(SECCOMP_OF_POD.to_owned())
        .chain(of_containers)
        .filter_map(|key| {
            let profile = meta::at(subject.metadata, &["annotations", &key]).as_str()?;
            let confined = matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
            (!confined).then(|| format!("{key}={profile:?}"))
        })
        .collect();
    let noun = plural(wrong.len(), "annotation", "annotations");
    let list = || wrong.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!wrong.is_empty()).then(|| Violation::new("seccompProfile", format!("forbidden {noun} {}", list())))
}

pub(super) fn sysctls(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    let foreign: Vec<&str> = security(subject.spec, &["sysctls"])
        .as_array()
        .into_iter()
        .flatten()
        .map(|sysctl| meta::text(sysctl, &["name"]))
        .filter(|name| !allows(SYSCTLS, minor, name))
        .collect();
    (!foreign.is_empty()).then(|| Violation::new("forbidden sysctls", foreign.join(", ")))
}

pub(super) fn host_process(subject: &Subject<'_>, _minor: u64) -> Option<Violation> {
    let is = |holder: &Value| security(holder, &["windowsOptions", "hostProcess"]).as_bool() == Some(true);
    let setters = Setters { pod: is(subject.spec), containers: subject.names(is), values: BTreeSet::new() };
    let who = setters.told()?;
    Some(Violation::new("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true")))
}
