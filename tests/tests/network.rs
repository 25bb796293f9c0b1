//! Pods, Services, DNS, and a network that misbehaves.

#[path = "network/datagrams.rs"]
mod datagrams;
#[path = "network/names.rs"]
mod names;
#[path = "network/services.rs"]
mod services;

use rk_qemu::switch::Fault;
use rk_tests::{Kubectl, Shared, eventually, limit, shared};
use std::sync::MutexGuard;
use std::time::Duration;

fn cluster() -> MutexGuard<'static, Shared> {
    shared("network", 2)
}

/// One busybox per worker that serves its name on port 8080.
fn pods(kubectl: &Kubectl) {
    for n in 1..=2 {
        let script = "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www";
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{n}, labels: {{app: pods}}}}\nspec:\n  nodeName: worker-{n}\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: rk.local/busybox:demo\n    \
             command: [sh, -c, '{script}']\n    ports: [{{containerPort: 8080}}]\n    \
             readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}\n"
        ));
    }
    for n in 1..=2 {
        ready(kubectl, &format!("pod-{n}"));
    }
}

fn ready(kubectl: &Kubectl, pod: &str) {
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), &timeout]);
}

fn fetch(kubectl: &Kubectl, from: &str, url: &str) -> Result<String, String> {
    let answer = kubectl.run(&["exec", from, "--", "wget", "-q", "-T", "3", "-O", "-", url]);
    if answer.success { Ok(answer.out.trim().to_owned()) } else { Err(format!("{}{}", answer.out, answer.err)) }
}

#[test]
fn pods_reach_each_other_across_nodes_and_themselves_through_their_service() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("pods");
    pods(&kubectl);
    let address = |n: u8| kubectl.path(&["pod", &format!("pod-{n}")], "{.status.podIP}");
    for (from, to) in [(1, 2), (2, 1), (1, 1)] {
        let got = eventually("the other pod", limit(15), || {
            fetch(&kubectl, &format!("pod-{from}"), &format!("http://{}:8080/", address(to)))
        });
        assert_eq!(got, format!("pod-{to}"), "from {from}");
    }
    kubectl.ok(&["expose", "pod", "pod-1", "--name=self", "--port=80", "--target-port=8080"]);
    let own = eventually("a pod through its own service", limit(20), || fetch(&kubectl, "pod-1", "http://self/"));
    assert!(own == "pod-1" || own == "pod-2", "{own}");
}

#[test]
fn names_of_services_and_pods_are_answered_by_cluster_dns() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("names");
    pods(&kubectl);
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: headless}\nspec: {clusterIP: None, selector: {app: pods}, ports: [{name: http, port: 8080}]}\n",
    );
    let lookup = |name: &str| kubectl.run(&["exec", "pod-1", "--", "nslookup", name]);
    let api = shared.kubectl.path(&["service", "kubernetes"], "{.spec.clusterIP}");
    eventually("the API's name", limit(20), || {
        let answer = lookup("kubernetes.default.svc.cluster.local");
        if answer.out.contains(&api) { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
    });
    let addresses = [1, 2].map(|n| kubectl.path(&["pod", &format!("pod-{n}")], "{.status.podIP}"));
    eventually("both pods behind a headless service", limit(20), || {
        let answer = lookup("headless.names.svc.cluster.local");
        if addresses.iter().all(|a| answer.out.contains(a)) {
            Ok(())
        } else {
            Err(format!("{}{}", answer.out, answer.err))
        }
    });
    eventually("a name that nobody has", limit(20), || {
        let nowhere = lookup("nowhere.names.svc.cluster.local");
        let denied = nowhere.out.contains("NXDOMAIN") || nowhere.err.contains("NXDOMAIN");
        if denied { Ok(()) } else { Err(format!("{nowhere:?}")) }
    });
}

#[test]
fn a_partitioned_node_turns_not_ready_and_recovers() {
    let shared = cluster();
    let kubectl = &shared.kubectl;
    let ready = || kubectl.try_path(&["node", "worker-2"], "{.status.conditions[?(@.type==\"Ready\")].status}");
    let [control, one, two] = ["control-plane", "worker-1", "worker-2"].map(|n| shared.cluster.port(n).expect("port"));
    shared.cluster.switch().partition(&[two], &[control, one]);
    eventually("worker-2 to be missed", limit(90), || match ready()? {
        seen if seen != "True" => Ok(()),
        seen => Err(seen),
    });
    let taints = eventually("its taints", limit(30), || {
        match kubectl.try_path(&["node", "worker-2"], "{.spec.taints[*].key}")? {
            seen if seen.contains("unreachable") => Ok(seen),
            seen => Err(seen),
        }
    });
    assert!(taints.contains("node.kubernetes.io/unreachable"), "{taints}");
    shared.cluster.switch().heal();
    eventually("worker-2 to return", limit(90), || match ready()? {
        seen if seen == "True" => Ok(()),
        seen => Err(seen),
    });
}

#[test]
fn a_slow_and_lossy_network_still_carries_services() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("lossy");
    pods(&kubectl);
    let two = shared.cluster.port("worker-2").expect("port");
    shared.cluster.switch().set_fault(two, Fault { drop_percent: 5, delay: Duration::from_millis(20) });
    let address = kubectl.path(&["pod", "pod-2"], "{.status.podIP}");
    for _ in 0..5 {
        eventually("the slow pod", limit(20), || fetch(&kubectl, "pod-1", &format!("http://{address}:8080/")));
    }
    shared.cluster.switch().heal();
}
