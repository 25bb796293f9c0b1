//! What a container sees mounted.

use std::path::Path;

use rk_cri_api::v1::{Mount, MountPropagation};
use serde_json::{Value, json};

use super::{Device, Inputs};

/// The kernel's own file systems, then volumes of the image, the pod's files, and the pod author's mounts from the shallowest to the deepest.
pub(super) fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let read_only = if inputs.privileged() { "rw" } else { "ro" };
    let mut out = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", read_only]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", read_only]),
    ];
    // Written to as where the root can be: the same files, which are counted and go with those that the container writes anywhere.
    let mut volumes: Vec<_> = inputs.volumes.iter().filter(|_| inputs.readonly_rootfs()).collect();
    volumes.sort_by_key(|(destination, _)| destination.components().count());
    for (destination, source) in volumes {
        // As its root, it is mounted for the pod's users already.
        out.push(mount(
            &destination.to_string_lossy(),
            "bind",
            &source.to_string_lossy(),
            &["rbind", "rprivate", "rw"],
        ));
    }
    for (destination, source) in &inputs.pod_files {
        if !inputs.config.mounts.iter().any(|m| same(&m.container_path, destination)) {
            let writable = if inputs.readonly_rootfs() && *destination != "/dev/shm" { "ro" } else { "rw" };
            let bound = mount(destination, "bind", &source.to_string_lossy(), &["rbind", "rprivate", writable]);
            out.push(mapped(bound, inputs));
        }
    }
    let mut wanted: Vec<&Mount> = inputs.config.mounts.iter().collect();
    wanted.sort_by_key(|m| Path::new(&m.container_path).components().count());
    for m in wanted {
        // Below another `/dev` there is still the container's own, which libcontainer fills.
        out.retain(|earlier| earlier["type"] == "tmpfs" || earlier["destination"].as_str() != Some(&m.container_path));
        let bound = mount(&m.container_path, "bind", &m.host_path, &options(m));
        // Images are mounted for the pod's users already.
        out.push(if is_image(m) { bound } else { mapped(bound, inputs) });
    }
    for d in inputs.devices.iter().filter(|d| is_bound(inputs, d)) {
        out.push(mount(&d.path, "bind", &d.host.to_string_lossy(), &["bind", "rprivate", "rw"]));
    }
    out
}

/// Whether a device is the host's node bound into the container: libcontainer makes nodes in `/dev` alone. In a pod with its own users the
/// shim binds them all.
pub(super) fn is_bound(inputs: &Inputs<'_>, device: &Device) -> bool {
    let known = !device.host.as_os_str().is_empty();
    known && inputs.users.is_none() && !Path::new(&device.path).starts_with("/dev")
}

/// Whether it is an image that is mounted, rather than something of the node.
pub(crate) fn is_image(m: &Mount) -> bool {
    m.image.as_ref().is_some_and(|image| !image.image.is_empty())
}

/// The root's propagation that the mounts' wishes need: a bind mount cannot share more than what it is taken from.
pub(super) fn rootfs_propagation(mounts: &[Mount]) -> Option<&'static str> {
    let any = |wish: MountPropagation| mounts.iter().any(|m| m.propagation() == wish);
    if any(MountPropagation::PropagationBidirectional) {
        Some("shared")
    } else if any(MountPropagation::PropagationHostToContainer) {
        Some("slave")
    } else {
        None
    }
}

fn options(m: &Mount) -> Vec<&'static str> {
    let propagation = match m.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let mut options = vec!["rbind", propagation];
    options.push(if m.readonly { "ro" } else { "rw" });
    if m.recursive_read_only {
        options.push("rro");
    }
    options
}

fn same(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}

/// In a pod with its own users, files of the host that it sees are its own: what is root's is its root's.
fn mapped(mut mount: Value, inputs: &Inputs<'_>) -> Value {
    if let Some(users) = &inputs.users {
        mount["uidMappings"] = super::id_mappings(users.uids);
        mount["gidMappings"] = super::id_mappings(users.gids);
    }
    mount
}

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": typ, "source": source, "options": options})
}
