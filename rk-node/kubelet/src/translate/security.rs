//! Security contexts: the container's settings over the pod's, in the runtime's words.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext};
use rk_cri_api::v1 as cri;

use crate::pod::spec;

/// Paths under /proc and /sys that containers must not read, unless `procMount: Unmasked`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths under /proc that containers must not write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The pod's security context.
pub fn pod_context(pod: &Pod) -> PodSecurityContext {
    pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default()
}

/// The container's security context with the pod's values where it has none of its own.
pub fn effective(pod: &Pod, container: &Container) -> SecurityContext {
    let of_pod = pod_context(pod);
    let own = container.security_context.clone().unwrap_or_default();
    SecurityContext {
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(of_pod.run_as_non_root),
        seccomp_profile: own.seccomp_profile.or(of_pod.seccomp_profile),
        app_armor_profile: own.app_armor_profile.or(of_pod.app_armor_profile),
        se_linux_options: own.se_linux_options.or(of_pod.se_linux_options),
        ..own
    }
}

/// Refuses a container that must not run as root and would. `image_user` is what the image says (uid, or a name).
pub fn check_non_root(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
) -> Result<(), String> {
    let context = effective(pod, container);
    if context.run_as_non_root != Some(true) {
        return Ok(());
    }
    let place = || format!("(pod: \"{}\", container: {})", spec::describe(pod), container.name);
    match (context.run_as_user, image_uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {}", place())),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
        (None, Some(_)) => Ok(()),
        (None, None) if !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {}",
            place()
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
    }
}

/// Namespaces of a pod's sandbox or of one container in it.
pub fn namespaces(pod: &Pod, target: Option<String>) -> cri::NamespaceOption {
    let spec_of = spec::spec(pod);
    let mode = |host: Option<bool>, otherwise: cri::NamespaceMode| {
        if host == Some(true) { cri::NamespaceMode::Node } else { otherwise }
    };
    let own_pid = if spec_of.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    let mut pid = mode(spec_of.host_pid, own_pid);
    if target.is_some() && pid == cri::NamespaceMode::Container {
        pid = cri::NamespaceMode::Target;
    }
    cri::NamespaceOption {
        network: mode(spec_of.host_network, cri::NamespaceMode::Pod) as i32,
        pid: pid as i32,
        ipc: mode(spec_of.host_ipc, cri::NamespaceMode::Pod) as i32,
        target_id: target.unwrap_or_default(),
        userns_options: None,
    }
}

/// Where seccomp profiles are, and what holds for containers that name none.
#[derive(Clone, Debug)]
pub struct Seccomp {
    /// Directory of profiles of the node.
    pub root: String,
    /// Whether containers without a profile get the runtime's own; otherwise they run unconfined.
    pub by_default: bool,
}

/// A seccomp profile in the runtime's words.
pub fn seccomp(profile: Option<&SeccompProfile>, known: &Seccomp, privileged: bool) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        _ if privileged => (ProfileType::Unconfined, String::new()),
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", Some(path))) => (ProfileType::Localhost, format!("{}/{path}", known.root)),
        None if known.by_default => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

/// Supplementary groups of a pod: its own list and the group of its volumes.
pub fn groups(pod: &Pod) -> Vec<i64> {
    let context = pod_context(pod);
    let mut groups = context.supplemental_groups.unwrap_or_default();
    groups.extend(context.fs_group);
    groups
}

/// The CRI's enum for how image groups join in.
pub fn groups_policy(pod: &Pod) -> i32 {
    match pod_context(pod).supplemental_groups_policy.as_deref() {
        Some("Strict") => cri::SupplementalGroupsPolicy::Strict as i32,
        _ => cri::SupplementalGroupsPolicy::Merge as i32,
    }
}

/// The security context of one container.
pub fn container_context(
    pod: &Pod,
    container: &Container,
    target: Option<String>,
    profiles: &Seccomp,
    image_uid: Option<i64>,
    image_user: &str,
) -> cri::LinuxContainerSecurityContext {
    let context = effective(pod, container);
    let privileged = context.privileged == Some(true);
    let unmasked = privileged || context.proc_mount.as_deref() == Some("Unmasked");
    let strings = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|s| (*s).to_owned()).collect() };
    let capabilities = context.capabilities.clone().unwrap_or_default();
    // KEP: privilege escalation may only be forbidden where it is not otherwise granted.
    let no_new_privs = context.allow_privilege_escalation == Some(false);
    let uid = context.run_as_user.or(image_uid);
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: context.se_linux_options.map(|o| cri::SeLinuxOption {
            user: o.user.unwrap_or_default(),
            role: o.role.unwrap_or_default(),
            r#type: o.type_.unwrap_or_default(),
            level: o.level.unwrap_or_default(),
        }),
        run_as_user: uid.map(|value| cri::Int64Value { value }),
        run_as_username: if uid.is_none() { image_user.to_owned() } else { String::new() },
        run_as_group: context.run_as_group.map(|value| cri::Int64Value { value }),
        readonly_rootfs: context.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs,
        masked_paths: strings(&MASKED),
        readonly_paths: strings(&READ_ONLY),
        seccomp: Some(seccomp(context.seccomp_profile.as_ref(), profiles, privileged)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_a_profile_the_default_of_the_node_holds() {
        use cri::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
        let own = |kind: &str| SeccompProfile { type_: kind.into(), localhost_profile: Some("p.json".into()) };
        for (profile, by_default, privileged, want) in [
            (None, false, false, Unconfined),
            (None, true, false, RuntimeDefault),
            (None, true, true, Unconfined),
            (Some("Unconfined"), true, false, Unconfined),
            (Some("RuntimeDefault"), false, false, RuntimeDefault),
            (Some("Localhost"), true, false, Localhost),
        ] {
            let known = Seccomp { root: "/r".into(), by_default };
            let got = seccomp(profile.map(own).as_ref(), &known, privileged);
            assert_eq!(got.profile_type, want as i32, "{profile:?}");
            assert_eq!(got.localhost_ref, if want == Localhost { "/r/p.json" } else { "" });
        }
    }

    #[test]
    fn a_root_user_is_refused_wherever_it_comes_from() {
        let check = |pod_user: serde_json::Value, own: serde_json::Value, image: Option<i64>, name: &str| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": pod_user, "containers": [{"name": "c", "securityContext": own}]}}))
            .unwrap();
            check_non_root(&pod, spec::app_containers(&pod).first().unwrap(), image, name).err()
        };
        assert_eq!(check(json!({}), json!({}), Some(0), ""), None);
        assert_eq!(check(json!({"runAsNonRoot": true, "runAsUser": 5}), json!({}), Some(0), ""), None);
        assert_eq!(check(json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), Some(0), ""), None);
        for (pod, own, image, name, word) in [
            (json!({"runAsNonRoot": true}), json!({}), Some(0), "", "image will run as root"),
            (json!({"runAsNonRoot": true}), json!({"runAsUser": 0}), Some(7), "", "breaks non-root policy"),
            (json!({}), json!({"runAsNonRoot": true}), None, "nginx", "non-numeric user (nginx)"),
        ] {
            assert!(check(pod, own, image, name).is_some_and(|e| e.contains(word)), "{word}");
        }
    }
}
