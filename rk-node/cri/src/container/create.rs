use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::LinuxSeccomp;
use rk_cri_api::v1::security_profile::ProfileType;
use rk_cri_api::v1::{
    ContainerConfig, ContainerEventType, CreateContainerRequest, LinuxContainerSecurityContext, Mount,
    MountPropagation, NamespaceMode, SecurityProfile,
};
use rk_images::Image;
use rk_shim_protocol::namespace_file;

use super::{cdi, devices, identity, inside, volumes};
use crate::clock::now_ns;
use crate::error::{Error, IoContext, Result};
use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::runtime::{Runtime, absolute, new_id};
use crate::spec::{self, Inputs, PidNamespace, PodNamespaces};
use crate::tables::Container;
use crate::{sandbox, signal};

/// Prepares a container so that starting it is quick and certain: its root is mounted and its spec written.
pub(crate) async fn create(runtime: &Arc<Runtime>, request: CreateContainerRequest) -> Result<String> {
    let mut config = request.config.ok_or_else(|| Error::Invalid("the container's config is missing".into()))?;
    if let Some(security) = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) {
        named_profile(security)?;
    }
    let sandbox = runtime.tables.sandbox(&request.pod_sandbox_id)?.get();
    validate(&config, &sandbox)?;
    ready(&sandbox)?;
    let name = config.image.as_ref().map_or("", |image| image.image.as_str());
    let image = runtime.config.images.status(name).ok_or_else(|| Error::not_found("image", name))?;
    let id = new_id();
    let made = make(runtime, &id, config, &sandbox, &image).await;
    match made {
        Ok(()) => {
            runtime.publish(ContainerEventType::ContainerCreatedEvent, &id, &sandbox.id);
            Ok(id)
        }
        Err(error) => {
            super::remove::clean(runtime, &id, &sandbox.id).await;
            Err(error)
        }
    }
}

fn ready(sandbox: &SandboxRecord) -> Result<()> {
    match sandbox.phase {
        Phase::Ready => Ok(()),
        _ => Err(Error::State(format!("sandbox {:?} is not ready", sandbox.id))),
    }
}

fn validate(config: &ContainerConfig, sandbox: &SandboxRecord) -> Result<()> {
    if config.metadata.as_ref().is_none_or(|metadata| metadata.name.is_empty()) {
        return Err(Error::Invalid("the container's metadata needs a name".into()));
    }
    let users = sandbox::users(sandbox);
    for mount in &config.mounts {
        if !sandbox::is_of_pod(&mount.uid_mappings, &mount.gid_mappings, users.as_ref()) {
            return Err(Error::Unsupported(format!(
                "mount {:?}: a mount can only have the ids of its pod's user namespace",
                mount.container_path
            )));
        }
        read_only_all_the_way(mount)?;
        image_alone(mount)?;
    }
    Ok(())
}

/// A mount that is read-only with all that is mounted below it takes nothing new from the node (KEP-3857).
fn read_only_all_the_way(mount: &Mount) -> Result<()> {
    let refused = |why| Err(Error::Invalid(format!("recursive read-only mount {:?}: {why}", mount.container_path)));
    match mount.recursive_read_only {
        true if !mount.readonly => refused("the mount must be read-only"),
        true if mount.propagation() != MountPropagation::PropagationPrivate => refused("the mount must be private"),
        _ => Ok(()),
    }
}

/// An image cannot be mounted as asked. Clients know it by the first word, which is that of CRI's own errors.
fn image_refused(why: String) -> Error {
    Error::Invalid(format!("ImageVolumeMountFailed: {why}"))
}

/// An image that is mounted is never written to, and nothing of the node is mounted in its place (KEP-4639).
fn image_alone(mount: &Mount) -> Result<()> {
    let refused = |why| Err(image_refused(format!("image mount {:?}: {why}", mount.container_path)));
    match spec::is_image(mount) {
        true if !mount.readonly => refused("the mount must be read-only"),
        true if !mount.host_path.is_empty() => refused("the mount cannot have a host path, too"),
        _ => Ok(()),
    }
}

