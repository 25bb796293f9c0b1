//! A machine of two memory nodes with two processors each, and with swap: who asks for whole CPUs gets them and memory of one node, who
//! cannot is refused, and who may swap does.

use rk_tests::{Kubectl, Shared, eventually, limit, shared_with};
use serde_json::json;
use std::sync::MutexGuard;

/// Every feature of the kubelet that divides the machine up. CPU 0 is the node's own.
fn cluster() -> MutexGuard<'static, Shared> {
    shared_with("numa", 0, |spec| {
        spec.memory_nodes = 2;
        spec.cpus = 4;
        spec.memory_mib = 1280;
        spec.swap_mib = 256;
        spec.kubelet = json!({
            "cpuManagerPolicy": "static", "reservedSystemCPUs": "0",
            "memoryManagerPolicy": "Static", "reservedMemory": [{"numaNode": 0, "limits": {"memory": "100Mi"}}],
            "topologyManagerPolicy": "single-numa-node",
            "memorySwap": {"swapBehavior": "LimitedSwap"},
            "userNamespaces": {"idsPerPod": 131_072},
        });
    })
}

/// A busybox pod whose container asks for `resources`, bound to the node without asking the scheduler.
fn pod(name: &str, more: &str, command: &str, resources: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: control-plane\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n{more}  containers:\n  - name: main\n    image: rk.local/busybox:demo\n    \
         command: [sh, -c, {command:?}]\n    resources: {resources}\n"
    )
}

fn guaranteed(cpu: &str, memory: &str) -> String {
    format!("{{requests: {{cpu: '{cpu}', memory: {memory}}}, limits: {{cpu: '{cpu}', memory: {memory}}}}}")
}

fn ready(kubectl: &Kubectl, name: &str) {
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
}

/// What the kernel holds the first process of a pod to: its CPUs and its memory nodes.
fn held(kubectl: &Kubectl, pod: &str) -> Result<(String, String), String> {
    let answer = kubectl.run(&["exec", pod, "--", "cat", "/proc/1/status"]);
    let of = |field: &str| {
        let line = answer.out.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned()).ok_or_else(|| format!("{}{}", answer.out, answer.err))
    };
    Ok((of("Cpus_allowed_list")?, of("Mems_allowed_list")?))
}

fn refused(kubectl: &Kubectl, name: &str, reason: &str, message: &str) {
    eventually(&format!("{name} is refused"), limit(30), || {
        let seen = kubectl.try_path(&["pod", name], "{.status.phase} {.status.reason} {.status.message}")?;
        if seen == format!("Failed {reason} Pod was rejected: {message}") { Ok(()) } else { Err(seen) }
    });
}

fn delete(kubectl: &Kubectl, names: &[&str]) {
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&[&["delete", "pod", "--wait=true", &timeout], names].concat());
}

