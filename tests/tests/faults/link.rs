//! Networks that come late, whose cable flaps, and that lose packets.

use super::{Worker, plane, pod, sh};
use rk_config::Interface;
use rk_qemu::switch::{Fault, dhcp_server};
use rk_tests::{eventually, limit};
use std::net::Ipv4Addr;
use std::time::Duration;

const DHCP_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 253);

#[test]
fn a_node_whose_dhcp_server_comes_late_joins_then() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 11);
    let address = worker.address;
    let between = worker.config.network.interfaces.last_mut().expect("an interface");
    *between = Interface { matches: between.matches.clone(), dhcp: true, ..Interface::default() };
    worker.start(1024);
    // It has tried for a while, and told why.
    worker.says("cannot join the cluster");
    assert!(!worker.vm().console().text().contains("by DHCP from 192.168.77"), "an address out of nowhere");
    let server = dhcp_server(shared.cluster.switch(), DHCP_SERVER, address).expect("a DHCP server");
    worker.says(&format!("has {address}/24 by DHCP from {DHCP_SERVER}"));
    worker.wait_ready();
    assert!(server.answered() >= 2);
    worker.runs_a_pod("late");
}

#[test]
fn a_flapping_cable_costs_no_node_its_readiness_and_a_long_cut_only_until_it_ends() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 12);
    worker.start(1024);
    worker.wait_ready();
    worker.answers();
    let kubectl = shared.kubectl.new_namespace("flap");
    pod(&kubectl, "stays", &worker.name, "exec sleep 36000", "");
    let since = worker.ready_since();
    let plug = |worker: &mut Worker, up: bool| {
        worker.vm().qmp().and_then(|mut qmp| qmp.set_link("net1", up)).expect("a cable");
    };
    for _ in 0..12 {
        plug(&mut worker, false);
        std::thread::sleep(Duration::from_secs(2));
        plug(&mut worker, true);
        std::thread::sleep(Duration::from_secs(2));
    }
    eventually("the pod through the mended cable", limit(60), || sh(&kubectl, "stays", "echo here"));
    assert_eq!(worker.ready_since(), since, "the node was not Ready meanwhile");
    // The way in from the operator is another card.
    plug(&mut worker, false);
    worker.answers();
    worker.wait_condition("Ready", "Unknown", 120);
    plug(&mut worker, true);
    worker.wait_ready();
    eventually("the pod through the mended cable", limit(60), || sh(&kubectl, "stays", "echo here"));
    let restarts = kubectl.path(&["pod", "stays"], "{.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0");
}

#[test]
fn a_network_that_loses_one_packet_of_a_hundred_carries_nodes_and_pods() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 13);
    let lossy = Fault { drop_percent: 1, delay: Duration::ZERO };
    let (port, socket) = shared.cluster.switch().add_port().expect("port");
    if let Some(rk_qemu::vm::Nic::Switch { socket: theirs, .. }) = worker.spec.nics.last_mut() {
        *theirs = socket;
    }
    for port in [port, shared.cluster.port("control-plane").expect("port")] {
        shared.cluster.switch().set_fault(port, lossy);
    }
    let before = shared.cluster.switch().counters().dropped;
    worker.start(1024);
    worker.wait_ready();
    let since = worker.ready_since();
    let kubectl = shared.kubectl.new_namespace("loss");
    let serve = "mkdir /w; head -c 1000000 /dev/zero > /w/x; exec httpd -f -p 8080 -h /w";
    pod(&kubectl, "server", &worker.name, serve, "");
    pod(&kubectl, "client", "control-plane", "exec sleep 36000", "");
    let address = kubectl.path(&["pod", "server"], "{.status.podIP}");
    let fetch = format!("for n in $(seq 30); do wget -T 20 -qO- http://{address}:8080/x | wc -c; done");
    let got = sh(&kubectl, "client", &fetch).expect("thirty megabytes");
    assert_eq!(got.lines().filter(|line| line.trim() == "1000000").count(), 30, "{got}");
    worker.runs_a_pod("lossy");
    assert_eq!(worker.ready_since(), since, "the node was not Ready meanwhile");
    assert!(shared.cluster.switch().counters().dropped > before + 20, "nothing was lost");
    shared.cluster.switch().heal();
}
