use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use futures::FutureExt;
use futures::future::BoxFuture;
use rk_cni::{Attachment, PortMapping};
use rk_cri_api::v1::DnsConfig;
use rk_sys::chain;
use serde_json::{Map, Value, json};

/// The capability of plugins that read a pod's annotations, as other runtimes call it.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// The least and the most bits per second that are taken for a limit.
const LEAST: i128 = 1000;
const MOST: u64 = 1_000_000_000_000_000;
/// What is said of text that is no quantity.
const NO_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

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
    /// Annotations of the pod.
    pub annotations: BTreeMap<String, String>,
    /// The pod's own resolver.
    pub dns: Option<DnsConfig>,
    /// The pod's cgroup, empty for none that was named.
    pub cgroup: String,
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
            let limits = bandwidth(&pod.annotations).map_err(|e| format!("reading pod bandwidth annotations: {e}"))?;
            let mut attachment = attachment(pod);
            attachment.capabilities.extend(limits.map(|limits| ("bandwidth".to_owned(), limits)));
            let result = self.0.add(&attachment).await.map_err(|error| chain(&error))?;
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
    let mut capabilities = Map::from_iter([(ANNOTATIONS.to_owned(), json!(pod.annotations))]);
    if let Some(DnsConfig { servers, searches, options }) = pod.dns {
        capabilities.insert("dns".into(), json!({"servers": servers, "searches": searches, "options": options}));
    }
    if !pod.cgroup.is_empty() {
        capabilities.insert("cgroupPath".into(), pod.cgroup.into());
    }
    let mut attachment = Attachment {
        container_id: pod.sandbox,
        netns: Some(pod.netns),
        if_name: rk_cni::IF_NAME.into(),
        args: args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        capabilities,
    };
    attachment.set_ports(&ports.collect::<Vec<_>>());
    attachment
}

/// Limits to the pod's traffic in bits per second, by the conventions of CNI; `None` where its annotations name none. Errors are upstream's.
fn bandwidth(annotations: &BTreeMap<String, String>) -> Result<Option<Value>, &'static str> {
    let mut limits = Map::new();
    for way in ["ingress", "egress"] {
        let Some(text) = annotations.get(&format!("kubernetes.io/{way}-bandwidth")) else { continue };
        let bits = rk_quantity::units(text).ok_or(NO_QUANTITY)?;
        if bits < LEAST {
            return Err("resource is unreasonably small (< 1kbit)");
        }
        let bits = u64::try_from(bits).ok().filter(|bits| *bits <= MOST);
        limits.insert(format!("{way}Rate"), bits.ok_or("resource is unreasonably large (> 1Pbit)")?.into());
        limits.insert(format!("{way}Burst"), u32::MAX.into());
    }
    Ok(Some(Value::Object(limits)).filter(|limits| *limits != json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: &[(&str, &str)]) -> PodAttachment {
        let own = annotations.iter().map(|(way, text)| (format!("kubernetes.io/{way}-bandwidth"), (*text).to_owned()));
        PodAttachment {
            sandbox: "s".into(),
            netns: "/n".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
            ports: Vec::new(),
            annotations: own.collect(),
            dns: None,
            cgroup: String::new(),
        }
    }

    #[test]
    fn limits_to_a_pod_s_traffic_are_what_its_annotations_say() {
        for (annotations, want) in [
            (vec![], Ok(None)),
            (vec![("ingress", "1M")], Ok(Some(json!({"ingressRate": 1_000_000, "ingressBurst": u32::MAX})))),
            (
                vec![("ingress", "1k"), ("egress", "1P")],
                Ok(Some(json!({"ingressRate": 1000, "ingressBurst": u32::MAX,
                    "egressRate": 1_000_000_000_000_000_u64, "egressBurst": u32::MAX}))),
            ),
            (vec![("egress", "999")], Err("resource is unreasonably small (< 1kbit)")),
            (vec![("egress", "2P")], Err("resource is unreasonably large (> 1Pbit)")),
            (vec![("ingress", "fast")], Err(NO_QUANTITY)),
        ] {
            assert_eq!(bandwidth(&pod(&annotations).annotations), want, "{annotations:?}");
        }
    }

    #[test]
    fn plugins_may_ask_for_what_is_known_of_a_pod() {
        let bare = attachment(pod(&[])).capabilities;
        assert_eq!(Value::Object(bare), json!({ANNOTATIONS: {}}));
        let dns = DnsConfig { servers: vec!["10.96.0.10".into()], searches: vec!["svc".into()], options: vec![] };
        let port = HostPort { protocol: "udp", host_port: 53, container_port: 5353, host_ip: String::new() };
        let whole = PodAttachment { dns: Some(dns), cgroup: "/kubepods/podu".into(), ports: vec![port], ..pod(&[]) };
        let want = json!({
            ANNOTATIONS: {},
            "dns": {"servers": ["10.96.0.10"], "searches": ["svc"], "options": []},
            "cgroupPath": "/kubepods/podu",
            "portMappings": [{"hostPort": 53, "containerPort": 5353, "protocol": "udp"}],
        });
        assert_eq!(Value::Object(attachment(whole).capabilities), want);
    }
}
