use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rk_cri_api::v1::{ContainerEventType, NamespaceMode, PodSandboxConfig, RunPodSandboxRequest};
use rk_shim_protocol::SandboxConfig;

use super::{files, stop, users, watch};
use crate::clock::now_ns;
use crate::error::{Error, IoContext, Result};
use crate::record::{Phase, SandboxRecord};
use crate::runtime::{Runtime, attachment, boot_id, new_id};
use crate::shim;
use crate::tables::Sandbox;

/// The first port that needs no root; in a network of a pod's own none does, as under containerd.
const PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");
/// The groups that may send echoes without root: all, as under containerd.
const ECHOES: (&str, &str) = ("net.ipv4.ping_group_range", "0 2147483647");
/// Where pods go whose cgroup parent nobody gave: `crictl` users' pods.
const DEFAULT_CGROUP_PARENT: &str = "/kubepods/crictl";

/// Makes a sandbox that is ready for containers, or nothing.
pub(crate) async fn run(runtime: &Arc<Runtime>, request: RunPodSandboxRequest) -> Result<String> {
    let config = request.config.ok_or_else(|| Error::Invalid("the sandbox's config is missing".into()))?;
    validate(&config, &request.runtime_handler)?;
    let record = record(runtime, config, request.runtime_handler)?;
    let id = record.id.clone();
    let sandbox = Arc::new(Sandbox::new(runtime.sandbox_state(&id), record));
    runtime.tables.add_sandbox(sandbox.clone())?;
    let _step = sandbox.step.lock().await;
    match make(runtime, &sandbox).await {
        Ok(()) => {
            watch(runtime.clone(), sandbox.clone());
            runtime.publish(ContainerEventType::ContainerCreatedEvent, &id, &id);
            runtime.publish(ContainerEventType::ContainerStartedEvent, &id, &id);
            Ok(id)
        }
        Err(error) => {
            // What cannot be undone now stays on record as stopped, so that the kubelet can have it stopped and removed again.
            match stop::tear_down(runtime, &sandbox).await.and_then(|()| stop::forget(runtime, &id)) {
                Ok(()) => {}
                Err(undo) => {
                    tracing::warn!(sandbox = %id, error = %undo, "a sandbox that failed could not be undone yet")
                }
            }
            Err(error)
        }
    }
}

/// Refuses a runtime handler that is not this runtime.
pub(crate) fn known_handler(handler: &str) -> Result<()> {
    match handler {
        "" | "rk" => Ok(()),
        other => Err(Error::Invalid(format!("no runtime for {other:?} is configured: use \"\" or \"rk\""))),
    }
}

fn validate(config: &PodSandboxConfig, handler: &str) -> Result<()> {
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Error::Invalid("the sandbox's metadata is missing".into()))?;
    if metadata.name.is_empty() || metadata.namespace.is_empty() || metadata.uid.is_empty() {
        return Err(Error::Invalid("the sandbox's metadata needs a name, a namespace and a uid".into()));
    }
    known_handler(handler)?;
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|s| s.namespace_options.as_ref());
    users::check(options).map_err(Error::Invalid)?;
    if security.is_some_and(|s| s.run_as_group.is_some() && s.run_as_user.is_none()) {
        return Err(Error::Invalid("run_as_group needs run_as_user".into()));
    }
    Ok(())
}

fn record(runtime: &Runtime, config: PodSandboxConfig, runtime_handler: String) -> Result<SandboxRecord> {
    let id = new_id();
    let parent = config.linux.as_ref().map_or("", |linux| linux.cgroup_parent.as_str());
    let parent = if parent.is_empty() {
        PathBuf::from(DEFAULT_CGROUP_PARENT)
    } else {
        Path::new("/").join(parent.trim_start_matches('/'))
    };
    let mut record = SandboxRecord {
        id: id.clone(),
        config,
        runtime_handler,
        created_at: now_ns(),
        phase: Phase::Creating,
        netns: None,
        network: false,
        ips: Vec::new(),
        cgroup_parent: crate::runtime::absolute(&parent.to_string_lossy(), "cgroup parent")?,
        boot_id: boot_id(),
    };
    if record.namespace(|o| o.network()) != NamespaceMode::Node {
        record.netns = Some(runtime.config.netns_dir.join(&id));
        // Said before the plugins are asked: to undo what they never did is nothing.
        record.network = true;
    }
    Ok(record)
}

