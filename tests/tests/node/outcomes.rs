//! How pods begin and end, what is added to them while they run, and what of their volumes and probes only another image shows.

use super::pods::{pod, ready, sh};
use super::single;
use rk_tests::{Kubectl, eventually, limit};
use serde_json::{Value, json};

/// Fails the first time, succeeds the second, then runs on; turns are counted in a volume.
const TURNS: &str = "echo turn >> /v/turns; case $(wc -l < /v/turns) in 1) exit 1;; 2) exit 0;; esac; exec sleep 600";
const TURNS_VOLUME: &str = "  volumes: [{name: v, emptyDir: {}}]\n";
const TURNS_MOUNT: &str = "    volumeMounts: [{name: v, mountPath: /v}]\n";

fn policy(name: &str, policy: &str) -> String {
    pod(name, TURNS, &format!("  restartPolicy: {policy}\n{TURNS_VOLUME}"), TURNS_MOUNT)
}

/// A pod with two init containers; the first runs `first`.
fn initialized(name: &str, policy: &str, first: &str) -> String {
    let init = |name: &str, command: &str| {
        format!("  - {{name: {name}, image: rk.local/busybox:demo, command: [sh, -c, {command:?}]}}\n")
    };
    let inits = format!("  restartPolicy: {policy}\n  initContainers:\n{}{}", init("one", first), init("two", "true"));
    pod(name, "exec sleep 600", &inits, "")
}

/// Waits until a template over a pod's status says this.
pub fn shows(kubectl: &Kubectl, name: &str, path: &str, seconds: u64, wanted: &str) {
    eventually(&format!("{name}: {wanted}"), limit(seconds), || match kubectl.try_path(&["pod", name], path)? {
        seen if seen.trim() == wanted => Ok(()),
        seen => Err(seen),
    });
}

#[test]
fn containers_end_restart_and_wait_for_their_init_containers_as_policies_say() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("outcomes");
    kubectl.apply(
        &[
            policy("always", "Always"),
            policy("on-failure", "OnFailure"),
            policy("never", "Never"),
            initialized("init-good", "Always", "true"),
            initialized("init-never", "Never", "exit 3"),
            initialized("init-always", "Always", "exit 3"),
            pod("says", "echo 'Hello World'; exec sleep 600", "", ""),
            pod("fails", "exit 1", "  restartPolicy: Never\n", ""),
            pod("fails-on", "exit 1", "", ""),
            // Neither command nor arguments: what the image brings is what runs.
            pod("defaults", "", "", "").replace("busybox", "nginx").replace("    command: [sh, -c, \"\"]\n", ""),
        ]
        .join("---\n"),
    );
    let state = "{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} \
                 {.status.containerStatuses[0].state.terminated.exitCode}";
    shows(&kubectl, "never", state, 60, "Failed 0 false 1");
    shows(&kubectl, "fails", "{.status.containerStatuses[0].state.terminated.reason}", 60, "Error");
    let init = "{.status.phase} {range .status.initContainerStatuses[*]}{.name}={.ready}/{.state.terminated.exitCode}\
                {.state.waiting.reason} {end}{.status.containerStatuses[0].state.waiting.reason} \
                {.status.conditions[?(@.type==\"Initialized\")].status}";
    shows(&kubectl, "init-good", init, 60, "Running one=true/0 two=true/0  True");
    shows(&kubectl, "init-never", init, 60, "Failed one=false/3 two=false/PodInitializing PodInitializing False");
    eventually("repeated attempts", limit(90), || {
        let path = "{.status.phase} {.status.initContainerStatuses[0].restartCount} {.status.containerStatuses[0].state.waiting.reason}";
        let seen = kubectl.try_path(&["pod", "init-always"], path)?;
        match seen.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["Pending", count, "PodInitializing"] if count.parse::<u32>().is_ok_and(|n| n >= 2) => Ok(()),
            _ => Err(seen),
        }
    });
    shows(&kubectl, "on-failure", state, 90, "Succeeded 1 false 0");
    shows(&kubectl, "always", state, 120, "Running 2 true");
    ready(&kubectl, "says");
    // A container is ready before it speaks and listens.
    eventually("its words", limit(30), || match kubectl.ok(&["logs", "says"]) {
        said if said == "Hello World\n" => Ok(()),
        said => Err(said),
    });
    ready(&kubectl, "defaults");
    let ask = format!("wget -qO- http://{}/hostname", kubectl.path(&["pod", "defaults"], "{.status.podIP}"));
    eventually("the image's own program", limit(30), || match sh(&kubectl, "says", &ask)?.trim() {
        "defaults" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    kubectl.ok(&["delete", "pod", "fails-on", "--wait=true", &format!("--timeout={}s", limit(60).as_secs())]);
    kubectl.ok(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]);
}

