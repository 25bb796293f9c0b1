//! The story of a newcomer, with the real kubectl and real HTTP clients.

#[path = "cluster/accounts.rs"]
mod accounts;
#[path = "cluster/operators.rs"]
mod operators;
#[path = "cluster/shares.rs"]
mod shares;
#[path = "cluster/sockets.rs"]
mod sockets;
#[path = "cluster/workloads.rs"]
mod workloads;

use rk_qemu::cluster::NODE_PORT;
use rk_qemu::http::Client;
use rk_tests::{Kubectl, Shared, eventually, limit, shared_with};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::MutexGuard;

fn cluster() -> MutexGuard<'static, Shared> {
    shared_with("cluster", 2, |spec| spec.rkctl = Some(spec.artifacts.binaries.join("rkctl")))
}

/// A pod that serves its name at port 80, ready when it does.
const PAGE: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: page}\nspec:\n  containers:\n  - name: page\n    \
    image: rk.local/nginx:demo\n    readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}\n";

/// A Deployment of nginx with a NodePort Service in front.
fn web(replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 2
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - name: nginx
        image: rk.local/nginx:demo
        ports: [{{containerPort: 80}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: 80}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 80, nodePort: {NODE_PORT}}}]
"#
    )
}

/// A pod of busybox that runs `script`.
fn busybox(name: &str, node: Option<&str>, script: &str) -> String {
    let node = node.map(|n| format!("  nodeName: {n}\n")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{node}  terminationGracePeriodSeconds: 1\n  \
         containers:\n  - name: main\n    image: rk.local/busybox:demo\n    command: [sh, -c, {}]\n",
        serde_json::Value::from(script)
    )
}

fn rollout(kubectl: &Kubectl, deployment: &str) {
    let seconds = limit(60).as_secs();
    kubectl.ok(&["rollout", "status", &format!("deployment/{deployment}"), &format!("--timeout={seconds}s")]);
}

fn ready(kubectl: &Kubectl, pod: &str) {
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    let answer = kubectl.run(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), &timeout]);
    assert!(answer.success, "{}\n{}", answer.err, kubectl.run(&["describe", "pod", pod]).out);
}

fn node_port_of(shared: &Shared) -> SocketAddr {
    let worker = shared.cluster.state().node("worker-1").expect("worker-1");
    let forward = worker.forwards.iter().find(|f| f.guest == NODE_PORT).expect("forwarded node port");
    SocketAddr::from((Ipv4Addr::LOCALHOST, forward.host))
}

#[test]
fn nodes_are_ready_and_tell_version_addresses_and_capacity() {
    let shared = cluster();
    let wide = shared.kubectl.ok(&["get", "nodes", "-o", "wide"]);
    for word in ["control-plane", "worker-1", "worker-2", "192.168.77.10", "192.168.77.11", "192.168.77.12", "v1.36"] {
        assert!(wide.contains(word), "{word} is missing:\n{wide}");
    }
    let nodes = shared.kubectl.json(&["get", "nodes"]);
    let mut ranges = BTreeSet::new();
    for node in nodes["items"].as_array().expect("items") {
        let name = &node["metadata"]["name"];
        for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
            assert!(node["status"]["allocatable"][resource].is_string(), "{name} has no {resource}:\n{node:#}");
        }
        assert!(ranges.insert(node["spec"]["podCIDR"].to_string()), "{name} shares a podCIDR");
    }
    assert_eq!(ranges.len(), 3);
}

