//! Which volumes pods are to have and which they have, by the plugins that upstream would bring them with, and how long that takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, Volume};

use crate::meters::Timing;

/// Bounds for operations on volumes, seconds; upstream's.
const OPERATIONS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// Plugins that upstream mounts with at every look, since what they show changes.
const CHANGING: [&str; 4] =
    ["kubernetes.io/configmap", "kubernetes.io/downward-api", "kubernetes.io/projected", "kubernetes.io/secret"];

/// A pod's UID and the name of a volume of it.
type Key = (String, String);

struct Wanted {
    plugin: String,
    is_here: bool,
}

/// How many volumes a plugin is to bring, and how many it has brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// That are to be there.
    pub wanted: usize,
    /// That are.
    pub here: usize,
}

/// The volumes of all pods.
pub struct Worlds {
    volumes: Mutex<BTreeMap<Key, Wanted>>,
    operations: Timing,
}

impl Default for Worlds {
    fn default() -> Self {
        let operations = Timing::new(
            "storage_operation_duration_seconds",
            "Storage operation duration",
            &["migrated", "operation_name", "status", "volume_plugin"],
            OPERATIONS,
        );
        Self { volumes: Mutex::default(), operations }
    }
}

impl Worlds {
    /// A volume was to be brought to its pod, which took so long and went well or not. What a pod has already is brought again by plugins
    /// alone whose volumes change: a look at the others is no operation.
    pub fn brought(&self, uid: &str, volume: &str, plugin: &str, took: Duration, good: bool) {
        let mut volumes = self.volumes();
        let fresh = || Wanted { plugin: plugin.to_owned(), is_here: false };
        let own = volumes.entry((uid.to_owned(), volume.to_owned())).or_insert_with(fresh);
        let is_look = own.is_here && !CHANGING.contains(&plugin);
        own.is_here |= good;
        drop(volumes);
        if !is_look {
            let status = if good { "success" } else { "fail-unknown" };
            self.operations.observe(&["false", "volume_mount", status, plugin], took);
        }
    }

    /// The pod's volumes are taken down.
    pub fn forget(&self, uid: &str) {
        self.volumes().retain(|(own, _), _| own != uid);
    }

    /// Volumes by their plugin.
    pub fn counts(&self) -> BTreeMap<String, Count> {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for own in self.volumes().values() {
            let count = counts.entry(own.plugin.clone()).or_default();
            count.wanted += 1;
            count.here += usize::from(own.is_here);
        }
        counts
    }

    /// How long operations took.
    pub fn operations(&self) -> &Timing {
        &self.operations
    }

    fn volumes(&self) -> MutexGuard<'_, BTreeMap<Key, Wanted>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn csi(driver: &str) -> String {
    format!("kubernetes.io/csi:{driver}")
}

/// Upstream's name of the plugin for a volume; `None` for one behind a claim, and for what no plugin is for.
pub fn plugin_of(volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.csi {
        return Some(csi(&source.driver));
    }
    let known = [
        (volume.config_map.is_some(), "configmap"),
        (volume.downward_api.is_some(), "downward-api"),
        (volume.empty_dir.is_some(), "empty-dir"),
        (volume.host_path.is_some(), "host-path"),
        (volume.nfs.is_some(), "nfs"),
        (volume.projected.is_some(), "projected"),
        (volume.secret.is_some(), "secret"),
    ];
    known.into_iter().find(|(is_it, _)| *is_it).map(|(_, name)| format!("kubernetes.io/{name}"))
}

/// The same of a volume behind a claim.
pub fn plugin_behind(volume: &PersistentVolume) -> Option<String> {
    let of = volume.spec.as_ref()?;
    if let Some(source) = &of.csi {
        return Some(csi(&source.driver));
    }
    let known =
        [(of.host_path.is_some(), "host-path"), (of.local.is_some(), "local-volume"), (of.nfs.is_some(), "nfs")];
    known.into_iter().find(|(is_it, _)| *is_it).map(|(_, name)| format!("kubernetes.io/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn volumes_are_counted_by_plugin_and_a_look_at_one_that_is_here_is_no_operation() {
        let (worlds, took) = (Worlds::default(), Duration::from_secs(1));
        for good in [false, true, true] {
            worlds.brought("a", "v", "kubernetes.io/nfs", took, good);
            worlds.brought("a", "m", "kubernetes.io/configmap", took, good);
        }
        worlds.brought("b", "v", "kubernetes.io/nfs", took, false);
        let counts = worlds.counts();
        assert_eq!(counts["kubernetes.io/nfs"], Count { wanted: 2, here: 1 });
        assert_eq!(counts["kubernetes.io/configmap"], Count { wanted: 1, here: 1 });
        let operations: Vec<(String, u64)> =
            worlds.operations().read().into_iter().map(|(labels, spread)| (labels.join(" "), spread.count)).collect();
        let want = [
            ("false volume_mount fail-unknown kubernetes.io/configmap", 1),
            ("false volume_mount fail-unknown kubernetes.io/nfs", 2),
            ("false volume_mount success kubernetes.io/configmap", 2),
            ("false volume_mount success kubernetes.io/nfs", 1),
        ];
        assert_eq!(operations, want.map(|(labels, count)| (labels.to_owned(), count)));
        worlds.forget("a");
        assert_eq!(worlds.counts().into_values().collect::<Vec<_>>(), [Count { wanted: 1, here: 0 }]);
    }

    #[test]
    fn plugins_have_upstream_s_names() {
        let volume = |source: Value| -> Volume { serde_json::from_value(source).unwrap() };
        let of = |source: Value| plugin_of(&volume(source));
        assert_eq!(of(json!({"name": "v", "emptyDir": {}})).as_deref(), Some("kubernetes.io/empty-dir"));
        assert_eq!(of(json!({"name": "v", "csi": {"driver": "d.e"}})).as_deref(), Some("kubernetes.io/csi:d.e"));
        assert_eq!(of(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})), None);
        let behind =
            |spec: Value| plugin_behind(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap());
        assert_eq!(behind(json!({"local": {"path": "/x"}})).as_deref(), Some("kubernetes.io/local-volume"));
        let source = json!({"csi": {"driver": "d.e", "volumeHandle": "h"}});
        assert_eq!(behind(source).as_deref(), Some("kubernetes.io/csi:d.e"));
    }
}
