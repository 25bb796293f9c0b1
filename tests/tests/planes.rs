//! Two control planes on one etcd, the address that they share, and a worker that knows them by it alone.

use rk_config::{Interface, LinkMatch, Mirror};
use rk_qemu::cluster::{API_PORT, address_of};
use rk_qemu::oci::{Archive, push};
use rk_qemu::process::Bound;
use rk_qemu::registry::Registry;
use rk_qemu::switch::Switch;
use rk_qemu::vm::{Forward, Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk as disks};
use rk_tests::{Kubectl, MACHINE_API, Operator, artifacts, eventually, free_address, limit};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// On the network between the machines, and nobody's alone.
const VIP: &str = "192.168.77.100";
/// From power-on to Ready under KVM.
const READY: u64 = 120;
/// What the console says of a machine that was given the address.
const LEADS: &str = "has 192.168.77.100, which the control planes share: this one leads";
const NAMES: [&str; 3] = ["plane-1", "plane-2", "worker-1"];

/// A stock etcd on the host, ended with the test.
fn etcd(dir: &Path) -> (Bound, u16) {
    let (client, peer) = (free_address(), free_address());
    let mut command = Command::new(artifacts().etcd);
    command.arg("--data-dir").arg(dir.join("etcd"));
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("default={peer_url}"), "--unsafe-no-fsync"]);
    (Bound::spawn_logged("etcd", &command, &dir.join("etcd.log")).expect("etcd"), client.port())
}

/// One machine, and how the host reaches it.
struct Machine {
    vm: Vm,
    node: SocketAddr,
    api: SocketAddr,
}

struct Planes {
    dir: PathBuf,
    operator: Operator,
    registry: Registry,
    switch: Switch,
    _etcd: Bound,
}

impl Planes {
    /// Secrets and configs of a cluster of two control planes and a worker.
    fn new() -> Planes {
        let (artifacts, dir) = (artifacts(), rk_tests::folder("planes", "p"));
        let operator = Operator::new(&artifacts, &dir);
        let (etcd, port) = etcd(&dir);
        let registry = Registry::start(&artifacts.registry, &artifacts.registry_storage, &dir).expect("registry");
        push(&registry.client(), &Archive::open(&artifacts.images.join("busybox"), None).expect("busybox"))
            .expect("pushed");
        let (endpoint, etcd_url) = (format!("https://{VIP}:{API_PORT}"), format!("http://10.0.2.2:{port}"));
        let mut words = vec!["config", "gen", "planes", &endpoint, "--vip", "eth9", "--etcd", &etcd_url];
        words.extend(["--control-plane", NAMES[0], "--control-plane", NAMES[1], "--worker", NAMES[2]]);
        operator.run(&words).good();
        let switch = Switch::new(&dir);
        Planes { dir, operator, registry, switch, _etcd: etcd }
    }

