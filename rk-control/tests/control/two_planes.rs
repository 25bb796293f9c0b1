//! Two control planes with the same secrets on one etcd, over TLS both ways.

use crate::cluster::{ControlPlane, Port, eventually};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nobody's (RFC 5737): what matters here is who is told to have it.
const VIP: &str = "192.0.2.9";

/// An etcd of one member that takes only clients of its authority; ended with the test.
struct Etcd {
    process: Child,
    dir: tempfile::TempDir,
    url: String,
    _ports: [Port; 2],
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes `ca.crt`, and `server` and `client` as certificate and key.
fn certificates(dir: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("written");
    write("ca.crt", authority.self_signed(&key).expect("authority").pem());
    let issuer = Issuer::new(authority, key);
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        // etcd's own gateway is a client of it.
        params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        write(&format!("{name}.crt"), params.signed_by(&key, &issuer).expect("certificate").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn etcd() -> Etcd {
    let binary = std::env::var("RK_ETCD").unwrap_or_else(|_| "etcd".to_owned());
    let dir = tempfile::tempdir().expect("temporary directory");
    certificates(dir.path());
    let ports = [Port::hold(), Port::hold()];
    let (url, peer) = (format!("https://{}", ports[0].address()), format!("http://{}", ports[1].address()));
    let file = |name: &str| dir.path().join(name);
    let process = Command::new(binary)
        .arg("--data-dir")
        .arg(file("data"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--client-cert-auth"])
        .arg("--cert-file")
        .arg(file("server.crt"))
        .arg("--key-file")
        .arg(file("server.key"))
        .arg("--trusted-ca-file")
        .arg(file("ca.crt"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(file("log")).expect("log"))
        .spawn()
        .expect("etcd is needed: `cargo xtask test` fetches it, or set RK_ETCD to its path");
    Etcd { process, dir, url, _ports: ports }
}

impl Etcd {
    /// Waits until it listens.
    async fn answers(&self) {
        let address = self.url.trim_start_matches("https://");
        eventually("etcd", || async {
            std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Arguments of a control plane on it.
    fn arguments(&self, data: &Path) -> Vec<String> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let vip = data.join("vip").display().to_string();
        [
            ["--etcd", &self.url],
            ["--etcd-cafile", &file("ca.crt")],
            ["--etcd-certfile", &file("client.crt")],
            ["--etcd-keyfile", &file("client.key")],
            ["--vip", VIP],
            ["--vip-file", &vip],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }
}

/// What a second control plane needs of the first.
fn share_secrets(from: &Path, to: &Path) {
    std::fs::create_dir(to.join("pki")).expect("pki");
    for name in ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"] {
        std::fs::copy(from.join("pki").join(name), to.join("pki").join(name)).expect(name);
    }
}

/// Milliseconds from now until which a control plane may have the address, by its own word.
fn term(plane: &ControlPlane) -> Result<i128, String> {
    let text = std::fs::read_to_string(plane.dir().join("vip")).map_err(|error| error.to_string())?;
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("clock");
    let now = Duration::from(now).as_millis();
    Ok(text.trim().parse::<i128>().map_err(|error| error.to_string())? - i128::try_from(now).expect("milliseconds"))
}

/// Whether it may have the address now.
fn leads(plane: &ControlPlane) -> Result<(), String> {
    match term(plane)? {
        1..=10_000 => Ok(()),
        left => Err(format!("{left} ms are left of a term of ten seconds")),
    }
}

/// Who holds the Lease.
fn holder(plane: &ControlPlane) -> String {
    plane.kubectl("get lease -n kube-system rk-control-vip -o jsonpath={.spec.holderIdentity}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_serve_one_cluster_and_hand_over_their_address() {
    let etcd = etcd();
    etcd.answers().await;
    let mut first = ControlPlane::start_with(|data| etcd.arguments(data)).await;
    eventually("the address at the only control plane", || async { term(&first).map(drop) }).await;
    let second = ControlPlane::start_with(|data| {
        share_secrets(first.dir(), data);
        etcd.arguments(data)
    })
    .await;

    // What one writes, the other tells; what one vouches for, the other believes.
    first.kubectl("create configmap shared --from-literal=a=b");
    assert_eq!(second.kubectl("get configmap shared -o jsonpath={.data.a}"), "b");
    eventually("the default account", || async { second.try_kubectl("get serviceaccount default").map(drop) }).await;
    let token = first.kubectl("create token default");
    let file = std::fs::read_to_string(second.kubeconfig()).expect("kubeconfig");
    let server = second.url();
    assert!(file.contains(&server), "{file}");
    let ca = second.dir().join("pki/ca.crt").display().to_string();
    let who = Command::new(std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned()))
        .args(["--kubeconfig", "/dev/null", "--server", &server, "--certificate-authority", &ca, "--token", &token])
        .args(["--tls-server-name", VIP, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
        .output()
        .expect("kubectl runs");
    let said = String::from_utf8_lossy(&who.stdout);
    assert_eq!(said, "system:serviceaccount:default:default", "{}", String::from_utf8_lossy(&who.stderr));
    assert_eq!(first.kubectl(&format!("--server {server} get configmap shared -o name")), "configmap/shared");
    let endpoints = "get endpointslice kubernetes -o jsonpath={.endpoints[*].addresses[*]}";
    assert_eq!(second.kubectl(endpoints), VIP, "both advertise what they share");

    // One that crashes goes on with its term, unless this machine is so slow that the other had to take over.
    let (before, crashed) = (holder(&second), Instant::now());
    let told = |plane: &ControlPlane| std::fs::read_to_string(plane.dir().join("vip")).unwrap_or_default();
    let last = told(&first);
    first.crash_and_restart().await;
    eventually("a new term of either", || async { if told(&first) == last { leads(&second) } else { leads(&first) } })
        .await;
    if crashed.elapsed() < Duration::from_secs(8) {
        assert_eq!(holder(&second), before);
    }

    // One leads; when it is asked to stop, the other has the address and the controllers.
    let (mut leader, other) = if leads(&first).is_ok() { (first, second) } else { (second, first) };
    assert!(leads(&other).is_err(), "both have the address; the Lease says {}", holder(&other));
    assert!(leader.stop(), "it ends in time");
    assert!(term(&leader).is_err(), "one that ended still says that it has the address");
    eventually("the address at the other control plane", || async { leads(&other) }).await;
    other.kubectl("create deployment web --image=example.com/web");
    eventually("the Deployment's pod", || async {
        let pods = other.try_kubectl("get pods -l app=web -o name")?;
        if pods.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
}
