//! Too many of something: execs, orphans, bytes of memory.

use super::{HOLDINGS, back_to, cluster, delete, observers, pod, ready, sh, unharmed};
use rk_tests::{eventually, limit, number};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn a_flood_of_execs_leaves_no_process_no_descriptor_no_file_and_no_memory_behind() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("exec-flood");
    observers(&kubectl);
    kubectl.apply(&pod("target", "exec sleep 36000", "", ""));
    ready(&kubectl, "target");
    sh(&kubectl, "target", "true").expect("a first one opens what stays open");
    let measure = "for p in $(pidof rk-node) $(pidof rk-shim); do echo $(ls /proc/$p/fd | wc -l) $(awk '/^RssAnon/ {print $2}' /proc/$p/status); done \
                   | awk '{fds += $1; kib += $2} END {print fds, kib}'; find /proc/1/root/run/rk/sandboxes -xdev | wc -l";
    let numbers = |text: String| text.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).collect::<Vec<_>>();
    let before = numbers(sh(&kubectl, "inspector", measure).expect("measures"));
    let (wanted, next) = (number("RK_EXECS", 60, 10_000), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            let (kubectl, next) = (kubectl.clone(), &next);
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < wanted {
                    assert_eq!(sh(&kubectl, "target", "echo here").as_deref(), Ok("here\n"));
                }
            });
        }
    });
    let processes = sh(&kubectl, "target", "ls -d /proc/[0-9]* | wc -l").expect("processes");
    assert!(processes.trim().parse::<u32>().is_ok_and(|n| n <= 5), "{processes}");
    eventually("what was open and held before", limit(60), || {
        let now = numbers(sh(&kubectl, "inspector", measure)?);
        let [fds, kib, files] = [0, 1, 2].map(|at: usize| now[at].saturating_sub(before[at]));
        // Kept-alive connections, arenas and an exec that is just being made, not something for each of the execs.
        if fds <= 12 && kib <= 4096 && files <= 12 { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
    });
    unharmed(&kubectl);
}

