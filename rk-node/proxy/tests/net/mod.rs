//! A node, two pods and a client, each in a network namespace. Needs root and iproute2.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread::JoinHandle,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use rk_proxy::{
    Changes, Kernel, State,
    model::{Endpoint, Protocol, Service, ServiceKey, ServicePort, Slice},
    plan,
    plan::Node,
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How long an answer may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long the silence lasts after which nothing is taken to answer.
const SILENCE: Duration = Duration::from_secs(3);

pub struct Netns(pub String);

impl Netns {
    pub fn new(kind: &str) -> Self {
        let name = format!("rkp{}-{}-{kind}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        run("ip", &format!("netns add {name}"));
        let netns = Self(name);
        netns.ip("link set lo up");
        netns
    }

    pub fn ip(&self, args: &str) {
        run("ip", &format!("-n {} {args}", self.0));
    }

    /// Runs work on a thread that lives in the namespace.
    pub fn within<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.0);
        std::thread::spawn(move || {
            setns(File::open(path).expect("namespace"), CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        })
    }

    pub fn ask(&self, address: &str) -> Result<String, std::io::ErrorKind> {
        self.talk(address, PATIENCE)
    }

    /// Whether nothing, not even a refusal, comes back.
    pub fn hears_nothing(&self, address: &str) -> bool {
        self.talk(address, SILENCE) == Err(std::io::ErrorKind::TimedOut)
    }

    fn talk(&self, address: &str, patience: Duration) -> Result<String, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().expect("address");
        let talk = move || {
            let mut stream = TcpStream::connect_timeout(&address, patience).map_err(|e| e.kind())?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.kind())?;
            let mut told = String::new();
            stream.read_to_string(&mut told).map_err(|e| e.kind())?;
            Ok(told)
        };
        self.within(talk).join().expect("client")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

fn run(program: &str, args: &str) {
    let output = Command::new(program).args(args.split_whitespace()).output().expect(program);
    assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A node with pods behind routed links (`10.244.1.2`, `10.244.1.3`) and a client outside (`192.0.2.2`).
pub struct Net {
    pub node: Netns,
    pub pods: Vec<Netns>,
    pub client: Netns,
    stop: Arc<AtomicBool>,
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Net {
    pub fn new() -> Self {
        let node = Netns::new("node");
        let client = Netns::new("client");
        link(&node, "up0", "192.0.2.1/24", &client, "192.0.2.2/24");
        // A ClusterIP needs a route, as every node has a default one.
        node.ip("route add default via 192.0.2.2");
        node.ip("-6 addr add 2001:db8::1/64 dev up0 nodad");
        node.ip("-6 route add default via 2001:db8::2");
        let knobs = || {
            ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
                .map(|k| std::fs::write(format!("/proc/sys/net/{k}"), "1").is_ok())
        };
        assert_eq!(node.within(knobs).join().expect("sysctl"), [true, true]);
        let pods = (0..2).map(|n| pod(&node, n)).collect();
        let net = Self { node, pods, client, stop: Arc::default() };
        for n in 0..2 {
            net.serve(n);
        }
        net
    }

    /// Each pod tells its number and who asks, over TCP and UDP on port 8080.
    fn serve(&self, n: usize) {
        let (ready, wait) = std::sync::mpsc::channel();
        let (tcp_ready, stop) = (ready.clone(), self.stop.clone());
        self.pods[n].within(move || {
            let listener = TcpListener::bind("[::]:8080").expect("bind");
            listener.set_nonblocking(true).expect("non-blocking");
            tcp_ready.send(()).expect("ready");
            while !stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((mut stream, peer)) => drop(write!(stream, "pod{n} {}", peer.ip().to_canonical())),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        let stop = self.stop.clone();
        self.pods[n].within(move || {
            let socket = UdpSocket::bind("[::]:8080").expect("bind");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
            ready.send(()).expect("ready");
            while !stop.load(Ordering::SeqCst) {
                if let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
                    let _ = socket.send_to(format!("pod{n}").as_bytes(), peer);
                }
            }
        });
        wait.recv().expect("tcp");
        wait.recv().expect("udp");
    }

    /// Applies a change to the node's rules and returns the state.
    pub fn set(&self, mut state: State, services: &[(&Service, &[usize])], fresh: bool) -> State {
        let plans: Vec<_> = services
            .iter()
            .map(|(service, pods)| (service.key.clone(), plan(service, &[&slice(service, pods)], &node())))
            .collect();
        let apply = move || {
            let kernel = Kernel::open(node().pod_cidrs).expect("nftables");
            let mut changes = Changes::default();
            for (key, plan) in plans {
                state.set(&key, Some(plan), &mut changes);
            }
            if fresh { kernel.replace(&state) } else { kernel.apply(changes) }
                .unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)));
            assert!(kernel.intact(&state).expect("look"), "the kernel holds every chain");
            state
        };
        self.node.within(apply).join().expect("apply")
    }
}

