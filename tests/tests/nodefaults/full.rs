//! A disk without space, and a hosts file without end: the pod that filled it goes.

use super::{HOLDINGS, back_to, cluster, condition, delete, observers, pod, ready, sh, unharmed};
use rk_tests::{Kubectl, eventually, limit};

/// Waits until the kubelet has evicted `name`; answers why.
fn evicted(kubectl: &Kubectl, name: &str) -> String {
    eventually(&format!("the eviction of {name}"), limit(180), || {
        match kubectl.try_path(&["pod", name], "{.status.phase} {.status.reason}")?.as_str() {
            "Failed Evicted" => Ok(()),
            seen => Err(seen.to_owned()),
        }
    });
    kubectl.path(&["pod", name], "{.status.message}")
}

const VOLUME: &str = "  volumes: [{name: v, emptyDir: {}}]\n";
const MOUNT: &str = "    volumeMounts: [{name: v, mountPath: /v}]\n";

#[test]
fn a_full_disk_costs_the_pod_that_filled_it_and_is_free_again() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("full-disk");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    kubectl.apply(&pod("modest", "exec sleep 36000", VOLUME, MOUNT));
    ready(&kubectl, "modest");
    // All but a twentieth of what is free.
    let fill =
        "free=$(df -k /v | awk 'END {print $4}'); fallocate -l $((free / 20 * 19 * 1024)) /v/all; exec sleep 36000";
    kubectl.apply(&pod("greedy", fill, VOLUME, MOUNT));
    let message = evicted(&kubectl, "greedy");
    assert!(message.starts_with("The node was low on resource: ephemeral-storage."), "{message}");
    condition(&kubectl, "DiskPressure", "False", 180);
    assert_eq!(kubectl.path(&["pod", "modest"], "{.status.phase}"), "Running");
    delete(&kubectl, &["pod", "greedy", "modest"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn inodes_that_run_out_cost_the_pod_that_took_them() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("full-inodes");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    kubectl.apply(&pod("modest", "exec sleep 36000", VOLUME, MOUNT));
    ready(&kubectl, "modest");
    // A fifth of all, of which nine tenths must stay free here: as many files, without a byte in them.
    let take = "all=$(df -i /v | awk 'END {print $2}'); n=0; while [ $n -lt $((all / 25000)) ]; do mkdir /v/$n; \
                (cd /v/$n && seq 5000 | xargs touch); n=$((n + 1)); done; exec sleep 36000";
    kubectl.apply(&pod("many", take, VOLUME, MOUNT));
    let message = evicted(&kubectl, "many");
    assert!(message.starts_with("The node was low on resource: inodes."), "{message}");
    condition(&kubectl, "DiskPressure", "False", 180);
    assert_eq!(kubectl.path(&["pod", "modest"], "{.status.phase}"), "Running");
    delete(&kubectl, &["pod", "many", "modest"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn what_a_pod_writes_into_its_hosts_file_counts_as_its_own() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("full-hosts");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let limits = "    resources: {limits: {ephemeral-storage: 8Mi}}\n";
    kubectl.apply(&pod("writes", "head -c 20000000 /dev/zero >> /etc/hosts; exec sleep 36000", "", limits));
    let message = evicted(&kubectl, "writes");
    assert!(message.contains("exceeds the total limit of containers"), "{message}");
    delete(&kubectl, &["pod", "writes"]);
    // Its folder goes after the pod.
    let find = "find /proc/1/root/var/lib/kubelet/pods -name etc-hosts -size +8000k | wc -l";
    eventually("the file to go", limit(60), || match sh(&kubectl, "inspector", find)?.trim() {
        "0" => Ok(()),
        left => Err(format!("{left} are left")),
    });
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}
