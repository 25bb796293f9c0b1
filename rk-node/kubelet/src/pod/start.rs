//! Starting things: the sandbox, and a container from its image to its postStart hook.

mod hook;
mod image;
mod number;

pub use number::numbered;

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use rk_cri_api::v1 as cri;

use super::decide::Start;
use super::kill;
use super::spec::{self, Kind};
use crate::context::Context;
use crate::disk;
use crate::events::PodRef;
use crate::images::ImageError;
use crate::resources::hold;
use crate::runtime::{RuntimePod, RuntimeSandbox};
use crate::swap::SWAP_FILE;
use crate::translate::{
    ContainerInputs, HostResolver, Shortfall, check_hostname, check_non_root, container_config, give_container_users,
    give_users, host_network_hosts, log_directory, managed_hosts, pod_dns, sandbox_config,
};
use crate::userns::own_users;
use crate::volumes::{Volumes, container_devices, container_mounts};

/// Why a container does not run: a reason of the API and a message.
#[derive(Debug)]
pub struct StartError {
    /// `ErrImagePull`, `CreateContainerConfigError`, `RunContainerError`, …
    pub reason: String,
    /// The details.
    pub message: String,
    /// When to try again, when not at the usual pace.
    pub retry: Option<Duration>,
}

impl StartError {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), retry: None }
    }
}

impl From<ImageError> for StartError {
    fn from(error: ImageError) -> Self {
        Self { reason: error.reason.into(), message: error.message, retry: error.retry }
    }
}

/// The pod's resolver settings, and what of them is not as it asked.
fn resolver(context: &Context, pod: &Pod) -> (cri::DnsConfig, Vec<Shortfall>) {
    let host = HostResolver::parse(&std::fs::read_to_string(&context.options.dirs.resolv_conf).unwrap_or_default());
    let cluster = &context.options.cluster;
    pod_dns(pod, &host, &cluster.dns, &cluster.domain)
}

/// The configuration of the pod's sandbox.
pub fn config(context: &Context, pod: &Pod, attempt: u32, users: cri::UserNamespace) -> cri::PodSandboxConfig {
    let (dns, _) = resolver(context, pod);
    let (logs, domain) = (&context.options.dirs.pod_logs, &context.options.cluster.domain);
    let mut config = sandbox_config(pod, attempt, logs, dns, domain, &context.seccomp());
    give_users(&mut config, users);
    config
}

/// Refuses users of the pod's own where the runtime cannot give them: the pod's root would be the host's.
async fn check_users(context: &Context, pod: &Pod, handler: &str) -> Result<(), String> {
    if !own_users(pod) {
        return Ok(());
    }
    let answer = context.runtime.status().await.map_err(|error| error.to_string())?;
    let found = answer.runtime_handlers.into_iter().find(|known| known.name == handler);
    match found.and_then(|known| known.features).is_some_and(|features| features.user_namespaces) {
        true => Ok(()),
        false => Err(format!("RuntimeClass handler \"{handler}\" does not support user namespaces")),
    }
}

/// The runtime handler that can run the pod, and what the sandbox is to be.
async fn order(context: &Context, pod: &Pod, attempt: u32) -> Result<(cri::PodSandboxConfig, String), String> {
    check_hostname(pod, &context.options.cluster.domain)?;
    let handler = runtime_handler(context, pod).await?;
    check_users(context, pod, &handler).await?;
    for (reason, message) in resolver(context, pod).1 {
        context.recorder.warning(&PodRef::of(pod), reason, message);
    }
    Ok((config(context, pod, attempt, context.users.of(pod)?), handler))
}

/// The runtime handler of the pod's RuntimeClass; empty for the default.
async fn runtime_handler(context: &Context, pod: &Pod) -> Result<String, String> {
    let Some(class) = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).filter(|n| !n.is_empty()) else {
        return Ok(String::new());
    };
    let api: Api<RuntimeClass> = Api::all(context.client.clone());
    match api.get_opt(class).await {
        Ok(Some(found)) => Ok(found.handler),
        Ok(None) => Err(format!("failed to get runtime handler: RuntimeClass.node.k8s.io \"{class}\" not found")),
        Err(error) => Err(format!("failed to get runtime handler: {}", crate::api_error::text(&error))),
    }
}

/// Starts a sandbox. Failures are told as events and come back as text.
pub async fn start_sandbox(context: &Context, pod: &Pod, attempt: u32) -> Result<(), String> {
    let about = PodRef::of(pod);
    if !spec::host_network(pod)
        && let Some(problem) = context.node.borrow().network_problem.clone()
    {
        context.recorder.warning(&about, "NetworkNotReady", format!("network is not ready: {problem}"));
        return Err(format!("network is not ready: {problem}"));
    }
    let logs = log_directory(&context.options.dirs.pod_logs, pod);
    std::fs::create_dir_all(&logs).map_err(|e| format!("making {}: {e}", logs.display()))?;
    let meters = &context.runtime.meters;
    meters.started_pods.add(&[]);
    if own_users(pod) {
        meters.own_users.starts();
    }
    let result = match order(context, pod, attempt).await {
        Ok((config, handler)) => {
            context.runtime.run_sandbox(config, &handler).await.map(drop).map_err(|e| e.to_string())
        }
        Err(error) => Err(error),
    };
    result.inspect_err(|error| {
        meters.started_pods_errors.add(&[]);
        if own_users(pod) {
            meters.own_users.failed();
        }
        context.recorder.warning(&about, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
    })
}

/// Everything one start needs.
pub struct Launch<'a> {
    /// Shared handles.
    pub context: &'a Context,
    /// The pod.
    pub pod: &'a Pod,
    /// What is to be started.
    pub start: &'a Start,
    /// The sandbox to start it in.
    pub sandbox: &'a RuntimeSandbox,
    /// The pod's other containers.
    pub runtime: &'a RuntimePod,
    /// The pod's volumes.
    pub volumes: &'a Volumes,
}