fn link(node: &Netns, name: &str, ours: &str, other: &Netns, theirs: &str) {
    node.ip(&format!("link add {name} type veth peer name eth0 netns {}", other.0));
    for (netns, link, address) in [(node, name, ours), (other, "eth0", theirs)] {
        netns.ip(&format!("addr add {address} dev {link}"));
        netns.ip(&format!("link set {link} up"));
    }
}

/// A pod with one address of each family, behind a routed link, so that it answers from the address that was asked.
fn pod(node: &Netns, n: u8) -> Netns {
    let pod = Netns::new("pod");
    let (name, address) = (format!("pod{n}"), format!("10.244.1.{}/32", n + 2));
    link(node, &name, &format!("169.254.{n}.1/32"), &pod, &address);
    pod.ip(&format!("route add 169.254.{n}.1/32 dev eth0"));
    pod.ip(&format!("route add default via 169.254.{n}.1"));
    node.ip(&format!("route add {address} dev {name}"));
    let v6 = |netns: &Netns, link: &str, address: &str| netns.ip(&format!("addr add {address} dev {link} nodad"));
    v6(node, &name, &format!("fd00:{n}::1/64"));
    v6(&pod, "eth0", &format!("fd00:{n}::2/64"));
    pod.ip(&format!("-6 route add default via fd00:{n}::1"));
    pod
}

impl Net {
    /// The client, with a way to ClusterIPs.
    pub fn client_route(&self) -> &Netns {
        self.client.ip("route add 10.96.0.0/16 via 192.0.2.1");
        &self.client
    }
}

pub fn node() -> Node {
    let pod_cidrs = ["10.244.0.0/16", "fd00::/16"].map(|net| net.parse().expect("cidr")).to_vec();
    Node { name: "node".into(), zone: None, pod_cidrs, skip: vec![] }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("ip")
}

pub fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 80, node_port: Some(30080) };
    Service {
        key: ServiceKey { namespace: "ns".into(), name: name.into() },
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        ports: vec![port("t", Protocol::Tcp), port("u", Protocol::Udp)],
        affinity: None,
        internal_local: false,
        external_local: false,
        health_check_port: None,
    }
}

pub fn slice(service: &Service, pods: &[usize]) -> Slice {
    let endpoint = |address: String| Endpoint {
        ip: ip(&address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some("node".into()),
        for_nodes: vec![],
        for_zones: vec![],
    };
    Slice {
        service: service.key.clone(),
        ports: BTreeMap::from([(("t".to_owned(), Protocol::Tcp), 8080), (("u".to_owned(), Protocol::Udp), 8080)]),
        endpoints: pods
            .iter()
            .flat_map(|n| [endpoint(format!("10.244.1.{}", n + 2)), endpoint(format!("fd00:{n}::2"))])
            .collect(),
    }
}

pub fn who(netns: &Netns, address: &str, times: usize) -> BTreeSet<String> {
    (0..times).map(|_| netns.ask(address).unwrap_or_else(|e| panic!("{address}: {e}"))).collect()
}