    /// Switches a machine on, with the config that was generated for it and the links of this test.
    fn start(&self, index: u8) -> Machine {
        let (artifacts, address) = (artifacts(), address_of(index));
        let name = NAMES[usize::from(index)];
        let text = std::fs::read_to_string(self.dir.join(format!("{name}.yaml"))).expect("generated config");
        let mut config = rk_config::parse(&text).expect("generated config").config;
        let shared = config.network.vips();
        assert_eq!(shared.len(), usize::from(index < 2), "what {name} shares");
        let by_mac = |mac: &str| LinkMatch { mac: Some(mac.to_owned()), ..LinkMatch::default() };
        config.network.interfaces = vec![
            Interface { matches: by_mac(&address.uplink_mac), dhcp: true, ..Interface::default() },
            Interface {
                matches: by_mac(&address.mac),
                addresses: vec![format!("{}/24", address.ip).parse().expect("address")],
                vip: shared.first().copied(),
                ..Interface::default()
            },
        ];
        config.network.ntp.enabled = false;
        config.kubelet.shutdown_grace_period_seconds = 5;
        let mirror =
            Mirror { matches: "*".into(), endpoints: vec![self.registry.url_from_guest()], include_host: true };
        config.registries.mirrors = vec![mirror];
        let (seed, data) = (self.dir.join(format!("{name}.cidata.img")), self.dir.join(format!("{name}.data.img")));
        let yaml = rk_config::to_yaml(&config).expect("config");
        cidata::create(&seed, &yaml, "instance-id: planes\n").expect("config drive");
        disks::create_data(&data, 2048).expect("data disk");
        let (node, api) = (free_address(), free_address());
        let forwards = vec![Forward { host: node, guest: MACHINE_API }, Forward { host: api, guest: API_PORT }];
        let (_, socket) = self.switch.add_port().expect("port");
        let mut spec = VmSpec::new(name, &self.dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
            .drive(&seed, true)
            .drive(&data, false)
            .nic(Nic::Uplink { mac: address.uplink_mac, forwards })
            .nic(Nic::Switch { mac: address.mac, socket });
        spec.memory_mib = 1024;
        Machine { vm: Vm::start(&spec).expect("QEMU"), node, api }
    }

    /// The admin at one control plane, by its uplink; its certificate must be good for the shared address.
    fn kubectl(&self, machine: &Machine, name: &str) -> Kubectl {
        let node = machine.node.to_string();
        let text = eventually("the admin's kubeconfig", limit(READY), || {
            let outcome = self.operator.run(&["kubeconfig", "-n", &node]);
            if outcome.code == 0 { Ok(outcome.out) } else { Err(outcome.err) }
        });
        let server = format!("server: https://{VIP}:{API_PORT}");
        assert!(text.contains(&server), "what an operator is given does not lead to the shared address:\n{text}");
        let ours = format!("server: https://{}\n    tls-server-name: {VIP}", machine.api);
        let path = self.dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, text.replace(&server, &ours)).expect("kubeconfig");
        Kubectl::new(&artifacts().kubectl, &path)
    }
}

fn wait_ready(kubectl: &Kubectl, node: &str, wanted: &str) {
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    eventually(&format!("{node} Ready={wanted}"), limit(READY), || match kubectl.try_path(&["node", node], path)? {
        seen if seen == wanted => Ok(()),
        seen => Err(seen),
    });
}

/// A busybox pod on the worker, Ready.
fn pod(kubectl: &Kubectl, name: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - {{name: main, image: 'rk.local/busybox:demo', command: [sleep, '36000']}}\n"
    ));
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
}

#[test]
fn when_a_control_plane_is_switched_off_the_other_has_its_address_and_the_worker_goes_on() {
    let planes = Planes::new();
    let mut first = planes.start(0);
    first.vm.wait_console(LEADS, limit(READY)).unwrap_or_else(|err| panic!("{err}"));
    let (mut second, worker) = (planes.start(1), planes.start(2));
    let here = planes.kubectl(&first, NAMES[0]);
    for name in NAMES {
        wait_ready(&here, name, "True");
    }
    for (index, name) in (0u8..).zip(NAMES) {
        // The node's own address, also where the shared one is.
        let own = here.path(&["node", name], "{.status.addresses[?(@.type==\"InternalIP\")].address}");
        assert_eq!(own.parse::<IpAddr>().ok(), Some(IpAddr::V4(address_of(index).ip)), "{name}");
    }
    pod(&here, "before");
    assert!(!second.vm.console().text().contains(LEADS), "both have the address");
    let there = planes.kubectl(&second, NAMES[1]);
    assert_eq!(there.path(&["pod", "before"], "{.spec.nodeName}"), NAMES[2]);

    // The plug is pulled: nothing is given back.
    drop(first);
    second.vm.wait_console(LEADS, limit(READY)).unwrap_or_else(|err| panic!("{err}"));
    let lease = || there.try_path(&["lease", NAMES[2], "-n", "kube-node-lease"], "{.spec.renewTime}");
    let moved = eventually("the worker's Lease", limit(60), lease);
    eventually("the worker to renew its Lease by the other control plane", limit(READY), || match lease()? {
        now if now > moved => Ok(()),
        now => Err(format!("{now}\n{}", worker.vm.console().tail())),
    });
    pod(&there, "after");
    assert_eq!(there.path(&["pod", "after"], "{.spec.nodeName}"), NAMES[2]);
    wait_ready(&there, NAMES[0], "Unknown");
    wait_ready(&there, NAMES[2], "True");
}