#[test]
fn three_replicas_spread_over_both_workers_and_answer_by_pod_service_and_node_port() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("story");
    kubectl.apply(&web(3));
    rollout(&kubectl, "web");
    let nodes = kubectl.path(&["pods", "-l", "app=web"], "{.items[*].spec.nodeName}");
    let nodes: BTreeSet<&str> = nodes.split_whitespace().collect();
    assert_eq!(nodes, BTreeSet::from(["worker-1", "worker-2"]));

    kubectl.apply(&busybox("client", Some("worker-2"), "sleep 3600"));
    ready(&kubectl, "client");
    let fetch = |url: &str| {
        eventually(url, limit(20), || {
            let answer = kubectl.run(&["exec", "client", "--", "wget", "-q", "-T", "5", "-O", "-", url]);
            if answer.success && answer.out.contains("web-") {
                Ok(answer.out)
            } else {
                Err(format!("{}{}", answer.out, answer.err))
            }
        })
    };
    let pods =
        kubectl.path(&["pods", "-l", "app=web"], "{range .items[*]}{.metadata.name} {.status.podIP}{'\\n'}{end}");
    for line in pods.lines() {
        let (name, ip) = line.split_once(' ').expect("name and address");
        assert_eq!(fetch(&format!("http://{ip}/hostname")).trim(), name);
    }
    let service = kubectl.path(&["service", "web"], "{.spec.clusterIP}");
    fetch(&format!("http://{service}/hostname"));
    fetch("http://web/hostname");
    fetch("http://web.story.svc.cluster.local/hostname");

    let host = Client::plain(node_port_of(&shared));
    let mut served = BTreeSet::new();
    eventually("all replicas behind the node port", limit(30), || {
        let answer = host.get("/hostname").map_err(|e| e.to_string())?;
        served.insert(answer.text().trim().to_owned());
        if served.len() == 3 { Ok(()) } else { Err(format!("{served:?}")) }
    });
    let slices = kubectl
        .path(&["endpointslices", "-l", "kubernetes.io/service-name=web"], "{.items[*].endpoints[*].addresses[0]}");
    assert_eq!(slices.split_whitespace().count(), 3, "{slices}");
    kubectl.ok(&["scale", "deployment/web", "--replicas=1"]);
    eventually("one replica", limit(40), || {
        match kubectl.path(&["pods", "-l", "app=web"], "{.items[*].metadata.name}") {
            names if names.split_whitespace().count() == 1 => Ok(()),
            names => Err(names),
        }
    });
    shared.kubectl.ok(&["delete", "namespace", "story", "--wait=true", &format!("--timeout={}s", limit(60).as_secs())]);
}

#[test]
fn logs_exec_attach_and_port_forward_reach_a_pod() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("streams");
    kubectl.apply(&busybox(
        "talker",
        None,
        "echo first line; echo to stderr >&2; i=0; while true; do echo tick $i; i=$((i+1)); sleep 1; done",
    ));
    ready(&kubectl, "talker");
    // It is ready before it spoke.
    eventually("its first words", limit(20), || {
        let logs = kubectl.ok(&["logs", "talker"]);
        if logs.contains("first line") && logs.contains("to stderr") { Ok(()) } else { Err(logs) }
    });

    let dir = shared.artifacts.work.clone();
    let follow = kubectl.start(&["logs", "-f", "--tail=1", "talker"], &dir.join("follow.log"));
    eventually("logs -f to go on", limit(20), || {
        let said = follow.said();
        if said.lines().count() >= 4 { Ok(()) } else { Err(said) }
    });

    assert_eq!(kubectl.ok(&["exec", "talker", "--", "echo", "hello"]).trim(), "hello");
    let failed = kubectl.run(&["exec", "talker", "--", "sh", "-c", "echo oops >&2; exit 7"]);
    assert!(!failed.success && failed.err.contains("oops") && failed.err.contains('7'), "{failed:?}");
    let echoed = kubectl.fed(&["exec", "-i", "talker", "--", "cat"], "through stdin\n");
    assert_eq!(echoed.out, "through stdin\n", "{}", echoed.err);

    // Ready when it listens: a stream to a port where nobody does ends kubectl.
    kubectl.apply(PAGE);
    ready(&kubectl, "page");
    let (forward, port) = kubectl.forward("page", 80, &dir.join("port-forward.log"), limit(20));
    let page = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..3 {
        let answer = page.get("/hostname").unwrap_or_else(|e| panic!("{e}\n{}", forward.said()));
        assert_eq!(answer.text().trim(), "page");
    }
}

