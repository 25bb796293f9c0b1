//! A worker whose network of pods and whose proxy are left to others: it says what it waits for, and is a node like any other once the
//! network is there.

use super::{IMAGE, READY, Worker, plane, sh};
use rk_tests::{eventually, limit};

/// What a node says of itself until it has a network; in words that upstream's users know.
const WAITS: &str = "KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
    message:Network plugin returns error: cni plugin not initialized";
/// A network of the plugins that every node has, as an installer puts it there.
const NETWORK: &str = r#"{"cniVersion": "0.3.1", "name": "installed", "plugins": [{"type": "bridge", "bridge": "installed0",
    "isGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]],
    "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/var/lib/cni/networks"}}]}"#;
/// Address of the Service that nobody carries traffic to.
const SERVICE: &str = "10.96.77.77";

/// A pod on a node. `spec` is YAML of its spec, `container` of its container.
fn pod(name: &str, node: &str, command: &str, spec: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: 1\n  tolerations: [{{operator: Exists}}]\n{spec}  containers:\n  - name: main\n    \
         image: {IMAGE}\n    command: [sh, -c, {command:?}]\n{container}"
    )
}

#[test]
fn a_worker_waits_for_the_network_that_is_installed_on_it_and_leaves_services_to_another_proxy() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 61);
    (worker.config.cluster.pod_network, worker.config.cluster.service_proxy) = (false, false);
    worker.start(1024);
    let kubectl = shared.kubectl.new_namespace("installed");
    eventually("the node to wait for its network", limit(READY), || {
        let of = |field: &str| format!("{{.status.conditions[?(@.type==\"Ready\")].{field}}}");
        match kubectl.try_path(&["node", &worker.name], &format!("{}: {}", of("reason"), of("message")))? {
            seen if seen.starts_with(WAITS) => Ok(()),
            seen => Err(seen),
        }
    });
    worker.wait_condition("Ready", "False", 10);

    let serve = "mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w";
    let probe = "    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n";
    kubectl.apply(&pod("inside", &worker.name, serve, "", probe));
    eventually("the pod to wait with it", limit(60), || {
        let told = kubectl.try_path(&["events", "--field-selector=reason=NetworkNotReady"], "{.items[*].message}")?;
        if told.starts_with("network is not ready: ") { Ok(()) } else { Err(told) }
    });
    let host = "  hostNetwork: true\n  volumes: [{name: networks, hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}}]\n";
    let mounts =
        "    securityContext: {privileged: true}\n    volumeMounts: [{name: networks, mountPath: /networks}]\n";
    kubectl.apply(&pod("installer", &worker.name, "sleep 3600", host, mounts));
    let ready = |name: &str| {
        let timeout = format!("--timeout={}s", limit(90).as_secs());
        kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
    };
    ready("installer");
    let run = |script: &str| sh(&kubectl, "installer", script).unwrap_or_else(|error| panic!("{script}: {error}"));
    assert_eq!(run("ls /networks").trim(), "", "the node makes none of its own");
    run(&format!("echo '{NETWORK}' > /networks/new && mv /networks/new /networks/20-installed.conflist"));

    worker.wait_ready();
    ready("inside");
    let address = kubectl.path(&["pod", "inside"], "{.status.podIP}");
    assert!(address.starts_with("10.99.0."), "{address}");
    let reach = |place: &str| sh(&kubectl, "installer", &format!("wget -q -T 3 -O - http://{place}/"));
    let told = eventually("the pod at its address", limit(30), || reach(&format!("{address}:8080")));
    assert_eq!(told.trim(), "inside");
    assert_eq!(run("ls /networks").trim(), "20-installed.conflist");
    let links = run("busybox ip -o link");
    assert!(links.contains("installed0") && !links.contains("cni0"), "{links}");

    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: inside}}\nspec: {{clusterIP: {SERVICE}, selector: {{app: inside}}, \
         ports: [{{port: 80, targetPort: 8080}}]}}\n"
    ));
    eventually("its endpoint", limit(60), || {
        match kubectl.try_path(&["endpointslices"], "{.items[*].endpoints[*].addresses[*]}")? {
            seen if seen == address => Ok(()),
            seen => Err(seen),
        }
    });
    // To where rules of a proxy would find it, and not out of the machine.
    run(&format!("busybox ip route add {SERVICE}/32 dev installed0"));
    assert!(reach(SERVICE).is_err(), "the node has no rules for Services");
    for port in [10249, 10256] {
        let refused = reach(&format!("127.0.0.1:{port}")).expect_err("no proxy of ours runs");
        assert!(refused.contains("refused"), "{port}: {refused}");
    }
}
