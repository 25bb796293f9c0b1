//! A full data disk: the node says so, goes on answering, starts again with it, and is well once there is room.

use super::{Worker, plane, pod, sh};
use rk_tests::{Kubectl, eventually, limit};
use std::process::Command;

/// Sees a pod refused that comes past the scheduler: it would only be evicted.
fn refused(kubectl: &Kubectl, node: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: late}}\nspec:\n  nodeName: {node}\n  containers:\n  \
         - {{name: main, image: {}, command: [sleep, \"36000\"]}}\n",
        super::IMAGE
    ));
    eventually("the refusal", limit(60), || {
        match kubectl.try_path(&["pod", "late"], "{.status.reason}: {.status.message}")? {
            seen if seen.starts_with("Evicted: ") && seen.contains("The node had condition: [DiskPressure].") => Ok(()),
            seen => Err(seen),
        }
    });
}

#[test]
fn a_pod_that_fills_the_disk_is_evicted_and_the_node_is_well_again() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 21);
    worker.start(1024);
    worker.wait_ready();
    let kubectl = shared.kubectl.new_namespace("filler");
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    let fill = "i=0; while head -c 10000000 /dev/zero > /v/$i; do i=$((i+1)); done; exec sleep 36000";
    // The pod itself is what the command runs in: it waits for its end in vain.
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: filler}}\nspec:\n  nodeName: {}\n  terminationGracePeriodSeconds: 1\n{volume}  \
         containers:\n  - {{name: main, image: {}, command: [sh, -c, {fill:?}], volumeMounts: [{{name: v, mountPath: /v}}]}}\n",
        worker.name,
        super::IMAGE
    ));
    worker.wait_condition("DiskPressure", "True", 180);
    worker.answers();
    eventually("the eviction", limit(120), || {
        match kubectl.try_path(&["pod", "filler"], "{.status.reason}")?.as_str() {
            "Evicted" => Ok(()),
            seen => Err(seen.to_owned()),
        }
    });
    worker.wait_condition("DiskPressure", "False", 240);
    worker.wait_condition("Ready", "True", 30);
    worker.runs_a_pod("after-filler");
}

#[test]
fn a_machine_starts_with_a_full_disk_says_so_and_is_well_once_there_is_room() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 22);
    worker.start(1024);
    worker.wait_ready();
    let kubectl = shared.kubectl.new_namespace("full");
    // Critical, for an eviction in the middle would end the writer before the disk is full.
    pod(
        &kubectl,
        "writer",
        &worker.name,
        "exec sleep 36000",
        "  hostPID: true\n  priorityClassName: system-node-critical\n",
    );
    // To the last block: the second writer takes what is too small for the first.
    let fill = "cd /proc/1/root/var; dd if=/dev/zero of=filler bs=1M 2>/dev/null; dd if=/dev/zero of=rest bs=512 2>/dev/null; \
                df -k /proc/1/root/var | tail -1";
    let df = sh(&kubectl, "writer", fill).expect("a full disk");
    let free: u64 = df.split_whitespace().nth(3).and_then(|n| n.parse().ok()).expect("df");
    assert!(free < 64, "{df}");
    worker.wait_condition("DiskPressure", "True", 120);
    refused(&kubectl, &worker.name);
    worker.answers();
    worker.rkctl(&["node", "events"]).good();
    let mark = worker.vm().console().mark();
    worker.rkctl(&["node", "reboot"]).good();
    assert!(worker.vm().wait_end(limit(120)), "it did not go down:\n{}", worker.vm().console().tail());
    worker.start_again();
    worker.vm().wait_console_from(mark, "config accepted", limit(60)).unwrap_or_else(|err| panic!("{err}"));
    worker.answers();
    eventually("the node's word with a full disk", limit(120), || {
        // From before the reboot it is not: the Ready condition has a newer heartbeat then.
        let pressure = worker.condition("DiskPressure")?;
        let ready = worker.condition("Ready")?;
        if pressure == "True" && ready == "True" { Ok(()) } else { Err(format!("pressure {pressure}, ready {ready}")) }
    });
    let text = worker.vm().console().text_since(mark);
    assert!(!text.contains("Kernel panic"), "{text}");
    worker.rkctl(&["node", "shutdown"]).good();
    assert!(worker.vm().wait_end(limit(120)), "it did not go down:\n{}", worker.vm().console().tail());
    for file in ["filler", "rest"] {
        let removed = Command::new("debugfs")
            .args(["-w", "-R", &format!("rm /{file}")])
            .arg(worker.dir.join("data.img"))
            .env("PATH", rk_qemu::disk::sbin_path())
            .output()
            .expect("debugfs");
        assert!(removed.status.success(), "{removed:?}");
    }
    worker.start_again();
    worker.wait_condition("DiskPressure", "False", 240);
    worker.wait_ready();
    worker.runs_a_pod("after-full");
}
