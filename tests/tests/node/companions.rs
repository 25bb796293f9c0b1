//! What runs beside a pod's containers and around them: sidecars, hooks that sleep, and pods that make room.

use super::outcomes::shows;
use super::pods::{pod, ready, sh};
use super::single;
use rk_tests::{Kubectl, eventually, limit};
use std::time::{Duration, Instant};

/// Runs on until `/leave` is there; told to end, tells the ear its name.
fn speaker(ear: &str, name: &str) -> String {
    format!(
        "mkdir -p /w; echo up > /w/x; trap 'wget -qO- http://{ear}:8080/ended-{name}; exit 0' TERM; \
         while [ ! -e /leave ]; do sleep 1; done; exit 3"
    )
}

fn delete(kubectl: &Kubectl, names: &[&str]) {
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&[&["delete", "pod", "--wait=true", timeout.as_str()], names].concat());
}

#[test]
fn sidecars_start_before_what_follows_come_back_alone_and_end_last() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("sidecars");
    let listen = "mkdir /w; cd /w; touch ended-main ended-first ended-second; exec httpd -f -vv -p 8080 -h /w";
    kubectl.apply(&pod("ear", listen, "", ""));
    ready(&kubectl, "ear");
    let ear = kubectl.path(&["pod", "ear"], "{.status.podIP}");
    let init = |name: &str, command: &str, more: &str| {
        format!("  - {{name: {name}, image: rk.local/busybox:demo, command: [sh, -c, {command:?}]{more}}}\n")
    };
    let sidecar = ", restartPolicy: Always";
    let serving = format!("mkdir -p /w; httpd -p 8081 -h /w; {}", speaker(&ear, "first"));
    let probe = ", startupProbe: {exec: {command: [wget, -qO-, 'http://127.0.0.1:8081/x']}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 20}";
    let inits = format!(
        "  initContainers:\n{}{}{}",
        init("first", &serving, &format!("{sidecar}{probe}")),
        init("second", &speaker(&ear, "second"), sidecar),
        // This one has an end, and finds the first at work.
        init("plain", "wget -qO- http://127.0.0.1:8081/x", ""),
    );
    let all = pod("crew", &speaker(&ear, "main"), &inits, "");
    kubectl.apply(&all.replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 60"));
    ready(&kubectl, "crew");
    let inits = "{range .status.initContainerStatuses[*]}{.name}={.ready}/{.state.terminated.exitCode} {end}";
    shows(&kubectl, "crew", inits, 30, "first=true/ second=true/ plain=true/0");

    kubectl.ok(&["exec", "crew", "-c", "first", "--", "touch", "/leave"]);
    let counts = "{range .status.initContainerStatuses[*]}{.name}={.restartCount} {end}{.status.containerStatuses[0].restartCount}";
    shows(&kubectl, "crew", counts, 60, "first=1 second=0 plain=0 0");
    ready(&kubectl, "crew");

    delete(&kubectl, &["crew"]);
    let heard = eventually("all last words", limit(30), || {
        let heard = kubectl.ok(&["logs", "ear"]);
        let all = ["main", "first", "second"].iter().all(|name| heard.contains(&format!("ended-{name}")));
        if all { Ok(heard) } else { Err(heard) }
    });
    let at = |name: &str| heard.find(&format!("ended-{name}"));
    assert!(at("main") < at("second") && at("second") < at("first"), "{heard}");
    kubectl.ok(&["delete", "pod", "ear", "--grace-period=0", "--force"]);
}

#[test]
fn a_pod_that_is_done_does_not_wait_for_its_sidecars() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("done");
    let beside = "  restartPolicy: Never\n  initContainers:\n  \
                  - {name: beside, image: rk.local/busybox:demo, command: [sleep, '36000'], restartPolicy: Always}\n";
    kubectl.apply(&pod("job", "sleep 2", beside, ""));
    shows(&kubectl, "job", "{.status.phase}", 90, "Succeeded");
    let reason = "{.status.initContainerStatuses[0].state.terminated.exitCode}";
    assert_ne!(kubectl.path(&["pod", "job"], reason), "", "the sidecar has ended as well");
    delete(&kubectl, &["job"]);
}

#[test]
fn a_hook_that_sleeps_holds_the_end_up_as_far_as_the_grace_period_goes() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("sleeping-hooks");
    let sleeper = |name: &str, seconds: u32| {
        let hook = format!("    lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}\n");
        pod(name, "trap 'exit 0' TERM; while true; do sleep 1; done", "", &hook)
            .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 180")
    };
    kubectl.apply(&[sleeper("whole", 8), sleeper("cut", 170)].join("---\n"));
    for name in ["whole", "cut"] {
        ready(&kubectl, name);
    }
    let before = Instant::now();
    delete(&kubectl, &["whole"]);
    let whole = before.elapsed();
    assert!(whole > Duration::from_secs(7) && whole < Duration::from_secs(150), "{whole:?}");
    let before = Instant::now();
    delete(&kubectl, &["cut", "--grace-period=3"]);
    let cut = before.elapsed();
    assert!(cut < Duration::from_secs(120), "{cut:?}");
}

/// An amount of CPU in thousandths.
fn thousandths(text: &str) -> u64 {
    let parse = |text: &str| text.parse::<u64>().unwrap_or_else(|e| panic!("{text:?}: {e}"));
    text.strip_suffix('m').map_or_else(|| parse(text) * 1000, parse)
}

#[test]
fn a_critical_pod_takes_the_place_of_one_that_is_not() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("preemption");
    let node = kubectl.path(&["nodes"], "{.items[0].metadata.name}");
    let cpu = thousandths(&kubectl.path(&["node", &node], "{.status.allocatable.cpu}"));
    // Two of these never fit beside each other. The scheduler is passed over: making room is the kubelet's part here.
    let asks = format!("    resources: {{requests: {{cpu: {}m}}}}\n", cpu * 55 / 100);
    let on = |class: &str| format!("  nodeName: {node}\n{class}");
    kubectl.apply(&pod("modest", "exec sleep 36000", &on(""), &asks));
    ready(&kubectl, "modest");
    kubectl.apply(&pod("needed", "exec sleep 36000", &on("  priorityClassName: system-node-critical\n"), &asks));
    let why = "{.status.phase} {.status.reason}: {.status.message}";
    shows(&kubectl, "modest", why, 60, "Failed Preempting: Preempted in order to admit critical pod");
    let target = "{.status.conditions[?(@.type==\"DisruptionTarget\")].reason}";
    assert_eq!(kubectl.path(&["pod", "modest"], target), "TerminationByKubelet");
    ready(&kubectl, "needed");
    assert_eq!(sh(&kubectl, "needed", "echo here").as_deref().map(str::trim), Ok("here"));
    // A third that is not critical is refused.
    kubectl.apply(&pod("late", "exec sleep 36000", &on(""), &asks));
    eventually("the refusal", limit(60), || match kubectl.try_path(&["pod", "late"], "{.status.reason}")?.as_str() {
        "OutOfcpu" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    delete(&kubectl, &["modest", "needed", "late"]);
}
