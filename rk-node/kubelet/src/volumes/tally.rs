//! Which volumes pods are to have and have, told apart by the plugins that upstream would have make them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{PersistentVolume, Volume};

/// Volumes of NFS servers.
pub const NFS: &str = "kubernetes.io/nfs";
const HOST_PATH: &str = "kubernetes.io/host-path";

/// The plugin of a driver's volumes.
pub fn of_driver(driver: &str) -> String {
    format!("kubernetes.io/csi:{driver}")
}

/// The plugin of a volume that the kubelet makes itself.
pub fn of_own(volume: &Volume) -> &'static str {
    let all = [
        (volume.host_path.is_some(), HOST_PATH),
        (volume.empty_dir.is_some(), "kubernetes.io/empty-dir"),
        (volume.config_map.is_some(), "kubernetes.io/configmap"),
        (volume.secret.is_some(), "kubernetes.io/secret"),
        (volume.projected.is_some(), "kubernetes.io/projected"),
        (volume.downward_api.is_some(), "kubernetes.io/downward-api"),
    ];
    all.into_iter().find(|(is, _)| *is).map_or("N/A", |(_, plugin)| plugin)
}

/// The plugin of a persistent volume that is a path of the node.
pub fn of_path(volume: &PersistentVolume) -> &'static str {
    let host = volume.spec.as_ref().is_some_and(|spec| spec.host_path.is_some());
    if host { HOST_PATH } else { "kubernetes.io/local-volume" }
}

#[derive(Debug)]
struct Wanted {
    plugin: String,
    there: bool,
}

/// Volumes of one pod, by name.
type Own = BTreeMap<String, Wanted>;

/// The volumes of all pods, by the pods' UIDs.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<String, Own>>);

impl Tally {
    /// A pod is to have a volume of this plugin; whether it has it already.
    pub fn want(&self, uid: &str, volume: &str, plugin: &str) -> bool {
        let mut pods = self.pods();
        let own = pods.entry(uid.to_owned()).or_default();
        let wanted = own.entry(volume.to_owned());
        wanted.or_insert_with(|| Wanted { plugin: plugin.to_owned(), there: false }).there
    }

    /// The pod has the volume from now on.
    pub fn have(&self, uid: &str, volume: &str) {
        if let Some(wanted) = self.pods().get_mut(uid).and_then(|own| own.get_mut(volume)) {
            wanted.there = true;
        }
    }

    /// Whether the pod has the volume.
    pub fn has(&self, uid: &str, volume: &str) -> bool {
        self.pods().get(uid).and_then(|own| own.get(volume)).is_some_and(|wanted| wanted.there)
    }

    /// The pod's volumes are taken down.
    pub fn forget(&self, uid: &str) {
        self.pods().remove(uid);
    }

    /// By plugin, how many volumes pods are to have, and how many they have.
    pub fn count(&self) -> BTreeMap<String, [usize; 2]> {
        let mut all: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for wanted in self.pods().values().flat_map(BTreeMap::values) {
            let [to_have, have] = all.entry(wanted.plugin.clone()).or_default();
            *to_have += 1;
            *have += usize::from(wanted.there);
        }
        all
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_are_counted_from_when_they_are_wanted_until_their_pod_has_ended() {
        let tally = Tally::default();
        assert!(!tally.want("a", "v", NFS));
        assert!(!tally.want("a", "v", NFS), "it is still to come");
        tally.want("a", "w", NFS);
        tally.have("a", "v");
        tally.have("a", "nobody's");
        assert_eq!([tally.has("a", "v"), tally.has("a", "w"), tally.has("a", "nobody's")], [true, false, false]);
        assert!(tally.want("a", "v", NFS));
        tally.want("b", "v", &of_driver("d"));
        assert_eq!(tally.count(), BTreeMap::from([(of_driver("d"), [1, 0]), (NFS.to_owned(), [2, 1])]));
        tally.forget("a");
        assert_eq!(tally.count(), BTreeMap::from([("kubernetes.io/csi:d".to_owned(), [1, 0])]));
    }

    #[test]
    fn volumes_go_by_upstream_s_plugins() {
        for (volume, want) in [
            (json!({"name": "v", "emptyDir": {}}), "kubernetes.io/empty-dir"),
            (json!({"name": "v", "hostPath": {"path": "/"}}), HOST_PATH),
            (json!({"name": "v", "configMap": {"name": "m"}}), "kubernetes.io/configmap"),
            (json!({"name": "v", "iscsi": {"iqn": "q", "lun": 0, "targetPortal": "s"}}), "N/A"),
        ] {
            assert_eq!(of_own(&serde_json::from_value(volume).unwrap()), want);
        }
        let volume = |spec| serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap();
        assert_eq!(of_path(&volume(json!({"local": {"path": "/srv"}}))), "kubernetes.io/local-volume");
        assert_eq!(of_path(&volume(json!({"hostPath": {"path": "/srv"}}))), HOST_PATH);
    }
}
