use std::fs::File;
use std::io::Read;
use std::path::Path;

use rk_cri_api::v1::LinuxContainerSecurityContext;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::error::{Error, IoContext, Result};
use crate::spec::{User, resolve_user};

/// The largest passwd or group file that is read; images with more users than that do not exist.
const MAX_BYTES: u64 = 1 << 20;

/// Who the container runs as, by the image's own user files. Links in the image cannot lead to the node's.
pub(super) fn resolve(rootfs: &Path, security: &LinuxContainerSecurityContext, image_user: &str) -> Result<User> {
    let root = open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at("open", rootfs)?;
    let read = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(&root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        let mut text = Vec::new();
        if let Ok(file) = file {
            let _ = File::from(file).take(MAX_BYTES).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    resolve_user(security, image_user, &read("etc/passwd"), &read("etc/group")).map_err(Error::Invalid)
}
