//! The etcd backend against the suite, on a real etcd.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rk_store::{EtcdSecurity, EtcdStore, suite};

/// An etcd of one member on loopback, ended with the test.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(dir: &Path, client: &str) -> Etcd {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let log = std::fs::File::create(dir.join("etcd.log")).unwrap();
    let child = Command::new(binary())
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("etcd starts");
    Etcd(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let client = format!("http://127.0.0.1:{}", free_port());
    let _etcd = start(dir.path(), &client);
    let deadline = Instant::now() + Duration::from_secs(60);
    let store = loop {
        match connect(&client).await {
            Ok(store) => break store,
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => {
                let log = std::fs::read_to_string(dir.path().join("etcd.log")).unwrap_or_default();
                panic!("etcd does not answer: {error:?}\n{log}");
            }
        }
    };
    suite::run(Arc::new(store)).await;
}

async fn connect(client: &str) -> rk_store::Result<EtcdStore> {
    let store = EtcdStore::connect(&[client.to_owned()], EtcdSecurity::default()).await?;
    rk_store::Store::revision(&store).await?;
    Ok(store)
}
