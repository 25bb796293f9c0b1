//! A control plane alone and its operator: several addresses asked at once, and the store as it was before.

use super::{Guest, folder};
use rk_qemu::cidata;
use rk_qemu::vm::{Vm, VmSpec};
use rk_tests::exit::UNREACHABLE;
use rk_tests::{Kubectl, MACHINE_API, Operator, admin, artifacts, eventually, free_address, limit, uplink};
use std::net::SocketAddr;
use std::path::Path;

/// Port of the API server in the guest.
const API: u16 = 6443;
/// From power-on to a control plane that serves.
const SERVES: u64 = 120;

/// A control plane that serves, an administrator's kubectl, and a second address at which its machine API is reached.
pub(super) struct Plane {
    pub(super) guest: Guest,
    pub(super) kubectl: Kubectl,
    also: SocketAddr,
}

/// Boots one in a folder of its own; `more` is added to its config.
pub(super) fn control_plane(name: &str, more: impl FnOnce(&Path) -> String, change: impl FnOnce(&mut VmSpec)) -> Plane {
    let (dir, artifacts) = (folder(name), artifacts());
    let operator = Operator::new(&artifacts, &dir);
    operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    let config = std::fs::read_to_string(dir.join("control-plane.yaml")).expect("control-plane.yaml");
    let seed = dir.join("cidata.img");
    cidata::create(&seed, &format!("{config}\n{}", more(&dir)), "instance-id: plane\n").expect("config drive");
    let (node, also, api) = (free_address(), free_address(), free_address());
    let mut spec = VmSpec::new(name, &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs));
    spec = spec.drive(&seed, true).drive(&dir.join("data.img"), false);
    spec = spec.nic(uplink(&[(node, MACHINE_API), (also, MACHINE_API), (api, API)]));
    spec.memory_mib = 1536;
    change(&mut spec);
    let vm = Vm::start(&spec).expect("QEMU");
    let guest = Guest { vm, dir: dir.clone(), node: node.to_string(), figures: node, operator };
    guest.answers();
    let kubectl = admin(&dir, api, limit(SERVES), || guest.rkctl(&["node", "kubeconfig"]));
    Plane { guest, kubectl, also }
}

#[test]
fn several_nodes_are_asked_at_once_and_a_store_goes_back_to_its_snapshot() {
    let Plane { guest, kubectl, also } = control_plane("plane", |_| String::new(), |_| {});
    several(&guest, also);
    kubectl.ok(&["create", "configmap", "before"]);
    guest.rkctl(&["store", "snapshot", "store.db"]).good();
    let snapshot = std::fs::read(guest.dir.join("store.db")).expect("a snapshot");
    assert!(snapshot.starts_with(b"SQLite format 3\0"), "{} bytes of something else", snapshot.len());
    kubectl.ok(&["create", "configmap", "after"]);
    // What is no snapshot changes nothing.
    std::fs::write(guest.dir.join("noise.db"), vec![0xa5; 100_000]).expect("file");
    let refused = guest.rkctl(&["store", "restore", "noise.db"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    kubectl.ok(&["get", "configmap", "after"]);
    guest.rkctl(&["store", "restore", "store.db"]).good();
    eventually("the store as it was", limit(SERVES), || {
        let [before, after] = ["before", "after"].map(|name| kubectl.run(&["get", "configmap", name]));
        let gone = !after.success && after.err.contains("NotFound");
        if before.success && gone { Ok(()) } else { Err(format!("{before:?}\n{after:?}")) }
    });
}

/// A list has the answers of all, and of those that answer when one does not.
fn several(guest: &Guest, also: SocketAddr) {
    let (node, also, dead) = (guest.node.as_str(), also.to_string(), free_address().to_string());
    let ask = |nodes: &[&str]| guest.operator.run(&["--timeout", "120", "-n", &nodes.join(","), "node", "services"]);
    let both = |out: &str| {
        let named = |address: &str| out.lines().any(|line| line.starts_with(address) && line.contains("netd"));
        out.starts_with("NODE") && named(node) && named(&also)
    };
    let out = ask(&[node, also.as_str()]).good();
    assert!(both(&out), "{out}");
    let answers = ask(&[node, dead.as_str(), also.as_str()]);
    assert!(answers.code == UNREACHABLE && both(&answers.out) && answers.err.contains(&dead), "{answers:?}");
}
