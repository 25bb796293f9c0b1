//! Services that change their type, and the two ways into a pod that lead through the API server and through the node.

use crate::{cluster, fetch, pods, ready};
use rk_tests::{Kubectl, eventually, limit};

/// The Service `web` in front of both pods.
fn web(kubectl: &Kubectl) {
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: pods}, ports: [{name: http, port: 80, targetPort: 8080}]}\n",
    );
}

fn field(kubectl: &Kubectl, path: &str) -> String {
    kubectl.path(&["service", "web"], path)
}

#[test]
fn a_service_keeps_working_through_every_change_of_its_type() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("types");
    pods(&kubectl);
    web(&kubectl);
    let through = |url: &str| eventually(url, limit(30), || fetch(&kubectl, "pod-1", url));
    let change = |patch: &str| kubectl.ok(&["patch", "service", "web", "-p", patch]);
    let external = r#"{"spec": {"type": "ExternalName", "externalName": "pod.example.com", "clusterIP": null, "clusterIPs": null}}"#;
    through("http://web/");

    change(external);
    assert_eq!(field(&kubectl, "{.spec.clusterIP}{.spec.clusterIPs}{.spec.ports[*].nodePort}"), "");
    change(r#"{"spec": {"type": "NodePort", "externalName": null}}"#);
    let port = field(&kubectl, "{.spec.ports[0].nodePort}");
    let node = kubectl.path(&["node", "worker-2"], "{.status.addresses[?(@.type==\"InternalIP\")].address}");
    through(&format!("http://{}/", field(&kubectl, "{.spec.clusterIP}")));
    through(&format!("http://{node}:{port}/"));

    change(external);
    assert_eq!(field(&kubectl, "{.spec.clusterIP}{.spec.ports[*].nodePort}"), "");
    eventually("the node's port to be closed", limit(30), || {
        match fetch(&kubectl, "pod-1", &format!("http://{node}:{port}/")) {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer),
        }
    });
    change(r#"{"spec": {"type": "ClusterIP", "externalName": null}}"#);
    through(&format!("http://{}/", field(&kubectl, "{.spec.clusterIP}")));
}

#[test]
fn the_api_server_passes_requests_on_to_pods_and_services() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("passed");
    pods(&kubectl);
    web(&kubectl);
    let script = "printf '#!/bin/sh\\necho\\necho $REQUEST_METHOD $QUERY_STRING\\n' > /www/cgi-bin/echo";
    for pod in ["pod-1", "pod-2"] {
        let script = format!("mkdir -p /www/cgi-bin && {script} && chmod +x /www/cgi-bin/echo");
        kubectl.ok(&["exec", pod, "--", "sh", "-c", &script]);
    }
    let root = "/api/v1/namespaces/passed";
    let get = |path: String| kubectl.ok(&["get", "--raw", &path]).trim().to_owned();
    assert_eq!(get(format!("{root}/pods/pod-2:8080/proxy/")), "pod-2");
    assert_eq!(get(format!("{root}/pods/http:pod-1:8080/proxy/index.html")), "pod-1");
    for service in ["web:80", "web:http", "http:web:http"] {
        let found = eventually(service, limit(30), || {
            let answer = kubectl.run(&["get", "--raw", &format!("{root}/services/{service}/proxy/")]);
            if answer.success { Ok(answer.out) } else { Err(answer.err) }
        });
        assert!(found.starts_with("pod-"), "{found}");
    }
    for place in ["pods/pod-1:8080", "services/web:http"] {
        let path = format!("{root}/{place}/proxy/cgi-bin/echo?a=b&c=d");
        assert_eq!(get(path.clone()), "GET a=b&c=d");
        let posted = kubectl.fed(&["create", "--raw", &path, "-f", "-"], "{}");
        assert_eq!(posted.out.trim(), "POST a=b&c=d", "{}", posted.err);
        let put = kubectl.fed(&["replace", "--raw", &path, "-f", "-"], "{}");
        assert_eq!(put.out.trim(), "PUT a=b&c=d", "{}", put.err);
    }
    for (port, why) in
        [("81", "no service port 81 found for service"), ("nosuch", "no endpoints available for service")]
    {
        let refused = kubectl.refused(&["get", "--raw", &format!("{root}/services/web:{port}/proxy/")]);
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn pods_on_the_host_s_network_reach_pods_of_every_node() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("hostnet");
    pods(&kubectl);
    for n in 1..=2 {
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: host-{n}}}\nspec:\n  nodeName: worker-{n}\n  hostNetwork: true\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  \
             - {{name: main, image: rk.local/busybox:demo, command: [sleep, '3600']}}\n"
        ));
    }
    for n in 1..=2 {
        ready(&kubectl, &format!("host-{n}"));
    }
    for (from, to) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let address = kubectl.path(&["pod", &format!("pod-{to}")], "{.status.podIP}");
        let got = eventually("a pod from a node", limit(30), || {
            fetch(&kubectl, &format!("host-{from}"), &format!("http://{address}:8080/"))
        });
        assert_eq!(got, format!("pod-{to}"), "from host-{from}");
    }
    let own = |path: &str| {
        let url = format!("http://127.0.0.1:{path}");
        eventually("the node's own proxy", limit(30), || fetch(&kubectl, "host-1", &url))
    };
    assert!(own("10256/healthz").contains("\"nodeEligible\":true"));
    assert_eq!(own("10249/proxyMode"), "nftables");
}
