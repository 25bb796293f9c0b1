//! What may die, and what must not with it.

use rk_qemu::cluster::NODE_PORT;
use rk_qemu::http::Client;
use rk_tests::{Kubectl, Shared, eventually, limit, shared};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::MutexGuard;

fn cluster() -> MutexGuard<'static, Shared> {
    shared("chaos", 2)
}

fn node_ready(kubectl: &Kubectl, node: &str) -> Result<bool, String> {
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    Ok(kubectl.try_path(&["node", node], path)? == "True")
}

fn wait_node(kubectl: &Kubectl, node: &str, wanted: bool, seconds: u64) {
    eventually(&format!("{node} to be ready={wanted}"), limit(seconds), || match node_ready(kubectl, node)? {
        seen if seen == wanted => Ok(()),
        seen => Err(format!("ready={seen}")),
    });
}

fn wait_pod(kubectl: &Kubectl, pod: &str) {
    kubectl.ok(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{pod}"),
        &format!("--timeout={}s", limit(60).as_secs()),
    ]);
}

/// A privileged pod in the node's pid namespace: the only way to a shell on a node without one.
fn surgeon(node: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: surgeon-{node}}}
spec:
  nodeName: {node}
  hostPID: true
  terminationGracePeriodSeconds: 1
  tolerations: [{{operator: Exists}}]
  containers:
  - name: main
    image: rk.local/busybox:demo
    command: [sleep, "3600"]
    securityContext: {{privileged: true}}
"#
    )
}

/// nginx that leaves a lost node after five seconds.
const MOBILE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: mobile}
spec:
  replicas: 3
  selector: {matchLabels: {app: mobile}}
  template:
    metadata: {labels: {app: mobile}}
    spec:
      terminationGracePeriodSeconds: 2
      tolerations:
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      containers: [{name: nginx, image: rk.local/nginx:demo}]
"#;

#[test]
fn a_killed_worker_loses_its_pods_to_the_other_and_comes_back() {
    let mut shared = cluster();
    let kubectl = shared.kubectl.new_namespace("killed");
    kubectl.apply(MOBILE);
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&["rollout", "status", "deployment/mobile", &timeout]);
    shared.cluster.kill_node("worker-2").expect("kill");
    wait_node(&kubectl, "worker-2", false, 90);
    eventually("three ready replicas on the worker that is left", limit(120), || {
        let path =
            "{range .items[?(@.spec.nodeName==\"worker-1\")]}{.status.conditions[?(@.type==\"Ready\")].status} {end}";
        let seen = kubectl.try_path(&["pods", "-l", "app=mobile"], path)?;
        if seen.matches("True").count() >= 3 { Ok(()) } else { Err(kubectl.run(&["get", "pods", "-o", "wide"]).out) }
    });
    shared.cluster.start_node("worker-2").expect("start");
    wait_node(&kubectl, "worker-2", true, 120);
    kubectl.apply(&surgeon("worker-2"));
    wait_pod(&kubectl, "surgeon-worker-2");
}

#[test]
fn a_deleted_node_joins_again() {
    let mut shared = cluster();
    let before = shared.kubectl.path(&["node", "worker-2"], "{.metadata.uid}");
    shared.kubectl.ok(&["delete", "node", "worker-2"]);
    shared.cluster.kill_node("worker-2").expect("kill");
    shared.cluster.start_node("worker-2").expect("start");
    wait_node(&shared.kubectl, "worker-2", true, 120);
    assert_ne!(shared.kubectl.path(&["node", "worker-2"], "{.metadata.uid}"), before);
}

#[test]
fn containers_outlive_rk_node() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("outlive");
    kubectl.apply(&surgeon("worker-1"));
    wait_pod(&kubectl, "surgeon-worker-1");
    let inside = |script: &str| kubectl.run(&["exec", "surgeon-worker-1", "--", "sh", "-c", script]);
    let container = kubectl.path(&["pod", "surgeon-worker-1"], "{.status.containerStatuses[0].containerID}");
    let before = inside("pidof rk-node").out.trim().to_owned();
    assert!(!before.is_empty(), "rk-node is not seen on its node");
    // The stream dies with the process that carries it.
    inside("kill -9 $(pidof rk-node)");
    eventually("a new rk-node beside the old container", limit(60), || {
        let answer = inside("pidof rk-node");
        let now = answer.out.trim();
        if answer.success && !now.is_empty() && now != before { Ok(()) } else { Err(format!("{now} {}", answer.err)) }
    });
    wait_node(&kubectl, "worker-1", true, 60);
    let status = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
    assert_eq!(kubectl.path(&["pod", "surgeon-worker-1"], status), format!("{container} 0"));
}

