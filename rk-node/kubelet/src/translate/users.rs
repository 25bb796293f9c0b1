//! The users of a pod in configurations of its sandbox and its containers.

use rk_cri_api::v1 as cri;

/// Gives a sandbox its users.
pub fn give_users(config: &mut cri::PodSandboxConfig, users: cri::UserNamespace) {
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    if let Some(options) = security.and_then(|security| security.namespace_options.as_mut()) {
        options.userns_options = Some(users);
    }
}

/// Gives a container its pod's users, to whom the files of its mounts belong.
pub fn give_container_users(config: &mut cri::ContainerConfig, users: cri::UserNamespace) {
    for mount in &mut config.mounts {
        mount.uid_mappings.clone_from(&users.uids);
        mount.gid_mappings.clone_from(&users.gids);
    }
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    if let Some(options) = security.and_then(|security| security.namespace_options.as_mut()) {
        options.userns_options = Some(users);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mount_of_a_container_shows_the_pods_ids() {
        let ids = vec![cri::IdMapping { host_id: 65_536, container_id: 0, length: 65_536 }];
        let own = cri::UserNamespace { mode: cri::NamespaceMode::Pod as i32, uids: ids.clone(), gids: ids.clone() };
        let host = cri::UserNamespace { mode: cri::NamespaceMode::Node as i32, ..Default::default() };
        for users in [own, host] {
            let context = cri::LinuxContainerSecurityContext {
                namespace_options: Some(cri::NamespaceOption::default()),
                ..Default::default()
            };
            let linux = cri::LinuxContainerConfig { security_context: Some(context), ..Default::default() };
            let mounts = vec![cri::Mount::default(), cri::Mount::default()];
            let mut config = cri::ContainerConfig { mounts, linux: Some(linux), ..Default::default() };
            give_container_users(&mut config, users.clone());
            let mapped = |m: &cri::Mount| m.uid_mappings == users.uids && m.gid_mappings == users.gids;
            assert!(config.mounts.iter().all(mapped), "{users:?}");
            let options = config.linux.unwrap().security_context.unwrap().namespace_options.unwrap();
            assert_eq!(options.userns_options, Some(users));
        }
    }
}