#[test]
fn guaranteed_pods_get_cpus_and_memory_of_one_node_and_others_leave_them() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("numa");
    kubectl.apply(&pod("shares", "", "exec sleep 3600", "{}"));
    ready(&kubectl, "shares");
    assert_eq!(held(&kubectl, "shares"), Ok(("0-3".into(), "0-1".into())));
    kubectl.apply(&pod("pair", "", "exec sleep 3600", &guaranteed("2", "64Mi")));
    kubectl.apply(&pod("one", "", "exec sleep 3600", &guaranteed("1", "64Mi")));
    ready(&kubectl, "pair");
    ready(&kubectl, "one");
    // Of the first node one CPU is the machine's own: two fit on the second alone.
    assert_eq!(held(&kubectl, "pair"), Ok(("2-3".into(), "1".into())));
    assert_eq!(held(&kubectl, "one"), Ok(("1".into(), "0".into())));
    eventually("the others leave those CPUs", limit(30), || match held(&kubectl, "shares")? {
        (cpus, mems) if cpus == "0" && mems == "0-1" => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    // A kubelet that starts anew knows what it gave.
    let more = "  hostPID: true\n";
    let privileged = pod("killer", more, "exec sleep 3600", "{}") + "    securityContext: {privileged: true}\n";
    kubectl.apply(&privileged);
    ready(&kubectl, "killer");
    delete(&kubectl, &["one"]);
    let _ = kubectl.run(&["exec", "killer", "--", "sh", "-c", "kill -9 $(pidof rk-node)"]);
    kubectl.apply(&pod("single", "", "exec sleep 3600", &guaranteed("1", "64Mi")));
    ready(&kubectl, "single");
    assert_eq!(held(&kubectl, "single"), Ok(("1".into(), "0".into())));
    assert_eq!(held(&kubectl, "pair"), Ok(("2-3".into(), "1".into())));
    delete(&kubectl, &["pair", "single", "killer"]);
    // Three CPUs are free and so is enough memory, but neither of one node.
    let message = "Resources cannot be allocated with Topology locality";
    kubectl.apply(&pod("three", "", "exec sleep 3600", &guaranteed("3", "64Mi")));
    refused(&kubectl, "three", "TopologyAffinityError", message);
    kubectl.apply(&pod("large", "", "exec sleep 3600", &guaranteed("1", "700Mi")));
    refused(&kubectl, "large", "TopologyAffinityError", message);
    // What the others had is free at once.
    kubectl.apply(&pod("again", "", "exec sleep 3600", &guaranteed("2", "64Mi")));
    ready(&kubectl, "again");
    assert_eq!(held(&kubectl, "again"), Ok(("2-3".into(), "1".into())));
    delete(&kubectl, &["shares", "again", "three", "large"]);
}

#[test]
fn a_burstable_pod_swaps_as_far_as_its_share_and_others_not_at_all() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("swap");
    let capacity: u64 = kubectl.path(&["nodes"], "{.items[0].status.nodeInfo.swap.capacity}").parse().expect("bytes");
    assert!((250 << 20..=256 << 20).contains(&capacity), "{capacity}");
    let burstable = "{requests: {memory: 32Mi}, limits: {memory: 48Mi}}";
    let show = "cat /sys/fs/cgroup/memory.swap.max; exec sleep 3600";
    kubectl.apply(&pod("burstable", "", show, burstable));
    kubectl.apply(&pod("guaranteed", "", show, &guaranteed("100m", "32Mi")));
    let most = |pod: &str| -> u64 {
        ready(&kubectl, pod);
        eventually("its limit", limit(30), || {
            let said = kubectl.ok(&["logs", pod]);
            said.trim().parse().map_err(|_| said)
        })
    };
    assert_eq!(most("guaranteed"), 0);
    let share = most("burstable");
    // 32 of about 1240 MiB of memory, of 256 MiB of swap.
    assert!((6 << 20..8 << 20).contains(&share), "{share}");
    // Files in memory beyond the limit are swapped out.
    let filled = kubectl.run(&[
        "exec",
        "burstable",
        "--",
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=50 2>/dev/null; cat /sys/fs/cgroup/memory.swap.current",
    ]);
    let swapped: u64 = filled.out.trim().parse().unwrap_or_else(|_| panic!("{}{}", filled.out, filled.err));
    assert!(swapped > 0 && swapped <= share, "{swapped} of {share}");
    let metrics = kubectl.ok(&["get", "--raw", "/api/v1/nodes/control-plane/proxy/metrics/resource"]);
    let line = format!("container_swap_limit_bytes{{container=\"main\",namespace=\"swap\",pod=\"burstable\"}} {share}");
    assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    delete(&kubectl, &["burstable", "guaranteed"]);
}

#[test]
fn pods_have_as_many_ids_as_the_node_says() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("ids");
    kubectl.apply(&pod("own", "  hostUsers: false\n", "cat /proc/self/uid_map; exec sleep 3600", "{}"));
    ready(&kubectl, "own");
    let map = eventually("its ids", limit(30), || {
        let said = kubectl.ok(&["logs", "own"]);
        if said.trim().is_empty() { Err(said) } else { Ok(said) }
    });
    let numbers: Vec<u32> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(
        (numbers.first(), numbers.get(1).map(|base| base % 131_072), numbers.get(2)),
        (Some(&0), Some(0), Some(&131_072)),
        "{map}"
    );
    delete(&kubectl, &["own"]);
}
