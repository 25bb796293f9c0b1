//! `vol_data.json`: what must be known of a volume to take it down without its pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{read_optional, write_atomically};

const FILE: &str = "vol_data.json";

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
}

impl VolumeData {
    /// Writes it into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_atomically(&dir.join(FILE), &serde_json::to_vec(self).map_err(io::Error::other)?, 0o600)
    }

    /// Reads it from `dir`; `None` when there is none, or none that can be read.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&read_optional(&dir.join(FILE)).ok()??).ok()
    }

    /// Removes it from `dir`.
    pub fn remove(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
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

/// All CSI volumes of all pods, with the directory of each.
pub fn all(pods: &Path) -> Vec<(PathBuf, VolumeData)> {
    let dirs = entries(pods).flat_map(|pod| of_pod(&pod));
    dirs.filter_map(|dir| VolumeData::read(&dir).map(|data| (dir, data))).collect()
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
}