/// A pod whose parts note their turns in a volume; `src` ends once, by a rule that restarts all containers.
fn whole(source: &str) -> Value {
    let part = |name: &str, command: &str| {
        json!({"name": name, "image": "rk.local/busybox:demo", "command": ["sh", "-c", format!("echo {name} >> /v/turns; {command}")],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]})
    };
    let (mut sidecar, mut src, mut other) = (
        part("sidecar", "exec sleep 600"),
        part("src", source),
        part("other", "trap '' TERM; while :; do sleep 1; done"),
    );
    sidecar["restartPolicy"] = json!("Always");
    src["restartPolicy"] = json!("Never");
    src["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    other["lifecycle"] = json!({"preStop": {"exec": {"command": ["touch", "/v/hook"]}}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "whole"}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 3600, "tolerations": [{"operator": "Exists"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [part("init", "exit 0"), sidecar], "containers": [src, other]}})
}

#[test]
fn a_container_s_rule_restarts_all_containers_in_place() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("in-place");
    // The second time it runs on; before that it waits until somebody lets it end.
    let source = "[ $(grep -c src /v/turns) = 1 ] || exec sleep 600; until [ -e /v/go ]; do sleep 0.2; done; exit 42";
    kubectl.apply(&whole(source).to_string());
    ready(&kubectl, "whole");
    let stays = "{.metadata.uid} {.status.podIP} {.status.startTime}";
    let before = kubectl.path(&["pod", "whole"], stays);
    let log = shared.artifacts.work.join("whole.log");
    let condition = "{.status.conditions[?(@.type==\"AllContainersRestarting\")].status}";
    let watching = kubectl.start(&["get", "pod", "whole", "--watch", "-o", &format!("jsonpath={condition}\n")], &log);
    eventually("a watch", limit(30), || if watching.said().contains("False") { Ok(()) } else { Err(watching.said()) });
    let inside = |script: &str| kubectl.run(&["exec", "whole", "-c", "other", "--", "sh", "-c", script]);
    assert!(inside("touch /v/go").success, "the source is let go");
    let state = "{.status.phase} {range .status.initContainerStatuses[*]}{.name}={.restartCount}/{.lastState.terminated.reason} {end}\
        {range .status.containerStatuses[*]}{.name}={.restartCount}/{.lastState.terminated.reason}/{.ready} {end}";
    let all = "RestartingAllContainers";
    let wanted = format!("Running init=1/{all} sidecar=1/{all} other=1/{all}/true src=1/{all}/true");
    // Long before the grace period of what ignores TERM is over.
    shows(&kubectl, "whole", state, 60, &wanted);
    assert_eq!(kubectl.path(&["pod", "whole"], stays), before, "the pod, its address and its sandbox stay");
    eventually("two turns of each, init containers first", limit(30), || {
        let said = inside("cat /v/turns").out;
        let turns: Vec<&str> = said.lines().collect();
        let twice = |name: &&str| turns.iter().filter(|turn| *turn == name).count() == 2;
        let all = ["init", "sidecar", "src", "other"].iter().all(twice);
        if all && turns[0] == "init" && turns[4] == "init" { Ok(()) } else { Err(said) }
    });
    assert!(!inside("test -e /v/hook").success, "a hook ran");
    eventually("the condition comes and goes", limit(30), || {
        let said = watching.said();
        let seen: Vec<&str> = said.lines().map(str::trim).collect();
        let came = seen.contains(&"True") && seen.last() == Some(&"False");
        if came { Ok(()) } else { Err(said) }
    });
    kubectl.ok(&["delete", "pod", "whole", "--grace-period=1", "--wait=false"]);
}