#[test]
fn a_person_watches_edits_types_copies_debugs_and_drains() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("by-hand");
    let dir = shared.artifacts.work.clone();
    // What is told after the list is all that happens after it.
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: first}\nspec:\n  schedulingGates: [{name: example.com/held}]\n  \
         containers: [{name: main, image: rk.local/busybox:demo}]\n",
    );
    let watch = kubectl.start(&["get", "pods", "--watch"], &dir.join("watch.log"));
    eventually("the watch to begin", limit(20), || {
        if watch.said().contains("first") { Ok(()) } else { Err(watch.said()) }
    });
    kubectl.ok(&["delete", "pod", "first", "--now"]);
    kubectl.ok(&["create", "deployment", "hand", "--image=rk.local/busybox:demo", "--", "sleep", "3600"]);
    rollout(&kubectl, "hand");
    eventually("the watch to tell of the pod", limit(20), || {
        let said = watch.said();
        if said.contains("Pending") && said.contains("Running") { Ok(()) } else { Err(said) }
    });
    kubectl.with_editor("sed -i s/replicas:.1/replicas:\\ 2/").ok(&["edit", "deployment", "hand"]);
    rollout(&kubectl, "hand");
    assert_eq!(kubectl.path(&["deployment", "hand"], "{.status.readyReplicas}"), "2");

    let pod = kubectl.path(&["pods", "-l", "app=hand"], "{.items[0].metadata.name}");
    let session = kubectl.typed(&["exec", "-it", &pod, "--", "sh"], "tty; exit 3\n");
    assert!(session.out.contains("/dev/pts/") && !session.success, "{session:?}");
    let source = dir.join("copied.txt");
    std::fs::write(&source, "over there\n").expect("write");
    kubectl.ok(&["cp", &source.display().to_string(), &format!("{pod}:/tmp/copied.txt")]);
    assert_eq!(kubectl.ok(&["exec", &pod, "--", "cat", "/tmp/copied.txt"]), "over there\n");
    // It goes on for a while: what is said before kubectl has attached is not shown.
    let debug = [
        "debug",
        &pod,
        "--image=rk.local/busybox:demo",
        "--attach",
        "--quiet",
        "--",
        "sh",
        "-c",
        "for turn in 1 2 3 4 5 6 7 8 9 10; do hostname; echo seen; sleep 1; done",
    ];
    let debugged = kubectl.ok(&debug);
    assert!(debugged.contains(&pod) && debugged.contains("seen"), "{debugged}");

    let node = kubectl.path(&["pod", &pod], "{.spec.nodeName}");
    let timeout = format!("--timeout={}s", limit(60).as_secs());
    kubectl.ok(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", &timeout]);
    let unschedulable = kubectl.path(&["node", &node], "{.spec.unschedulable}");
    let left =
        kubectl.path(&["pods", "--field-selector", &format!("spec.nodeName={node}")], "{.items[*].metadata.name}");
    kubectl.ok(&["uncordon", &node]);
    assert_eq!((unschedulable.as_str(), left.as_str()), ("true", ""));
    rollout(&kubectl, "hand");
    kubectl.ok(&["delete", "deployment", "hand", "--cascade=foreground", "--wait", &timeout]);
    assert_eq!(kubectl.ok(&["get", "replicasets,pods", "-o", "name"]), "");
}

#[test]
fn a_crashing_pod_restarts_with_back_off() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("crash");
    kubectl.apply(&busybox("crasher", None, "echo dying; exit 3"));
    let state = "{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.waiting.reason} \
                 {.status.containerStatuses[0].lastState.terminated.exitCode}";
    eventually("back-off", limit(60), || match kubectl.try_path(&["pod", "crasher"], state)? {
        seen if seen.contains("CrashLoopBackOff") && seen.ends_with(" 3") && !seen.starts_with('0') => Ok(()),
        seen => Err(seen),
    });
    eventually("its last words", limit(20), || {
        let previous = kubectl.run(&["logs", "crasher", "--previous"]);
        if previous.out.contains("dying") { Ok(()) } else { Err(format!("{previous:?}")) }
    });
    eventually("the event of it", limit(20), || {
        let events = kubectl.ok(&["get", "events"]);
        if events.contains("BackOff") { Ok(()) } else { Err(events) }
    });
}

