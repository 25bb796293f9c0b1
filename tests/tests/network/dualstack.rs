//! A dual-stack cluster of two machines: nodes, pods and Services have an address of each family, and every one of them answers.

use rk_tests::{Kubectl, Shared, eventually, limit, shared_with};
use std::sync::MutexGuard;

/// The machines with their addresses.
const NODES: [(&str, &str, &str); 2] =
    [("control-plane", "192.168.77.10", "fd00:77::10"), ("worker-1", "192.168.77.11", "fd00:77::11")];
/// A port of the node that leads to its pod.
const HOST_PORT: u16 = 8088;

fn cluster() -> MutexGuard<'static, Shared> {
    shared_with("dualstack", 1, |spec| spec.dual_stack = true)
}

/// One busybox per node that serves its name on port 8080, of which `more` may say more.
fn pods(kubectl: &Kubectl, more: &str) {
    for (node, ..) in NODES {
        let script = "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www";
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: on-{node}, labels: {{app: dual}}}}\nspec:\n  nodeName: {node}\n  \
             terminationGracePeriodSeconds: 1\n  tolerations: [{{operator: Exists}}]\n  containers:\n  - name: main\n    \
             image: rk.local/busybox:demo\n    command: [sh, -c, '{script}']\n    env:\n    \
             - {{name: POD_IPS, valueFrom: {{fieldRef: {{fieldPath: status.podIPs}}}}}}\n    \
             - {{name: HOST_IPS, valueFrom: {{fieldRef: {{fieldPath: status.hostIPs}}}}}}\n    \
             ports: [{{containerPort: 8080{more}}}]\n    \
             readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}\n"
        ));
    }
    for (node, ..) in NODES {
        let timeout = format!("--timeout={}s", limit(90).as_secs());
        kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/on-{node}"), &timeout]);
    }
}

/// What the list at `path` holds: one of IPv4, then one of IPv6.
fn both(kubectl: &Kubectl, object: &[&str], path: &str) -> (String, String) {
    let text = kubectl.path(object, path);
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.as_slice() {
        [four, six] if four.contains('.') && six.contains(':') => ((*four).to_owned(), (*six).to_owned()),
        _ => panic!("{object:?} {path}: {text:?} is not one of each family"),
    }
}

fn pod_ips(kubectl: &Kubectl, node: &str) -> (String, String) {
    both(kubectl, &["pod", &format!("on-{node}")], "{.status.podIPs[*].ip}")
}

fn fetch(kubectl: &Kubectl, from: &str, host: &str, port: &str) -> Result<String, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let (from, url) = (format!("on-{from}"), format!("http://{host}:{port}/"));
    let answer = kubectl.run(&["exec", &from, "--", "wget", "-q", "-T", "3", "-O", "-", &url]);
    if answer.success { Ok(answer.out.trim().to_owned()) } else { Err(format!("{url}: {}{}", answer.out, answer.err)) }
}

/// Asks from the pod of every node until one of the pods answers, and tells which ones did.
fn answered(kubectl: &Kubectl, host: &str, port: &str) -> Vec<String> {
    let ask = |from: &str| {
        eventually(&format!("{host}:{port} from {from}"), limit(30), || match fetch(kubectl, from, host, port)? {
            name if name.starts_with("on-") => Ok(name),
            other => Err(other),
        })
    };
    NODES.iter().map(|(from, ..)| ask(from)).collect()
}

