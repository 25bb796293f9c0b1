//! How the containers of a pod use its volumes, and where these are. Values only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, Volume, VolumeDevice, VolumeMount};

use crate::pod::spec;

/// Names of volumes that containers of a pod see, of whatever kind those are.
#[derive(Debug, Default)]
pub struct Usage<'a> {
    trees: BTreeSet<&'a str>,
    devices: BTreeSet<&'a str>,
}

impl<'a> Usage<'a> {
    /// Of all containers of the pod.
    pub fn of(pod: &'a Pod) -> Self {
        let mut usage = Self::default();
        for container in spec::init_containers(pod).iter().chain(spec::app_containers(pod)) {
            usage.add(container.volume_mounts.as_deref(), container.volume_devices.as_deref());
        }
        for container in spec::ephemeral_containers(pod) {
            usage.add(container.volume_mounts.as_deref(), container.volume_devices.as_deref());
        }
        usage
    }

    fn add(&mut self, mounts: Option<&'a [VolumeMount]>, devices: Option<&'a [VolumeDevice]>) {
        self.trees.extend(mounts.unwrap_or_default().iter().map(|mount| mount.name.as_str()));
        self.devices.extend(devices.unwrap_or_default().iter().map(|device| device.name.as_str()));
    }

    /// Whether any container sees the volume: none else is brought to the pod, as upstream has it.
    pub fn has(&self, volume: &str) -> bool {
        self.trees.contains(volume) || self.devices.contains(volume)
    }

    /// Whether a volume of this mode can be seen as the containers want it.
    pub fn suits(&self, volume: &str, mode: Option<&str>) -> Result<(), String> {
        let mode = mode.unwrap_or("Filesystem");
        let wrong = |place: &str| Err(format!("volume {volume} has volumeMode {mode}, but is specified in {place}"));
        match mode {
            "Block" if self.trees.contains(volume) => wrong("volumeMounts"),
            "Filesystem" if self.devices.contains(volume) => wrong("volumeDevices"),
            _ => Ok(()),
        }
    }
}

/// Where a pod's volumes are, by name.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// Host paths.
    pub paths: BTreeMap<String, PathBuf>,
    /// Host paths of devices.
    pub devices: BTreeMap<String, PathBuf>,
    /// Volumes that are images: the runtime mounts them itself. Name to (reference, pull policy).
    pub images: BTreeMap<String, (String, Option<String>)>,
    /// Whether the volume's content must not be written.
    pub read_only: BTreeMap<String, bool>,
}

impl Volumes {
    /// Whether all volumes are here that containers of the pod see: an ephemeral one may see another than those before it.
    pub fn serve(&self, pod: &Pod) -> bool {
        let usage = Usage::of(pod);
        let here = |name: &String| {
            self.paths.contains_key(name) || self.devices.contains_key(name) || self.images.contains_key(name)
        };
        let all = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        all.filter(|volume| usage.has(&volume.name)).all(|volume| here(&volume.name))
    }
}

/// Whether a container's writes would be lost or misread.
pub fn never_written(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
        || volume.persistent_volume_claim.as_ref().and_then(|c| c.read_only) == Some(true)
        || volume.csi.as_ref().and_then(|c| c.read_only) == Some(true)
        || volume.nfs.as_ref().and_then(|n| n.read_only) == Some(true)
}

/// Whether a driver or a server has the volume, or may have, and so may keep whoever waits for it.
pub fn is_of_others(volume: &Volume) -> bool {
    volume.csi.is_some()
        || volume.nfs.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_are_used_as_containers_say_and_no_other_way() {
        let tree = |name: &str| json!([{"name": name, "mountPath": "/v"}]);
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i", "volumeMounts": tree("first")}],
            "containers": [{"name": "c", "volumeDevices": [{"name": "raw", "devicePath": "/dev/v"}]}],
            "ephemeralContainers": [{"name": "e", "volumeMounts": tree("last")}]}}))
        .unwrap();
        let usage = Usage::of(&pod);
        assert_eq!(["first", "raw", "last", "idle"].map(|name| usage.has(name)), [true, true, true, false]);
        let block = Some("Block");
        for (name, mode, want) in [
            ("first", None, Ok(())),
            ("raw", block, Ok(())),
            ("first", block, Err("volume first has volumeMode Block, but is specified in volumeMounts".to_owned())),
            ("raw", None, Err("volume raw has volumeMode Filesystem, but is specified in volumeDevices".to_owned())),
        ] {
            assert_eq!(usage.suits(name, mode), want, "{name}");
        }
    }

    #[test]
    fn volumes_that_may_keep_who_waits_for_them_are_those_of_others() {
        for (volume, want) in [
            (json!({"name": "v", "projected": {"sources": []}}), false),
            (json!({"name": "v", "emptyDir": {}}), false),
            (json!({"name": "v", "hostPath": {"path": "/"}}), false),
            (json!({"name": "v", "csi": {"driver": "d"}}), true),
            (json!({"name": "v", "nfs": {"server": "s", "path": "/"}}), true),
            (json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}), true),
            (json!({"name": "v", "ephemeral": {}}), true),
        ] {
            assert_eq!(is_of_others(&serde_json::from_value(volume.clone()).unwrap()), want, "{volume}");
        }
    }

    #[test]
    fn what_a_later_container_sees_is_brought_then() {
        let container =
            |name: &str, volume: &str| json!({"name": name, "volumeMounts": [{"name": volume, "mountPath": "/v"}]});
        let mut pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [container("c", "first")], "volumes": [{"name": "first"}, {"name": "second"}]}}))
        .unwrap();
        let mut volumes = Volumes::default();
        assert!(!volumes.serve(&pod));
        volumes.paths.insert("first".into(), "/first".into());
        assert!(volumes.serve(&pod), "nobody sees the other one");
        let late = serde_json::from_value(json!([container("e", "second")])).unwrap();
        pod.spec.as_mut().unwrap().ephemeral_containers = Some(late);
        assert!(!volumes.serve(&pod));
        volumes.devices.insert("second".into(), "/dev/second".into());
        assert!(volumes.serve(&pod));
    }
}
