//! A node alone: what it says and does when nobody answers, and a control plane that is its own only node.

#[path = "node/changes.rs"]
mod changes;
#[path = "node/companions.rs"]
mod companions;
#[path = "node/consume.rs"]
mod consume;
#[path = "node/csi.rs"]
mod csi;
#[path = "node/dra.rs"]
mod dra;
#[path = "node/driver.rs"]
mod driver;
#[path = "node/faults.rs"]
mod faults;
#[path = "node/figures.rs"]
mod figures;
#[path = "node/lifecycle.rs"]
mod lifecycle;
#[path = "node/local.rs"]
mod local;
#[path = "node/outcomes.rs"]
mod outcomes;
#[path = "node/places.rs"]
mod places;
#[path = "node/pods.rs"]
mod pods;
#[path = "node/programs.rs"]
mod programs;
#[path = "node/users.rs"]
mod users;

use rk_qemu::cluster::{Cluster, ClusterSpec, NodePlan, Surroundings, address_of, machine_config};
use rk_qemu::pki::Pki;
use rk_qemu::switch::Switch;
use rk_qemu::vm::{Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk};
use rk_tests::{Shared, artifacts, eventually, limit, shared};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

/// The control plane as its own node: no workers.
fn single() -> MutexGuard<'static, Shared> {
    shared("node", 0)
}

fn folder(name: &str) -> PathBuf {
    rk_tests::folder("node-alone", name)
}

/// `worker-1` on `socket`, with the secrets of `pki`.
fn worker(dir: &Path, socket: PathBuf, pki: &Pki) -> Vm {
    let artifacts = artifacts();
    let around = Surroundings {
        cluster: "alone".into(),
        control_plane: address_of(0).ip,
        registry: "http://10.0.2.2:1".into(),
        time_servers: Vec::new(),
        kubelet: serde_json::Value::Null,
        node_mask: None,
        dual_stack: false,
        swap_mib: 0,
    };
    let plan = NodePlan::of(1);
    let config = machine_config(&plan, &around, pki).expect("config");
    let (seed, data) = (dir.join("cidata.img"), dir.join("data.img"));
    cidata::create(&seed, &config, "instance-id: alone\n").expect("config drive");
    disk::create_data(&data, 1024).expect("data disk");
    let spec = VmSpec::new("worker-1", dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
        .drive(&seed, true)
        .drive(&data, false)
        .nic(Nic::Uplink { mac: plan.address.uplink_mac.clone(), forwards: Vec::new() })
        .nic(Nic::Switch { mac: plan.address.mac, socket });
    Vm::start(&spec).expect("QEMU")
}

#[test]
fn a_node_without_its_control_plane_says_so_and_keeps_trying() {
    let dir = folder("orphan");
    let switch = Switch::new(&dir);
    let (_, socket) = switch.add_port().expect("port");
    let mut vm = worker(&dir, socket, &Pki::generate().expect("pki"));
    vm.wait_console("192.168.77.10:6443", limit(30)).unwrap_or_else(|e| panic!("{e}"));
    assert!(vm.ended().is_none(), "the machine went down");
    assert!(vm.shutdown(limit(20)), "it did not power off:\n{}", vm.console().tail());
}

#[test]
fn a_wrong_token_is_told_in_one_clear_line() {
    let artifacts = artifacts();
    let mut spec = ClusterSpec::new("token", &artifacts.work.join("token"), &artifacts);
    spec.workers = 0;
    let cluster = Cluster::start(&spec).expect("cluster");
    let api = cluster.api().expect("api");
    eventually("the API", limit(60), || api.ready().map_err(|e| e.to_string()));
    let dir = folder("token");
    let (_, socket) = cluster.switch().add_port().expect("port");
    let mut pki = cluster.pki().clone();
    pki.token = "aaaaaa.bbbbbbbbbbbbbbbb".into();
    let mut vm = worker(&dir, socket, &pki);
    let line = vm.wait_console("bootstrap token", limit(60)).unwrap_or_else(|e| panic!("{e}"));
    assert!(!line.contains("bbbbbbbb"), "a secret on the console: {line}");
    assert!(vm.ended().is_none(), "the machine went down");
}

#[test]
fn a_control_plane_alone_runs_pods_that_tolerate_it() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("alone");
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: here}\nspec:\n  tolerations: [{operator: Exists}]\n  containers:\n  \
         - {name: main, image: rk.local/busybox:demo, command: [sleep, '3600']}\n",
    );
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/here", &format!("--timeout={}s", limit(60).as_secs())]);
    kubectl.ok(&[
        "delete",
        "pod",
        "here",
        "--grace-period=1",
        "--wait=true",
        &format!("--timeout={}s", limit(30).as_secs()),
    ]);
}

#[test]
fn a_pod_without_toleration_stays_away_from_the_control_plane() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("away");
    kubectl.ok(&["run", "away", "--image=rk.local/busybox:demo", "--command", "--", "sleep", "3600"]);
    let message = eventually("the scheduler's verdict", limit(30), || {
        let path = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
        match kubectl.try_path(&["pod", "away"], path)? {
            seen if seen.contains("taint") => Ok(seen),
            seen => Err(seen),
        }
    });
    assert!(message.contains("0/1 nodes are available"), "{message}");
}

#[test]
fn secrets_and_tokens_do_not_reach_the_console() {
    let mut shared = single();
    let token = shared.cluster.pki().token.clone();
    let text = shared.cluster.vm("control-plane").expect("vm").console().text();
    let secret = token.split('.').nth(1).unwrap_or_default();
    assert!(!text.contains(secret) && !text.contains("PRIVATE KEY"), "{text}");
}
