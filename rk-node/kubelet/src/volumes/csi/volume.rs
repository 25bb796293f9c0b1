//! What a volume asks of its driver. Values only.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{CSIVolumeSource, PersistentVolume, Pod, SecretReference};
use k8s_openapi::api::storage::v1::CSIDriver;
use rk_plugin_api::csi::VolumeCapability;
use rk_plugin_api::csi::volume_capability::access_mode::Mode;
use rk_plugin_api::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use sha2::{Digest, Sha256};

use crate::pod::spec;

/// How long a volume lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Longer than its pods.
    Persistent,
    /// As long as its pod.
    Ephemeral,
}

impl Lifecycle {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "Persistent",
            Self::Ephemeral => "Ephemeral",
        }
    }
}

/// A volume of a CSI driver.
#[derive(Clone, Debug, PartialEq)]
pub struct CsiVolume {
    /// Which driver.
    pub driver: String,
    /// What the driver calls it.
    pub handle: String,
    /// Name of the persistent volume, or of the pod's volume.
    pub spec_name: String,
    /// Name of the volume in its pod.
    pub pod_volume: String,
    /// The claim behind it.
    pub claim: Option<String>,
    /// How long it lives.
    pub lifecycle: Lifecycle,
    /// File system, empty for the driver's choice.
    pub fs_type: String,
    /// A device rather than a file system.
    pub block: bool,
    /// Never to be written.
    pub read_only: bool,
    /// Access modes of the API.
    pub access_modes: Vec<String>,
    /// Mount options.
    pub mount_options: Vec<String>,
    /// The driver's own parameters.
    pub attributes: BTreeMap<String, String>,
    /// Secret for staging.
    pub stage_secret: Option<SecretReference>,
    /// Secret for publishing.
    pub publish_secret: Option<SecretReference>,
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part.as_bytes()));
    hex::encode(hash.finalize())
}

/// The directory name of a staged volume.
pub fn staging_name(handle: &str) -> String {
    hash(&[handle])
}

/// Name of the VolumeAttachment of a volume on a node.
pub fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", hash(&[handle, driver, node]))
}

impl CsiVolume {
    /// The same, as the pod knows it.
    pub fn behind(self, pod_volume: &str, claim: &str) -> Self {
        Self { pod_volume: pod_volume.to_owned(), claim: Some(claim.to_owned()), ..self }
    }

    /// That of a persistent volume, `None` when it is none of CSI.
    pub fn persistent(volume: &PersistentVolume, read_only: bool) -> Option<Self> {
        let of = volume.spec.as_ref()?;
        let csi = of.csi.as_ref()?;
        Some(Self {
            driver: csi.driver.clone(),
            handle: csi.volume_handle.clone(),
            spec_name: volume.metadata.name.clone().unwrap_or_default(),
            pod_volume: String::new(),
            claim: None,
            lifecycle: Lifecycle::Persistent,
            fs_type: csi.fs_type.clone().unwrap_or_default(),
            block: of.volume_mode.as_deref() == Some("Block"),
            read_only: read_only || csi.read_only == Some(true),
            access_modes: of.access_modes.clone().unwrap_or_default(),
            mount_options: of.mount_options.clone().unwrap_or_default(),
            attributes: csi.volume_attributes.clone().unwrap_or_default(),
            stage_secret: csi.node_stage_secret_ref.clone(),
            publish_secret: csi.node_publish_secret_ref.clone(),
        })
    }

    /// That of a pod's own volume.
    pub fn ephemeral(pod: &Pod, name: &str, csi: &CSIVolumeSource) -> Self {
        let secret = |r: &k8s_openapi::api::core::v1::LocalObjectReference| SecretReference {
            name: Some(r.name.clone()),
            namespace: Some(spec::namespace(pod).to_owned()),
        };
        Self {
            driver: csi.driver.clone(),
            handle: format!("csi-{}", hash(&[spec::uid(pod), name])),
            spec_name: name.to_owned(),
            pod_volume: name.to_owned(),
            claim: None,
            lifecycle: Lifecycle::Ephemeral,
            fs_type: csi.fs_type.clone().unwrap_or_default(),
            block: false,
            read_only: csi.read_only == Some(true),
            access_modes: vec!["ReadWriteOnce".into()],
            mount_options: Vec::new(),
            attributes: csi.volume_attributes.clone().unwrap_or_default(),
            stage_secret: None,
            publish_secret: csi.node_publish_secret_ref.as_ref().map(secret),
        }
    }