#[test]
fn a_pod_is_watched_from_its_creation_to_its_end_and_found_by_new_labels() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("watched");
    let log = shared.artifacts.work.join("watched.log");
    let watch = [
        "get",
        "pods",
        "-l",
        "made=now",
        "--watch",
        "--output-watch-events",
        "-o",
        "jsonpath={.type} {.object.metadata.deletionGracePeriodSeconds}\n",
    ];
    let watching = kubectl.start(&watch, &log);
    kubectl.apply(&pod("seen", "exec sleep 600", "", "").replace("{name: seen}", "{name: seen, labels: {made: now}}"));
    ready(&kubectl, "seen");
    kubectl.ok(&["label", "pod", "seen", "time=later"]);
    assert_eq!(kubectl.path(&["pods", "-l", "time=later"], "{.items[*].metadata.name}"), "seen");
    eventually("a watch", limit(30), || match watching.said() {
        said if said.contains("ADDED") => Ok(()),
        said => Err(said),
    });
    kubectl.ok(&["delete", "pod", "seen", "--grace-period=3", "--wait=true"]);
    eventually("the whole life", limit(30), || {
        let said = watching.said();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let graceful = lines.contains(&"MODIFIED 3");
        let whole =
            lines.first() == Some(&"ADDED") && graceful && lines.last().is_some_and(|l| l.starts_with("DELETED"));
        if whole { Ok(()) } else { Err(said) }
    });
}

#[test]
fn ephemeral_containers_come_to_running_pods_one_after_the_other() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("ephemeral");
    kubectl.apply(&pod("host", "exec sleep 600", "", ""));
    ready(&kubectl, "host");
    let debug = |name: &str, word: &str| {
        let script = format!("echo {word}; exec sleep 600");
        kubectl.ok(&[
            "debug",
            "host",
            "--image=rk.local/busybox:demo",
            "--container",
            name,
            "--target=main",
            "--",
            "sh",
            "-c",
            &script,
        ]);
        let path = format!("{{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.running.startedAt}}");
        eventually(name, limit(60), || match kubectl.try_path(&["pod", "host"], &path)?.as_str() {
            "" => kubectl.try_path(&["pod", "host"], "{.status.ephemeralContainerStatuses}").and_then(Err),
            _ => Ok(()),
        });
        eventually("its words", limit(20), || match kubectl.ok(&["logs", "host", "-c", name]).trim() {
            said if said == word => Ok(()),
            said => Err(said.to_owned()),
        });
    };
    debug("first", "polo");
    debug("second", "marco");
    // Another client replaces the whole list through the subresource, and reads it anew when the node was faster.
    let path = "/api/v1/namespaces/ephemeral/pods/host/ephemeralcontainers";
    eventually("the third one to be taken", limit(20), || {
        let mut whole = kubectl.json(&["get", "pod", "host"]);
        let list = whole.pointer_mut("/spec/ephemeralContainers").and_then(Value::as_array_mut).expect("the list");
        list.push(json!({"name": "third", "image": "rk.local/busybox:demo", "command": ["sh", "-c", "echo end"]}));
        let answer = kubectl.fed(&["replace", "--raw", path, "-f", "-"], &whole.to_string());
        if answer.success { Ok(()) } else { Err(answer.err) }
    });
    let names = "{.spec.ephemeralContainers[*].name}";
    assert_eq!(kubectl.path(&["pod", "host"], names), "first second third");
    let ended = "{.status.ephemeralContainerStatuses[?(@.name==\"third\")].state.terminated.reason}";
    shows(&kubectl, "host", ended, 60, "Completed");
    assert_eq!(kubectl.path(&["pod", "host"], "{.status.containerStatuses[0].restartCount}"), "0");
}

