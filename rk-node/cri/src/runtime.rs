//! What all requests share.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use rk_cri_api::v1::{ContainerEventResponse, ContainerEventType, PodSandboxStatus};
use rk_figures::{Figures, Taken};
use tokio::sync::broadcast;

use crate::Config;
use crate::clock::now_ns;
use crate::error::{Error, Result};
use crate::kept::locked;
use crate::record::{Ended, SandboxRecord};
use crate::stats::{self, CpuSample};
use crate::streaming::Tickets;
use crate::tables::{Container, Tables, Told};
use crate::view;

/// Events that a listener may lag behind: a burst of two for each container of a full node, several times over.
const EVENTS: usize = 2048;

/// The runtime: tables, image store, network and the means to act on them.
pub(crate) struct Runtime {
    pub config: Config,
    pub tables: Tables,
    pub events: broadcast::Sender<ContainerEventResponse>,
    pub tickets: Tickets,
    /// The last CPU reading of each container, from which the rate follows.
    pub cpu_samples: Mutex<HashMap<String, CpuSample>>,
    /// What containers have written, by their ids.
    pub layers: Figures<String, Taken>,
}

impl Runtime {
    /// A runtime that knows no sandbox and no container yet.
    pub fn new(config: Config, tickets: Tickets) -> Arc<Self> {
        let (events, _) = broadcast::channel(EVENTS);
        let layers = Figures::new(stats::LAYER_PATIENCE);
        Arc::new(Self { config, tables: Tables::default(), events, tickets, cpu_samples: Mutex::default(), layers })
    }

    /// Runs a change to its end even if the client goes away half way.
    pub async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        match tokio::spawn(work.boxed()).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Internal(format!("the request's task ended early: {error}"))),
        }
    }

    /// The run-time directory of a sandbox.
    pub fn run_dir(&self, sandbox: &str) -> PathBuf {
        self.config.run_dir.join(sandbox)
    }

    /// A container's OCI bundle.
    pub fn bundle(&self, sandbox: &str, container: &str) -> PathBuf {
        self.run_dir(sandbox).join("bundles").join(container)
    }

    /// Where the record of a sandbox is kept.
    pub fn sandbox_state(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("sandboxes").join(id)
    }

    /// Where the record and the files of a container are kept.
    pub fn container_state(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("containers").join(id)
    }

    /// Tells listeners of a change of a container, or of a sandbox itself (`container` is then its id).
    pub fn publish(&self, kind: ContainerEventType, container: &str, sandbox: &str) {
        let status = self.tables.sandbox(sandbox).ok().map(|s| s.look(view::sandbox_status));
        self.publish_of(kind, container, sandbox, status);
    }

    /// As [`Runtime::publish`], of a sandbox that may be known no more.
    pub fn publish_of(
        &self,
        kind: ContainerEventType,
        container: &str,
        sandbox: &str,
        pod_sandbox_status: Option<PodSandboxStatus>,
    ) {
        let containers = self.tables.containers_of(sandbox);
        let event = ContainerEventResponse {
            container_id: container.to_owned(),
            container_event_type: kind.into(),
            created_at: now_ns(),
            pod_sandbox_status,
            containers_statuses: containers.iter().map(|c| c.look(view::container_status)).collect(),
        };
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Notes the end of a container, once. Of one that is starting it is told after its start.
    pub fn container_ended(&self, id: &str, ended: Ended) {
        let Ok(container) = self.tables.container(id) else { return };
        if container.look(|record| record.ended.is_some()) {
            return;
        }
        // Two may hear of it at once, such as who follows its shim and who could not start it.
        let mut first = false;
        if let Err(error) = container.update(|record| first = record.end(ended)) {
            tracing::error!(container = id, %error, "the end of a container was not saved");
        }
        if !first {
            return;
        }
        let mut told = locked(&container.told);
        if *told != Told::All {
            *told = Told::NotEnd;
            return;
        }
        drop(told);
        self.tell(ContainerEventType::ContainerStoppedEvent, &container);
    }

    /// Tells that a container started, if it did, and then that it ended, if it has meanwhile.
    pub fn tell_start(&self, container: &Container, started: bool) {
        if started {
            self.tell(ContainerEventType::ContainerStartedEvent, container);
        }
        if std::mem::take(&mut *locked(&container.told)) == Told::NotEnd {
            self.tell(ContainerEventType::ContainerStoppedEvent, container);
        }
    }

    fn tell(&self, kind: ContainerEventType, container: &Container) {
        let (id, sandbox) = container.look(|record| (record.id.clone(), record.sandbox.clone()));
        self.publish(kind, &id, &sandbox);
    }
}

/// How an exit that the shim reported is told to the kubelet.
pub(crate) fn ended(exit: &rk_shim_protocol::Exit) -> Ended {
    let reason = match exit {
        exit if exit.oom_killed => "OOMKilled",
        exit if exit.code == 0 => "Completed",
        _ => "Error",
    };
    Ended { code: exit.code, finished_at: exit.finished_at, reason: reason.into(), message: String::new() }
}

/// The end of a container that nobody saw.
pub(crate) fn lost(message: &str) -> Ended {
    Ended { code: 255, finished_at: now_ns(), reason: "Unknown".into(), message: message.into() }
}

/// 64 hex digits from the kernel's random source.
pub(crate) fn new_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Identifies this boot of the kernel.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A path from a request that must be absolute and stay where it says.
pub(crate) fn absolute(path: &str, what: &str) -> Result<PathBuf> {
    let parsed = Path::new(path);
    let tricky = parsed.components().any(|part| part == std::path::Component::ParentDir);
    if parsed.is_absolute() && !tricky {
        Ok(parsed.to_owned())
    } else {
        Err(Error::Invalid(format!("{what} {path:?} must be an absolute path without \"..\"")))
    }
}

/// Attachment of a sandbox to the pod network.
pub(crate) fn attachment(record: &SandboxRecord) -> Option<crate::PodAttachment> {
    let metadata = record.config.metadata.clone().unwrap_or_default();
    let ports = record.config.port_mappings.iter().filter_map(|port| {
        let protocol = match port.protocol() {
            rk_cri_api::v1::Protocol::Tcp => "tcp",
            rk_cri_api::v1::Protocol::Udp => "udp",
            rk_cri_api::v1::Protocol::Sctp => "sctp",
        };
        let (host_port, container_port) =
            (u16::try_from(port.host_port).ok()?, u16::try_from(port.container_port).ok()?);
        (host_port > 0).then(|| crate::HostPort { protocol, host_port, container_port, host_ip: port.host_ip.clone() })
    });
    Some(crate::PodAttachment {
        sandbox: record.id.clone(),
        netns: record.netns.clone()?,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        ports: ports.collect(),
        annotations: record.config.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        dns: record.config.dns_config.clone(),
        cgroup: record.config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default(),
    })
}
