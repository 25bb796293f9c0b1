//! The parts put together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use k8s_openapi::api::core::v1::{Event, Node, Pod, PodStatus};
use kube::api::{Api, ListParams, PostParams};
use rk_kubelet::{Cluster, Hooks, Options, Thresholds};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::control::port;
use super::{Control, FakeCri, eventually};

/// A kubelet between a real control plane and a runtime in memory.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub control: Control,
    pub cri: FakeCri,
    pub options: Options,
    pub kubelet: Option<AbortOnDropHandle<()>>,
    /// Tells the kubelet that the machine goes down.
    pub stop: watch::Sender<bool>,
}

pub fn options(dir: &Path, control: &Control) -> Options {
    let cluster = Cluster {
        endpoint: control.endpoint.clone(),
        token: Some("abcdef.0123456789abcdef".into()),
        ca_hash: Some(control.ca_hash.clone()),
        ca_file: None,
        dns: vec![Ipv4Addr::new(10, 96, 0, 10).into()],
        domain: "cluster.local".into(),
    };
    let mut options = Options::new("node-a", cluster);
    options.node_ips = vec![Ipv4Addr::LOCALHOST.into()];
    // The API server is told the port before it is bound, so it cannot be left to the kernel then.
    let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
    (options.listen, options.healthz) = (free(), free());
    options.dirs.pki = dir.join("pki");
    options.dirs.kubelet = dir.join("kubelet");
    options.dirs.manifests = dir.join("manifests");
    options.dirs.pod_logs = dir.join("pod-logs");
    options.dirs.container_logs = dir.join("container-logs");
    options.dirs.cgroup = dir.join("no-cgroup");
    options.dirs.cri_socket = dir.join("cri.sock");
    options.secrets_in_memory = false;
    // The machine that tests run on may be as full as it likes.
    options.eviction = Thresholds::none();
    options.dirs.shutdown_mark = dir.join("shutdown");
    options
}

impl Rig {
    pub async fn new() -> Self {
        let _ = tracing_subscriber::fmt().with_env_filter("rk_kubelet=debug").with_test_writer().try_init();
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("control");
        std::fs::create_dir(&data).unwrap();
        let control = Control::start(&data).await;
        let options = options(dir.path(), &control);
        std::fs::create_dir_all(&options.dirs.kubelet).unwrap();
        let cri = FakeCri::serve(&options.dirs.cri_socket);
        let mut rig = Self { dir, control, cri, options, kubelet: None, stop: watch::Sender::new(false) };
        rig.start_kubelet();
        rig.node_ready().await;
        rig
    }

    pub fn start_kubelet(&mut self) {
        let options = self.options.clone();
        let (stop, shutdown) = watch::channel(false);
        self.stop = stop;
        self.kubelet = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let session = rk_kubelet::join(&options).await;
            let (pod_cidr, _keep) = watch::channel(None);
            rk_kubelet::run(options, session, Hooks { pod_cidr, shutdown }).await.unwrap();
        })));
    }

    pub async fn node_ready(&self) {
        let nodes: Api<Node> = Api::all(self.control.client.clone());
        eventually("the node is Ready", 60, || async {
            let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
            let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
            let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if ready { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.control.client.clone(), "default")
    }

    pub async fn create(&self, name: &str, spec: serde_json::Value) {
        let mut pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})).unwrap();
        pod.spec.as_mut().unwrap().node_name = Some("node-a".into());
        // The default service account may come a moment after the namespace.
        eventually("the pod is accepted", 30, || async {
            self.pods().create(&PostParams::default(), &pod).await.map_err(|e| e.to_string())
        })
        .await;
    }

    pub async fn status(&self, name: &str, what: &str, seconds: u64, check: impl Fn(&PodStatus) -> bool) -> PodStatus {
        eventually(what, seconds, || async {
            let pod = self.pods().get(name).await.map_err(|e| e.to_string())?;
            let status = pod.status.unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(serde_json::to_string(&status).unwrap()) }
        })
        .await
    }

    pub async fn reasons(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.control.client.clone(), "default");
        let list = events.list(&ListParams::default()).await.unwrap();
        list.items
            .into_iter()
            .filter(|e| e.involved_object.name.as_deref() == Some(name))
            .filter_map(|e| e.reason)
            .collect()
    }

    /// Waits until events of an object have all of these reasons.
    pub async fn tells(&self, name: &str, reasons: &[&str]) {
        eventually(&reasons.join(" "), 60, || async {
            let told = self.reasons(name).await;
            let all = reasons.iter().all(|wanted| told.iter().any(|reason| reason == wanted));
            if all { Ok(()) } else { Err(told.join(" ")) }
        })
        .await;
    }

    /// Waits for a warning about a pod in these words.
    pub async fn warned(&self, name: &str, words: &str) {
        let events: Api<Event> = Api::namespaced(self.control.client.clone(), "default");
        eventually(words, 20, || async {
            let list = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
            let about =
                |e: &&Event| e.involved_object.name.as_deref() == Some(name) && e.type_.as_deref() == Some("Warning");
            let told: Vec<_> = list.items.iter().filter(about).filter_map(|e| e.message.as_deref()).collect();
            if told.contains(&words) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    pub async fn gone(&self, name: &str, seconds: u64) {
        eventually("the pod's object is gone", seconds, || async {
            match self.pods().get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|p| p.map(|p| p.metadata)))),
            }
        })
        .await;
    }
}

pub fn ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn waiting<'a>(status: &'a PodStatus, name: &str) -> Option<&'a str> {
    let container = status.container_statuses.as_ref()?.iter().find(|c| c.name == name)?;
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}
