//! Groups that persistent volumes bring to the containers of their pods: a volume may name the group that can use it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};

use super::manager::VolumeManager;
use crate::pod::spec;

/// The annotation of a volume that names its group.
const GROUP: &str = "pv.beta.kubernetes.io/gid";

type ByPod = BTreeMap<String, BTreeMap<String, i64>>;

/// Groups by the UID of a pod and the name of its volume.
#[derive(Debug, Default)]
pub struct Groups(Mutex<ByPod>);

impl Groups {
    fn with<T>(&self, f: impl FnOnce(&mut ByPod) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes the group of a volume that a pod gets under this name; what names no number has none.
    pub fn note(&self, uid: &str, name: &str, volume: &PersistentVolume) {
        let named = volume.metadata.annotations.as_ref().and_then(|all| all.get(GROUP));
        if let Some(group) = named.and_then(|text| text.parse::<i64>().ok()) {
            self.with(|all| all.entry(uid.to_owned()).or_default().insert(name.to_owned(), group));
        }
    }

    /// The groups of a pod's volumes, each once, but for those that the pod names itself.
    fn of(&self, pod: &Pod) -> Vec<i64> {
        let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
        let own = context.and_then(|c| c.supplemental_groups.as_deref()).unwrap_or_default();
        let brought = self.with(|all| all.get(spec::uid(pod)).cloned()).unwrap_or_default();
        let groups: BTreeSet<i64> = brought.into_values().filter(|group| !own.contains(group)).collect();
        groups.into_iter().collect()
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.with(|all| drop(all.remove(uid)));
    }
}

impl VolumeManager {
    /// Groups that the volumes of a pod bring to its containers.
    pub fn groups(&self, pod: &Pod) -> Vec<i64> {
        self.groups.of(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_brings_the_group_that_it_names_unless_its_pod_has_it() {
        let groups = Groups::default();
        for (name, group) in [("a", "777"), ("b", "12"), ("c", "777"), ("d", "5"), ("e", "none")] {
            let volume = json!({"metadata": {"name": name, "annotations": {GROUP: group}}});
            groups.note("u", name, &serde_json::from_value(volume).unwrap());
        }
        groups.note("u", "f", &PersistentVolume::default());
        let pod = |uid: &str| -> Pod {
            let spec = json!({"containers": [], "securityContext": {"supplementalGroups": [5]}});
            serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": spec})).unwrap()
        };
        assert_eq!([groups.of(&pod("u")), groups.of(&pod("v"))], [vec![12, 777], vec![]]);
        groups.forget("u");
        assert!(groups.of(&pod("u")).is_empty());
    }
}