#[test]
fn rk_control_comes_back_without_lost_writes_while_services_go_on() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("control");
    kubectl.ok(&["run", "page", "--image=rk.local/nginx:demo", "--labels=app=page"]);
    wait_pod(&kubectl, "page");
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: page}}\nspec: {{type: NodePort, selector: {{app: page}}, ports: [{{port: 80, nodePort: {NODE_PORT}}}]}}\n"
    ));
    let worker = shared.cluster.state().node("worker-1").expect("worker-1");
    let forward = worker.forwards.iter().find(|f| f.guest == NODE_PORT).expect("node port");
    let page = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, forward.host)));
    let served = || {
        page.get("/hostname")
            .map_err(|e| e.to_string())
            .and_then(|a| if a.status == 200 { Ok(()) } else { Err(a.text()) })
    };
    eventually("the service", limit(30), served);

    kubectl.apply(&surgeon("control-plane"));
    wait_pod(&kubectl, "surgeon-control-plane");
    let mut written = 0;
    for n in 0..20 {
        kubectl.ok(&["create", "configmap", &format!("write-{n}"), "--from-literal=n=1"]);
        written = n + 1;
    }
    kubectl.run(&["exec", "surgeon-control-plane", "--", "sh", "-c", "kill -9 $(pidof rk-control)"]);
    for _ in 0..10 {
        eventually("the service while the API is away", limit(5), served);
    }
    eventually("the API to come back", limit(60), || {
        let answer = kubectl.run(&["get", "--raw", "/readyz"]);
        if answer.success { Ok(()) } else { Err(answer.err) }
    });
    let names = kubectl.path(&["configmaps"], "{.items[*].metadata.name}");
    assert_eq!(names.split_whitespace().filter(|n| n.starts_with("write-")).count(), written, "{names}");
    kubectl.ok(&["create", "configmap", "after", "--from-literal=n=1"]);
    wait_node(&kubectl, "worker-1", true, 60);
}

/// nginx at a port of its node, with nothing in it that the API alone knows; and one that wants a token.
const KNOWN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  nodeName: worker-1
  automountServiceAccountToken: false
  containers: [{name: nginx, image: "rk.local/nginx:demo", ports: [{containerPort: 80, hostPort: 30080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: with-token}
spec:
  nodeName: worker-1
  containers: [{name: nginx, image: "rk.local/nginx:demo", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: short}
spec:
  nodeName: worker-1
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers: [{name: nginx, image: "rk.local/nginx:demo"}]
"#;

#[test]
fn a_worker_that_starts_without_its_api_runs_what_it_knew() {
    assert_eq!(NODE_PORT, 30080, "the port in the manifest");
    let mut shared = cluster();
    let kubectl = shared.kubectl.new_namespace("known");
    // The same port of another test's Service.
    shared.kubectl.run(&["delete", "service", "page", "-n", "control", "--ignore-not-found"]);
    kubectl.apply(KNOWN);
    kubectl.apply(&surgeon("worker-1"));
    for pod in ["steady", "with-token", "short", "surgeon-worker-1"] {
        wait_pod(&kubectl, pod);
    }
    let uid = |pod: &str| kubectl.path(&["pod", pod], "{.metadata.uid}");
    let (steady, short) = (uid("steady"), uid("short"));
    kubectl.ok(&["delete", "pod", "short", "--wait=true"]);
    let worker = shared.cluster.state().node("worker-1").expect("worker-1");
    let forward = worker.forwards.iter().find(|f| f.guest == NODE_PORT).expect("node port");
    let page = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, forward.host)));
    let hostname = || match page.get("/hostname") {
        Ok(answer) if answer.status == 200 => Ok(answer.text()),
        Ok(answer) => Err(answer.text()),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(eventually("the page", limit(30), hostname).trim(), "steady");
    let address = kubectl.path(&["pod", "steady"], "{.status.podIP}");
    eventually("what is known to be on the disk", limit(30), || {
        let files = ["exec", "surgeon-worker-1", "--", "ls", "/proc/1/root/var/lib/kubelet/known"];
        let answer = kubectl.run(&files);
        let good = answer.out.contains(&steady) && !answer.out.contains(&short);
        if good { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
    });
    shared.cluster.kill_node("control-plane").expect("kill");
    shared.cluster.kill_node("worker-1").expect("kill");
    shared.cluster.start_node("worker-1").expect("start");
    assert_eq!(eventually("the page without an API", limit(180), hostname).trim(), "steady");

    shared.cluster.start_node("control-plane").expect("start");
    eventually("the API to come back", limit(120), || {
        let answer = kubectl.run(&["get", "--raw", "/readyz"]);
        if answer.success { Ok(()) } else { Err(answer.err) }
    });
    wait_node(&kubectl, "worker-1", true, 120);
    for pod in ["steady", "with-token"] {
        eventually(&format!("{pod} to be ready"), limit(120), || {
            let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
            match kubectl.try_path(&["pod", pod], path)?.as_str() {
                "True" => Ok(()),
                seen => Err(seen.to_owned()),
            }
        });
    }
    assert_eq!(eventually("the page", limit(30), hostname).trim(), "steady");
    let network = |address: &str| address.rsplit_once('.').map(|(network, _)| network.to_owned());
    let now = kubectl.path(&["pod", "steady"], "{.status.podIP}");
    assert_eq!(network(&now), network(&address), "the node has kept its pod CIDR");
    assert!(!kubectl.run(&["get", "pod", "short"]).success, "what was deleted has not come back");
    kubectl.ok(&["delete", "pod", "steady", "--wait=true"]);
}
