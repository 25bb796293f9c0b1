use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::spec::Device;

/// Directories under `/dev` that a privileged container has of its own.
const OWN: &[&str] = &["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/fd"];

/// The devices asked for with their numbers; all of the node's for a privileged container.
pub(super) fn find(wanted: &[rk_cri_api::v1::Device], privileged: bool) -> Result<Vec<Device>> {
    let mut out = Vec::new();
    if privileged {
        walk(Path::new("/dev"), &mut out);
    }
    for device in wanted {
        let host = fs::canonicalize(&device.host_path).at("find device", &device.host_path)?;
        let path = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        if host.is_dir() {
            let mut below = Vec::new();
            walk(&host, &mut below);
            out.extend(below.into_iter().map(|found| Device {
                path: found.path.replacen(&*host.to_string_lossy(), path, 1),
                access: device.permissions.clone(),
                ..found
            }));
            continue;
        }
        let found =
            device_at(&host).ok_or_else(|| Error::Invalid(format!("{:?} is not a device", device.host_path)))?;
        out.retain(|known: &Device| known.path != *path);
        out.push(Device { path: path.clone(), access: device.permissions.clone(), ..found });
    }
    Ok(out)
}

fn walk(dir: &Path, out: &mut Vec<Device>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if OWN.iter().any(|own| path == Path::new(own)) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, out),
            Ok(_) => out.extend(device_at(&path)),
            Err(_) => {}
        }
    }
}

/// The numbers and the dress of a device node; `None` when there is none.
pub(super) fn device_at(path: &Path) -> Option<Device> {
    let meta = fs::symlink_metadata(path).ok()?;
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    Some(Device {
        path: path.to_string_lossy().into_owned(),
        host: path.to_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: "rwm".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_and_other_files_refused() {
        let wish = |host: &str| rk_cri_api::v1::Device {
            container_path: "/dev/x".into(),
            host_path: host.into(),
            permissions: "r".into(),
        };
        let found = find(&[wish("/dev/null")], false).unwrap();
        assert_eq!(
            (found[0].major, found[0].minor, found[0].path.as_str(), found[0].access.as_str()),
            (1, 3, "/dev/x", "r")
        );
        assert!(matches!(find(&[wish("/etc/passwd")], false), Err(Error::Invalid(_))));
        assert!(find(&[wish("/dev/nothing-here")], false).is_err());
        assert!(find(&[], true).unwrap().iter().any(|d| d.path == "/dev/null"));
    }
}
