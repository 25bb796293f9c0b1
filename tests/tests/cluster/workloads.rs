//! What replicas serve, what jobs survive, and what an application of several parts looks like.

use crate::{cluster, rollout};
use rk_tests::{Kubectl, eventually, limit};
use serde_json::json;

/// `count` replicas that each serve their own name, under a controller of `kind`.
fn replicas(kind: &str, group: &str, count: u32) -> String {
    let selector = if group == "v1" { json!({"app": "names"}) } else { json!({"matchLabels": {"app": "names"}}) };
    let script = "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www";
    json!({
        "apiVersion": group, "kind": kind, "metadata": {"name": "names"},
        "spec": {"replicas": count, "selector": selector, "template": {
            "metadata": {"labels": {"app": "names"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": "rk.local/busybox:demo", "command": ["sh", "-c", script],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }]},
        }},
    })
    .to_string()
}

/// The names of the pods, once there are exactly `count` and all are ready.
fn names(kubectl: &Kubectl, count: usize) -> Vec<String> {
    eventually(&format!("{count} replicas"), limit(60), || {
        let path = "{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='Ready')].status} {end}";
        let all = kubectl.try_path(&["pods", "-l", "app=names"], path)?;
        let ready: Vec<String> =
            all.split_whitespace().filter_map(|pod| pod.strip_suffix("=True")).map(str::to_owned).collect();
        if ready.len() == count && all.split_whitespace().count() == count { Ok(ready) } else { Err(all) }
    })
}

#[test]
fn every_replica_serves_and_controllers_scale_and_stop() {
    let shared = cluster();
    for (kind, group) in [("ReplicationController", "v1"), ("ReplicaSet", "apps/v1")] {
        let namespace = kind.to_lowercase();
        let kubectl = shared.kubectl.new_namespace(&namespace);
        kubectl.apply(&replicas(kind, group, 2));
        for name in names(&kubectl, 2) {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:8080/proxy/");
            assert_eq!(kubectl.ok(&["get", "--raw", &path]).trim(), name);
        }
        let (object, timeout) = (format!("{namespace}/names"), format!("--timeout={}s", limit(60).as_secs()));
        for count in [1, 2] {
            kubectl.ok(&["scale", &object, &format!("--replicas={count}"), &timeout]);
            names(&kubectl, count);
        }
        kubectl.ok(&["delete", &object, &timeout]);
        names(&kubectl, 0);
    }
}

#[test]
fn a_job_completes_though_its_tasks_fail_in_place_at_first() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("tasks");
    kubectl.apply(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: stumbling}\nspec:\n  parallelism: 2\n  completions: 4\n  template:\n    spec:\n      \
         restartPolicy: OnFailure\n      volumes: [{name: data, emptyDir: {}}]\n      containers:\n      - name: main\n        \
         image: rk.local/busybox:demo\n        command: [sh, -c, 'test -e /data/seen && exit 0; touch /data/seen; exit 1']\n        \
         volumeMounts: [{name: data, mountPath: /data}]\n",
    );
    kubectl.ok(&["wait", "--for=condition=Complete", "job/stumbling", &format!("--timeout={}s", limit(120).as_secs())]);
    assert_eq!(kubectl.path(&["job", "stumbling"], "{.status.succeeded}"), "4");
    let restarts =
        kubectl.path(&["pods", "-l", "job-name=stumbling"], "{.items[*].status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "1 1 1 1", "every task fails once and is restarted where it is");
}

/// A guestbook of two parts: pods that keep entries, and pods in front that write and read them by the Service's name.
fn guestbook() -> String {
    let keeper = "mkdir -p /www/cgi-bin && cd /www/cgi-bin && touch /tmp/entries && \
        printf '#!/bin/sh\\necho\\ncase $QUERY_STRING in add=*) echo ${QUERY_STRING#add=} >> /tmp/entries;; esac\\ncat /tmp/entries\\n' > keep && \
        chmod +x keep && exec httpd -f -p 8080 -h /www";
    let front = "mkdir -p /www/cgi-bin && cd /www/cgi-bin && \
        printf '#!/bin/sh\\necho\\nwget -q -T 5 -O - \"http://keeper/cgi-bin/keep?$QUERY_STRING\"\\n' > ask && chmod +x ask && \
        exec httpd -f -p 8080 -h /www";
    let part = |name: &str, script: &str, count: u32| {
        json!([
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"tier": name}, "ports": [{"port": 80, "targetPort": 8080}]}},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
                "replicas": count, "selector": {"matchLabels": {"tier": name}}, "template": {
                    "metadata": {"labels": {"tier": name}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                        "name": "main", "image": "rk.local/busybox:demo", "command": ["sh", "-c", script],
                        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                    }]},
                }}},
        ])
    };
    let items: Vec<_> = [part("keeper", keeper, 1), part("front", front, 2)]
        .into_iter()
        .flat_map(|part| part.as_array().cloned().unwrap_or_default())
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

#[test]
fn an_application_of_several_parts_comes_works_and_goes() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("guestbook");
    let manifest = guestbook();
    kubectl.apply(&manifest);
    rollout(&kubectl, "keeper");
    rollout(&kubectl, "front");
    let path = "/api/v1/namespaces/guestbook/services/front:80/proxy/cgi-bin/ask";
    for (entry, wanted) in [("add=hello", "hello"), ("add=again", "again"), ("list=all", "hello")] {
        eventually(entry, limit(60), || {
            let answer = kubectl.run(&["get", "--raw", &format!("{path}?{entry}")]);
            if answer.out.contains(wanted) { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) }
        });
    }
    let deleted = kubectl.fed(&["delete", "--grace-period=0", "--force", "-f", "-"], &manifest);
    assert!(deleted.success, "{}", deleted.err);
    eventually("the last pod to go", limit(60), || {
        match kubectl.try_path(&["pods,services,deployments"], "{.items[*].metadata.name}")? {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    });
}