    /// Whether only one pod may have it (KEP-2485).
    pub fn is_for_one_pod(&self) -> bool {
        self.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }

    fn mode(&self, single_writers: bool) -> Mode {
        match self.access_modes.first().map(String::as_str) {
            Some("ReadOnlyMany") => Mode::MultiNodeReaderOnly,
            Some("ReadWriteMany") => Mode::MultiNodeMultiWriter,
            Some("ReadWriteOncePod") if single_writers => Mode::SingleNodeSingleWriter,
            _ if single_writers => Mode::SingleNodeMultiWriter,
            _ => Mode::SingleNodeWriter,
        }
    }

    /// The capability that a driver is asked for, which tells `single_writers` apart or not. `group` when the driver itself is to give
    /// the volume to it.
    pub fn capability(&self, single_writers: bool, group: Option<i64>) -> VolumeCapability {
        let mode = self.mode(single_writers);
        let access = if self.block {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume {
                fs_type: self.fs_type.clone(),
                mount_flags: self.mount_options.clone(),
                volume_mount_group: group.map(|g| g.to_string()).unwrap_or_default(),
            })
        };
        VolumeCapability { access_type: Some(access), access_mode: Some(AccessMode { mode: mode as i32 }) }
    }

    /// The parameters of publishing: the driver's own, and those of the pod when it wants them.
    pub fn context(&self, pod: &Pod, driver: Option<&CSIDriver>) -> HashMap<String, String> {
        let mut context: HashMap<String, String> = self.attributes.clone().into_iter().collect();
        if driver.and_then(|d| d.spec.pod_info_on_mount) == Some(true) {
            let account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default();
            let ephemeral = (self.lifecycle == Lifecycle::Ephemeral).to_string();
            for (key, value) in [
                ("pod.name", spec::name(pod)),
                ("pod.namespace", spec::namespace(pod)),
                ("pod.uid", spec::uid(pod)),
                ("serviceAccount.name", account.as_str()),
                ("ephemeral", ephemeral.as_str()),
            ] {
                context.insert(format!("csi.storage.k8s.io/{key}"), value.to_owned());
            }
        }
        context
    }

    /// Whether the kubelet gives the volume's files to the pod's group.
    pub fn kubelet_sets_group(&self, driver: Option<&CSIDriver>) -> bool {
        if self.read_only || self.block {
            return false;
        }
        match driver.and_then(|d| d.spec.fs_group_policy.as_deref()) {
            Some("File") => true,
            Some("None") => false,
            _ => {
                !self.fs_type.is_empty()
                    && self.access_modes.iter().any(|m| m == "ReadWriteOnce" || m == "ReadWriteOncePod")
            }
        }
    }

    /// Whether the kubelet is to give the volume's files to the pod's `group` now, after it has given them to the group `had` for the same
    /// pod: once where they last, each time where the driver may have made them anew.
    pub fn is_to_be_given(&self, driver: Option<&CSIDriver>, group: Option<i64>, had: Option<i64>) -> bool {
        let anew = driver.and_then(|d| d.spec.requires_republish) == Some(true);
        let lasts = self.lifecycle == Lifecycle::Persistent && !anew;
        group.is_some() && self.kubelet_sets_group(driver) && !(lasts && group == had)
    }

    /// Whether the driver takes volumes of this lifecycle.
    pub fn allowed(&self, driver: Option<&CSIDriver>) -> Result<(), String> {
        let modes = driver.and_then(|d| d.spec.volume_lifecycle_modes.clone()).filter(|m| !m.is_empty());
        let modes = modes.unwrap_or_else(|| vec!["Persistent".into()]);
        // A driver without an object of its own is taken at its word for persistent volumes only, as upstream does.
        if modes.iter().any(|m| m == self.lifecycle.as_str()) {
            return Ok(());
        }
        Err(format!(
            "driver {:?} only supports CSI volume types [{}], but the volume is {:?}",
            self.driver,
            modes.join(" "),
            self.lifecycle.as_str()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_say_what_they_ask_for() {
        let pv: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "mountOptions": ["noatime"],
            "csi": {"driver": "d", "volumeHandle": "h", "fsType": "ext4", "volumeAttributes": {"k": "v"}}}}))
        .unwrap();
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"serviceAccountName": "sa", "containers": []}}),
        )
        .unwrap();
        let volume = CsiVolume::persistent(&pv, false).unwrap();
        assert_eq!((volume.mode(false), volume.mode(true)), (Mode::SingleNodeWriter, Mode::SingleNodeMultiWriter));
        let driver = |spec: serde_json::Value| -> CSIDriver {
            serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": spec})).unwrap()
        };
        let exclusive = CsiVolume { access_modes: vec!["ReadWriteOncePod".into()], ..volume.clone() };
        assert_eq!((volume.is_for_one_pod(), exclusive.is_for_one_pod()), (false, true));
        assert_eq!(volume.context(&pod, None).len(), 1);
        let told = volume.context(&pod, Some(&driver(json!({"podInfoOnMount": true}))));
        assert_eq!(told.get("csi.storage.k8s.io/pod.name").map(String::as_str), Some("p"));
        assert_eq!(told.get("csi.storage.k8s.io/ephemeral").map(String::as_str), Some("false"));
        assert!(volume.kubelet_sets_group(None));
        assert!(!volume.kubelet_sets_group(Some(&driver(json!({"fsGroupPolicy": "None"})))));
        let inline = CsiVolume::ephemeral(&pod, "v", &serde_json::from_value(json!({"driver": "d"})).unwrap());
        assert!(inline.handle.starts_with("csi-") && inline.handle.len() == 68);
        assert!(inline.allowed(None).unwrap_err().contains("only supports CSI volume types [Persistent]"));
        inline.allowed(Some(&driver(json!({"volumeLifecycleModes": ["Ephemeral"]})))).unwrap();
        assert!(!inline.kubelet_sets_group(None));
    }

    #[test]
    fn a_driver_hears_of_mount_options_and_of_the_group_that_it_is_to_give_the_volume_to() {
        let pv = json!({"metadata": {"name": "pv"}, "spec": {"accessModes": ["ReadWriteOncePod"],
            "mountOptions": ["noatime", "nosuid"], "csi": {"driver": "d", "volumeHandle": "h", "fsType": "ext4"}}});
        let volume = CsiVolume::persistent(&serde_json::from_value(pv).unwrap(), false).unwrap();
        let asked = volume.capability(true, Some(2000));
        assert_eq!(asked.access_mode.map(|access| access.mode), Some(Mode::SingleNodeSingleWriter as i32));
        let Some(AccessType::Mount(tree)) = asked.access_type else { panic!("no tree") };
        assert_eq!((tree.fs_type.as_str(), tree.volume_mount_group.as_str()), ("ext4", "2000"));
        assert_eq!(tree.mount_flags, ["noatime", "nosuid"]);
        let Some(AccessType::Mount(tree)) = volume.capability(false, None).access_type else { panic!("no tree") };
        assert_eq!(tree.volume_mount_group, "", "the kubelet gives it to a group, or nobody does");
        let device = CsiVolume { block: true, ..volume }.capability(false, Some(2000));
        assert!(matches!(device.access_type, Some(AccessType::Block(_))), "{device:?}");
    }

    #[test]
    fn files_that_last_are_given_to_a_group_once() {
        let pv = json!({"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "d", "volumeHandle": "h"}}});
        let pv = CsiVolume::persistent(&serde_json::from_value(pv).unwrap(), false).unwrap();
        let csi = serde_json::from_value(json!({"driver": "d"})).unwrap();
        let inline = CsiVolume::ephemeral(&Pod::default(), "v", &csi);
        for (volume, anew, group, had, want) in [
            (&pv, false, Some(1), None, true),
            (&pv, false, Some(1), Some(1), false),
            (&pv, false, Some(2), Some(1), true),
            (&pv, false, None, None, false),
            (&pv, true, Some(1), Some(1), true),
            (&inline, false, Some(1), Some(1), true),
        ] {
            let driver =
                json!({"metadata": {"name": "d"}, "spec": {"fsGroupPolicy": "File", "requiresRepublish": anew}});
            let driver: CSIDriver = serde_json::from_value(driver).unwrap();
            assert_eq!(volume.is_to_be_given(Some(&driver), group, had), want, "{} {group:?}", volume.handle);
        }
        assert!(!pv.is_to_be_given(None, Some(1), None), "nor where the kubelet gives nothing");
    }

    #[test]
    fn names_of_attachments_are_upstreams() {
        let name = attachment_name("h", "d", "n");
        assert_eq!(name.len(), 68);
        assert_eq!(name, format!("csi-{}", hash(&["hdn"])));
    }
}
