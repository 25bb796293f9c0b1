//! A worker that is restarted: its pods end in turn and in their own time, and the API tells so while it is down and afterwards.

use super::{IMAGE, Worker, plane};
use rk_tests::{Kubectl, eventually, limit};

/// When a pod's container ended, what it said last, and what its status says.
const ENDED: &str = "{.status.phase}|{.status.reason}|{.status.message}|{.status.containerStatuses[0].state.terminated.finishedAt}|\
                     {.status.containerStatuses[0].state.terminated.message}";
/// Status and reason of the condition that tells of a disruption.
const DISRUPTED: &str = "{range .status.conditions[?(@.type==\"DisruptionTarget\")]}{.status} {.reason}{end}";

/// A pod that ends at once when it is told to, after its hook.
fn parting(kubectl: &Kubectl, name: &str, node: &str, hook: &str, more: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n  tolerations: [{{operator: Exists}}]\n{more}  \
         containers:\n  - name: main\n    image: {IMAGE}\n    command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 1; done\"]\n    \
         lifecycle: {{preStop: {{exec: {{command: [sh, -c, {hook:?}]}}}}}}\n"
    ));
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
}

#[test]
fn pods_of_a_worker_that_restarts_end_in_turn_and_the_api_says_so() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 41);
    worker.config.kubelet.config = serde_json::json!({
        "kind": "KubeletConfiguration", "shutdownGracePeriod": "90s", "shutdownGracePeriodCriticalPods": "30s"});
    worker.start(1024);
    worker.wait_ready();
    let kubectl = shared.kubectl.new_namespace("leaving");
    // Were they told at the same time, the critical pod would end first.
    parting(&kubectl, "ordinary", &worker.name, "sleep 8; echo -n hook > /dev/termination-log", "");
    let critical = "  priorityClassName: system-cluster-critical\n";
    parting(&kubectl, "critical", &worker.name, "echo -n hook > /dev/termination-log", critical);
    worker.rkctl(&["node", "reboot", "--no-drain"]).good();
    assert!(worker.vm().wait_end(limit(150)), "it did not go down:\n{}", worker.vm().console().tail());

    let mut times = Vec::new();
    for name in ["ordinary", "critical"] {
        let seen = kubectl.path(&["pod", name], ENDED);
        let parts: Vec<&str> = seen.split('|').collect();
        let [phase, reason, message, finished, said] = parts.as_slice() else { panic!("{name}: {seen}") };
        assert_eq!((*phase, *reason, *said), ("Failed", "Terminated", "hook"), "{name}: {seen}");
        assert_eq!(*message, "Pod was terminated in response to imminent node shutdown.");
        assert_eq!(kubectl.path(&["pod", name], DISRUPTED), "True TerminationByKubelet");
        times.push((*finished).to_owned());
    }
    assert!(times.first() <= times.last(), "the critical pod ends last: {times:?}");
    let events = format!("reason=NodeShutdown,involvedObject.name={}", worker.name);
    let told = shared.kubectl.ok(&["get", "events", "-n", "default", "--field-selector", &events]);
    assert!(told.contains("Shutdown manager detected shutdown event"), "{told}");
    let why = "{.status.conditions[?(@.type==\"Ready\")].message}";
    let said = shared.kubectl.path(&["node", &worker.name], why);
    // Later the control plane says in its own words that it hears nothing.
    assert!(said.contains("node is shutting down") || said.contains("stopped posting"), "{said}");

    worker.start_again();
    worker.wait_ready();
    worker.runs_a_pod("after-leaving");
    for name in ["ordinary", "critical"] {
        let now = eventually("the pod's status", limit(30), || kubectl.try_path(&["pod", name], "{.status.reason}"));
        assert_eq!(now, "Terminated", "{name} has ended for good");
    }
}
