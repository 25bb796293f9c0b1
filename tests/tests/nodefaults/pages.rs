//! Huge pages: told by the node once it has them, and files of the pods that ask for them.

use super::{cluster, delete, observers, pod, ready, ready_node, sh};
use rk_tests::{Kubectl, eventually, limit};

/// Sets the number of huge pages of two mebibytes, and starts the kubelet anew, which counts them at its start.
fn pages(kubectl: &Kubectl, number: u32) {
    let before = sh(kubectl, "inspector", "pidof rk-node").expect("rk-node runs");
    sh(kubectl, "inspector", &format!("echo {number} > /proc/sys/vm/nr_hugepages")).expect("pages are free");
    // The stream dies with the process that carries it.
    let _ = sh(kubectl, "inspector", "kill -9 $(pidof rk-node)");
    eventually("another rk-node", limit(60), || match sh(kubectl, "inspector", "pidof rk-node")? {
        now if now != before && !now.trim().is_empty() => Ok(()),
        now => Err(now),
    });
    let told = [format!("{}Mi", number * 2), (u64::from(number) << 21).to_string()];
    eventually("the node to tell its pages", limit(60), || {
        match kubectl.try_path(&["node", "worker-1"], "{.status.allocatable.hugepages-2Mi}")? {
            seen if told.contains(&seen) => Ok(()),
            seen => Err(seen),
        }
    });
    ready_node(kubectl);
}

#[test]
fn huge_pages_of_the_node_are_files_of_the_pod_that_asks_for_them() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("huge-pages");
    observers(&kubectl);
    pages(&kubectl, 8);
    let volume = "  volumes: [{name: v, emptyDir: {medium: HugePages}}]\n";
    let mount = "    volumeMounts: [{name: v, mountPath: /v}]\n";
    let asks = "    resources: {limits: {cpu: 100m, memory: 32Mi, hugepages-2Mi: 4Mi}}\n";
    kubectl.apply(&pod("asks", "exec sleep 36000", volume, &format!("{mount}{asks}")));
    ready(&kubectl, "asks");
    sh(&kubectl, "asks", "grep -q ' /v hugetlbfs rw.*pagesize=2M' /proc/mounts").expect("pages of the size asked for");
    assert_eq!(sh(&kubectl, "asks", "cat /sys/fs/cgroup/hugetlb.2MB.max").as_deref().map(str::trim), Ok("4194304"));
    sh(&kubectl, "asks", "truncate -s 2097152 /v/page && test $(stat -c %s /v/page) = 2097152")
        .expect("a file of a page");
    // Who asks for none gets no volume of them.
    kubectl.apply(&pod("asks-not", "exec sleep 36000", volume, mount));
    eventually("the reason", limit(60), || {
        let path = "{.items[?(@.reason==\"FailedMount\")].message}";
        let told = kubectl.try_path(&["events"], path)?;
        if told.contains("there is no resource request for huge pages") { Ok(()) } else { Err(told) }
    });
    delete(&kubectl, &["pod", "asks", "asks-not"]);
    pages(&kubectl, 0);
}
