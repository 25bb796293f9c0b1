use std::path::Path;

use rk_cri_api::v1::LinuxContainerSecurityContext;

use super::inside;
use crate::error::{Error, IoContext, Result};
use crate::spec::{User, resolve_user};

/// Who the container runs as, by the image's own user files. Links in the image cannot lead to the node's.
pub(super) fn resolve(rootfs: &Path, security: &LinuxContainerSecurityContext, image_user: &str) -> Result<User> {
    let text = |name: &str| inside::text(rootfs, Path::new(name)).at("read", rootfs.join(name));
    resolve_user(security, image_user, &text("etc/passwd")?, &text("etc/group")?).map_err(Error::Invalid)
}
