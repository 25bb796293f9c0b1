//! An etcd of one member on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rk_store::{EtcdSecurity, EtcdStore};
use tokio::net::TcpSocket;

/// The process; ended with the test. Its data are in `data` below the test's directory.
pub struct Etcd {
    process: Child,
    log: PathBuf,
    client: String,
    _ports: [TcpSocket; 2],
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `$RK_ETCD`, or `etcd` on the path.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RK_ETCD") {
        return path.into();
    }
    let found = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file()));
    found.expect("etcd is needed: `cargo xtask test` fetches it, or set RK_ETCD to its path")
}

/// Holds a port, so that it is given to nobody else: who asks for it by its number may listen there all the same.
fn hold_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    socket
}

impl Etcd {
    /// Starts one on a free port.
    pub fn start(dir: &Path) -> Self {
        let ports = [hold_port(), hold_port()];
        let [client, peer] = ports.each_ref().map(|port| format!("http://{}", port.local_addr().unwrap()));
        let log = dir.join("etcd.log");
        let process = Command::new(binary())
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("etcd starts");
        Self { process, log, client, _ports: ports }
    }

    /// Waits until it answers; tells its URL.
    pub async fn answers(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match connect(&self.client).await {
                Ok(()) => return self.client.clone(),
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => {
                    let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                    panic!("etcd does not answer: {error:?}\n{log}");
                }
            }
        }
    }
}

async fn connect(client: &str) -> rk_store::Result<()> {
    let store = EtcdStore::connect(&[client.to_owned()], EtcdSecurity::default()).await?;
    rk_store::Store::revision(&store).await.map(drop)
}
