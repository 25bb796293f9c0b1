//! Workloads against a real control plane, seen through kubectl.

use crate::cluster::{ControlPlane, eventually, start};

/// Waits until the scheduler has heard that a node takes pods, which the API tells a moment before: until one goes there.
async fn is_known(plane: &ControlPlane, node: &str) {
    plane.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: to-{node}}}\nspec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}, \
         containers: [{{name: c, image: x}}]}}\n"
    ));
    plane.shows(&format!("pod to-{node}"), ".spec.nodeName", node).await;
    plane.kubectl(&format!("delete pod to-{node} --timeout=180s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_rolls_out_and_back_and_its_service_follows() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    for node in ["n1", "n2"] {
        is_known(&plane, node).await;
    }
    plane.kubectl("create deployment web --image=one --replicas=4");
    plane.kubectl("expose deployment web --port=80");
    plane.kubectl("rollout status deployment/web --timeout=180s");
    let nodes = plane.kubectl("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}");
    assert!(nodes.contains("n1") && nodes.contains("n2"), "spread over both nodes: {nodes}");
    plane.kubectl("set image deployment/web one=two");
    plane.kubectl("rollout status deployment/web --timeout=180s");
    assert_eq!(
        plane.kubectl("get deployment web -o jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}"),
        "2"
    );
    plane.kubectl("rollout undo deployment/web");
    plane.kubectl("rollout status deployment/web --timeout=180s");
    assert_eq!(plane.kubectl("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}"), "one");
    assert_eq!(plane.kubectl("get replicasets -l app=web -o name").lines().count(), 2, "the old set is used again");
    plane.kubectl("scale deployment/web --replicas=2");
    plane.shows("deployment web", ".status.availableReplicas", "2").await;
    eventually("two ready endpoints", || async {
        let ready = plane.kubectl("get endpointslices -l kubernetes.io/service-name=web -o jsonpath={.items[*].endpoints[*].conditions.ready}");
        if ready == "true true" { Ok(()) } else { Err(ready) }
    })
    .await;
    plane.kubectl("delete deployment web --timeout=180s");
    eventually("its pods to be gone", || async {
        let left = plane.kubectl("get pods -o name");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_go_stay_or_go_first_as_asked() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    for name in ["orphan", "first"] {
        plane.kubectl(&format!("create deployment {name} --image=x"));
        plane.kubectl(&format!("rollout status deployment/{name} --timeout=180s"));
    }
    let set = plane.kubectl("get replicasets -l app=orphan -o name");
    plane.kubectl("delete deployment orphan --cascade=orphan --timeout=180s");
    plane.shows(&set, ".metadata.ownerReferences", "").await;
    plane.kubectl("delete deployment first --cascade=foreground --timeout=180s");
    assert_eq!(plane.kubectl("get replicasets,pods -l app=first -o name"), "", "nothing is left when the owner goes");
    assert_eq!(plane.kubectl("get pods -l app=orphan -o name").lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_in_a_circle_go_when_one_of_them_goes_first() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    for name in ["a", "b", "c"] {
        plane.kubectl(&format!("run {name} --image=x"));
    }
    for (name, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
        let uid = plane.kubectl(&format!("get pod {owner} -o jsonpath={{.metadata.uid}}"));
        let reference = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","name":"{owner}","uid":"{uid}","controller":true,"blockOwnerDeletion":true}}"#
        );
        plane.kubectl(&format!(
            r#"patch pod {name} --type=merge -p {{"metadata":{{"ownerReferences":[{reference}]}}}}"#
        ));
    }
    plane.kubectl("delete pod a --cascade=foreground --timeout=180s");
    eventually("all of them to be gone", || async {
        let left = plane.kubectl("get pods -o name");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_count_every_pod_and_stop_at_their_limits() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let job = |name: &str, spec: &str, code: i32| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec: {{{spec}, template: {{metadata: {{annotations: {{test/exit: \"{code}\"}}}}, \
             spec: {{restartPolicy: Never, containers: [{{name: c, image: x}}]}}}}}}\n"
        )
    };
    plane.apply(&job("good", "completions: 5, parallelism: 2", 0));
    plane.apply(&job("bad", "backoffLimit: 0", 1));
    plane.apply(&job("indexed", "completions: 3, parallelism: 3, completionMode: Indexed, backoffLimitPerIndex: 0", 1));
    plane.kubectl("wait --for=condition=Complete job/good --timeout=180s");
    plane.kubectl("wait --for=condition=Failed job/bad job/indexed --timeout=180s");
    assert_eq!(plane.kubectl("get job good -o jsonpath={.status.succeeded}"), "5");
    assert_eq!(
        plane.kubectl("get job bad -o jsonpath={.status.conditions[?(@.type=='Failed')].reason}"),
        "BackoffLimitExceeded"
    );
    assert_eq!(plane.kubectl("get job indexed -o jsonpath={.status.failedIndexes}"), "0-2");
    eventually("all finalizers to be gone", || async {
        let left = plane.kubectl("get pods -o jsonpath={.items[*].metadata.finalizers}");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_and_daemon_sets_keep_their_places_through_an_update() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let set = |kind: &str, name: &str, extra: &str, image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{extra}selector: {{matchLabels: {{app: {name}}}}}, \
             template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c, image: {image}}}]}}}}}}\n"
        )
    };
    plane.apply(&set("StatefulSet", "db", "serviceName: db, replicas: 3, ", "one"));
    plane.apply(&set("DaemonSet", "agent", "", "one"));
    plane.kubectl("rollout status statefulset/db --timeout=180s");
    plane.kubectl("rollout status daemonset/agent --timeout=180s");
    let created =
        plane.kubectl("get pods -l app=db --sort-by=.metadata.creationTimestamp -o jsonpath={.items[*].metadata.name}");
    assert_eq!(created, "db-0 db-1 db-2");
    assert_eq!(plane.kubectl("get daemonset agent -o jsonpath={.status.numberReady}"), "2");
    plane.apply(&set("StatefulSet", "db", "serviceName: db, replicas: 3, ", "two"));
    plane.apply(&set("DaemonSet", "agent", "", "two"));
    plane.kubectl("rollout status statefulset/db --timeout=180s");
    plane.kubectl("rollout status daemonset/agent --timeout=180s");
    let images = plane.kubectl("get pods -l app=db -o jsonpath={.items[*].spec.containers[0].image}");
    assert_eq!(images, "two two two");
    assert_eq!(plane.kubectl("get controllerrevisions -o name").lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_says_why() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    plane.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: huge}\nspec: {containers: [{name: c, image: x, resources: {requests: {cpu: \"64\"}}}]}\n",
    );
    plane.shows("pod huge", ".status.conditions[?(@.type=='PodScheduled')].reason", "Unschedulable").await;
    // Who tried it before it heard that both nodes take pods tells something else first.
    eventually("why it waits", || async {
        let message = plane.kubectl("get pod huge -o jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}");
        if message.starts_with("0/2 nodes are available: 2 Insufficient cpu.") { Ok(()) } else { Err(message) }
    })
    .await;
}
