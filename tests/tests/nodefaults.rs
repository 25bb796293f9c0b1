//! What hostile pods, broken images, full disks and power cuts do to a worker: nothing that lasts, and nothing to their neighbours.
//! Short by default; `RK_LONG` makes it 10 000 execs, 100 000 orphans and 50 power cuts, and `RK_EXECS`, `RK_ORPHANS` and `RK_CUTS` what
//! one likes.

#[path = "nodefaults/floods.rs"]
mod floods;
#[path = "nodefaults/full.rs"]
mod full;
#[path = "nodefaults/images.rs"]
mod images;
#[path = "nodefaults/layers.rs"]
mod layers;
#[path = "nodefaults/pages.rs"]
mod pages;

use rk_tests::{Kubectl, Shared, eventually, limit, shared_with};
use serde_json::json;
use std::sync::MutexGuard;

/// One worker beside the control plane, which gets short of inodes early and forgets a shortage soon.
fn cluster() -> MutexGuard<'static, Shared> {
    let shared = shared_with("nodefaults", 1, |spec| {
        spec.kubelet = json!({
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "10%", "imagefs.available": "10%",
                "nodefs.inodesFree": "90%", "pid.available": "10%"},
            "evictionPressureTransitionPeriod": "5s",
        });
    });
    ready_node(&shared.kubectl);
    shared
}

/// A busybox pod on the worker. `more` is YAML of the pod's spec, `container` of its container.
fn pod(name: &str, command: &str, more: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: worker-1\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n{more}  containers:\n  - name: main\n    image: rk.local/busybox:demo\n    \
         command: [sh, -c, {command:?}]\n{container}"
    )
}

fn ready(kubectl: &Kubectl, name: &str) {
    kubectl.ok(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{name}"),
        &format!("--timeout={}s", limit(60).as_secs()),
    ]);
}

fn sh(kubectl: &Kubectl, pod: &str, script: &str) -> Result<String, String> {
    let answer = kubectl.run(&["exec", pod, "--", "sh", "-c", script]);
    if answer.success { Ok(answer.out) } else { Err(format!("{}{}", answer.out, answer.err)) }
}

fn condition(kubectl: &Kubectl, type_: &str, wanted: &str, seconds: u64) {
    let path = format!("{{.status.conditions[?(@.type==\"{type_}\")].status}}");
    eventually(&format!("{type_} {wanted}"), limit(seconds), || {
        match kubectl.try_path(&["node", "worker-1"], &path)? {
            seen if seen == wanted => Ok(()),
            seen => Err(seen),
        }
    });
}

fn ready_node(kubectl: &Kubectl) {
    condition(kubectl, "Ready", "True", 120);
}

/// A privileged pod that sees the worker's processes, links and files, and one that must not notice anything.
fn observers(kubectl: &Kubectl) {
    let more = "  hostPID: true\n  hostNetwork: true\n  priorityClassName: system-node-critical\n";
    kubectl.apply(&pod("inspector", "exec sleep 36000", more, "    securityContext: {privileged: true}\n"));
    kubectl.apply(&pod("neighbour", "exec sleep 36000", "  priorityClassName: system-node-critical\n", ""));
    ready(kubectl, "inspector");
    ready(kubectl, "neighbour");
}

fn unharmed(kubectl: &Kubectl) {
    // Those that were killed take their numbers along when the kernel has ended the last of them.
    eventually("the neighbour's answer", limit(60), || sh(kubectl, "neighbour", "true"));
    assert_eq!(kubectl.path(&["pod", "neighbour"], "{.status.containerStatuses[0].restartCount}"), "0");
    ready_node(kubectl);
}

/// What a node holds for its pods: processes, mounts, namespaces, cgroups, links, addresses and files.
const HOLDINGS: &str = "cd /proc/1/root; echo shims=$(pidof rk-shim | wc -w) mounts=$(wc -l < /proc/1/mountinfo) \
     netns=$(ls run/netns | wc -l) cgroups=$(find sys/fs/cgroup/kubepods -type d -name 'pod*' | wc -l) \
     veths=$(ls /sys/class/net | grep -c veth) addresses=$(find var/lib/cni/networks -name '*.*.*.*' | wc -l) \
     sandboxes=$(ls run/rk/sandboxes | wc -l) pods=$(ls var/lib/kubelet/pods | wc -l)";

/// Waits until the node holds what it held before.
fn back_to(kubectl: &Kubectl, before: &str) {
    eventually("what was held is given back", limit(120), || match sh(kubectl, "inspector", HOLDINGS)? {
        now if now == before => Ok(()),
        now => Err(format!("{now} instead of {before}")),
    });
}

fn delete(kubectl: &Kubectl, what: &[&str]) {
    kubectl.ok(&[&["delete", "--wait=true", &format!("--timeout={}s", limit(60).as_secs())], what].concat());
}
