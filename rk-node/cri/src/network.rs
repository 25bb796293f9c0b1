use std::net::IpAddr;
use std::path::PathBuf;

use futures::FutureExt;
use futures::future::BoxFuture;
use rk_cni::{Attachment, PortMapping};
use rk_sys::chain;

/// A port of the node that leads to one of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// On the node.
    pub host_port: u16,
    /// In the pod.
    pub container_port: u16,
    /// Address of the node; empty for all.
    pub host_ip: String,
}

/// The pod that a network is made for.
#[derive(Debug, Clone)]
pub struct PodAttachment {
    /// Sandbox id.
    pub sandbox: String,
    /// Pinned network namespace.
    pub netns: PathBuf,
    /// Namespace of the pod object.
    pub namespace: String,
    /// Name of the pod object.
    pub name: String,
    /// Uid of the pod object.
    pub uid: String,
    /// Host ports wanted.
    pub ports: Vec<HostPort>,
}

/// Where pods get their network from. Errors are the sentence for the pod's events.
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether pods can be connected now; the error says what is missing.
    fn ready(&self) -> Result<(), String>;
    /// Connects a pod and answers with its addresses, the primary first.
    fn add(&self, pod: PodAttachment) -> BoxFuture<'_, Result<Vec<IpAddr>, String>>;
    /// Disconnects a pod. Absent things are fine, so that it can be repeated.
    fn delete(&self, pod: PodAttachment) -> BoxFuture<'_, Result<(), String>>;
    /// Disconnects every pod that is not among these sandbox ids.
    fn keep_only(&self, sandboxes: Vec<String>) -> BoxFuture<'_, Result<(), String>>;
}

/// Pod networks by CNI plugins.
#[derive(Debug, Clone, Default)]
pub struct CniNetwork(pub rk_cni::Runtime);

impl PodNetwork for CniNetwork {
    fn ready(&self) -> Result<(), String> {
        self.0.network().map(drop).map_err(|error| chain(&error))
    }

    fn add(&self, pod: PodAttachment) -> BoxFuture<'_, Result<Vec<IpAddr>, String>> {
        async move {
            let result = self.0.add(&attachment(pod)).await.map_err(|error| chain(&error))?;
            Ok(result.ips.iter().map(|ip| ip.address.addr()).collect())
        }
        .boxed()
    }

    fn delete(&self, pod: PodAttachment) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let mut attachment = attachment(pod);
            // The specification wants an empty path for a namespace that is gone.
            attachment.netns = attachment.netns.filter(|path| path.exists());
            self.0.del(&attachment).await.map_err(|error| chain(&error))
        }
        .boxed()
    }

    fn keep_only(&self, sandboxes: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            match self.0.gc(&sandboxes).await {
                // Nothing was ever configured, so nothing can be left over.
                Err(rk_cni::Error::NotConfigured(_)) | Ok(()) => Ok(()),
                Err(error) => Err(chain(&error)),
            }
        }
        .boxed()
    }
}

fn attachment(pod: PodAttachment) -> Attachment {
    let args = [
        ("IgnoreUnknown", "1".to_owned()),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.sandbox.clone()),
        ("K8S_POD_UID", pod.uid),
    ];
    let ports = pod.ports.into_iter().map(|port| PortMapping {
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: port.protocol.to_owned(),
        host_ip: port.host_ip,
    });
    Attachment {
        container_id: pod.sandbox,
        netns: Some(pod.netns),
        if_name: "eth0".into(),
        args: args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        port_mappings: ports.collect(),
    }
}