#[test]
fn an_image_is_a_volume_whole_and_in_part() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("image-volume");
    let volume = "  volumes: [{name: i, image: {reference: rk.local/nginx:demo, pullPolicy: Always}}]\n";
    let mounts = "    volumeMounts: [{name: i, mountPath: /i}, {name: i, mountPath: /part, subPath: etc/nginx}]\n";
    kubectl.apply(&pod("reads", "exec sleep 600", volume, mounts));
    ready(&kubectl, "reads");
    let seen = sh(
        &kubectl,
        "reads",
        "test -x /i/usr/sbin/nginx && cat /i/etc/nginx/nginx.conf | cmp - /part/nginx.conf && echo same",
    );
    assert_eq!(seen.as_deref().map(str::trim), Ok("same"));
    let refused = sh(&kubectl, "reads", "touch /i/new").expect_err("an image is read-only");
    assert!(refused.contains("Read-only file system"), "{refused}");
    let lost = volume.replace("nginx:demo", "absent:demo");
    kubectl.apply(&pod("lost", "exec sleep 600", &lost, &mounts.replace("subPath: etc/nginx", "readOnly: true")));
    eventually("what cannot be pulled", limit(60), || {
        let seen = kubectl.try_path(&["pod", "lost"], "{.status.containerStatuses[0].state.waiting.reason}")?;
        if ["ErrImagePull", "ImagePullBackOff"].contains(&seen.as_str()) { Ok(()) } else { Err(seen) }
    });
}

/// nginx as a server of the gRPC health protocol: a stored answer, framed, over HTTP/2 without TLS, with its trailer.
const HEALTH: &str = r"user root root;
daemon off;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 5000;
    http2 on;
    root /health;
    default_type application/grpc;
    location = /grpc.health.v1.Health/Check { error_page 404 405 =200 /serving; }
    location = /serving { add_trailer grpc-status 0; }
  }
}
";

#[test]
fn grpc_probes_follow_what_the_health_service_answers() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("grpc");
    kubectl.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "health"}, "data": {"nginx.conf": HEALTH},
            "binaryData": {"serving": "AAAAAAIIAQ==", "refusing": "AAAAAAIIAg=="}})
        .to_string(),
    );
    let probe = |port: u16| json!({"grpc": {"port": port}, "initialDelaySeconds": 3, "periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 20});
    let server = |name: &str, answer: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "h", "configMap": {"name": "health", "items": [{"key": "nginx.conf", "path": "nginx.conf"},
                {"key": answer, "path": "serving"}]}}],
            "containers": [{"name": "main", "image": "rk.local/nginx:demo", "command": ["/usr/sbin/nginx", "-c", "/health/nginx.conf"],
                "volumeMounts": [{"name": "h", "mountPath": "/health"}], "livenessProbe": probe(port),
                // A slow start is none of the answers that are asked for.
                "startupProbe": {"tcpSocket": {"port": 5000}, "periodSeconds": 1, "failureThreshold": 120}}]}})
        .to_string()
    };
    for manifest in
        [server("holds", "serving", 5000), server("refuses", "refusing", 5000), server("silent", "serving", 2333)]
    {
        kubectl.apply(&manifest);
    }
    for name in ["refuses", "silent"] {
        eventually(name, limit(120), || {
            let seen = kubectl.try_path(&["pod", name], "{.status.containerStatuses[0].restartCount}")?;
            if seen.parse::<u32>().is_ok_and(|n| n > 0) { Ok(()) } else { Err(seen) }
        });
    }
    let state = "{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
    assert_eq!(kubectl.path(&["pod", "holds"], state), "0 true");
    let unhealthy = ["get", "events", "--field-selector", "reason=Unhealthy", "-o", "jsonpath={.items[*].message}"];
    eventually("events of both", limit(60), || match kubectl.ok(&unhealthy) {
        told if told.contains("NOT_SERVING") && told.contains("2333") => Ok(()),
        told => Err(told),
    });
    kubectl.ok(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]);
}