impl Launch<'_> {
    pub(super) fn pod_ips(&self) -> Vec<String> {
        if spec::host_network(self.pod) {
            self.context.node.borrow().host_ips.clone()
        } else {
            self.sandbox.ips.clone()
        }
    }

    /// Image, configuration, creation, start, postStart hook.
    pub async fn run(&self) -> Result<(), StartError> {
        let kind = self.start.kind.label();
        let meters = &self.context.runtime.meters;
        meters.started_containers.add(&[kind]);
        let started = self.launch().await;
        started.inspect_err(|error| {
            meters.started_containers_errors.add(&[error.reason.as_str(), kind]);
            if own_users(self.pod) {
                meters.own_users.failed();
            }
        })
    }

    async fn launch(&self) -> Result<(), StartError> {
        let Some((_, container)) = spec::find_container(self.pod, &self.start.name) else {
            return Err(StartError::new(
                "CreateContainerConfigError",
                "the container is not in the pod's spec any more",
            ));
        };
        let about = kill::about(self.pod, &container.name);
        let users = self.context.users.of(self.pod).map_err(|e| StartError::new("CreateContainerConfigError", e))?;
        let config = config(self.context, self.pod, self.sandbox.attempt, users.clone());
        let found = self.images(&container, &about, &config).await?;
        let created = self.create(&container, &found, config, users).await;
        self.count_image_volumes(&container, created.is_ok());
        let id = match created {
            Ok(id) => id,
            Err(error) => {
                self.context.recorder.warning(&about, "Failed", format!("Error: {}", error.message));
                return Err(error);
            }
        };
        self.context.recorder.normal(&about, "Created", "Container created");
        if let Err(error) = self.context.runtime.start_container(&id).await {
            self.context.recorder.warning(&about, "Failed", format!("Error: {}", error.words));
            return Err(StartError::new("RunContainerError", error.words));
        }
        self.context.recorder.normal(&about, "Started", "Container started");
        self.link_log(&container, &id);
        self.post_start(&container, &id, &about).await
    }

    /// Adds what the node holds the container to besides what it asks for.
    fn add_limits(&self, container: &Container, resources: &mut cri::LinuxContainerResources) {
        let (context, uid) = (self.context, spec::uid(self.pod));
        context.cpus.hold(uid, &container.name, resources);
        if let Some(nodes) = context.memory.nodes(uid, &container.name) {
            resources.cpuset_mems = nodes.to_string();
        }
        if let Some(bytes) = context.swap.limit(self.pod, container) {
            resources.unified.insert(SWAP_FILE.to_owned(), bytes.to_string());
        }
        hold(resources, context.cgroups.page_sizes(), !context.options.single_process_oom_kill);
    }

    async fn create(
        &self,
        container: &Container,
        image: &cri::Image,
        config: cri::PodSandboxConfig,
        users: cri::UserNamespace,
    ) -> Result<String, StartError> {
        let wrong = |message: String| StartError::new("CreateContainerConfigError", message);
        let image_uid = image.uid.as_ref().map(|u| u.value);
        check_non_root(self.pod, container, image_uid, &image.username).map_err(wrong)?;
        let env = self.environment(container).await.map_err(wrong)?;
        let pod_dir = self.context.volumes.pod_dir(spec::uid(self.pod));
        let mut mounts = container_mounts(container, self.volumes, &pod_dir, &env)
            .map_err(|e| StartError::new("CreateContainerConfigError", e.to_string()))?;
        let devices = container_devices(container, self.volumes).map_err(|e| wrong(e.to_string()))?;
        self.own_mounts(container, &mut mounts).map_err(|e| StartError::new("CreateContainerError", e))?;
        let target = match self.start.kind {
            Kind::Ephemeral => target(self.pod, self.runtime, &container.name).map_err(wrong)?,
            _ => None,
        };
        let mut container_config = container_config(ContainerInputs {
            pod: self.pod,
            container,
            attempt: self.start.attempt,
            round: self.start.round,
            image_ref: image.id.clone(),
            image_uid,
            image_user: image.username.clone(),
            env,
            mounts,
            devices,
            target,
            node_memory: self.context.node.borrow().memory,
            groups: self.context.volumes.groups(self.pod),
            seccomp: &self.context.seccomp(),
        });
        if let Some(resources) = container_config.linux.as_mut().and_then(|linux| linux.resources.as_mut()) {
            self.add_limits(container, resources);
        }
        self.context.devices.provide(self.pod, container, &mut container_config).await.map_err(wrong)?;
        self.context.claims.provide(self.pod, container, &mut container_config).map_err(wrong)?;
        // Last: every mount, whoever asked for it, shows the pod's ids.
        give_container_users(&mut container_config, users);
        let logs = log_directory(&self.context.options.dirs.pod_logs, self.pod).join(&container.name);
        std::fs::create_dir_all(&logs)
            .map_err(|e| StartError::new("CreateContainerError", format!("making {}: {e}", logs.display())))?;
        self.context
            .runtime
            .create_container(&self.sandbox.id, container_config, config)
            .await
            .map_err(|e| StartError::new("CreateContainerError", e.words))
    }

    /// Mounts of the kubelet's own: /etc/hosts and the termination message file.
    fn own_mounts(&self, container: &Container, mounts: &mut Vec<cri::Mount>) -> Result<(), String> {
        let pod_dir = self.context.volumes.pod_dir(spec::uid(self.pod));
        if !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
            let path = pod_dir.join("etc-hosts");
            let text = if spec::host_network(self.pod) {
                host_network_hosts(
                    self.pod,
                    &std::fs::read_to_string(&self.context.options.dirs.hosts).unwrap_or_default(),
                )
            } else {
                let (host, fqdn) = spec::hostname(self.pod, &self.context.options.cluster.domain);
                managed_hosts(self.pod, &self.sandbox.ips, &host, fqdn.as_deref())
            };
            std::fs::create_dir_all(&pod_dir).map_err(|e| format!("making {}: {e}", pod_dir.display()))?;
            // Containers of the pod may have the file mounted: its inode stays, its content is the same for all.
            if !disk::says(&path, &text) {
                std::fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
            }
            let read_only = container.security_context.as_ref().and_then(|s| s.read_only_root_filesystem) == Some(true);
            mounts.push(cri::Mount {
                container_path: "/etc/hosts".into(),
                host_path: path.to_string_lossy().into_owned(),
                readonly: read_only,
                ..Default::default()
            });
        }
        let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if !message.is_empty() {
            let path = termination_file(&pod_dir, &container.name, self.start.attempt);
            let made = || -> std::io::Result<()> {
                use std::os::unix::fs::PermissionsExt;
                std::fs::create_dir_all(path.parent().unwrap_or(&pod_dir))?;
                std::fs::write(&path, b"")?;
                // Whatever user the container has, it may leave its last words.
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
            };
            made().map_err(|e| format!("making {}: {e}", path.display()))?;
            mounts.push(cri::Mount {
                container_path: message.to_owned(),
                host_path: path.to_string_lossy().into_owned(),
                ..Default::default()
            });
        }
        Ok(())
    }

    /// The flat link that log collectors read.
    fn link_log(&self, container: &Container, id: &str) {
        let log = log_directory(&self.context.options.dirs.pod_logs, self.pod)
            .join(&container.name)
            .join(format!("{}.log", self.start.attempt));
        let dir = &self.context.options.dirs.container_logs;
        let link =
            dir.join(format!("{}_{}_{}-{id}.log", spec::name(self.pod), spec::namespace(self.pod), container.name));
        let made = std::fs::create_dir_all(dir).and_then(|()| match std::os::unix::fs::symlink(&log, &link) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        if let Err(error) = made {
            tracing::warn!(link = %link.display(), "linking a container's log: {error}");
        }
    }
}

