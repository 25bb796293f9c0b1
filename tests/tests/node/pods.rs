//! Pods on one node: what only a real kernel, a real runtime and a real network show.

use super::single;
use rk_tests::{Kubectl, eventually, limit};

/// A busybox pod that may run on the control plane. `more` is YAML of the pod's spec, `container` of its container.
pub fn pod(name: &str, command: &str, more: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  tolerations: [{{operator: Exists}}]\n\
         {more}  containers:\n  - name: main\n    image: rk.local/busybox:demo\n    command: [sh, -c, {command:?}]\n{container}"
    )
}

pub fn ready(kubectl: &Kubectl, name: &str) {
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
}

pub fn sh(kubectl: &Kubectl, pod: &str, script: &str) -> Result<String, String> {
    let answer = kubectl.run(&["exec", pod, "--", "sh", "-c", script]);
    if answer.success { Ok(answer.out) } else { Err(format!("{}{}", answer.out, answer.err)) }
}

#[test]
fn a_host_port_leads_to_its_pod_from_the_node_and_from_other_pods() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("host-port");
    let serve = "mkdir /w; echo first > /w/x; exec httpd -f -p 8080 -h /w";
    let port = |more: &str| format!("    ports: [{{containerPort: 8080, hostPort: 18080{more}}}]\n");
    kubectl.apply(&pod("first", serve, "", &port("")));
    // The same port on loopback alone is another one only where the first does not claim all addresses: this one is refused.
    kubectl.apply(&pod("second", serve, "", &port(", hostIP: 127.0.0.1")));
    kubectl.apply(&pod(
        "local",
        &serve.replace("first", "local"),
        "",
        &port(", hostIP: 127.0.0.1").replace("18080", "18081"),
    ));
    kubectl.apply(&pod("node", "sleep 3600", "  hostNetwork: true\n", ""));
    kubectl.apply(&pod("other", "sleep 3600", "", ""));
    for name in ["first", "local", "node", "other"] {
        ready(&kubectl, name);
    }
    let node = kubectl.ok(&["get", "pod", "node", "-o", "jsonpath={.status.hostIP}"]);
    for (from, to, wanted) in [
        ("node", format!("{node}:18080"), Some("first")),
        ("node", "127.0.0.1:18080".into(), Some("first")),
        ("other", format!("{node}:18080"), Some("first")),
        ("first", format!("{node}:18080"), Some("first")),
        ("node", "127.0.0.1:18081".into(), Some("local")),
        ("other", format!("{node}:18081"), None),
    ] {
        let ask = || sh(&kubectl, from, &format!("wget -T 5 -qO- http://{to}/x"));
        let Some(wanted) = wanted else {
            let answer = ask();
            assert!(answer.is_err(), "from {from} to {to}: {answer:?}");
            continue;
        };
        // A container is ready before it listens.
        eventually(&format!("{wanted} from {from} to {to}"), limit(30), || match ask()?.trim() {
            seen if seen == wanted => Ok(()),
            seen => Err(seen.to_owned()),
        });
    }
    eventually("the refusal of the second", limit(60), || {
        let reason = kubectl.try_path(&["pod", "second"], "{.status.reason}{.status.conditions[*].message}")?;
        if reason.contains("NodePorts") || reason.contains("free ports") { Ok(()) } else { Err(reason) }
    });
    kubectl.ok(&["delete", "pod", "first", "--wait=true"]);
    sh(&kubectl, "node", "wget -T 5 -qO- http://127.0.0.1:18080/x").expect_err("the port is closed with its pod");
}

#[test]
fn a_seccomp_profile_of_the_node_is_applied_and_a_missing_one_fails_the_container() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("seccomp");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    let write = format!("mkdir -p /seccomp/own && echo '{profile}' > /seccomp/own/no-mkdir.json && sleep 3600");
    let host = "  volumes: [{name: s, hostPath: {path: /var/lib/kubelet/seccomp, type: DirectoryOrCreate}}]\n";
    kubectl.apply(&pod("writer", &write, host, "    volumeMounts: [{name: s, mountPath: /seccomp}]\n"));
    ready(&kubectl, "writer");
    eventually("the profile", limit(20), || sh(&kubectl, "writer", "grep -c mkdir /seccomp/own/no-mkdir.json"));
    let local = |file: &str| {
        format!("    securityContext: {{seccompProfile: {{type: Localhost, localhostProfile: {file}}}}}\n")
    };
    kubectl.apply(&pod("bound", "sleep 3600", "", &local("own/no-mkdir.json")));
    kubectl.apply(&pod("lost", "sleep 3600", "", &local("own/absent.json")));
    ready(&kubectl, "bound");
    let refused = sh(&kubectl, "bound", "touch /free; mkdir /refused").expect_err("mkdir is forbidden");
    assert!(refused.contains("Operation not permitted"), "{refused}");
    assert!(sh(&kubectl, "bound", "grep Seccomp: /proc/1/status").is_ok_and(|s| s.contains('2')));
    sh(&kubectl, "bound", "test -e /free").expect("what the profile allows is done");
    eventually("the missing profile", limit(30), || {
        let seen = kubectl.try_path(&["pod", "lost"], "{.status.containerStatuses[0].state.waiting}")?;
        if seen.contains("CreateContainerError") && seen.contains("absent.json") { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn what_cannot_run_says_so_with_its_reason_and_its_neighbour_runs_on() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("cannot");
    kubectl.apply(&pod("neighbour", "sleep 3600", "", ""));
    kubectl.apply(&pod("program", "", "", "").replace("command: [sh, -c, \"\"]", "command: [/no/such/program]"));
    let digest = format!("sha256:{}", "0".repeat(64));
    kubectl.apply(&pod("digest", "true", "", "").replace("busybox:demo", &format!("busybox@{digest}")));
    kubectl.apply(&pod("name", "true", "", "").replace("rk.local/busybox:demo", "rk.local/Busybox:demo"));
    for (name, reasons, word) in [
        ("program", ["RunContainerError", "CrashLoopBackOff"], "no such file"),
        ("digest", ["ErrImagePull", "ImagePullBackOff"], digest.as_str()),
        ("name", ["InvalidImageName", "InvalidImageName"], "invalid reference format"),
    ] {
        eventually(name, limit(40), || {
            let seen = kubectl.try_path(
                &["pod", name],
                "{.status.containerStatuses[0].state}{.status.containerStatuses[0].lastState}",
            )?;
            let told = reasons.iter().any(|r| seen.contains(r)) && seen.to_lowercase().contains(word);
            if told { Ok(()) } else { Err(seen) }
        });
    }
    ready(&kubectl, "neighbour");
}