async fn make(
    runtime: &Arc<Runtime>,
    id: &str,
    config: ContainerConfig,
    sandbox: &SandboxRecord,
    image: &Image,
) -> Result<()> {
    let mut record = ContainerRecord {
        id: id.to_owned(),
        sandbox: sandbox.id.clone(),
        image_id: image.id.to_string(),
        image_ref: image.repo_digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
        image_tag: image.repo_tags.first().cloned().unwrap_or_default(),
        stop_signal: stop_signal(&config, &image.config.stop_signal)?,
        user: spec::User::default(),
        cgroup: sandbox.cgroup_parent.join(id),
        log_path: log_path(&config, sandbox)?,
        created_at: now_ns(),
        launched_at: 0,
        started_at: 0,
        pid: 0,
        asked_to_stop: false,
        ended: None,
        volume_snapshots: Vec::new(),
        config,
    };
    // On disk before its snapshot exists, so that a crash leaves nothing unknown; not flushed before it is to start, since after a loss of
    // power nobody can start it any more, and a snapshot of no container goes.
    let container = Arc::new(Container::new(runtime.container_state(id), record.clone()));
    // Whoever sees it already may not remove it before it is whole: what came afterwards would stay.
    let _step = container.step.lock().await;
    runtime.tables.add_container(container.clone())?;
    // Who removes a sandbox stops it first and looks for its containers then: they see this one, or this sees that.
    runtime.tables.sandbox(&sandbox.id)?.look(ready)?;
    container.refine(|_| {})?;
    let snapshot = runtime.config.images.snapshot_for(&image.id, id, sandbox::shift(runtime, sandbox)).await?;
    let mut mounted = record.config.clone();
    record.volume_snapshots = mount_sources(runtime, id, sandbox, &mut mounted).await?;
    for (told, found) in record.config.mounts.iter_mut().zip(&mounted.mounts) {
        told.image.clone_from(&found.image);
    }
    let security = security(&record.config);
    let hostname = sandbox::hostname(&sandbox.config);
    record.user = identity::resolve(snapshot.rootfs(), &security, &image.config.user)?;
    let (uid, gid) = sandbox::users(sandbox).map_or((0, 0), |users| (users.uids.host, users.gids.host));
    let owner = (uid.saturating_add(record.user.uid), gid.saturating_add(record.user.gid));
    let volumes = volumes::make(snapshot.rootfs(), &image.config, &record.config.mounts, owner)?;
    let inputs = Inputs {
        config: &mounted,
        hostname: &hostname,
        image: &image.config,
        rootfs: snapshot.rootfs(),
        cgroup: &record.cgroup,
        user: &record.user,
        namespaces: namespaces(runtime, sandbox, &record.config)?,
        users: sandbox::users(sandbox),
        pod_files: sandbox::pod_files(runtime, sandbox),
        volumes,
        devices: devices::find(&record.config.devices, security.privileged)?,
        local_seccomp: local_seccomp(&security)?,
    };
    let named: Vec<String> = record.config.cdi_devices.iter().map(|device| device.name.clone()).collect();
    let edits = cdi::find(&cdi::DIRECTORIES.map(PathBuf::from), &named)?;
    let spec = cdi::apply(spec::build(&inputs).map_err(Error::Invalid)?, &edits)?;
    write_bundle(&runtime.bundle(&sandbox.id, id), &spec)?;
    // Not flushed: it is all saved before it starts, and until then what is on disk names all that is to be removed.
    container.refine(|saved| {
        saved.config.mounts = record.config.mounts;
        saved.user = record.user;
        saved.volume_snapshots = record.volume_snapshots;
    })?;
    Ok(())
}

fn write_bundle(bundle: &Path, spec: &serde_json::Value) -> Result<()> {
    fs::create_dir_all(bundle).at("create", bundle)?;
    let path = bundle.join("spec.json");
    let text = serde_json::to_vec(spec).map_err(std::io::Error::from).at("encode", &path)?;
    fs::write(&path, text).at("write", &path)
}

