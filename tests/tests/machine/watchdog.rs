//! The watchdog bites: a node agent that is there and does nothing costs the machine a restart, and no more.

use super::{Guest, PORT, folder};
use rk_qemu::cidata;
use rk_qemu::vm::{Forward, Machine, Nic, Vm, VmSpec};
use rk_tests::{Operator, admin, artifacts, eventually, limit, registry};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Port of the API server in the guest.
const API: u16 = 6443;
/// A minute of patience, half a minute of the device, and a start of machine and control plane.
const BITE: u64 = 240;
/// A privileged pod may do this to its node: the agent keeps its process and gets no turn any more.
const HANG: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hang}
spec:
  restartPolicy: Never
  hostPID: true
  hostNetwork: true
  tolerations: [{operator: Exists}]
  containers:
  - name: c
    image: rk.local/busybox:demo
    command: [sh, -c, 'kill -STOP $(pidof rk-node)']
    securityContext: {privileged: true}
";

#[test]
fn a_machine_whose_agent_hangs_is_restarted_by_its_watchdog_and_comes_back_ready() {
    let (dir, artifacts) = (folder("watchdog"), artifacts());
    let (_registry, mirror) = registry(&dir);
    let operator = Operator::new(&artifacts, &dir);
    operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    let config = std::fs::read_to_string(dir.join("control-plane.yaml")).expect("control-plane.yaml");
    let seed = dir.join("cidata.img");
    let config = format!("{config}\nregistries: {{mirrors: [{mirror}]}}\n");
    cidata::create(&seed, &config, "instance-id: watchdog\n").expect("config drive");
    let free = || -> SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a free port")
    };
    let (node, api) = (free(), free());
    let forwards = vec![Forward { host: node, guest: PORT }, Forward { host: api, guest: API }];
    let mut spec = VmSpec::new("watchdog", &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs));
    spec = spec.drive(&seed, true).drive(&dir.join("data.img"), false);
    spec = spec.nic(Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards });
    spec.cmdline.push("rk.watchdog=60".to_owned());
    (spec.machine, spec.memory_mib, spec.watchdog, spec.restarts) = (Machine::Q35, 1536, true, true);
    let vm = Vm::start(&spec).expect("QEMU");
    let mut guest = Guest { vm, dir: dir.clone(), node: node.to_string(), figures: node, operator };
    guest.answers();
    let kubectl = admin(&dir, api, limit(120), || guest.rkctl(&["node", "kubeconfig"]));
    let mark = guest.vm.console().mark();
    kubectl.apply(HANG);
    let mut says =
        |words: &str| guest.vm.wait_console_from(mark, words, limit(BITE)).unwrap_or_else(|err| panic!("{err}"));
    says("the node agent gives no sign of life: the watchdog is not fed and restarts the machine");
    let said = says("ready for its config");
    // It was no orderly end: nobody asked for one.
    assert!(!said.contains("reboot asked by") && !said.contains("unmounting"), "{said}");
    says("config accepted");
    eventually("a node that says that it is Ready", limit(BITE), || {
        let out = guest.rkctl(&["health"]);
        let line = out.out.lines().find(|line| line.starts_with("node ")).unwrap_or_default().to_owned();
        if line.split_whitespace().nth(1) == Some("yes") { Ok(()) } else { Err(format!("{out:?}")) }
    });
    assert!(guest.vm.ended().is_none(), "the machine went down");
}
