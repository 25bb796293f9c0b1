//! UDP from pods and nodes to pods, with a stock DNS server as the one that answers.

use crate::{cluster, ready};
use rk_tests::{Kubectl, Shared, eventually, limit};

/// One pod per worker whose first container answers over UDP with the pod's name, and whose second one asks.
fn resolvers(shared: &Shared, kubectl: &Kubectl) {
    shared.push("dnsmasq").expect("push");
    for n in 1..=2 {
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: udp-{n}}}\nspec:\n  nodeName: worker-{n}\n  terminationGracePeriodSeconds: 1\n  \
             containers:\n  - name: server\n    image: rk.local/dnsmasq:demo\n    \
             args: [-k, -C, /dev/null, -R, -h, --user=root, '--txt-record=who.test,$(NAME)']\n    \
             env: [{{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]\n    \
             ports: [{{containerPort: 53, protocol: UDP}}]\n    readinessProbe: {{tcpSocket: {{port: 53}}, periodSeconds: 1}}\n  \
             - {{name: client, image: rk.local/busybox:demo, command: [sleep, '3600']}}\n"
        ));
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: node-{n}}}\nspec:\n  nodeName: worker-{n}\n  hostNetwork: true\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  \
             - {{name: client, image: rk.local/busybox:demo, command: [sleep, '3600']}}\n"
        ));
    }
    for pod in ["udp-1", "udp-2", "node-1", "node-2"] {
        ready(kubectl, pod);
    }
}

/// Asks every pod from each of `clients` until its name comes back.
fn each_is_answered_by_each(kubectl: &Kubectl, clients: [&str; 2]) {
    for from in clients {
        for to in ["udp-1", "udp-2"] {
            let address = kubectl.path(&["pod", to], "{.status.podIP}");
            eventually(&format!("{to} over UDP from {from}"), limit(30), || {
                let answer =
                    kubectl.run(&["exec", from, "-c", "client", "--", "nslookup", "-type=txt", "who.test", &address]);
                let named = answer.out.contains(&format!("text = \"{to}\""));
                if named { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
            });
        }
    }
}

#[test]
fn datagrams_pass_between_pods_and_from_nodes_to_pods() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("datagrams");
    resolvers(&shared, &kubectl);
    each_is_answered_by_each(&kubectl, ["udp-1", "udp-2"]);
    each_is_answered_by_each(&kubectl, ["node-1", "node-2"]);
}
