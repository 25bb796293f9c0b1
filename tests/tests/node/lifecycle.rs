//! Probes, hooks, resizes, generations and deadlines, by what a client sees of them.

use super::pods::{pod, ready, sh};
use super::single;
use rk_tests::{Kubectl, eventually, limit};

const HTTP: &str = "mkdir /w; cd /w; echo ok > healthz; httpd -p 8080 -h /w;";

/// A pod whose container has one more field.
fn probed(name: &str, command: &str, field: &str) -> String {
    pod(name, command, "", &format!("    {field}\n"))
}

fn restarts(kubectl: &Kubectl, pod: &str) -> Result<u32, String> {
    let text = kubectl.try_path(&["pod", pod], "{.status.containerStatuses[0].restartCount}")?;
    text.parse().map_err(|_| format!("{pod}: {text:?}"))
}

#[test]
fn probes_restart_what_fails_and_leave_alone_what_holds() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("probes");
    let exec = |command: &str| {
        format!(
            "livenessProbe: {{exec: {{command: [{command}]}}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 20}}"
        )
    };
    let get = "livenessProbe: {httpGet: {path: /healthz, port: 8080}, initialDelaySeconds: 2, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 20}";
    // What holds may begin late, on a machine that has other work.
    let patient = |probe: &str| probe.replace("failureThreshold: 2", "failureThreshold: 15");
    let tcp = get.replace("httpGet: {path: /healthz, port: 8080}", "tcpSocket: {port: 8080}");
    let late = "readinessProbe: {exec: {command: ['true']}, initialDelaySeconds: 12, periodSeconds: 1}";
    let all = [
        probed("exec-fails", "touch /health; sleep 6; rm /health; sleep 600", &exec("cat, /health")),
        probed("http-fails", &format!("{HTTP} sleep 8; rm healthz; sleep 600"), get),
        probed("always-fails", "sleep 600", &exec("'false'")),
        probed("exec-holds", "touch /health; sleep 600", &patient(&exec("cat, /health"))),
        probed("http-holds", &format!("{HTTP} sleep 600"), &patient(get)),
        probed("tcp-holds", &format!("{HTTP} sleep 600"), &patient(&tcp)),
        probed("ready-late", "sleep 600", late),
        probed("never-ready", "sleep 600", &late.replace("'true'", "'false'").replace("12", "1")),
    ];
    kubectl.apply(&all.join("---\n"));
    let mut most = 0;
    eventually("three restarts, counted upwards", limit(120), || {
        let now = restarts(&kubectl, "always-fails")?;
        assert!(now >= most, "{now} restarts after {most}");
        most = now;
        if now >= 3 { Ok(()) } else { Err(now.to_string()) }
    });
    for name in ["exec-fails", "http-fails"] {
        eventually(name, limit(60), || {
            restarts(&kubectl, name).and_then(|n| if n > 0 { Ok(()) } else { Err(n.to_string()) })
        });
    }
    for name in ["exec-holds", "http-holds", "tcp-holds", "ready-late", "never-ready"] {
        assert_eq!(restarts(&kubectl, name), Ok(0), "{name}");
    }
    let unhealthy = ["get", "events", "--field-selector", "reason=Unhealthy", "-o", "jsonpath={.items[*].message}"];
    eventually("events of both", limit(120), || match kubectl.ok(&unhealthy) {
        told if told.contains("Liveness probe failed") && told.contains("HTTP probe failed with statuscode: 404") => {
            Ok(())
        }
        told => Err(told),
    });
    let is_ready = |pod: &str| kubectl.path(&["pod", pod], "{.status.conditions[?(@.type==\"Ready\")].status}");
    assert_eq!((is_ready("never-ready").as_str(), is_ready("exec-holds").as_str()), ("False", "True"));
    ready(&kubectl, "ready-late");
    let seconds = |path: &str| -> i64 {
        let text = kubectl.path(&["pod", "ready-late"], path);
        let answer =
            sh(&kubectl, "exec-holds", &format!("date -u -d '{}' +%s", text.replace('T', " ").replace('Z', "")));
        answer.unwrap_or_else(|e| panic!("{e}")).trim().parse().expect("seconds")
    };
    let start = seconds("{.status.containerStatuses[0].state.running.startedAt}");
    let then = seconds("{.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}");
    assert!(then - start >= 11, "ready {} s after the start", then - start);
    kubectl.ok(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]);
}

