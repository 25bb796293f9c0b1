//! Little memory, and more orphans than anybody has children.

use super::{Worker, plane, pod, sh};
use rk_tests::{Kubectl, eventually, limit};

#[test]
fn a_control_plane_of_1536_mib_and_a_worker_of_1024_run_pods_and_nobody_dies_of_hunger() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 31);
    assert_eq!(worker.spec.memory_mib, 1024);
    worker.start(2048);
    worker.wait_ready();
    let kubectl = shared.kubectl.new_namespace("small");
    pod(&kubectl, "on-the-plane", "control-plane", "exec sleep 36000", "");
    for n in 0..10 {
        pod(&kubectl, &format!("pod-{n}"), &worker.name, "exec sleep 36000", "");
    }
    for node in ["control-plane", &worker.name] {
        for condition in ["Ready=True", "MemoryPressure=False"] {
            let (name, wanted) = condition.split_once('=').expect("a pair");
            let path = format!("{{.status.conditions[?(@.type==\"{name}\")].status}}");
            assert_eq!(kubectl.path(&["node", node], &path), wanted, "{name} of {node}");
        }
    }
    let log = worker.rkctl(&["node", "dmesg", "--tail", "2000"]).good();
    assert!(!log.contains("Out of memory") && !log.contains("oom-kill"), "{log}");
    the_machine_s_own_processes_are_small_while_nobody_calls(&kubectl, &worker.name);
    let restarts = kubectl.path(&["pods"], "{.items[*].status.containerStatuses[*].restartCount}");
    assert!(restarts.split_whitespace().all(|count| count == "0"), "{restarts}");
}

/// Kilobytes of PID 1, netd and the machine API.
const OWN: &str = r#"for p in /proc/[0-9]*; do case "$(tr '\0' ' ' < $p/cmdline 2>/dev/null)" in
"/sbin/rk-init "|"/sbin/rk-init netd "|"/bin/rk-machine-api ") awk '/^VmRSS/ {print $2}' $p/status;; esac; done"#;
/// What the three may have together: 12 MB.
const MOST_OWN: u64 = 12_000_000 >> 10;

/// By a pod, since a call would be no rest.
fn the_machine_s_own_processes_are_small_while_nobody_calls(kubectl: &Kubectl, node: &str) {
    pod(kubectl, "reader", node, "exec sleep 36000", "  hostPID: true\n");
    let read = eventually("the machine API to rest", limit(60), || {
        let said = sh(kubectl, "reader", OWN)?;
        let each: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if each.len() == 3 && each.iter().sum::<u64>() <= MOST_OWN { Ok(each) } else { Err(said) }
    });
    println!("PID 1, netd and the machine API have {read:?} kB, in the order of their ids");
}

/// Leaves its pod: another cgroup, and PID 1 for a parent, since its shim is gone. Then it makes orphans, each the child of one that
/// ends at once.
const STORM: &str = r#"
echo $$ > /proc/1/root/sys/fs/cgroup/rk/init/cgroup.procs
echo $$ > /left
while [ "$(awk '/^PPid/ {print $2}' /proc/$$/status)" != 1 ]; do sleep 0.2; done
n=0
while [ $n -lt ORPHANS ]; do ( : & : & : & : & : & : & : & : & : & : & ); n=$((n+10)); done
echo $n > /proc/1/root/run/storm-is-over
"#;

/// Processes, those of them that wait to be reaped, and the memory of PID 1 in kilobytes.
const COUNT: &str = "cd /proc; all=0; dead=0; for p in [0-9]*; do read -r line < $p/stat 2>/dev/null || continue; all=$((all+1)); \
     case $line in *') Z '*) dead=$((dead+1));; esac; done; rss=$(awk '/^VmRSS/ {print $2}' 1/status); echo $all $dead $rss";

#[test]
fn a_hundred_thousand_orphans_are_reaped_by_pid_1_and_leave_nothing() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 32);
    worker.start(1024);
    worker.wait_ready();
    worker.answers();
    let kubectl = shared.kubectl.new_namespace("orphans");
    pod(&kubectl, "watcher", &worker.name, "exec sleep 36000", "  hostPID: true\n");
    let count = || -> Result<[u64; 3], String> {
        let said = sh(&kubectl, "watcher", COUNT)?;
        let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().map_err(|_| said)
    };
    let before = count().expect("a count");
    let since = worker.ready_since();
    pod(&kubectl, "storm", &worker.name, "exec sleep 36000", "  restartPolicy: Never\n  hostPID: true\n");
    // `RK_ORPHANS` for a smaller storm, where processors are emulated and shared.
    let orphans = std::env::var("RK_ORPHANS").unwrap_or_else(|_| "100000".to_owned());
    let script = STORM.replace("ORPHANS", &orphans);
    sh(&kubectl, "storm", &format!("cat > /storm <<'END'{script}END\nsetsid sh /storm > /log 2>&1 < /dev/null &"))
        .expect("a storm");
    eventually("the storm to leave its pod", limit(30), || sh(&kubectl, "storm", "cat /left"));
    // Its shim's end makes it, and all its children, PID 1's.
    let shim = "p=$(cat /left); kill -9 $(awk '/^PPid/ {print $2}' /proc/$p/status)";
    sh(&kubectl, "storm", shim).ok();
    let mut most = 0;
    eventually("the end of the storm", limit(900), || {
        worker.rkctl(&["node", "version"]);
        most = most.max(count().map_or(0, |[all, ..]| all));
        sh(&kubectl, "watcher", "cat /proc/1/root/run/storm-is-over")
    });
    kubectl.run(&["delete", "pod", "storm", "--wait=true", "--timeout=120s"]);
    let after = eventually("everybody reaped", limit(60), || {
        let now = count()?;
        // A worker thread of the kernel more or less is no leak.
        if now[1] == 0 && now[0] <= before[0] + 8 { Ok(now) } else { Err(format!("{now:?} after {before:?}")) }
    });
    assert!(after[2] <= before[2] + 1024, "PID 1 grew: {after:?} after {before:?}");
    assert_eq!(worker.ready_since(), since, "the node was not Ready meanwhile");
    println!("at most {most} processes at once; before {before:?}, after {after:?}");
}
