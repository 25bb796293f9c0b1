//! The baseline level: nothing that is known to lead to the host.

use rk_api::meta;
use serde_json::Value;

use super::{Subject, Violation};

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
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// `capabilities` tells whether the capability rule is to be checked: the restricted level has a stricter one.
pub(super) fn check(subject: &Subject<'_>, capabilities: bool, broken: &mut Vec<Violation>) {
    let spec = subject.spec;
    let context = |container: &Value, path: &[&str]| meta::at(meta::at(container, &["securityContext"]), path).clone();
    let flag = |path: &[&str]| meta::at(spec, path).as_bool() == Some(true);
    app_armor(subject, broken);
    if capabilities && let Some(names) = subject.naming(has_foreign_capability) {
        broken.push(Violation::new(
            "non-default capabilities",
            format!(
                "{names} must not include added capabilities beyond the default set in securityContext.capabilities.add"
            ),
        ));
    }
    let host: Vec<&str> = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| flag(&[field])).collect();
    if !host.is_empty() {
        broken.push(Violation::new(
            "host namespaces",
            host.iter().map(|field| format!("{field}=true")).collect::<Vec<_>>().join(", "),
        ));
    }
    let volumes: Vec<String> = meta::at(spec, &["volumes"])
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| volume.get("hostPath").is_some_and(|source| !source.is_null()))
        .map(|volume| format!("{:?}", meta::text(volume, &["name"])))
        .collect();
    if !volumes.is_empty() {
        let noun = if volumes.len() == 1 { "volume" } else { "volumes" };
        broken.push(Violation::new("hostPath volumes", format!("{noun} {}", volumes.join(", "))));
    }
    if let Some(names) = subject.naming(|container| {
        meta::at(container, &["ports"])
            .as_array()
            .into_iter()
            .flatten()
            .any(|port| port.get("hostPort").and_then(Value::as_i64).unwrap_or(0) != 0)
    }) {
        broken.push(Violation::new("hostPort", format!("{names} uses hostPort")));
    }
    if let Some(names) = subject.naming(|container| context(container, &["privileged"]).as_bool() == Some(true)) {
        broken.push(Violation::new("privileged", format!("{names} must not set securityContext.privileged=true")));
    }
    if let Some(names) = subject.naming(|container| {
        let mount = context(container, &["procMount"]);
        !matches!(mount.as_str(), None | Some("Default"))
    }) && meta::at(spec, &["hostUsers"]).as_bool() != Some(false)
    {
        broken.push(Violation::new("procMount", format!("{names} must not set securityContext.procMount")));
    }
    selinux(subject, broken);
    let unconfined = |value: &Value| meta::text(value, &["securityContext", "seccompProfile", "type"]) == "Unconfined";
    let pod_wide = unconfined(spec);
    let containers = subject.naming(unconfined);
    if pod_wide || containers.is_some() {
        let who = if pod_wide { "pod".to_owned() } else { containers.unwrap_or_default() };
        broken.push(Violation::new(
            "seccompProfile",
            format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\""),
        ));
    }
    let sysctls: Vec<&str> = meta::at(spec, &["securityContext", "sysctls"])
        .as_array()
        .into_iter()
        .flatten()
        .map(|sysctl| meta::text(sysctl, &["name"]))
        .filter(|name| !SYSCTLS.contains(name))
        .collect();
    if !sysctls.is_empty() {
        broken.push(Violation::new("forbidden sysctls", sysctls.join(", ")));
    }
    let host_process =
        |value: &Value| meta::at(value, &["securityContext", "windowsOptions", "hostProcess"]).as_bool() == Some(true);
    if host_process(spec) || subject.naming(host_process).is_some() {
        broken.push(Violation::new("hostProcess", "must not set securityContext.windowsOptions.hostProcess=true"));
    }
}

fn has_foreign_capability(container: &Value) -> bool {
    let added = meta::at(container, &["securityContext", "capabilities", "add"]).as_array();
    added.into_iter().flatten().filter_map(Value::as_str).any(|capability| !CAPABILITIES.contains(&capability))
}

fn app_armor(subject: &Subject<'_>, broken: &mut Vec<Violation>) {
    let unconfined = |value: &Value| meta::text(value, &["securityContext", "appArmorProfile", "type"]) == "Unconfined";
    let annotations = meta::at(subject.metadata, &["annotations"]).as_object();
    let old = annotations.into_iter().flatten().any(|(key, value)| {
        let profile = value.as_str().unwrap_or_default();
        key.starts_with("container.apparmor.security.beta.kubernetes.io/")
            && !(profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/"))
    });
    if unconfined(subject.spec) || subject.naming(unconfined).is_some() || old {
        broken.push(Violation::new("forbidden AppArmor profile", "must not set an unconfined AppArmor profile"));
    }
}

fn selinux(subject: &Subject<'_>, broken: &mut Vec<Violation>) {
    let foreign = |value: &Value| {
        let options = meta::at(value, &["securityContext", "seLinuxOptions"]);
        !SELINUX_TYPES.contains(&meta::text(options, &["type"]))
            || !meta::text(options, &["user"]).is_empty()
            || !meta::text(options, &["role"]).is_empty()
    };
    if foreign(subject.spec) || subject.naming(foreign).is_some() {
        broken.push(Violation::new("seLinuxOptions", "pod or container set forbidden securityContext.seLinuxOptions"));
    }
}
