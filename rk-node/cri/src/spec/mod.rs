//! CRI configuration and image configuration to an OCI runtime spec: values in, value out.

mod capabilities;
mod command;
mod mounts;
mod resources;
mod seccomp;
mod user;

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use rk_cri_api::v1::security_profile::ProfileType;
use rk_cri_api::v1::{ContainerConfig, LinuxContainerSecurityContext, NamespaceMode};
use rk_images::ImageConfig;
use rk_shim_protocol::{IdRange, UserMapping};
use serde_json::{Value, json};

pub(crate) use mounts::is_image;
pub(crate) use resources::settings;
pub(crate) use user::{User, resolve as resolve_user};

/// Version of the runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// A device node for the container, with its numbers as found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Path in the container.
    pub path: String,
    /// Path on the host; none where numbers alone were told.
    pub host: PathBuf,
    /// Block rather than character device.
    pub block: bool,
    /// Numbers.
    pub major: u32,
    /// Numbers.
    pub minor: u32,
    /// Permission bits of the node.
    pub mode: u32,
    /// Owner of the node.
    pub uid: u32,
    /// Group of the node.
    pub gid: u32,
    /// Some of `rwm`.
    pub access: String,
}

/// The pod's namespaces to join; `None` is the host's.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodNamespaces {
    /// Users.
    pub user: Option<PathBuf>,
    /// Network.
    pub network: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
    /// Processes.
    pub pid: PidNamespace,
}

/// Which processes the container sees.
#[derive(Debug, Clone, Default)]
pub(crate) enum PidNamespace {
    /// Its own.
    #[default]
    New,
    /// The node's.
    Host,
    /// Those of the namespace pinned there.
    Join(PathBuf),
}

/// Everything that the spec follows from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    /// What CRI asks for.
    pub config: &'a ContainerConfig,
    /// What the pod is called.
    pub hostname: &'a str,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Root file system.
    pub rootfs: &'a Path,
    /// cgroup from the hierarchy's root.
    pub cgroup: &'a Path,
    /// Resolved identity.
    pub user: &'a User,
    /// Namespaces.
    pub namespaces: PodNamespaces,
    /// The ids of the pod's user namespace.
    pub users: Option<UserMapping>,
    /// Files that all containers of the pod get: (container path, host path).
    pub pod_files: Vec<(&'static str, PathBuf)>,
    /// Directories of the root that the image wants to outlive its containers: (container path, host path).
    pub volumes: Vec<(PathBuf, PathBuf)>,
    /// Devices asked for and, for privileged containers, all of the host's.
    pub devices: Vec<Device>,
    /// The profile of `Localhost` seccomp, read from the node.
    pub local_seccomp: Option<LinuxSeccomp>,
}

impl Inputs<'_> {
    fn security(&self) -> Option<&LinuxContainerSecurityContext> {
        self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref())
    }

    fn privileged(&self) -> bool {
        self.security().is_some_and(|s| s.privileged)
    }

    fn readonly_rootfs(&self) -> bool {
        self.security().is_some_and(|s| s.readonly_rootfs)
    }
}

/// The spec, as the text of its JSON is. The error says which wish cannot be met.
///
/// Its type is the shim's, which reads it: a second reader of everything that OCI knows, with the patterns that it brings, would be
/// a megabyte of this program.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Value, String> {
    Ok(json!({
        "ociVersion": OCI_VERSION,
        "root": {"path": inputs.rootfs, "readonly": inputs.readonly_rootfs()},
        "process": process(inputs)?,
        "mounts": mounts::mounts(inputs),
        "linux": linux(inputs)?,
        "annotations": {},
    }))
}

fn process(inputs: &Inputs<'_>) -> Result<Value, String> {
    let security = inputs.security();
    let caps = capabilities::capabilities(inputs.privileged(), security.and_then(|s| s.capabilities.as_ref()))?;
    let cwd = [&inputs.config.working_dir, &inputs.image.working_dir].into_iter().find(|dir| !dir.is_empty());
    let mut process = json!({
        "terminal": inputs.config.tty,
        "user": {"uid": inputs.user.uid, "gid": inputs.user.gid, "additionalGids": inputs.user.groups},
        "args": command::args(inputs.config, inputs.image)?,
        "env": command::env(inputs.config, inputs.image, inputs.hostname, &inputs.user.home),
        "cwd": cwd.map_or("/", String::as_str),
        "capabilities": {
            "bounding": caps.held, "effective": caps.held, "permitted": caps.held,
            "inheritable": caps.ambient, "ambient": caps.ambient,
        },
    });
    if security.is_some_and(|s| s.no_new_privs) {
        process["noNewPrivileges"] = true.into();
    }
    if let Some(resources) = inputs.config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        process["oomScoreAdj"] = resources.oom_score_adj.into();
    }
    if let Some(profile) =
        security.and_then(|s| s.apparmor.as_ref()).filter(|p| p.profile_type() == ProfileType::Localhost)
    {
        process["apparmorProfile"] = profile.localhost_ref.clone().into();
    }
    Ok(process)
}

