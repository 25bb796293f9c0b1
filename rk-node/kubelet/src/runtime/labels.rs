//! Labels and annotations that mark sandboxes and containers, as every kubelet writes them. After a restart they are what
//! the kubelet's memory is rebuilt from.

use std::collections::{BTreeMap, HashMap};

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: UID of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container within its pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of the fields whose change restarts the container.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how many instances came before this one.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: the round of its pod that the container was made in (KEP-5532); absent, it is the first.
pub const ROUND: &str = "rk.dev/round";
/// Annotation: where the container writes its last words.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the container's preStop hook, JSON.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// Annotation: the pod's grace period in seconds.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation: the container's ports, JSON.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// Annotation: where the pod came from.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: when the kubelet first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// The UID of the pod that something with these labels is of. None where it is of no pod, or of one whose UID is no name: directories and
/// cgroups are removed by it when nobody knows the pod, and any client of the runtime may have made it up.
pub fn pod_uid(labels: &HashMap<String, String>) -> Option<&String> {
    labels.get(POD_UID).filter(|uid| !uid.is_empty() && !uid.starts_with('.') && !uid.contains(['/', '\0']))
}

/// Labels of a pod's sandbox: the pod's own and the kubelet's.
pub fn sandbox_labels(
    own: Option<&BTreeMap<String, String>>,
    name: &str,
    namespace: &str,
    uid: &str,
) -> BTreeMap<String, String> {
    let mut labels = own.cloned().unwrap_or_default();
    labels.insert(POD_NAME.into(), name.into());
    labels.insert(POD_NAMESPACE.into(), namespace.into());
    labels.insert(POD_UID.into(), uid.into());
    labels
}

/// Labels of a container.
pub fn container_labels(container: &str, name: &str, namespace: &str, uid: &str) -> BTreeMap<String, String> {
    let mut labels = sandbox_labels(None, name, namespace, uid);
    labels.insert(CONTAINER_NAME.into(), container.into());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_nobodys_uid() {
        let found = |uid: &str| pod_uid(&HashMap::from([(POD_UID.to_owned(), uid.to_owned())])).is_some();
        for (uid, want) in [
            ("0c6a3f6e-7d0b-4d5f-9b8e-1f2a3b4c5d6e", true),
            ("d41d8cd98f00b204e9800998ecf8427e", true),
            ("a.b_c", true),
            ("", false),
            (".", false),
            ("..", false),
            ("/etc", false),
            ("a/../../..", false),
        ] {
            assert_eq!(found(uid), want, "{uid:?}");
        }
        assert_eq!(pod_uid(&HashMap::new()), None);
    }
}