#[test]
fn a_deployment_rolls_out_tells_of_failure_and_goes_back() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("rollout");
    kubectl.ok(&["create", "deployment", "app", "--image=rk.local/nginx:demo", "--replicas=2"]);
    rollout(&kubectl, "app");
    kubectl.ok(&["set", "env", "deployment/app", "COLOR=blue"]);
    rollout(&kubectl, "app");
    kubectl.ok(&["set", "image", "deployment/app", "nginx=rk.local/nosuch:tag"]);
    let stuck = kubectl.run(&["rollout", "status", "deployment/app", "--timeout=5s"]);
    assert!(!stuck.success, "{stuck:?}");
    let reasons = eventually("the reason of the failed pull", limit(30), || {
        let path = "{.items[*].status.containerStatuses[*].state.waiting.reason}";
        let seen = kubectl.try_path(&["pods"], path)?;
        if seen.contains("ErrImagePull") || seen.contains("ImagePullBackOff") { Ok(seen) } else { Err(seen) }
    });
    assert!(!reasons.is_empty());
    let available = kubectl.path(&["deployment", "app"], "{.status.availableReplicas}");
    assert!(available.parse::<u32>().unwrap_or(0) >= 1, "old pods went before new ones were there: {available}");
    kubectl.ok(&["rollout", "undo", "deployment/app"]);
    rollout(&kubectl, "app");
    assert_eq!(
        kubectl.path(&["deployment", "app"], "{.spec.template.spec.containers[0].image}"),
        "rk.local/nginx:demo"
    );
    let history = kubectl.ok(&["rollout", "history", "deployment/app"]);
    assert!(history.lines().count() >= 4, "{history}");
}

#[test]
fn a_pod_sees_its_config_its_secret_its_identity_and_its_limits() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("volumes");
    kubectl.ok(&["create", "configmap", "settings", "--from-literal=color=green"]);
    kubectl.ok(&["create", "secret", "generic", "key", "--from-literal=password=s3cret"]);
    kubectl.apply(include_str!("../fixtures/volumes.yaml"));
    ready(&kubectl, "reader");
    let read = |path: &str| kubectl.ok(&["exec", "reader", "--", "cat", path]);
    assert_eq!(read("/config/color"), "green");
    assert_eq!(read("/secret/password"), "s3cret");
    assert_eq!(read("/var/run/secrets/kubernetes.io/serviceaccount/namespace"), "volumes");
    assert_eq!(read("/var/run/secrets/kubernetes.io/serviceaccount/token").split('.').count(), 3);
    assert_eq!(read("/scratch/from-init"), "made by init\n");
    let environment = kubectl.ok(&["exec", "reader", "--", "sh", "-c", "echo $COLOR $NODE"]);
    assert_eq!(environment, "green worker-1\n");
    assert_eq!(read("/sys/fs/cgroup/memory.max").trim(), (64 << 20).to_string());
    let files = kubectl.ok(&["exec", "reader", "--", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -u"]);
    assert_eq!(files, "65536\n1048576\nunlimited\n");
    let links = kubectl.ok(&["exec", "reader", "--", "sh", "-c", "ls -d /sys/class/net/*/"]);
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["/sys/class/net/eth0/", "/sys/class/net/lo/"]);
}

#[test]
fn what_cannot_start_tells_its_reason() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("reasons");
    kubectl.apply(&busybox("good", None, "sleep 3600"));
    kubectl.ok(&[
        "run",
        "nocommand",
        "--image=rk.local/busybox:demo",
        "--restart=Never",
        "--command",
        "--",
        "/no/such/program",
    ]);
    kubectl.ok(&["run", "noimage", "--image=rk.local/absent:demo"]);
    let reason =
        "{.status.containerStatuses[0].state.waiting.reason}{.status.containerStatuses[0].state.terminated.reason}";
    for (pod, wanted) in [
        ("nocommand", ["RunContainerError", "StartError", "ContainerCannotRun"].as_slice()),
        ("noimage", ["ErrImagePull", "ImagePullBackOff"].as_slice()),
    ] {
        eventually(pod, limit(30), || {
            let seen = kubectl.try_path(&["pod", pod], reason)?;
            if wanted.iter().any(|w| seen.contains(w)) { Ok(()) } else { Err(seen) }
        });
    }
    eventually("the event of it", limit(20), || {
        let described = kubectl.ok(&["describe", "pod", "noimage"]);
        if described.contains("rk.local/absent:demo") && described.contains("Failed") { Ok(()) } else { Err(described) }
    });
    ready(&kubectl, "good");
}
