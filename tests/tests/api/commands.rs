//! kubectl's commands, as the community's suite asks for them, where no pod has to run.

use crate::control::{LIMIT, control};
use rk_tests::{Kubectl, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

fn controller(name: &str, replicas: u8) -> String {
    format!(
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{replicas: {replicas}, \
         selector: {{app: {name}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c, image: one, ports: \
         [{{containerPort: 6379}}]}}]}}}}}}\n"
    )
}

fn pods(kubectl: &Kubectl, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    eventually("pods of the controller", LIMIT, || {
        let seen = kubectl.try_path(&["pods"], "{.items[*].metadata.name}")?;
        names = seen.split_whitespace().map(str::to_owned).collect();
        if names.len() == count { Ok(()) } else { Err(seen) }
    });
    names
}

#[test]
fn a_replication_controller_is_described_exposed_annotated_and_scaled() {
    let kubectl = control().kubectl.new_namespace("commands-rc");
    kubectl.apply(&controller("agnhost", 1));
    let pod = pods(&kubectl, 1).remove(0);
    let said = kubectl.ok(&["describe", "rc", "agnhost"]);
    for part in
        ["Name:", "agnhost", "Namespace:", "commands-rc", "Selector:", "Replicas:", "Pods Status:", "Image:", "Events:"]
    {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    let said = kubectl.ok(&["describe", "pod", &pod]);
    for part in ["Controlled By:", "ReplicationController/agnhost", "Image:", "QoS Class:"] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(kubectl.ok(&["describe", "service", "kubernetes", "-n", "default"]).contains("Endpoints:"));
    assert!(kubectl.ok(&["describe", "namespace", "commands-rc"]).contains("Status:"));
    kubectl.ok(&["expose", "rc", "agnhost", "--name=rm2", "--port=1234", "--target-port=6379"]);
    kubectl.ok(&["expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379"]);
    assert_eq!(
        kubectl.path(&["service", "rm2"], "{.spec.ports[0].port}:{.spec.ports[0].targetPort}:{.spec.selector.app}"),
        "1234:6379:agnhost"
    );
    assert_eq!(kubectl.path(&["service", "rm3"], "{.spec.ports[0].port}"), "2345");
    kubectl.ok(&["patch", "pod", &pod, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]);
    assert_eq!(kubectl.path(&["pod", &pod], "{.metadata.annotations.x}"), "y");
    kubectl.ok(&["scale", "rc", "agnhost", "--replicas=3", "--timeout=120s"]);
    pods(&kubectl, 3);
    kubectl.ok(&["scale", "rc", "agnhost", "--current-replicas=3", "--replicas=1"]);
    pods(&kubectl, 1);
    kubectl.ok(&["delete", "rc", "agnhost", "--grace-period=0", "--force"]);
    pods(&kubectl, 0);
}

#[test]
fn differences_replacements_and_single_pods() {
    let kubectl = control().kubectl.new_namespace("commands");
    kubectl.ok(&["create", "deployment", "d", "--image=one", "--replicas=0"]);
    let mut live = kubectl.json(&["get", "deployment", "d"]);
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "two".into();
    let answer = kubectl.fed(&["diff", "-f", "-"], &live.to_string());
    assert!(!answer.success && answer.out.contains("+      - image: two"), "{answer:?}");
    kubectl.ok(&["run", "single", "--image=one", "--restart=Never", "--labels=run=single"]);
    assert_eq!(kubectl.path(&["pod", "single"], "{.spec.restartPolicy}"), "Never");
    // The scheduler tells in the pod's status that there is no node, maybe between the two.
    eventually("a replaced pod", LIMIT, || {
        let mut pod = kubectl.json(&["get", "pod", "single"]);
        pod["spec"]["containers"][0]["image"] = "two".into();
        let answer = kubectl.fed(&["replace", "-f", "-"], &pod.to_string());
        if answer.success { Ok(()) } else { Err(answer.err) }
    });
    assert_eq!(kubectl.path(&["pod", "single"], "{.spec.containers[0].image}"), "two");
    kubectl.ok(&["delete", "pod", "single", "--now"]);
    let said = kubectl.ok(&["cluster-info"]);
    assert!(said.contains("Kubernetes control plane") && said.contains("is running at"), "{said}");
}

/// What a proxy answers for `/api/`.
fn asked(mut stream: impl Read + Write) -> Result<(), String> {
    let request = b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer)).map_err(|error| error.to_string())?;
    if answer.contains("APIVersions") { Ok(()) } else { Err(answer) }
}

#[test]
fn kubectl_proxies_on_a_free_port_and_on_a_socket() {
    let guard = control();
    let port = guard.kubectl.start(&["proxy", "--port=0", "--disable-filter=true"], &guard.dir.join("proxy.log"));
    eventually("the proxy on a port", LIMIT, || {
        asked(TcpStream::connect(port.address()?).map_err(|error| error.to_string())?)
    });
    let path = guard.dir.join("proxy.sock");
    let option = format!("--unix-socket={}", path.display());
    let _socket = guard.kubectl.start(&["proxy", &option], &guard.dir.join("proxy-socket.log"));
    eventually("the proxy on a socket", LIMIT, || {
        asked(UnixStream::connect(&path).map_err(|error| error.to_string())?)
    });
}

/// A Deployment with one of the two strategies and a volume from one of two sources.
fn deployment(strategy: &str, source: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d}}, spec: {{replicas: 0, strategy: {{type: {strategy}}}, \
         selector: {{matchLabels: {{app: d}}}}, template: {{metadata: {{labels: {{app: d}}}}, spec: {{volumes: [{{name: v, {source}}}], \
         containers: [{{name: c, image: one}}]}}}}}}}}\n"
    )
}

#[test]
fn apply_takes_away_what_defaults_added_to_a_union() {
    let kubectl = control().kubectl.new_namespace("commands-unions");
    kubectl.apply(&deployment("RollingUpdate", "configMap: {name: c}"));
    assert_eq!(kubectl.path(&["deployment", "d"], "{.spec.strategy.rollingUpdate.maxSurge}"), "25%");
    kubectl.apply(&deployment("Recreate", "emptyDir: {}"));
    assert_eq!(kubectl.path(&["deployment", "d"], "{.spec.strategy}"), r#"{"type":"Recreate"}"#);
    assert_eq!(kubectl.path(&["deployment", "d"], "{.spec.template.spec.volumes}"), r#"[{"emptyDir":{},"name":"v"}]"#);
}

#[test]
fn a_list_of_any_kinds_is_checked_by_the_published_schemas() {
    let kubectl = control().kubectl.new_namespace("commands-list");
    let definition = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "lists.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "lists", "kind": "Lists"}, "versions": [{"name": "v1",
        "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
        "additionalProperties": {"type": "string", "enum": ["a", "b"], "default": "a"}}}}}}]}}"#;
    let items = [&*deployment("Recreate", "emptyDir: {}"), definition].map(|item| item.trim().to_owned()).join(", ");
    kubectl.apply(&format!("{{apiVersion: v1, kind: List, items: [{items}]}}"));
    let wrong = deployment("Recreate", "emptyDir: {}").replace("containers:", "containrs:");
    let refused = kubectl.apply_refused(&format!("{{apiVersion: v1, kind: List, items: [{wrong}]}}"));
    assert!(refused.contains("containrs"), "{refused}");
    kubectl.ok(&["delete", "crd", "lists.example.org"]);
}