#[test]
fn what_a_command_said_is_heard_though_it_left_something_that_holds_its_output() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("leftovers");
    let probe = "livenessProbe: {exec: {command: [sh, -c, 'echo last-word; sleep 300 & exit 1']}, periodSeconds: 5, failureThreshold: 100, timeoutSeconds: 20}";
    kubectl.apply(&probed("leaves", "sleep 600", probe));
    eventually("the word in an event", limit(60), || {
        let path = "{.items[?(@.reason==\"Unhealthy\")].message}";
        let told = kubectl.try_path(&["events"], path)?;
        if told.contains("Liveness probe failed: last-word") { Ok(()) } else { Err(told) }
    });
    kubectl.ok(&["delete", "pod", "leaves", "--grace-period=1", "--wait=false"]);
}

#[test]
fn hooks_run_after_the_start_and_before_the_end() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("hooks");
    kubectl.apply(&pod(
        "ear",
        "mkdir /w; cd /w; touch post-exec pre-exec post-http pre-http pre-query; exec httpd -f -vv -p 8080 -h /w",
        "",
        "",
    ));
    ready(&kubectl, "ear");
    let ear = kubectl.path(&["pod", "ear"], "{.status.podIP}");
    let of = |post: &str, pre: &str| format!("lifecycle: {{postStart: {{{post}}}, preStop: {{{pre}}}}}");
    let exec = |word: &str| format!("exec: {{command: [sh, -c, 'wget -qO- http://{ear}:8080/{word}; touch /{word}']}}");
    let get = |word: &str| format!("httpGet: {{host: {ear}, port: 8080, path: /{word}}}");
    let slow = |name: &str, field: &str| {
        probed(name, "sleep 600", field)
            .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 60")
    };
    kubectl.apply(
        &[
            slow("by-exec", &of(&exec("post-exec"), &exec("pre-exec"))),
            slow("by-http", &of(&get("post-http"), &get("pre-http"))),
        ]
        .join("---\n"),
    );
    // What this one's hook says is a query, which the pod's own sidecar must still be there to pass on.
    let relay = format!(
        "mkdir -p /w/cgi-bin; cat > /w/cgi-bin/tell <<'E'\n#!/bin/sh\nwget -qO- http://{ear}:8080/$QUERY_STRING > /dev/null\n\
         echo 'Content-Type: text/plain'\necho\nE\nchmod +x /w/cgi-bin/tell; exec httpd -f -p 8080 -h /w"
    );
    let beside = format!(
        "  initContainers:\n  - {{name: relay, image: rk.local/busybox:demo, command: [sh, -c, {relay:?}], restartPolicy: Always}}\n"
    );
    let asks = "    lifecycle: {preStop: {httpGet: {port: 8080, path: '/cgi-bin/tell?pre-query'}}}\n";
    kubectl.apply(
        &pod("by-sidecar", "sleep 600", &beside, asks)
            .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 60"),
    );
    for name in ["by-exec", "by-http", "by-sidecar"] {
        ready(&kubectl, name);
    }
    sh(&kubectl, "by-exec", "test -e /post-exec && ! test -e /pre-exec").expect("the first hook alone has run");
    let heard = || kubectl.ok(&["logs", "ear"]);
    eventually("the first words", limit(30), || match heard() {
        heard if heard.contains("post-exec") && heard.contains("post-http") => Ok(()),
        heard => Err(heard),
    });
    assert!(!heard().contains("pre-"), "{}", heard());
    kubectl.ok(&["delete", "pod", "by-exec", "by-http", "by-sidecar", "--wait=false"]);
    eventually("all last words", limit(60), || {
        let heard = heard();
        if ["pre-exec", "pre-http", "pre-query"].iter().all(|word| heard.contains(word)) { Ok(()) } else { Err(heard) }
    });
    kubectl.ok(&["delete", "pod", "--all", "--grace-period=0", "--force"]);
}

