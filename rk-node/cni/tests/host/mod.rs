//! A host of its own: a network namespace with an uplink to an "outside" one, and pods' namespaces. Needs root and iproute2.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rk_cni::{Attachment, Runtime, in_netns};
use rk_nft::{Family, Netfilter};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

fn sh(line: &str) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("command")).args(words).output().expect("run");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// How long anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens, in time: a program that another test is starting holds what listened here before, until it is executed.
async fn listen(address: &str) -> TcpListener {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        match TcpListener::bind(address).await {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => tokio::time::sleep(Duration::from_millis(10)).await,
            bound => return bound.expect("bind"),
        }
    }
    panic!("{address} stays in use")
}

/// A network namespace that goes with the value.
pub struct Netns(pub String);

impl Netns {
    pub fn new(kind: &str) -> Self {
        let name = format!("rk{}-{}-{kind}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        sh(&format!("ip netns add {name}"));
        Self(name)
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    pub fn ip(&self, args: &str) {
        sh(&format!("ip -n {} {args}", self.0));
    }

    pub fn output(&self, args: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.0]).args(args.split_whitespace()).output().expect("ip");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A setting of the namespace, by its name below `/proc/sys/net`.
    pub fn knob(&self, name: &str) -> String {
        let path = format!("/proc/sys/net/{name}");
        let read = move || async move { std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}")) };
        in_netns(&self.path(), read).expect("namespace").expect("a setting").trim().to_owned()
    }

    /// Answers one connection with the address that it came from.
    pub fn serve(&self, address: &str) -> std::thread::JoinHandle<()> {
        let (path, address) = (self.path(), address.to_owned());
        let (ready, wait) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            in_netns(&path, move || async move {
                let listener = listen(&address).await;
                ready.send(()).expect("ready");
                let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
                if let Ok(Ok((mut stream, peer))) = accepted {
                    stream.write_all(peer.ip().to_string().as_bytes()).await.expect("write");
                }
            })
            .expect("serve");
        });
        wait.recv().expect("listening");
        server
    }

    /// Connects and reads what the server says.
    pub fn ask(&self, address: &str) -> Result<String, String> {
        self.talk(None, address)
    }

    /// The same, from an address that the namespace has.
    pub fn ask_from(&self, source: &str, address: &str) -> Result<String, String> {
        self.talk(Some(source), address)
    }

    fn talk(&self, source: Option<&str>, address: &str) -> Result<String, String> {
        let address: SocketAddr = address.parse().expect("address");
        let source = source.map(|ip| SocketAddr::new(ip.parse().expect("address"), 0));
        in_netns(&self.path(), move || async move {
            let talk = async {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                source.map_or(Ok(()), |source| socket.bind(source))?;
                let mut stream = socket.connect(address).await?;
                let mut told = String::new();
                stream.read_to_string(&mut told).await?;
                Ok::<_, std::io::Error>(told)
            };
            let done = tokio::time::timeout(PATIENCE, talk).await;
            done.map_err(|_| "timed out".to_owned())?.map_err(|e| e.to_string())
        })
        .expect("namespace")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

/// A node: its namespace, the world outside, and a runtime with directories of its own.
pub struct Host {
    pub netns: Netns,
    pub outside: Netns,
    pub runtime: Runtime,
    pub dir: tempfile::TempDir,
}

/// Address of the host on the network that it shares with [`OUTSIDE`].
pub const HOST: &str = "192.0.2.1";
pub const OUTSIDE: &str = "192.0.2.2";

impl Host {
    /// `plugins` maps a plugin's name to the executable that stands behind it.
    pub fn new(conflist: &Value, plugins: &[(&str, PathBuf)]) -> Self {
        let (netns, outside) = (Netns::new("host"), Netns::new("out"));
        netns.ip("link set lo up");
        netns.ip(&format!("link add up0 type veth peer name up0 netns {}", outside.0));
        netns.ip(&format!("addr add {HOST}/24 dev up0"));
        netns.ip("link set up0 up");
        outside.ip(&format!("addr add {OUTSIDE}/24 dev up0"));
        outside.ip("link set up0 up");
        let dir = tempfile::tempdir().expect("tempdir");
        let (bin, conf) = (dir.path().join("bin"), dir.path().join("net.d"));
        for directory in [&bin, &conf] {
            std::fs::create_dir(directory).expect("create");
        }
        for (name, path) in plugins {
            symlink(path, bin.join(name)).expect("link");
        }
        std::fs::write(conf.join("10-test.conflist"), conflist.to_string()).expect("config");
        let runtime = Runtime {
            conf_dir: conf,
            bin_dirs: vec![bin],
            cache_dir: dir.path().join("results"),
            ..Runtime::default()
        };
        Self { netns, outside, runtime, dir }
    }

    /// Runs the runtime's work on this host.
    pub fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce(Runtime) -> T + Send + 'static) -> T {
        let runtime = self.runtime.clone();
        in_netns(&self.netns.path(), move || work(runtime)).expect("host namespace")
    }

    /// How many host ports are mapped, and how many containers reach themselves by theirs (IPv4).
    pub fn port_elements(&self) -> (usize, usize) {
        self.run(async |_| {
            let netfilter = Netfilter::open().expect("nftables");
            let count = |set| netfilter.elements(Family::Ip, "cni-portmap", set).expect("elements").len();
            (count("ports"), count("hairpins"))
        })
    }
}

pub fn attachment(pod: &Netns) -> Attachment {
    Attachment {
        container_id: pod.0.clone(),
        netns: Some(pod.path()),
        if_name: "eth0".into(),
        args: vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "web".into())],
        capabilities: serde_json::Map::new(),
    }
}

pub fn ours() -> Vec<(&'static str, PathBuf)> {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_rk-cni"));
    ["bridge", "host-local", "portmap", "loopback"].iter().map(|name| (*name, binary.clone())).collect()
}
