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

#[test]
fn a_pod_of_nobody_runs_again_after_a_plain_reboot_of_its_worker() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 42);
    worker.start(1024);
    worker.wait_ready();
    let kubectl = shared.kubectl.new_namespace("resting");
    let volume = "  volumes: [{name: own, emptyDir: {}}]\n";
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: bare}}\nspec:\n  nodeName: {}\n  tolerations: [{{operator: Exists}}]\n{volume}  \
         containers:\n  - name: main\n    image: {IMAGE}\n    volumeMounts: [{{name: own, mountPath: /own}}]\n    \
         command: [sh, -c, \"trap 'echo bye >> /own/said; exit 0' TERM; while :; do sleep 1; done\"]\n",
        worker.name
    ));
    // An exit that the machine asks for is no success.
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: work}}\nspec:\n  nodeName: {}\n  tolerations: [{{operator: Exists}}]\n  \
         restartPolicy: OnFailure\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 1; done\"]\n",
        worker.name
    ));
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/bare", "pod/work", &timeout]);
    let uid = kubectl.path(&["pod", "bare"], "{.metadata.uid}");
    worker.rkctl(&["node", "reboot", "--no-drain"]).good();
    assert!(worker.vm().wait_end(limit(150)), "it did not go down:\n{}", worker.vm().console().tail());
    assert_eq!(kubectl.path(&["pod", "bare"], "{.status.phase}"), "Running");
    worker.start_again();
    for name in ["bare", "work"] {
        let again = "{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
        eventually("it runs again", limit(150), || {
            let now = kubectl.try_path(&["pod", name], again)?;
            if now == "Running 1 true" { Ok(()) } else { Err(format!("{name}: {now}")) }
        });
    }
    assert_eq!(kubectl.path(&["pod", "bare"], "{.metadata.uid}"), uid);
    let said = kubectl.ok(&["exec", "bare", "--", "cat", "/own/said"]);
    assert_eq!(said.trim(), "bye", "it was told to end, and has what it wrote");
}
