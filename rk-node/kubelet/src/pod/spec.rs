//! Questions that everyone asks of a pod's spec.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRuleOnExitCodes, EphemeralContainer, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

/// Grace period of pods that ask for none, seconds.
pub const DEFAULT_GRACE: i64 = 30;
/// Action of a rule that restarts every container of the pod (KEP-5532).
pub const RESTART_ALL: &str = "RestartAllContainers";

/// Which list of the spec a container is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `initContainers`, sidecars included.
    Init,
    /// `containers`.
    App,
    /// `ephemeralContainers`.
    Ephemeral,
}

impl Kind {
    /// What figures call it, as label `container_type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Init => "init_container",
            Self::App => "container",
            Self::Ephemeral => "ephemeral_container",
        }
    }
}

/// When an exited container starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// In any case.
    Always,
    /// After a failure.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// The UID, empty only for objects that never met an API server.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace(uid)`, the form of the kubelet's messages.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// The spec; an absent one has no containers.
pub fn spec(pod: &Pod) -> std::borrow::Cow<'_, PodSpec> {
    match &pod.spec {
        Some(spec) => std::borrow::Cow::Borrowed(spec),
        None => std::borrow::Cow::Owned(PodSpec::default()),
    }
}

/// Init containers, sidecars included.
pub fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default()
}

/// App containers.
pub fn app_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default()
}

/// Ephemeral containers.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// A container of any kind by name; ephemeral ones in the shape of ordinary ones.
pub fn find_container(pod: &Pod, wanted: &str) -> Option<(Kind, Container)> {
    if let Some(c) = init_containers(pod).iter().find(|c| c.name == wanted) {
        return Some((Kind::Init, c.clone()));
    }
    if let Some(c) = app_containers(pod).iter().find(|c| c.name == wanted) {
        return Some((Kind::App, c.clone()));
    }
    ephemeral_containers(pod).iter().find(|c| c.name == wanted).map(|c| (Kind::Ephemeral, as_container(c)))
}

/// An ephemeral container in the shape of an ordinary one.
pub fn as_container(c: &EphemeralContainer) -> Container {
    Container {
        args: c.args.clone(),
        command: c.command.clone(),
        env: c.env.clone(),
        env_from: c.env_from.clone(),
        image: c.image.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        name: c.name.clone(),
        security_context: c.security_context.clone(),
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        tty: c.tty,
        volume_mounts: c.volume_mounts.clone(),
        working_dir: c.working_dir.clone(),
        ..Default::default()
    }
}

/// An init container that keeps running beside the app (KEP-753).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    RestartPolicy::parse(pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()))
}

/// The policy that holds for one container: its own, else the pod's.
pub fn container_restart_policy(pod: &Pod, container: &Container) -> RestartPolicy {
    match container.restart_policy.as_deref() {
        Some(own) => RestartPolicy::parse(Some(own)),
        None => restart_policy(pod),
    }
}

/// What the first rule of a container that is about this exit code asks for (KEP-5307).
pub fn action_after(container: &Container, exit_code: i32) -> Option<&str> {
    let about = |codes: &ContainerRestartRuleOnExitCodes| {
        let listed = codes.values.as_ref().is_some_and(|v| v.contains(&exit_code));
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    let mut rules = container.restart_policy_rules.iter().flatten();
    rules.find(|rule| rule.exit_codes.as_ref().is_some_and(about)).map(|rule| rule.action.as_str())
}

/// Whether a container that ended with `exit_code` is to be started again.
pub fn restarts_after(pod: &Pod, kind: Kind, container: &Container, exit_code: i32) -> bool {
    pod.metadata.deletion_timestamp.is_none() && may_restart(pod, kind, container, exit_code)
}

/// Whether a container that ended with `exit_code` would be started again if its pod went on. Its own rules come first (KEP-5307).
pub fn may_restart(pod: &Pod, kind: Kind, container: &Container, exit_code: i32) -> bool {
    if kind == Kind::Ephemeral {
        return false;
    }
    if matches!(action_after(container, exit_code), Some("Restart" | RESTART_ALL)) {
        return true;
    }
    match container_restart_policy(pod, container) {
        RestartPolicy::Never => false,
        RestartPolicy::OnFailure => exit_code != 0,
        // An init container that succeeded has done its work, whatever the pod's policy.
        RestartPolicy::Always => kind != Kind::Init || exit_code != 0 || is_sidecar(container),
    }
}

/// Whether the pod uses the host's network.
pub fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// The grace period of a termination that starts now, in seconds: the deletion's, else the spec's.
pub fn grace_seconds(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds))
        .unwrap_or(DEFAULT_GRACE)
}

/// Hash of the fields whose change restarts a container.
pub fn container_hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex::encode(&hash.finalize()[..8])
}

/// Whether a pod in this phase never runs again.
pub fn terminal_phase(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether `other` is another pod than `pod` and still holds what it asked for.
pub fn holds_resources(other: &Pod, pod: &Pod) -> bool {
    uid(other) != uid(pod) && !terminal_phase(other.status.as_ref().and_then(|s| s.phase.as_deref()))
}

/// Whether two versions of a pod differ in nothing but the status, and who wrote what of it.
pub fn same_but_status(one: &Pod, other: &Pod) -> bool {
    let rest = |pod: &Pod| ObjectMeta { resource_version: None, managed_fields: None, ..pod.metadata.clone() };
    one.spec == other.spec && rest(one) == rest(other)
}

/// The hostname of a pod (the first label set by the spec, else its name, cut to 63 characters) and its FQDN when it has one.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = spec(pod);
    if let Some(name) = spec.hostname_override.as_deref().filter(|n| !n.is_empty()) {
        return (name.to_owned(), None);
    }
    let host = spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or_else(|| name(pod));
    let mut host: String = host.chars().take(63).collect();
    while host.ends_with(['-', '.']) {
        host.pop();
    }
    let fqdn = spec
        .subdomain
        .as_deref()
        .filter(|s| !s.is_empty())
        .map(|subdomain| format!("{host}.{subdomain}.{}.svc.{cluster_domain}", namespace(pod)));
    (host, fqdn)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_status_and_its_traces_do_not_make_another_pod() {
        let pod = |value: serde_json::Value| serde_json::from_value::<Pod>(value).unwrap();
        let before = pod(json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"k": "v"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}));
        let with = |pointer: &str, value: serde_json::Value| {
            let mut object = serde_json::to_value(&before).unwrap();
            object["status"] = json!({});
            *object.pointer_mut(pointer).unwrap() = value;
            pod(object)
        };
        assert!(same_but_status(&before, &before));
        assert!(same_but_status(&before, &with("/metadata/resourceVersion", json!("2"))));
        assert!(same_but_status(&before, &with("/status", json!({"phase": "Running"}))));
        assert!(!same_but_status(&before, &with("/metadata/labels", json!({"k": "w"}))));
        assert!(!same_but_status(&before, &with("/spec/containers/0/image", json!("j"))));
    }
}