fn linux(inputs: &Inputs<'_>) -> Result<Value, String> {
    let mut linux = json!({
        "cgroupsPath": inputs.cgroup,
        "namespaces": namespaces(inputs),
        "devices": inputs.devices.iter().filter(|d| !mounts::is_bound(inputs, d)).map(device).collect::<Vec<_>>(),
        "resources": {"devices": device_rules(inputs)},
    });
    if let Some(users) = &inputs.users {
        linux["uidMappings"] = id_mappings(users.uids);
        linux["gidMappings"] = id_mappings(users.gids);
    }
    if let Some(propagation) = mounts::rootfs_propagation(&inputs.config.mounts) {
        linux["rootfsPropagation"] = propagation.into();
    }
    if !inputs.privileged() {
        linux["maskedPaths"] = json!(inputs.security().map(|s| s.masked_paths.as_slice()).unwrap_or_default());
        linux["readonlyPaths"] = json!(inputs.security().map(|s| s.readonly_paths.as_slice()).unwrap_or_default());
        if let Some(profile) = seccomp_profile(inputs)? {
            linux["seccomp"] = serde_json::to_value(profile).map_err(|error| error.to_string())?;
        }
    }
    Ok(linux)
}

fn seccomp_profile(inputs: &Inputs<'_>) -> Result<Option<LinuxSeccomp>, String> {
    let Some(profile) = inputs.security().and_then(|s| s.seccomp.as_ref()) else { return Ok(None) };
    match profile.profile_type() {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => {
            let caps = capabilities::capabilities(false, inputs.security().and_then(|s| s.capabilities.as_ref()))?;
            seccomp::runtime_default(&caps.held).map(Some).map_err(|error| error.to_string())
        }
        ProfileType::Localhost => match &inputs.local_seccomp {
            Some(local) => Ok(Some(local.clone())),
            None => Err(format!("seccomp profile {:?} was not read", profile.localhost_ref)),
        },
    }
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let mut out = vec![json!({"type": "mount"})];
    let pod = &inputs.namespaces;
    for (typ, path) in [("user", &pod.user), ("network", &pod.network), ("ipc", &pod.ipc), ("uts", &pod.uts)] {
        if let Some(path) = path {
            out.push(json!({"type": typ, "path": path}));
        }
    }
    match &pod.pid {
        PidNamespace::New => out.push(json!({"type": "pid"})),
        PidNamespace::Join(path) => out.push(json!({"type": "pid", "path": path})),
        PidNamespace::Host => {}
    }
    // The pod's own root cannot see the host's cgroups, however privileged.
    if !inputs.privileged() || inputs.users.is_some() {
        out.push(json!({"type": "cgroup"}));
    }
    out
}

fn id_mappings(range: IdRange) -> Value {
    json!([{"containerID": 0, "hostID": range.host, "size": range.length}])
}

/// A device node of the spec.
pub(crate) fn device(d: &Device) -> Value {
    json!({"path": d.path, "type": if d.block { "b" } else { "c" }, "major": d.major, "minor": d.minor, "fileMode": d.mode,
        "uid": d.uid, "gid": d.gid})
}

/// Nothing, then what every container may use, then what was asked for; a privileged one may use everything.
fn device_rules(inputs: &Inputs<'_>) -> Vec<Value> {
    if inputs.privileged() {
        return vec![json!({"allow": true, "access": "rwm"})];
    }
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    // null, zero, full, random, urandom, tty, console, ptmx, terminals.
    for (major, minor) in [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ] {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            rule["minor"] = minor.into();
        }
        rules.push(rule);
    }
    for d in &inputs.devices {
        rules.push(device_rule(d));
    }
    rules
}

/// What lets a container use a device.
pub(crate) fn device_rule(d: &Device) -> Value {
    json!({"allow": true, "type": if d.block { "b" } else { "c" }, "major": d.major, "minor": d.minor, "access": d.access})
}

/// Whether a container's wish for a PID namespace means its own, the pod's, the node's or another container's. One that says nothing
/// means the pod's, as CRI's zero value does.
pub(crate) fn pid_mode(config: &ContainerConfig) -> (NamespaceMode, String) {
    let options =
        config.linux.as_ref().and_then(|l| l.security_context.as_ref()).and_then(|s| s.namespace_options.as_ref());
    options.map_or((NamespaceMode::Pod, String::new()), |o| (o.pid(), o.target_id.clone()))
}

#[cfg(test)]
mod tests;