#[test]
fn orphans_of_a_pod_are_reaped_by_its_first_process_and_end_with_it() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("orphans");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let orphans = number("RK_ORPHANS", 4_000, 100_000);
    let script = format!(
        "n=0; while [ $n -lt {orphans} ]; do (true & true & true & true &) ; n=$((n+4)); done; touch /done; exec sleep 36000"
    );
    kubectl.apply(&pod("parent", &script, "  shareProcessNamespace: true\n", ""));
    ready(&kubectl, "parent");
    eventually("all orphans made", limit(300 + orphans as u64 / 100), || sh(&kubectl, "parent", "test -e /done"));
    eventually("all orphans reaped", limit(60), || {
        let left = sh(&kubectl, "parent", "ls -d /proc/[0-9]* | wc -l")?;
        if left.trim().parse::<u32>().is_ok_and(|n| n <= 6) { Ok(()) } else { Err(left) }
    });
    // Those that a first process does not reap end with it: nothing of them stays on the node.
    kubectl.apply(&pod("careless", "for n in $(seq 200); do (sleep 30000 &); done; exec sleep 36000", "", ""));
    ready(&kubectl, "careless");
    delete(&kubectl, &["pod", "parent", "careless"]);
    let left = sh(&kubectl, "inspector", "grep -l 30000 /proc/[0-9]*/cmdline 2>/dev/null | wc -l").expect("processes");
    assert!(left.trim().parse::<u32>().is_ok_and(|n| n <= 2), "{left}");
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn a_memory_hog_is_killed_in_its_own_pod_alone() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("hog");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let limits = "    resources: {limits: {memory: 48Mi}}\n";
    let beside = "  - {name: beside, image: rk.local/busybox:demo, command: [sleep, '36000']}\n";
    let hog = "x=0123456789abcdef; while true; do x=$x$x; done";
    kubectl.apply(&(pod("hog", hog, "", limits) + beside));
    eventually("the end of the hog", limit(120), || {
        let path = "{range .status.containerStatuses[?(@.name==\"main\")]}{.state.terminated.reason}{.lastState.terminated.reason}{end}";
        let seen = kubectl.try_path(&["pod", "hog"], path)?;
        if seen.contains("OOMKilled") { Ok(()) } else { Err(seen) }
    });
    let beside = "{.status.containerStatuses[?(@.name==\"beside\")].restartCount}";
    assert_eq!(kubectl.path(&["pod", "hog"], beside), "0");
    delete(&kubectl, &["pod", "hog"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn a_fork_bomb_without_limits_costs_its_own_pod_alone() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("free-bomb");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    // Pods together stay below what the kernel can fork on this machine: the rest is the node's own.
    let bounds = "cd /proc/1/root; echo $(cat sys/fs/cgroup/kubepods/pids.max) $(cat proc/sys/kernel/threads-max)";
    let bounds = sh(&kubectl, "inspector", bounds).expect("bounds");
    let bounds: Vec<u64> = bounds.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(bounds.len() == 2 && bounds[0] < bounds[1], "{bounds:?}");
    kubectl.apply(&pod("bomb", "bomb() { bomb | bomb & }; bomb; exec sleep 36000", "  restartPolicy: Never\n", ""));
    // Memory or numbers run out first, whichever the machine has less of: the container is killed as a whole, or its pod evicted.
    eventually("the end of the bomb", limit(240), || {
        let path = "{.status.phase} {.status.reason} {.status.containerStatuses[0].state.terminated.reason}";
        let seen = kubectl.try_path(&["pod", "bomb"], path)?;
        if seen.contains("OOMKilled") || seen.contains("Evicted") { Ok(()) } else { Err(seen) }
    });
    unharmed(&kubectl);
    delete(&kubectl, &["pod", "bomb"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn a_memory_hog_without_limits_is_killed_as_a_whole_and_alone() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("free-hog");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let bounds = "cd /proc/1/root/sys/fs/cgroup/kubepods; awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo; cat memory.max cpu.weight";
    let bounds = sh(&kubectl, "inspector", bounds).expect("bounds");
    let bounds: Vec<u64> = bounds.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(bounds.len() == 3 && bounds[1] < bounds[0], "{bounds:?}");
    // The child takes the memory; its parent, left alone, would go on.
    let hog = "(x=0123456789abcdef; while true; do x=$x$x; done); exec sleep 36000";
    kubectl.apply(&pod("hog", hog, "  restartPolicy: Never\n", ""));
    eventually("the end of the hog", limit(180), || {
        let path = "{.status.phase} {.status.reason} {.status.containerStatuses[0].state.terminated.reason}";
        let seen = kubectl.try_path(&["pod", "hog"], path)?;
        if seen.contains("OOMKilled") || seen.contains("Evicted") { Ok(()) } else { Err(seen) }
    });
    unharmed(&kubectl);
    delete(&kubectl, &["pod", "hog"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn burstable_pods_weigh_together_what_they_ask_for() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("weights");
    observers(&kubectl);
    let weight = || {
        let said = sh(&kubectl, "inspector", "cat /proc/1/root/sys/fs/cgroup/kubepods/burstable/cpu.weight")?;
        said.trim().parse::<u64>().map_err(|e| format!("{said}: {e}"))
    };
    let before = weight().expect("a weight");
    // 500 thousandths are 512 shares, of 262144 that are 10000 of weight.
    for name in ["one", "two"] {
        kubectl.apply(&pod(name, "exec sleep 36000", "", "    resources: {requests: {cpu: 500m}}\n"));
        ready(&kubectl, name);
    }
    eventually("the weight of two", limit(30), || match weight()? {
        now if (before + 37..=before + 40).contains(&now) => Ok(()),
        now => Err(format!("{now} after {before}")),
    });
    delete(&kubectl, &["pod", "one", "two"]);
    eventually("the weight of before", limit(90), || match weight()? {
        now if now == before => Ok(()),
        now => Err(format!("{now} instead of {before}")),
    });
    unharmed(&kubectl);
}
