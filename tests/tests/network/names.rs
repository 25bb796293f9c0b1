//! Names: what pods are called, what stands for other names, and how resolvers of pods are set up.

use crate::{cluster, fetch, pods, ready};
use rk_tests::{Kubectl, eventually, limit};

/// Waits until `nslookup` in `pod` says `wanted` when asked for records of a type.
fn told(kubectl: &Kubectl, pod: &str, kind: &str, name: &str, wanted: &str) {
    eventually(&format!("{name} to be {wanted}"), limit(30), || {
        let answer = kubectl.run(&["exec", pod, "--", "nslookup", &format!("-type={kind}"), name]);
        if answer.out.contains(wanted) { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
    });
}

#[test]
fn pods_have_the_names_that_their_hostname_and_subdomain_make() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("hosts");
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: sub}\nspec: {clusterIP: None, selector: {app: named}, ports: [{port: 80}]}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: named, labels: {app: named}}\nspec:\n  hostname: one\n  subdomain: sub\n  \
         terminationGracePeriodSeconds: 1\n  hostAliases: [{ip: 192.0.2.7, hostnames: [alias.example]}]\n  containers:\n  \
         - {name: main, image: rk.local/busybox:demo, command: [sleep, '3600']}\n",
    );
    ready(&kubectl, "named");
    let ip = kubectl.path(&["pod", "named"], "{.status.podIP}");
    let full = "one.sub.hosts.svc.cluster.local";
    assert_eq!(kubectl.ok(&["exec", "named", "--", "hostname", "-f"]).trim(), full);
    let hosts = kubectl.ok(&["exec", "named", "--", "cat", "/etc/hosts"]);
    let own = hosts.lines().find(|line| line.starts_with(&ip)).unwrap_or_else(|| panic!("{ip} is not in\n{hosts}"));
    assert_eq!(own.split_whitespace().collect::<Vec<_>>(), [&*ip, full, "one"], "{hosts}");
    assert!(hosts.contains("192.0.2.7\talias.example") && hosts.contains("localhost"), "{hosts}");
    told(&kubectl, "named", "a", full, &ip);
}

#[test]
fn services_have_partial_names_and_some_stand_for_others() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("partial");
    pods(&kubectl);
    kubectl.ok(&["expose", "pod", "pod-1", "--name=web", "--port=80", "--target-port=8080"]);
    for name in ["web", "web.partial", "web.partial.svc", "web.partial.svc.cluster.local"] {
        eventually(name, limit(30), || fetch(&kubectl, "pod-2", &format!("http://{name}/")));
    }
    kubectl.ok(&["create", "service", "externalname", "other", "--external-name=foo.example.com"]);
    let name = "other.partial.svc.cluster.local";
    told(&kubectl, "pod-1", "cname", name, "canonical name = foo.example.com");
    let change = |patch: &str| kubectl.ok(&["patch", "service", "other", "-p", patch]);
    change(r#"{"spec": {"externalName": "bar.example.com"}}"#);
    told(&kubectl, "pod-1", "cname", name, "canonical name = bar.example.com");
    change(r#"{"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80, "targetPort": 8080}]}}"#);
    let ip = kubectl.path(&["service", "other"], "{.spec.clusterIP}");
    assert!(!ip.is_empty(), "no address after the change of the type");
    told(&kubectl, "pod-1", "a", name, &ip);
}

#[test]
fn a_pod_may_bring_its_own_resolver() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("resolver");
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec:\n  terminationGracePeriodSeconds: 1\n  dnsPolicy: None\n  dnsConfig:\n    \
         nameservers: [192.0.2.53]\n    searches: [resolv.example]\n    options: [{name: ndots, value: '2'}, {name: edns0}]\n  containers:\n  \
         - {name: main, image: rk.local/busybox:demo, command: [sleep, '3600']}\n",
    );
    ready(&kubectl, "own");
    let text = kubectl.ok(&["exec", "own", "--", "cat", "/etc/resolv.conf"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["search resolv.example", "nameserver 192.0.2.53", "options ndots:2 edns0"]);
}