#[test]
fn all_containers_of_a_pod_are_resized_in_place() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("resize");
    let amounts = |cpu: u32, memory: u32| format!("{{cpu: {cpu}m, memory: {memory}Mi}}");
    let container = |name: &str, amounts: &str| {
        format!(
            "  - {{name: {name}, image: rk.local/busybox:demo, command: [sleep, '600'], resources: {{requests: {amounts}, limits: {amounts}}}}}\n"
        )
    };
    let first = amounts(100, 32);
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: three}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  containers:\n{}{}{}",
        container("c1", &first),
        container("c2", &first),
        container("c3", &first)
    ));
    ready(&kubectl, "three");
    let wanted = [("c1", 150, 48), ("c2", 50, 40), ("c3", 120, 24)];
    let change: Vec<String> = wanted
        .iter()
        .map(|(name, cpu, memory)| {
            let amounts = format!("{{\"cpu\":\"{cpu}m\",\"memory\":\"{memory}Mi\"}}");
            format!("{{\"name\":\"{name}\",\"resources\":{{\"requests\":{amounts},\"limits\":{amounts}}}}}")
        })
        .collect();
    let patch = format!("{{\"spec\":{{\"containers\":[{}]}}}}", change.join(","));
    kubectl.ok(&["patch", "pod", "three", "--subresource", "resize", "--patch", &patch]);
    let status = "{range .status.containerStatuses[*]}{.name}={.resources.limits.cpu}/{.resources.limits.memory}/{.restartCount} {end}\
        {.status.conditions[?(@.type==\"PodResizeInProgress\")].status}{.status.conditions[?(@.type==\"PodResizePending\")].status}";
    eventually("the new amounts", limit(60), || match kubectl.try_path(&["pod", "three"], status)?.trim() {
        "c1=150m/48Mi/0 c2=50m/40Mi/0 c3=120m/24Mi/0" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    for (name, cpu, memory) in wanted {
        let held = kubectl.ok(&[
            "exec",
            "three",
            "-c",
            name,
            "--",
            "cat",
            "/sys/fs/cgroup/cpu.max",
            "/sys/fs/cgroup/memory.max",
        ]);
        assert_eq!(
            held.split_whitespace().collect::<Vec<_>>(),
            [format!("{}", cpu * 100), "100000".into(), format!("{}", memory << 20)]
        );
    }
    let generations = kubectl.path(&["pod", "three"], "{.metadata.generation} {.status.observedGeneration}");
    assert_eq!(generations, "2 2");
}

#[test]
fn generations_count_changes_of_the_spec_and_deadlines_may_come_nearer() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("generation");
    kubectl.apply(&pod("counted", "sleep 600", "  activeDeadlineSeconds: 500\n", ""));
    ready(&kubectl, "counted");
    let generations = || kubectl.try_path(&["pod", "counted"], "{.metadata.generation} {.status.observedGeneration}");
    assert_eq!(generations().as_deref(), Ok("1 1"));
    kubectl.ok(&["label", "pod", "counted", "a=b"]);
    for left in (490..500).rev() {
        kubectl.ok(&["patch", "pod", "counted", "-p", &format!("{{\"spec\":{{\"activeDeadlineSeconds\":{left}}}}}")]);
    }
    eventually("all changes seen", limit(60), || match generations()?.as_str() {
        "11 11" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    kubectl.ok(&["patch", "pod", "counted", "-p", "{\"spec\":{\"activeDeadlineSeconds\":1}}"]);
    eventually("the deadline", limit(60), || {
        match kubectl.try_path(&["pod", "counted"], "{.status.phase} {.status.reason}")?.as_str() {
            "Failed DeadlineExceeded" => Ok(()),
            seen => Err(seen.to_owned()),
        }
    });
}

#[test]
fn a_runtime_class_adds_its_overhead_and_one_that_is_not_there_refuses() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("runtime-class");
    let class = |name: &str, more: &str| {
        format!("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: rk\n{more}")
    };
    kubectl.apply(&class("plain", ""));
    kubectl.apply(&class("heavy", "overhead: {podFixed: {cpu: 10m, memory: 8Mi}}\n"));
    for name in ["plain", "heavy"] {
        kubectl.apply(&pod(name, "sleep 600", &format!("  runtimeClassName: {name}\n"), ""));
        ready(&kubectl, name);
    }
    assert_eq!(kubectl.path(&["pod", "heavy"], "{.spec.overhead.cpu}/{.spec.overhead.memory}"), "10m/8Mi");
    kubectl.ok(&["delete", "runtimeclass", "plain", "heavy"]);
    let refused = kubectl.apply_refused(&pod("late", "sleep 600", "  runtimeClassName: plain\n", ""));
    assert!(refused.contains("RuntimeClass \"plain\" not found"), "{refused}");
}