async fn make(runtime: &Arc<Runtime>, sandbox: &Sandbox) -> Result<()> {
    // On disk before anything of it exists, so that a crash leaves nothing unknown.
    let record = sandbox.update(|_| {})?;
    let dir = runtime.run_dir(&record.id);
    fs::create_dir_all(&dir).at("create", &dir)?;
    if !record.config.log_directory.is_empty() {
        let logs = crate::runtime::absolute(&record.config.log_directory, "log directory")?;
        fs::create_dir_all(&logs).at("create", &logs)?;
    }
    files::make(runtime, &record)?;
    let starter = &runtime.config.starter;
    shim::spawn(starter, &runtime.config.shim, &dir, &shim_config(runtime, &record)).await?;
    let mut ips = Vec::new();
    if let Some(pod) = attachment(&record) {
        let network = |reason| Error::Network { sandbox: record.id.clone(), reason };
        ips = runtime.config.network.add(pod).await.map_err(network)?;
        if ips.is_empty() {
            return Err(network("the network plugins gave the pod no address".into()));
        }
    }
    // Not flushed: after a loss of power nothing of it is left, and the record of its first container is flushed after this one.
    sandbox.refine(|record| {
        record.ips = ips;
        record.phase = Phase::Ready;
    })?;
    Ok(())
}

/// What a pod is called: by a name of its own, else by the node's.
pub(crate) fn hostname(config: &PodSandboxConfig) -> String {
    Some(config.hostname.clone()).filter(|name| !name.is_empty()).unwrap_or_else(node_name)
}

fn node_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("localhost").to_owned()
}

/// What a pod asks for, over what holds in a network of its own. The kernel takes no groups that users of a pod's own lack.
fn sysctls(
    asked: impl IntoIterator<Item = (String, String)>,
    own_network: bool,
    own_users: bool,
) -> BTreeMap<String, String> {
    let free = [(PORTS, own_network), (ECHOES, own_network && !own_users)];
    let free = free.into_iter().filter(|(_, holds)| *holds);
    free.map(|((name, value), _)| (name.to_owned(), value.to_owned())).chain(asked).collect()
}

fn shim_config(runtime: &Runtime, record: &SandboxRecord) -> SandboxConfig {
    let own_network = record.netns.is_some();
    let user = users::mapping(record);
    let asked = record.config.linux.iter().flat_map(|linux| linux.sysctls.clone());
    SandboxConfig {
        id: record.id.clone(),
        netns: record.netns.clone(),
        ipc: record.namespace(|o| o.ipc()) != NamespaceMode::Node,
        // A pod in the node's network bears the node's name; another without a name of its own must not be able to change that.
        hostname: own_network.then(|| hostname(&record.config)),
        shared_pid: record.namespace(|o| o.pid()) == NamespaceMode::Pod,
        sysctls: sysctls(asked, own_network, user.is_some()),
        user,
        cgroup: Some(runtime.config.shim_cgroup.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_echoes_need_no_root_in_a_pods_own_network_unless_it_says_otherwise() {
        let asked = |value: &str| vec![(PORTS.0.to_owned(), value.to_owned())];
        for (wish, own_network, own_users, want) in [
            (vec![], true, false, vec![PORTS, ECHOES]),
            (vec![], true, true, vec![PORTS]),
            (vec![], false, false, vec![]),
            (asked("81"), true, false, vec![(PORTS.0, "81"), ECHOES]),
            (asked("81"), false, false, vec![(PORTS.0, "81")]),
        ] {
            let found = sysctls(wish, own_network, own_users);
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, want, "{own_network} {own_users}");
        }
    }

    #[test]
    fn a_pod_without_a_name_is_called_as_its_node() {
        let named = PodSandboxConfig { hostname: "web-0".into(), ..Default::default() };
        assert_eq!(hostname(&named), "web-0");
        assert_eq!(hostname(&PodSandboxConfig::default()), node_name());
        assert!(!node_name().is_empty());
    }

    #[test]
    fn a_handler_is_this_runtime_or_refused() {
        assert!(["", "rk"].into_iter().all(|handler| known_handler(handler).is_ok()));
        assert!(
            matches!(known_handler("other"), Err(Error::Invalid(text)) if text.starts_with("no runtime for \"other\""))
        );
    }
}