fn security(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// CRI's wish, else the image's, else SIGTERM.
fn stop_signal(config: &ContainerConfig, image: &str) -> Result<i32> {
    if let Some(wish) = signal::from_cri(config.stop_signal()) {
        return Ok(wish);
    }
    if image.is_empty() {
        return Ok(signal::TERM);
    }
    signal::parse(image).ok_or_else(|| Error::Invalid(format!("the image's stop signal {image:?} is not a signal")))
}

fn log_path(config: &ContainerConfig, sandbox: &SandboxRecord) -> Result<Option<PathBuf>> {
    if config.log_path.is_empty() || sandbox.config.log_directory.is_empty() {
        return Ok(None);
    }
    let path = Path::new(&sandbox.config.log_directory).join(&config.log_path);
    absolute(&path.to_string_lossy(), "log path").map(Some)
}

/// Turns mounts' sources into what can be bound: images are mounted and named by their IDs, symbolic links followed, missing directories
/// made, as other runtimes do. Answers with the snapshots of images.
async fn mount_sources(
    runtime: &Runtime,
    id: &str,
    sandbox: &SandboxRecord,
    config: &mut ContainerConfig,
) -> Result<Vec<String>> {
    let mut snapshots = Vec::new();
    for (at, mount) in config.mounts.iter_mut().enumerate() {
        absolute(&mount.container_path, "mount path")?;
        if let Some(wanted) = mount.image.as_mut().filter(|image| !image.image.is_empty()) {
            let image =
                runtime.config.images.status(&wanted.image).ok_or_else(|| Error::not_found("image", &wanted.image))?;
            wanted.image_ref = image.id.to_string();
            let key = format!("{id}-volume-{at}");
            let snapshot =
                runtime.config.images.snapshot_for(&image.id, &key, sandbox::shift(runtime, sandbox)).await?;
            snapshots.push(key);
            mount.host_path = beneath(snapshot.rootfs(), &mount.image_sub_path)?.to_string_lossy().into_owned();
            continue;
        }
        let source = PathBuf::from(&mount.host_path);
        if !source.is_absolute() {
            return Err(Error::Invalid(format!("mount source {:?} must be absolute", mount.host_path)));
        }
        if !source.exists() {
            fs::create_dir_all(&source).at("create mount source", &source)?;
        }
        mount.host_path = fs::canonicalize(&source).at("resolve mount source", &source)?.to_string_lossy().into_owned();
    }
    Ok(snapshots)
}

/// A path inside an image, whose symbolic links cannot leave it.
fn beneath(root: &Path, sub_path: &str) -> Result<PathBuf> {
    let clean = absolute(&format!("/{}", sub_path.trim_start_matches('/')), "image sub path")?;
    let place = inside::place(root, clean.strip_prefix("/").unwrap_or(&clean));
    place.map_err(|_| image_refused(format!("image sub path {sub_path:?} does not exist in the image")))
}

fn namespaces(runtime: &Runtime, sandbox: &SandboxRecord, config: &ContainerConfig) -> Result<PodNamespaces> {
    let dir = runtime.run_dir(&sandbox.id);
    let (mode, target) = spec::pid_mode(config);
    let shared = namespace_file(&dir, "pid");
    let pid = match mode {
        NamespaceMode::Node => PidNamespace::Host,
        NamespaceMode::Container => PidNamespace::New,
        NamespaceMode::Pod if shared.exists() => PidNamespace::Join(shared),
        NamespaceMode::Pod => PidNamespace::New,
        NamespaceMode::Target => {
            let target = runtime.tables.container(&target)?.get();
            if target.sandbox != sandbox.id || target.pid <= 0 || target.ended.is_some() {
                return Err(Error::State(format!("target container {:?} does not run in this pod", target.id)));
            }
            PidNamespace::Join(format!("/proc/{}/ns/pid", target.pid).into())
        }
    };
    let pinned = |kind: &str| Some(namespace_file(&dir, kind)).filter(|path| path.exists());
    Ok(PodNamespaces {
        user: pinned("user"),
        network: sandbox.netns.clone(),
        ipc: pinned("ipc"),
        uts: pinned("uts"),
        pid,
    })
}

/// Reads a seccomp profile that is named as older clients do, where none is told otherwise.
#[allow(deprecated, reason = "clients that name profiles by paths are still there, and containerd hears them")]
fn named_profile(security: &mut LinuxContainerSecurityContext) -> Result<()> {
    if security.seccomp.is_some() {
        return Ok(());
    }
    let name = security.seccomp_profile_path.as_str();
    let (kind, path) = match name {
        "" => return Ok(()),
        "unconfined" => (ProfileType::Unconfined, ""),
        "runtime/default" | "docker/default" => (ProfileType::RuntimeDefault, ""),
        name => match name.strip_prefix("localhost/") {
            Some(path) => (ProfileType::Localhost, path),
            None => return Err(Error::Invalid(format!("invalid seccomp profile {name:?}"))),
        },
    };
    security.seccomp = Some(SecurityProfile { profile_type: kind.into(), localhost_ref: path.to_owned() });
    Ok(())
}

/// A profile of the node; one that cannot be read fails the container.
fn local_seccomp(security: &LinuxContainerSecurityContext) -> Result<Option<LinuxSeccomp>> {
    let Some(profile) = security.seccomp.as_ref().filter(|p| p.profile_type() == ProfileType::Localhost) else {
        return Ok(None);
    };
    if security.privileged {
        return Ok(None);
    }
    let path = absolute(profile.localhost_ref.trim_start_matches("localhost/"), "seccomp profile")?;
    let text = fs::read(&path).at("read seccomp profile", &path)?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::Invalid(format!("seccomp profile {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use rk_cri_api::v1::ImageSpec;

    use super::*;

    #[test]
    fn a_part_of_an_image_is_where_its_links_lead_within_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/share/part")).unwrap();
        std::os::unix::fs::symlink("/usr/share", root.join("share")).unwrap();
        for path in ["usr/share/part", "/usr/share/part", "share/part", "//share/./part/"] {
            assert_eq!(beneath(&root, path).unwrap(), root.join("usr/share/part"), "{path}");
        }
        assert_eq!(beneath(&root, "").unwrap(), root);
        for path in ["share/../usr", "..", "usr/share/nothing"] {
            assert!(matches!(beneath(&root, path), Err(Error::Invalid(_))), "{path}");
        }
        let lost = beneath(&root, "usr/share/nothing").unwrap_err().to_string();
        assert!(lost.starts_with("ImageVolumeMountFailed: "), "{lost}");
    }

    #[test]
    #[allow(deprecated, reason = "it is about the older name")]
    fn a_profile_is_found_by_its_older_name_unless_it_is_told_otherwise() {
        let read = |name: &str, told: Option<SecurityProfile>| {
            let mut security = LinuxContainerSecurityContext { seccomp: told, ..Default::default() };
            security.seccomp_profile_path = name.to_owned();
            named_profile(&mut security).map(|()| security.seccomp)
        };
        let profile = |kind: ProfileType, path: &str| SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: path.to_owned(),
        };
        for (name, want) in [
            ("", None),
            ("unconfined", Some(profile(ProfileType::Unconfined, ""))),
            ("runtime/default", Some(profile(ProfileType::RuntimeDefault, ""))),
            ("docker/default", Some(profile(ProfileType::RuntimeDefault, ""))),
            ("localhost//var/p.json", Some(profile(ProfileType::Localhost, "/var/p.json"))),
        ] {
            assert_eq!(read(name, None).unwrap(), want, "{name}");
        }
        assert!(matches!(read("other", None), Err(Error::Invalid(_))));
        let told = profile(ProfileType::RuntimeDefault, "");
        assert_eq!(read("unconfined", Some(told.clone())).unwrap(), Some(told));
    }

    #[test]
    fn an_image_is_mounted_alone_and_never_to_be_written_to() {
        let mount = |image: &str, readonly, host_path: &str| Mount {
            image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
            host_path: host_path.to_owned(),
            readonly,
            ..Mount::default()
        };
        for (told, fine) in [
            (mount("i", true, ""), true),
            (mount("i", false, ""), false),
            (mount("i", true, "/h"), false),
            // No image is meant.
            (mount("", false, "/h"), true),
        ] {
            assert_eq!(image_alone(&told).is_ok(), fine, "{told:?}");
        }
    }

    #[test]
    fn a_mount_that_is_read_only_all_the_way_takes_nothing_new() {
        let mount = |readonly, recursive_read_only, propagation: MountPropagation| Mount {
            readonly,
            recursive_read_only,
            propagation: propagation as i32,
            ..Mount::default()
        };
        use MountPropagation::{PropagationBidirectional, PropagationHostToContainer, PropagationPrivate};
        assert!(read_only_all_the_way(&mount(true, true, PropagationPrivate)).is_ok());
        assert!(read_only_all_the_way(&mount(false, false, PropagationBidirectional)).is_ok());
        for refused in [
            mount(false, true, PropagationPrivate),
            mount(true, true, PropagationHostToContainer),
            mount(true, true, PropagationBidirectional),
        ] {
            assert!(matches!(read_only_all_the_way(&refused), Err(Error::Invalid(_))), "{refused:?}");
        }
    }
}