/// Where a container instance leaves its last words.
pub fn termination_file(pod_dir: &std::path::Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("containers").join(container).join(attempt.to_string())
}

/// The container whose processes an ephemeral container is to see; none when it asks for none. It does not start before that one was made.
fn target(pod: &Pod, runtime: &RuntimePod, name: &str) -> Result<Option<String>, String> {
    let ephemeral = spec::ephemeral_containers(pod).iter().find(|e| e.name == name);
    let wanted = ephemeral.and_then(|e| e.target_container_name.as_deref()).filter(|wanted| !wanted.is_empty());
    let Some(wanted) = wanted else { return Ok(None) };
    let found = runtime.container(wanted).map(|c| c.id.clone());
    found.map(Some).ok_or_else(|| format!("unable to find target container {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::super::decide_tests::{pod, runtime, sandbox};
    use super::*;

    #[test]
    fn an_ephemeral_container_waits_for_the_one_whose_processes_it_is_to_see() {
        let pod = pod(serde_json::json!({"containers": [{"name": "a"}],
            "ephemeralContainers": [{"name": "e", "targetContainerName": "a"}, {"name": "f"}]}));
        let (none, made) =
            (runtime(&pod, &[sandbox(0, true)], &[]), runtime(&pod, &[sandbox(0, true)], &["a:running"]));
        assert_eq!(target(&pod, &none, "e"), Err("unable to find target container a".to_owned()));
        assert_eq!(target(&pod, &made, "e"), Ok(Some("a-0".to_owned())));
        assert_eq!(target(&pod, &none, "f"), Ok(None));
    }
}
