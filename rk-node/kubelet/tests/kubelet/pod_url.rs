//! Static pods from an address, as seen through a real control plane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use rk_kubelet::PodUrl;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{FakeDevice, RESOURCE, Rig, eventually, ready};

/// A server that answers every request alike.
struct Server {
    url: String,
    answer: Arc<Mutex<(&'static str, String)>>,
    /// Heads of the requests since they were taken last.
    heads: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pods", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(("200 OK", String::new())));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (told, heard) = (answer.clone(), heads.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                heard.lock().unwrap().push(String::from_utf8_lossy(&head[..read]).into_owned());
                let (status, body) = told.lock().unwrap().clone();
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, answer, heads, _task: AbortOnDropHandle::new(task) }
    }

    fn answers(&self, status: &'static str, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    /// Waits until it was asked so often from now on.
    async fn asked(&self, times: usize) -> Vec<String> {
        self.heads.lock().unwrap().clear();
        eventually("the address is asked", 30, || async {
            let heads = self.heads.lock().unwrap().clone();
            if heads.len() >= times { Ok(heads) } else { Err(format!("{} times", heads.len())) }
        })
        .await
    }
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "PodList", "items": items}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_static_pods_of_one_name_one_runs_at_a_time() {
    let server = Server::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "img:1", "command": ["run"]}]}});
    server.answers("200 OK", &pod.to_string());
    let mut rig = Rig::new().await;
    rig.kubelet = None;
    rig.options.static_pod_url =
        PodUrl { url: server.url.clone(), headers: BTreeMap::new(), every: Duration::from_millis(500) };
    let manifests = rig.options.dirs.manifests.clone();
    let files = ["a.json", "b.json"].map(|name| manifests.join(name));
    std::fs::create_dir_all(&manifests).unwrap();
    for file in &files {
        std::fs::write(file, pod.to_string()).unwrap();
    }
    rig.start_kubelet();
    rig.status("one-node-a", "the pod of a file is ready", 60, ready).await;
    server.asked(6).await;
    let shown = rig.pods().get("one-node-a").await.unwrap();
    assert_eq!(shown.metadata.annotations.unwrap()["kubernetes.io/config.source"], "file");
    assert_eq!(rig.cri.running("one-node-a").len(), 1, "neither the other file's nor the address' runs beside it");
    rig.tells("one-node-a", &["FailedValidation"]).await;

    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    eventually("the address' has its turn", 60, || async {
        let shown = rig.pods().get_opt("one-node-a").await.map_err(|e| e.to_string())?;
        let annotations = shown.and_then(|pod| pod.metadata.annotations).unwrap_or_default();
        let source = annotations.get("kubernetes.io/config.source").cloned();
        let runs = rig.cri.running("one-node-a").len();
        if source.as_deref() == Some("http") && runs == 1 { Ok(()) } else { Err(format!("{source:?}, {runs} run")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_an_address_run_stay_while_it_is_away_and_go_when_it_says_so() {
    let server = Server::start().await;
    let own = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "img:1", "command": ["run"]}]}});
    server.answers("200 OK", &own.to_string());
    let mut rig = Rig::new().await;
    rig.kubelet = None;
    rig.options.static_pod_url = PodUrl {
        url: server.url.clone(),
        headers: BTreeMap::from([("X-Node".to_owned(), vec!["a".to_owned(), "b".to_owned()])]),
        every: Duration::from_millis(500),
    };
    rig.start_kubelet();
    rig.status("own-node-a", "the mirror tells that the pod is ready", 60, ready).await;
    let head = server.asked(1).await.remove(0).to_lowercase();
    assert!(head.starts_with("get /pods ") && head.contains("x-node: a") && head.contains("x-node: b"), "{head}");
    let shown = rig.pods().get("own-node-a").await.unwrap();
    assert_eq!(shown.metadata.annotations.unwrap()["kubernetes.io/config.source"], "http");
    let running = rig.cri.running("own-node-a");
    assert_eq!(running.len(), 1);

    // What is no pod, and an address that is away, change nothing; nor do they for a kubelet that has just begun.
    server.answers("200 OK", "no pod at all");
    server.asked(2).await;
    server.answers("503 Service Unavailable", "");
    server.asked(2).await;
    rig.kubelet = None;
    rig.start_kubelet();
    rig.node_ready().await;
    server.asked(6).await;
    assert_eq!(rig.cri.running("own-node-a"), running);
    server.answers("200 OK", &list(&[own]));
    server.asked(6).await;
    assert_eq!(rig.cri.running("own-node-a"), running, "the same pod, be it in a list");

    server.answers("200 OK", &list(&[]));
    rig.gone("own-node-a", 60).await;
    eventually("its container ends", 30, || async {
        if rig.cri.running("own-node-a").is_empty() { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_address_that_answers_late_keeps_its_devices_and_runs_on() {
    let server = Server::start().await;
    server.answers("503 Service Unavailable", "");
    let own = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "img:1", "command": ["run"],
            "resources": {"limits": {RESOURCE: "1"}}}]}});
    let mut rig = Rig::new().await;
    let plugins = rig.options.dirs.kubelet.join("device-plugins");
    rig.kubelet = None;
    // That of the kubelet before must not pass for the new one's.
    let _ = std::fs::remove_file(plugins.join("kubelet.sock"));
    rig.options.static_pod_url =
        PodUrl { url: server.url.clone(), headers: BTreeMap::new(), every: Duration::from_millis(500) };
    rig.start_kubelet();
    eventually("the new kubelet's socket", 30, || async {
        tokio::net::UnixStream::connect(plugins.join("kubelet.sock")).await.map_err(|e| e.to_string())
    })
    .await;
    let _plugin = FakeDevice::start(&plugins).await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    eventually("the node counts the devices", 60, || async {
        let status = nodes.get("node-a").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let works = status.allocatable.and_then(|all| all.get(RESOURCE).map(|amount| amount.0.clone()));
        if works.as_deref() == Some("2") { Ok(()) } else { Err(format!("{works:?}")) }
    })
    .await;
    server.answers("200 OK", &own.to_string());
    rig.status("own-node-a", "the mirror tells that the pod is ready", 60, ready).await;
    let running = rig.cri.running("own-node-a");
    assert_eq!(running.len(), 1);

    server.answers("503 Service Unavailable", "");
    rig.kubelet = None;
    rig.start_kubelet();
    // The API has told all of its pods by then, the address none of its own, and no plugin is here.
    rig.create("other", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("other", "a pod of the API is ready", 60, ready).await;
    server.answers("200 OK", &list(&[own]));
    server.asked(6).await;
    assert_eq!(rig.cri.running("own-node-a"), running, "it was not refused");
    let held = std::fs::read_to_string(plugins.join("rk_allocations.json")).unwrap();
    assert!(held.contains("right"), "{held}");
}