/// Waits until `nslookup` says `wanted` when asked for records of a type.
fn told(kubectl: &Kubectl, kind: &str, name: &str, wanted: &str) {
    eventually(&format!("{name} to be {wanted}"), limit(30), || {
        let answer = kubectl.run(&["exec", "on-worker-1", "--", "nslookup", &format!("-type={kind}"), name]);
        if answer.out.contains(wanted) { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
    });
}

#[test]
fn nodes_and_pods_have_addresses_of_both_families_and_reach_each_other_by_both() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("dualpods");
    pods(&kubectl, &format!(", hostPort: {HOST_PORT}"));
    for (node, four, six) in NODES {
        let own = both(&kubectl, &["node", node], "{.status.addresses[?(@.type==\"InternalIP\")].address}");
        assert_eq!(own, (four.to_owned(), six.to_owned()));
        let (of_four, of_six) = both(&kubectl, &["node", node], "{.spec.podCIDRs[*]}");
        assert_eq!(kubectl.path(&["node", node], "{.spec.podCIDR}"), of_four);
        assert!(of_four.ends_with("/24") && of_six.starts_with("fd00:10:244:") && of_six.ends_with("/64"), "{of_six}");

        let pod = format!("on-{node}");
        let (pod_four, pod_six) = pod_ips(&kubectl, node);
        assert_eq!(kubectl.path(&["pod", &pod], "{.status.podIP}"), pod_four);
        assert_eq!(both(&kubectl, &["pod", &pod], "{.status.hostIPs[*].ip}"), own);
        let echo = |name: &str| format!("echo ${name}");
        let variable = |name: &str| kubectl.ok(&["exec", &pod, "--", "sh", "-c", &echo(name)]).trim().to_owned();
        assert_eq!(variable("POD_IPS"), format!("{pod_four},{pod_six}"));
        assert_eq!(variable("HOST_IPS"), format!("{four},{six}"));
        let hosts = kubectl.ok(&["exec", &pod, "--", "cat", "/etc/hosts"]);
        for ip in [&pod_four, &pod_six] {
            assert!(
                hosts.lines().any(|line| line.split_whitespace().eq([ip.as_str(), pod.as_str()])),
                "{ip} is not in\n{hosts}"
            );
        }
    }
    for (node, four, six) in NODES {
        let (pod_four, pod_six) = pod_ips(&kubectl, node);
        let wanted = vec![format!("on-{node}"); NODES.len()];
        for address in [pod_four, pod_six] {
            assert_eq!(answered(&kubectl, &address, "8080"), wanted, "{address}");
        }
        for address in [four, six] {
            assert_eq!(answered(&kubectl, address, &HOST_PORT.to_string()), wanted, "the host port at {address}");
        }
    }
    kubectl.ok(&["delete", "pods", "--all", "--wait=true"]);
}

#[test]
fn services_of_both_families_answer_at_every_address_and_have_names_of_both() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("dualservices");
    pods(&kubectl, "");
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: dual}, \
         ports: [{port: 80, targetPort: 8080}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: plain}\nspec: {selector: {app: dual}, sessionAffinity: ClientIP, \
         ports: [{port: 80, targetPort: 8080}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: none}\nspec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: dual}, \
         ports: [{port: 8080}]}\n",
    );
    let (four, six) = both(&kubectl, &["service", "web"], "{.spec.clusterIPs[*]}");
    assert_eq!(kubectl.path(&["service", "web"], "{.spec.ipFamilies[*]}"), "IPv4 IPv6");
    let port = kubectl.path(&["service", "web"], "{.spec.ports[0].nodePort}");
    for address in [&four, &six] {
        answered(&kubectl, address, "80");
    }
    for (_, four, six) in NODES {
        answered(&kubectl, four, &port);
        answered(&kubectl, six, &port);
    }
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=web"];
    let mut families: Vec<String> =
        kubectl.path(&slices, "{.items[*].addressType}").split_whitespace().map(str::to_owned).collect();
    families.sort();
    assert_eq!(families, ["IPv4", "IPv6"]);

    let name = "web.dualservices.svc.cluster.local";
    told(&kubectl, "a", name, &four);
    told(&kubectl, "aaaa", name, &six);
    for (node, ..) in NODES {
        told(&kubectl, "aaaa", "none.dualservices.svc.cluster.local", &pod_ips(&kubectl, node).1);
    }

    assert_eq!(
        kubectl.path(&["service", "plain"], "{.spec.ipFamilies[*]}"),
        "IPv4",
        "one family unless it is asked for"
    );
    kubectl.ok(&["patch", "service", "plain", "-p", r#"{"spec": {"ipFamilyPolicy": "PreferDualStack"}}"#]);
    let (_, gained) = both(&kubectl, &["service", "plain"], "{.spec.clusterIPs[*]}");
    let first = answered(&kubectl, &gained, "80");
    for _ in 0..3 {
        assert_eq!(answered(&kubectl, &gained, "80"), first, "a client stays where it was");
    }
    kubectl.ok(&["delete", "pods", "--all", "--wait=true"]);
}
