//! A container's volumeMounts as mounts of the runtime.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use rk_cri_api::v1 as cri;

use super::subpath;
use super::usage::Volumes;
use crate::translate::{Environment, expand};

/// A mount that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The volume is not among the pod's.
    #[error("cannot find volume \"{volume}\" to mount into container \"{container}\"")]
    NoVolume {
        /// Volume.
        volume: String,
        /// Container.
        container: String,
    },
    /// The subPath cannot be used.
    #[error("{0}")]
    SubPath(String),
}

/// Builds the mounts of one container; subPaths are bind-mounted below the pod's directory first.
pub fn container_mounts(
    container: &Container,
    volumes: &Volumes,
    pod_dir: &Path,
    env: &Environment,
) -> Result<Vec<cri::Mount>, MountError> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if let Some((reference, _)) = volumes.images.get(&mount.name) {
            mounts.push(image_mount(mount, reference, env)?);
            continue;
        }
        let missing = || MountError::NoVolume { volume: mount.name.clone(), container: container.name.clone() };
        let volume = volumes.paths.get(&mount.name).ok_or_else(missing)?;
        let host_path = match sub_path(mount, env)? {
            None => volume.clone(),
            Some(sub) => {
                let target: PathBuf =
                    pod_dir.join("volume-subpaths").join(&mount.name).join(&container.name).join(index.to_string());
                subpath::bind(volume, &sub, &target).map_err(MountError::SubPath)?;
                target
            }
        };
        let content = volumes.read_only.get(&mount.name).copied().unwrap_or(false);
        mounts.push(cri::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: host_path.to_string_lossy().into_owned(),
            // The files of content volumes are the kubelet's; a container's writes would be lost or misread.
            readonly: mount.read_only == Some(true) || content,
            propagation: propagation(mount),
            recursive_read_only: is_read_only_all_the_way(mount),
            ..Default::default()
        });
    }
    // A volume may hang below another: parents first.
    mounts.sort_by_key(|m| Path::new(&m.container_path).components().count());
    Ok(mounts)
}

/// Builds the devices of one container from its `volumeDevices`.
pub fn container_devices(container: &Container, volumes: &Volumes) -> Result<Vec<cri::Device>, MountError> {
    let device = |wish: &k8s_openapi::api::core::v1::VolumeDevice| {
        let missing = || MountError::NoVolume { volume: wish.name.clone(), container: container.name.clone() };
        let path = volumes.devices.get(&wish.name).ok_or_else(missing)?;
        let read_only = volumes.read_only.get(&wish.name).copied().unwrap_or(false);
        Ok(cri::Device {
            container_path: wish.device_path.clone(),
            host_path: path.to_string_lossy().into_owned(),
            permissions: if read_only { "r".into() } else { "mrw".into() },
        })
    };
    container.volume_devices.iter().flatten().map(device).collect()
}

fn image_mount(mount: &VolumeMount, reference: &str, env: &Environment) -> Result<cri::Mount, MountError> {
    Ok(cri::Mount {
        container_path: absolute(&mount.mount_path),
        readonly: true,
        image: Some(cri::ImageSpec {
            image: reference.into(),
            user_specified_image: reference.into(),
            ..Default::default()
        }),
        image_sub_path: sub_path(mount, env)?.unwrap_or_default(),
        ..Default::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Whether what is mounted below is read-only too: this runtime always can, so `IfPossible` asks only for what the mount itself allows
/// (KEP-3857).
pub fn is_read_only_all_the_way(mount: &VolumeMount) -> bool {
    match mount.recursive_read_only.as_deref() {
        Some("Enabled") => true,
        Some("IfPossible") => {
            mount.read_only == Some(true) && matches!(mount.mount_propagation.as_deref(), None | Some("None"))
        }
        _ => false,
    }
}

fn propagation(mount: &VolumeMount) -> i32 {
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    propagation as i32
}

/// The part of the volume that is wanted: `subPath`, or `subPathExpr` with a value for every reference.
fn sub_path(mount: &VolumeMount, env: &Environment) -> Result<Option<String>, MountError> {
    if let Some(expression) = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
        let missing = RefCell::new(BTreeSet::new());
        let path = expand(expression, |name| {
            // An empty one would lead to more of the volume than is meant.
            let value = env.get(name).filter(|value| !value.is_empty());
            if value.is_none() {
                missing.borrow_mut().insert(name.to_owned());
            }
            value
        });
        let missing: Vec<String> = missing.into_inner().into_iter().collect();
        let wrong = |problem: String| Err(MountError::SubPath(problem));
        if !missing.is_empty() {
            return wrong(format!("missing value for {}", missing.join(", ")));
        }
        if path.starts_with('/') {
            return wrong(format!("error SubPath `{path}` must not be an absolute path"));
        }
        if path.split('/').any(|part| part == "..") {
            return wrong(format!("unable to provision SubPath `{path}`: must not contain '..'"));
        }
        return Ok(Some(path));
    }
    Ok(mount.sub_path.clone().filter(|s| !s.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_of_a_volume_is_named_by_variables_that_have_a_value() {
        let mut env = Environment::default();
        let values = [("A", "x"), ("E", ""), ("UP", "../x"), ("ROOT", "/x")];
        env.variables = values.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        for (expression, want) in [
            ("$(A)/y", Ok("x/y")),
            ("y", Ok("y")),
            ("$(E)", Err("missing value for E")),
            ("$(Z)/$(E)/$(A)", Err("missing value for E, Z")),
            ("$(ROOT)", Err("error SubPath `/x` must not be an absolute path")),
            ("$(UP)", Err("unable to provision SubPath `../x`: must not contain '..'")),
        ] {
            let mount = json!({"name": "v", "mountPath": "/v", "subPathExpr": expression});
            let found = sub_path(&serde_json::from_value(mount).unwrap(), &env).map_err(|error| error.to_string());
            assert_eq!(found, want.map(|path| Some(path.to_owned())).map_err(str::to_owned), "{expression}");
        }
    }

    #[test]
    fn read_only_goes_all_the_way_where_it_is_possible() {
        for (mount, want) in [
            (json!({"readOnly": true}), false),
            (json!({"readOnly": true, "recursiveReadOnly": "Disabled"}), false),
            (json!({"readOnly": true, "recursiveReadOnly": "Enabled"}), true),
            (json!({"readOnly": true, "recursiveReadOnly": "IfPossible"}), true),
            (json!({"readOnly": true, "recursiveReadOnly": "IfPossible", "mountPropagation": "None"}), true),
            (
                json!({"readOnly": true, "recursiveReadOnly": "IfPossible", "mountPropagation": "HostToContainer"}),
                false,
            ),
            (json!({"recursiveReadOnly": "IfPossible"}), false),
        ] {
            let mut full = mount.clone();
            (full["name"], full["mountPath"]) = (json!("v"), json!("/v"));
            let read: VolumeMount = serde_json::from_value(full).unwrap();
            assert_eq!(is_read_only_all_the_way(&read), want, "{mount}");
        }
    }
}
