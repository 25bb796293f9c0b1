//! What a node tells of the machine and of its pods: how much they use, under the names that others ask for.

use super::pods::{pod, ready};
use super::single;
use rk_tests::{eventually, limit};
use serde_json::Value;

/// The node's own server, by way of the API server.
const NODE: &str = "/api/v1/nodes/control-plane/proxy";

#[test]
fn a_node_tells_what_the_machine_and_its_pods_use() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("figures");
    let ask = |path: &str| kubectl.ok(&["get", "--raw", &format!("{NODE}{path}")]);
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    let mount = "    volumeMounts: [{name: v, mountPath: /v}]\n";
    kubectl.apply(&pod("busy", "head -c 3000000 /dev/zero > /v/file; echo written; exec sleep 3600", volume, mount));
    ready(&kubectl, "busy");
    // Files are counted now and then.
    let (machine, busy) = eventually("the figures of the pod", limit(120), || {
        let told: Value = serde_json::from_str(&ask("/stats/summary")).map_err(|e| e.to_string())?;
        let all = told["pods"].as_array().cloned().unwrap_or_default();
        let own = all.into_iter().find(|pod| pod["podRef"]["namespace"] == "figures").ok_or("no pod")?;
        let used = own["volume"].as_array().into_iter().flatten().find(|volume| volume["name"] == "v");
        let used = used.and_then(|volume| volume["usedBytes"].as_u64());
        if used.is_some_and(|bytes| bytes >= 3_000_000) {
            Ok((told["node"].clone(), own))
        } else {
            Err(own.to_string())
        }
    });
    for (of, path) in [
        (&machine, "/cpu/usageCoreNanoSeconds"),
        (&machine, "/memory/availableBytes"),
        (&machine, "/memory/workingSetBytes"),
        (&machine, "/fs/capacityBytes"),
        (&machine, "/runtime/imageFs/usedBytes"),
        (&machine, "/rlimit/maxpid"),
        (&busy, "/cpu/usageCoreNanoSeconds"),
        (&busy, "/memory/workingSetBytes"),
        (&busy, "/network/rxBytes"),
        (&busy, "/process_stats/process_count"),
        (&busy, "/ephemeral-storage/usedBytes"),
        (&busy, "/containers/0/memory/workingSetBytes"),
        (&busy, "/containers/0/rootfs/capacityBytes"),
        (&busy, "/containers/0/logs/usedBytes"),
    ] {
        assert!(of.pointer(path).is_some_and(Value::is_u64), "{path} is missing in {of}");
    }
    let labels = ["container=\"main\"", "namespace=\"figures\"", "pod=\"busy\""];
    for (page, names) in [
        (
            "/metrics/cadvisor",
            &[
                "container_cpu_usage_seconds_total{",
                "container_memory_working_set_bytes{",
                "container_memory_total_active_file_bytes{",
                "container_processes{",
            ][..],
        ),
        (
            "/metrics/resource",
            &[
                "container_cpu_usage_seconds_total{",
                "container_memory_working_set_bytes{",
                "container_start_time_seconds{",
            ],
        ),
    ] {
        let told = ask(page);
        for name in names {
            let of_pod = |line: &str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
            assert!(told.lines().any(of_pod), "{name} is missing in {page}:\n{told}");
        }
    }
    assert!(ask("/configz").contains("\"kind\":\"KubeletConfiguration\""));
    kubectl.ok(&["delete", "pod", "busy", "--wait=true"]);
}
