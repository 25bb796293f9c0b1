//! A real control plane: `rk-control` on loopback, ended with the test.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub const TOKEN: &str = "abcdef.0123456789abcdef";

/// How much longer everything may take on a machine that has other things to do.
const SLOWNESS: u64 = 4;

/// The ports that tests choose from, below those that the kernel gives to whoever leaves the choice to it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of loopback for a server that binds it later, and perhaps once more: nobody else has it, or is given it meanwhile.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    loop {
        // Processes that run at the same time begin at different places.
        let at = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into()) % count;
        let port = PORTS.start + u16::try_from(at).unwrap();
        // What listened here to find out would be held for a moment by a program that another test is starting.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
}

/// A running control plane.
pub struct Control {
    child: Child,
    pub endpoint: String,
    pub client: kube::Client,
    pub ca_hash: String,
}

/// The binary: named by `RK_CONTROL_BIN`, else built.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("RK_CONTROL_BIN") {
            return path.into();
        }
        let done =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "rk-control"]).status().expect("running cargo");
        assert!(done.success(), "rk-control does not build");
        // <target dir>/<triple>/debug/deps/<test>
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().nth(2).unwrap().join("rk-control")
    })
}

impl Control {
    /// Starts it in `dir` and waits until it answers.
    pub async fn start(dir: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = port();
        let log = std::fs::File::create(dir.join("control.log")).unwrap();
        let child = Command::new(binary())
            .arg("--data-dir")
            .arg(dir)
            .args(["--bind", &format!("127.0.0.1:{port}"), "--advertise", "127.0.0.1", "--bootstrap-token", TOKEN])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starting rk-control");
        let endpoint = format!("https://127.0.0.1:{port}");
        let kubeconfig = dir.join("admin.kubeconfig");
        let deadline = Instant::now() + Duration::from_secs(60 * SLOWNESS);
        let client = loop {
            if let Ok(config) = kube::config::Kubeconfig::read_from(&kubeconfig)
                && let Ok(config) = kube::Config::from_custom_kubeconfig(config, &Default::default()).await
                && let Ok(client) = kube::Client::try_from(config)
                && client.apiserver_version().await.is_ok()
            {
                break client;
            }
            assert!(
                Instant::now() < deadline,
                "rk-control did not come up: {}",
                std::fs::read_to_string(dir.join("control.log")).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let ca = std::fs::read_to_string(dir.join("pki/ca.crt")).unwrap();
        Self { child, endpoint, client, ca_hash: pin(&ca) }
    }

    /// Ends it at once; nothing answers at its endpoint any more.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pin(ca_pem: &str) -> String {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    use sha2::{Digest, Sha256};
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap();
    let (_, cert) = X509Certificate::from_der(&der).unwrap();
    format!("sha256:{}", hex::encode(Sha256::digest(cert.public_key().raw)))
}

/// Polls until `check` gives a value; panics with what was last seen when that takes much longer than the `seconds` that it may take on a
/// machine with nothing else to do.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    seconds: u64,
    check: impl Fn() -> F,
) -> T {
    let patience = Duration::from_secs(seconds * SLOWNESS);
    let deadline = Instant::now() + patience;
    loop {
        let seen = match check().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}; last seen: {seen}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
