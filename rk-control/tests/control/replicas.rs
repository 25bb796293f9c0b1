//! Controllers of replicas, as the community's suite asks of them; stand-ins play the nodes.

use crate::cluster::node::LINGER;
use crate::cluster::rest::{Rest, controller, has, name, workload};
use crate::cluster::start;
use serde_json::{Value, json};

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_adopt_matching_pods_and_release_others() {
    let (plane, _nodes) = start(&["n1"]).await;
    let client = plane.client().await;
    for (plural, version, kind) in
        [("replicationcontrollers", "v1", "ReplicationController"), ("replicasets", "apps/v1", "ReplicaSet")]
    {
        let rest = Rest::new(client.clone(), &format!("adopt-{plural}")).await;
        // It runs before anybody looks for it: of two pods, one that was made too soon goes first.
        rest.create("pods", &pod("mine")).await;
        rest.until("pods/mine", |pod| has(pod, "Ready")).await;
        rest.create(plural, &workload(version, kind, "mine", json!({"replicas": 1}), json!({}))).await;
        rest.until("pods/mine", |pod| controller(pod) == Some("mine")).await;
        rest.until(&format!("{plural}/mine"), |set| set["status"]["replicas"] == 1).await;
        rest.count("pods", 1).await;
        rest.patch("pods/mine", &json!({"metadata": {"labels": {"app": "other"}}})).await;
        rest.until("pods/mine", |pod| controller(pod).is_none()).await;
        rest.count("pods", 2).await;
    }
    let rest = Rest::new(client, "adopt-jobs").await;
    rest.create(
        "jobs",
        &workload(
            "batch/v1",
            "Job",
            "work",
            json!({"parallelism": 2, "completions": 4}),
            json!({"restartPolicy": "Never", "nodeSelector": {"none": "such"}}),
        ),
    )
    .await;
    let pods = rest.count("pods", 2).await;
    let one = format!("pods/{}", name(&pods[0]));
    let tracked = |pod: &Value| pod["metadata"]["finalizers"] == json!(["batch.kubernetes.io/job-tracking"]);
    rest.patch(&one, &json!({"metadata": {"ownerReferences": null, "finalizers": null}})).await;
    rest.until(&one, |pod| controller(pod) == Some("work") && tracked(pod)).await;
    rest.patch(&one, &json!({"metadata": {"labels": null}})).await;
    // Nothing of the Job is left on it, or it could never go.
    rest.until(&one, |pod| controller(pod).is_none() && pod["metadata"]["finalizers"].is_null()).await;
    // A job is deleted with its pods.
    rest.delete("jobs/work", &json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}))
        .await;
    rest.until("jobs/work", Value::is_null).await;
    rest.until("pods?labelSelector=app=work", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_controllers_live_through_every_operation() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "rc").await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}});
    rest.create("resourcequotas", &quota).await;
    rest.until("resourcequotas/two", |quota| quota["status"]["hard"]["pods"] == "2").await;
    rest.create(
        "replicationcontrollers",
        &workload("v1", "ReplicationController", "rc", json!({"replicas": 3}), json!({})),
    )
    .await;
    rest.until("replicationcontrollers/rc", |rc| has(rc, "ReplicaFailure")).await;
    rest.patch("replicationcontrollers/rc/scale", &json!({"spec": {"replicas": 2}})).await;
    rest.until("replicationcontrollers/rc", |rc| !has(rc, "ReplicaFailure") && rc["status"]["replicas"] == 2).await;
    let seen = rest
        .patch(
            "replicationcontrollers/rc",
            &json!({"metadata": {"labels": {"patched": "yes"}}, "spec": {"replicas": 1}}),
        )
        .await;
    assert_eq!(seen["metadata"]["labels"]["patched"], "yes");
    rest.until("replicationcontrollers/rc", |rc| rc["status"]["replicas"] == 1).await;
    rest.patch("replicationcontrollers/rc/status", &json!({"status": {"readyReplicas": 0, "availableReplicas": 0}}))
        .await;
    assert_eq!(rest.get("replicationcontrollers/rc/scale").await["spec"]["replicas"], 1);
    let everywhere = rest.items("/api/v1/replicationcontrollers?labelSelector=patched=yes").await;
    assert_eq!(everywhere.len(), 1);
    rest.delete("replicationcontrollers?labelSelector=patched=yes", &Value::Null).await;
    rest.until("replicationcontrollers/rc", Value::is_null).await;
    // A ReplicaSet is patched, scaled and replaced alike.
    rest.create("replicasets", &workload("apps/v1", "ReplicaSet", "rs", json!({"replicas": 1}), json!({}))).await;
    rest.patch("replicasets/rs/scale", &json!({"spec": {"replicas": 0}})).await;
    let seen = rest
        .patch("replicasets/rs", &json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3}}}}))
        .await;
    assert_eq!(seen["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 3);
    rest.until("replicasets/rs", |rs| rs["status"]["observedGeneration"] == seen["metadata"]["generation"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_of_controllers_go_as_the_deletion_says() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "gc").await;
    let options = |policy: &str| json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    let make = async |name: &str| {
        rest.create(
            "replicationcontrollers",
            &workload("v1", "ReplicationController", name, json!({"replicas": 2}), json!({})),
        )
        .await;
        rest.count(&format!("pods?labelSelector=app={name}"), 2).await
    };
    make("background").await;
    rest.delete("replicationcontrollers/background", &options("Background")).await;
    rest.count("pods?labelSelector=app=background", 0).await;

    make("orphan").await;
    rest.delete("replicationcontrollers/orphan", &options("Orphan")).await;
    rest.until("replicationcontrollers/orphan", Value::is_null).await;
    assert_eq!(rest.items("pods?labelSelector=app=orphan").await.len(), 2);

    let pods = make("first").await;
    let held = format!("pods/{}", name(&pods[0]));
    rest.patch(&held, &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    rest.delete("replicationcontrollers/first", &options("Foreground")).await;
    let free = format!("pods/{}", name(&pods[1]));
    rest.until(&free, Value::is_null).await;
    let waiting = rest.get("replicationcontrollers/first").await;
    assert!(waiting["metadata"]["deletionTimestamp"].is_string(), "it stays until all of its pods are gone");
    rest.patch(&held, &json!({"metadata": {"finalizers": null}})).await;
    rest.until("replicationcontrollers/first", Value::is_null).await;

    // What waits for its pods leaves them behind when it is told so.
    let pods = make("told").await;
    let held = format!("pods/{}", name(&pods[0]));
    rest.patch(&held, &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    rest.delete("replicationcontrollers/told", &options("Foreground")).await;
    rest.until(&format!("pods/{}", name(&pods[1])), Value::is_null).await;
    rest.delete("replicationcontrollers/told", &options("Orphan")).await;
    rest.until("replicationcontrollers/told", Value::is_null).await;
    assert_eq!(controller(&rest.get(&held).await), None);
    rest.patch(&held, &json!({"metadata": {"finalizers": null}})).await;

    // Whoever has another owner stays when one goes first.
    let stay = rest
        .create(
            "replicationcontrollers",
            &workload("v1", "ReplicationController", "stay", json!({"replicas": 0}), json!({})),
        )
        .await;
    let pods = make("leave").await;
    let shared = format!("pods/{}", name(&pods[0]));
    let mut owners = pods[0]["metadata"]["ownerReferences"].clone();
    let owner =
        json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "stay", "uid": stay["metadata"]["uid"]});
    owners.as_array_mut().expect("owned").push(owner);
    rest.patch(&shared, &json!({"metadata": {"ownerReferences": owners}})).await;
    rest.delete("replicationcontrollers/leave", &options("Foreground")).await;
    rest.until("replicationcontrollers/leave", Value::is_null).await;
    rest.until(&shared, |pod| pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_roll_over_scale_in_proportion_and_forget_old_sets() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "deployments").await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let ready = |count: u64| {
        move |own: &Value| {
            own["status"]["updatedReplicas"] == count
                && own["status"]["availableReplicas"] == count
                && own["status"]["replicas"] == count
                && own["status"]["observedGeneration"] == own["metadata"]["generation"]
        }
    };
    // No old set is kept.
    let spec = json!({"replicas": 1, "revisionHistoryLimit": 0});
    rest.create("deployments", &workload("apps/v1", "Deployment", "forget", spec, json!({}))).await;
    rest.until("deployments/forget", ready(1)).await;
    rest.patch("deployments/forget", &image("example.com/i:2")).await;
    rest.until("deployments/forget", ready(1)).await;
    rest.count("replicasets?labelSelector=app=forget", 1).await;
    // Recreate never has both at once: no new pod before the last old one is gone.
    let spec = json!({"replicas": 2, "strategy": {"type": "Recreate"}});
    rest.create("deployments", &workload("apps/v1", "Deployment", "recreate", spec, json!({}))).await;
    rest.until("deployments/recreate", ready(2)).await;
    let old = rest.items("pods?labelSelector=app=recreate").await;
    let held = format!("pods/{}", name(&old[0]));
    rest.patch(&held, &json!({"metadata": {"annotations": {LINGER: "yes"}}})).await;
    rest.patch("deployments/recreate", &image("example.com/i:2")).await;
    let left = rest.count("pods?labelSelector=app=recreate", 1).await;
    assert_eq!(name(&left[0]), name(&old[0]));
    rest.patch(&held, &json!({"metadata": {"annotations": {LINGER: null}}})).await;
    rest.until("deployments/recreate", ready(2)).await;
    // One that never becomes ready is rolled over by the next.
    let stuck = json!({"nodeSelector": {"none": "such"}});
    let spec = json!({"replicas": 3, "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 2}}});
    rest.create("deployments", &workload("apps/v1", "Deployment", "over", spec, json!({}))).await;
    rest.until("deployments/over", ready(3)).await;
    rest.patch("deployments/over", &json!({"spec": {"template": {"spec": stuck}}})).await;
    rest.count("replicasets?labelSelector=app=over", 2).await;
    let middle = rest
        .until("deployments/over", |own| own["status"]["unavailableReplicas"].as_u64().is_some_and(|count| count > 0))
        .await;
    assert!(middle["status"]["availableReplicas"].as_u64() >= Some(2));
    // Scaled in the middle, both sets grow by their share.
    rest.patch("deployments/over", &json!({"spec": {"replicas": 6}})).await;
    rest.until("replicasets?labelSelector=app=over", |list| {
        let wanted = |set: &Value| set["spec"]["replicas"].as_u64().unwrap_or(0);
        let sets = list["items"].as_array().cloned().unwrap_or_default();
        sets.iter().map(wanted).sum::<u64>() == 8 && sets.iter().all(|set| wanted(set) > 0)
    })
    .await;
    rest.patch("deployments/over", &json!({"spec": {"template": {"spec": {"nodeSelector": null}}}})).await;
    rest.until("deployments/over", ready(6)).await;
    // The rest of its life.
    rest.patch("deployments/over/status", &json!({"status": {"readyReplicas": 0, "availableReplicas": 0}})).await;
    rest.patch("deployments/over/scale", &json!({"spec": {"replicas": 1}})).await;
    rest.until("deployments/over", ready(1)).await;
    assert!(has(&rest.get("deployments/over/status").await, "Available"));
    rest.delete("deployments?labelSelector=app=over", &Value::Null).await;
    rest.count("pods?labelSelector=app=over", 0).await;
}
