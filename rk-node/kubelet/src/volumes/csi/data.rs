//! `vol_data.json`: what must be known of a volume to take it down without its pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{read_json, write_atomically};

const FILE: &str = "vol_data.json";
/// Last part of where a tree is staged.
pub const TREE: &str = "globalmount";
/// Last part of where a device's record is.
pub const OF_DEVICE: &str = "data";

/// Its content, in upstream's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeData {
    /// Name of the persistent volume, or of the pod's volume.
    #[serde(rename = "specVolID")]
    pub spec_name: String,
    /// What the driver calls it.
    pub volume_handle: String,
    /// Name of the volume in its pod; files of before have none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_volume: String,
    /// The claim behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Which driver.
    pub driver_name: String,
    /// `Persistent` or `Ephemeral`.
    pub volume_lifecycle_mode: String,
    /// Where it was published, when not at `mount` beside this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// Where it was staged, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging: Option<PathBuf>,
    /// The group that the kubelet has given its files to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<i64>,
    /// The pod wants it, and its driver was not asked to publish it so far.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpublished: bool,
}

impl VolumeData {
    /// Writes it into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_atomically(&dir.join(FILE), &serde_json::to_vec(self).map_err(io::Error::other)?, 0o600)
    }

    /// Reads it from `dir`; `None` when there is none, or none that can be read.
    pub fn read(dir: &Path) -> Option<Self> {
        read_json(&dir.join(FILE)).ok()?
    }

    /// Removes it from `dir`.
    pub fn remove(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// What is recorded of the volume where it is staged; `None` when it never was.
    pub fn as_staged(&self) -> Option<Self> {
        let (pod_volume, claim, target, unpublished) = (String::new(), None, None, false);
        self.staging.as_ref()?;
        Some(Self { pod_volume, claim, target, group: None, unpublished, ..self.clone() })
    }

    /// Whether both are of one volume.
    pub fn is_same_volume(&self, other: &Self) -> bool {
        self.driver_name == other.driver_name && self.volume_handle == other.volume_handle
    }

    /// The name under which the attach/detach controller knows it.
    pub fn unique_name(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver_name, self.volume_handle)
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path())
}

/// The directories of a pod's CSI volumes, file systems and devices.
pub fn of_pod(pod_dir: &Path) -> Vec<PathBuf> {
    ["volumes", "volumeDevices"]
        .iter()
        .flat_map(|kind| entries(&pod_dir.join(kind).join("kubernetes.io~csi")))
        .collect()
}

fn read_all(dirs: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, VolumeData)> {
    dirs.filter_map(|dir| VolumeData::read(&dir).map(|data| (dir, data))).collect()
}

/// All CSI volumes of all pods, with the directory of each.
pub fn all(pods: &Path) -> Vec<(PathBuf, VolumeData)> {
    read_all(entries(pods).flat_map(|pod| of_pod(&pod)))
}

/// Where the record of a volume is, by where it is staged: trees at `<driver>/<hash>/globalmount`, devices at
/// `volumeDevices/staging/<volume>`.
pub fn record_dir(staging: &Path) -> Option<PathBuf> {
    let parent = staging.parent()?;
    if staging.ends_with(TREE) {
        return Some(parent.to_owned());
    }
    Some(parent.parent()?.join(staging.file_name()?).join(OF_DEVICE))
}

/// The records of all volumes that are staged below the plugin's directory, with the directory of each.
pub fn staged(plugin: &Path) -> Vec<(PathBuf, VolumeData)> {
    let trees = entries(plugin).flat_map(|driver| entries(&driver));
    let devices = entries(&plugin.join("volumeDevices")).map(|volume| volume.join(OF_DEVICE));
    read_all(trees.chain(devices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_found_again_and_torn_files_are_no_volumes() {
        let dir = tempfile::tempdir().unwrap();
        let data = VolumeData { volume_handle: "h".into(), driver_name: "d".into(), ..Default::default() };
        let at =
            |pod: &str, kind: &str, name: &str| dir.path().join(pod).join(kind).join("kubernetes.io~csi").join(name);
        data.write(&at("a", "volumes", "x")).unwrap();
        data.write(&at("b", "volumeDevices", "y")).unwrap();
        fs::create_dir_all(at("c", "volumes", "z")).unwrap();
        fs::write(at("c", "volumes", "z").join(FILE), "{").unwrap();
        let mut found: Vec<_> = all(dir.path()).into_iter().map(|(path, _)| path).collect();
        found.sort();
        assert_eq!(found, [at("a", "volumes", "x"), at("b", "volumeDevices", "y")]);
        assert_eq!(data.unique_name(), "kubernetes.io/csi/d^h");
        VolumeData::remove(&at("a", "volumes", "x")).unwrap();
        VolumeData::remove(&at("a", "volumes", "x")).unwrap();
        assert_eq!(all(dir.path()).len(), 1);
    }

    #[test]
    fn what_is_staged_is_found_again_without_any_pod() {
        let dir = tempfile::tempdir().unwrap();
        for staging in ["d.example/0123/globalmount", "volumeDevices/staging/pv"] {
            let of_pod = VolumeData {
                volume_handle: staging.into(),
                pod_volume: "v".into(),
                claim: Some("c".into()),
                staging: Some(dir.path().join(staging)),
                group: Some(1),
                unpublished: true,
                ..Default::default()
            };
            let record = of_pod.as_staged().unwrap();
            assert!(record.claim.is_none() && record.group.is_none() && !record.unpublished);
            assert!(record.is_same_volume(&of_pod));
            record.write(&record_dir(record.staging.as_deref().unwrap()).unwrap()).unwrap();
        }
        let mut found: Vec<_> = staged(dir.path()).into_iter().map(|(path, _)| path).collect();
        found.sort();
        assert_eq!(found, [dir.path().join("d.example/0123"), dir.path().join("volumeDevices/pv/data")]);
        assert!(VolumeData::default().as_staged().is_none());
        let before: VolumeData = serde_json::from_str(r#"{"specVolID": "pv", "volumeHandle": "h"}"#).unwrap();
        assert!(!before.unpublished, "what was written before was published");
    }
}
