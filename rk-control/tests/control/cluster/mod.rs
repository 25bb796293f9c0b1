//! A control plane in a process of its own, with the real kubectl and stand-ins for nodes.

pub mod node;
pub mod rest;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpSocket;

pub const TOKEN: &str = "abcdef.0123456789abcdef";
/// How long what must come may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(180);

/// A port of the loopback that is given to nobody else: who asks for it by its number may listen there all the same.
pub struct Port(TcpSocket);

impl Port {
    pub fn hold() -> Self {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("shared");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("free port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }
}

/// A running `rk-control`; killed when dropped.
pub struct ControlPlane {
    process: Child,
    dir: TempDir,
    port: Port,
    more: Vec<String>,
}

impl ControlPlane {
    /// Starts one on a free port of the loopback and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// As [`ControlPlane::start`], with arguments for its data directory, where more may be prepared.
    pub async fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let port = Port::hold();
        let dir = tempfile::tempdir().expect("temporary directory");
        let more = prepare(dir.path());
        let process = spawn(dir.path(), port.address(), &more);
        let plane = Self { process, dir, port, more };
        plane.ready().await;
        plane
    }

    /// Kills the process without warning and starts it again on the same data.
    pub async fn crash_and_restart(&mut self) {
        self.process.kill().expect("running");
        self.process.wait().expect("reaped");
        self.process = spawn(self.dir.path(), self.port.address(), &self.more);
        self.ready().await;
    }

    /// Asks it to stop and answers whether it ended well and in time.
    pub fn stop(&mut self) -> bool {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("child") {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://{}", self.port.address())
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    async fn ready(&self) {
        eventually("readiness", || async {
            let answer = Command::new(kubectl_path())
                .args(["get", "--raw", "/readyz"])
                .env("KUBECONFIG", self.kubeconfig())
                .output()
                .expect("kubectl runs");
            if answer.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&answer.stderr).into_owned()) }
        })
        .await;
    }

    /// A client over TLS, as the administrator.
    pub async fn client(&self) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = Kubeconfig::read_from(self.kubeconfig()).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("config");
        Client::try_from(config).expect("client")
    }

    /// Runs kubectl, which must succeed; answers its output.
    pub fn kubectl(&self, line: &str) -> String {
        self.try_kubectl(line).unwrap_or_else(|error| panic!("kubectl {line}: {error}"))
    }

    /// Runs kubectl; words are split at spaces.
    pub fn try_kubectl(&self, line: &str) -> Result<String, String> {
        let output = Command::new(kubectl_path())
            .args(line.split(' '))
            .env("KUBECONFIG", self.kubeconfig())
            .output()
            .expect("kubectl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) {
        let file = self.dir.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("written");
        self.kubectl(&format!("apply -f {}", file.display()));
    }

    /// Waits until a jsonpath of an object has a value.
    pub async fn shows(&self, object: &str, path: &str, value: &str) {
        let what = format!("{object} {path} to be {value:?}");
        eventually(&what, || async {
            let seen = self.try_kubectl(&format!("get {object} -o jsonpath={{{path}}}")).unwrap_or_else(|e| e);
            if seen == value { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, object: &str) {
        eventually(&format!("{object} to be gone"), || async {
            match self.try_kubectl(&format!("get {object} -o name")) {
                Err(error) if error.contains("NotFound") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

/// A control plane that takes pods, with stand-ins for nodes that are Ready and take them, too.
pub async fn start(nodes: &[&str]) -> (ControlPlane, Option<node::Nodes>) {
    let plane = ControlPlane::start().await;
    plane.shows("serviceaccount default", ".metadata.name", "default").await;
    if nodes.is_empty() {
        return (plane, None);
    }
    let playing = node::Nodes::start(plane.client().await, nodes).await;
    for node in nodes {
        plane.shows(&format!("node {node}"), ".status.conditions[?(@.type=='Ready')].status", "True").await;
        plane.shows(&format!("node {node}"), ".spec.taints", "").await;
    }
    (plane, Some(playing))
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("rk-control's last words:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

fn kubectl_path() -> String {
    std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned())
}

fn spawn(dir: &Path, address: SocketAddr, more: &[String]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("log");
    Command::new(env!("CARGO_BIN_EXE_rk-control"))
        .args(["--bind", &address.to_string(), "--bootstrap-token", TOKEN, "--data-dir"])
        .arg(dir)
        .args(more)
        .env("RK_LOG", "info,rk_client=debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("rk-control starts")
}

/// Polls until the check succeeds; fails with what was seen last.
pub async fn eventually<F, Fut>(what: &str, check: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check().await {
            Ok(()) => return,
            Err(seen) if Instant::now() > deadline => panic!("waited {PATIENCE:?} for {what}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
