//! How objects go.

use http::Method;
use serde_json::{Value, json};

use super::MERGE;
use crate::support::{Cluster, MAPS, PODS, config_map, pod};

#[tokio::test]
async fn finalizers_hold_a_deleted_object_until_they_are_gone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut map = config_map("a", json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(MAPS, &map).await.ok();
    let path = format!("{MAPS}/a");
    let waiting = admin.delete(&path).await.ok();
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(admin.delete(&path).await.code, 200);
    admin.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(admin.get(&path).await.code, 404);
}

#[tokio::test]
async fn propagation_policies_become_finalizers() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        admin.create(MAPS, &config_map("a", json!({}))).await.ok();
        let path = format!("{MAPS}/a");
        let waiting = admin.delete(&format!("{path}?propagationPolicy={policy}")).await.ok();
        assert_eq!(waiting["metadata"]["finalizers"], json!([finalizer]));
        admin.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    }
    // Nothing depends on an Event.
    let events = "/api/v1/namespaces/default/events";
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
    admin.create(events, &event).await.ok();
    admin.delete(&format!("{events}/e?propagationPolicy=Foreground")).await.ok();
    assert_eq!(admin.get(&format!("{events}/e")).await.code, 404);
}

#[tokio::test]
async fn who_deletes_a_job_without_a_word_of_its_pods_is_told_that_they_stay() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}});
    for (path, warned) in [
        (format!("{jobs}/a"), true),
        (format!("{jobs}/a?propagationPolicy=Background"), false),
        (format!("{jobs}?labelSelector=job-name%3Da"), true),
        (format!("{jobs}?orphanDependents=true"), false),
    ] {
        admin.create(jobs, &job).await.ok();
        let deleted = admin.delete(&path).await;
        let told = deleted.headers.get("warning").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told.is_some_and(|told| told.contains("child pods are preserved by default")), warned, "{path}");
        deleted.ok();
        admin.patch(&format!("{jobs}/a"), MERGE, &json!({"metadata": {"finalizers": null}})).await;
    }
}

#[tokio::test]
async fn owners_that_are_named_twice_are_told_and_kept_once() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
    let mut map = config_map("a", json!({}));
    map["metadata"]["ownerReferences"] = json!([owner, owner]);
    let told = |headers: &http::HeaderMap| headers["warning"].to_str().unwrap().to_owned();
    let made = admin.create(MAPS, &map).await;
    assert!(told(&made.headers).contains("contains duplicate entries; API server dedups"), "{:?}", made.headers);
    assert_eq!(made.ok()["metadata"]["ownerReferences"], json!([owner]));
    let add = json!([{"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}]);
    let patched = admin.patch(&format!("{MAPS}/a"), "application/json-patch+json", &add).await;
    assert!(told(&patched.headers).contains("after mutating admission happens"), "{:?}", patched.headers);
    assert_eq!(patched.ok()["metadata"]["ownerReferences"], json!([owner]));
}

#[tokio::test]
async fn a_pod_that_has_its_node_hopes_for_none() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(PODS, &pod("hoping")).await.ok();
    let hope = json!({"status": {"nominatedNodeName": "n1"}});
    let seen = admin.patch(&format!("{PODS}/hoping/status"), MERGE, &hope).await.ok();
    assert_eq!(seen["status"]["nominatedNodeName"], "n1");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "hoping"}, "target": {"kind": "Node", "name": "n2"}});
    admin.create(&format!("{PODS}/hoping/binding"), &binding).await.ok();
    let seen = admin.get(&format!("{PODS}/hoping")).await.ok();
    assert_eq!((&seen["spec"]["nodeName"], &seen["status"]["nominatedNodeName"]), (&json!("n2"), &Value::Null));
    assert_eq!(seen["status"]["conditions"][0]["type"], "PodScheduled");
}

#[tokio::test]
async fn a_scheduled_pod_dies_gracefully_and_an_unscheduled_one_at_once() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(PODS, &pod("waiting")).await.ok();
    let gone = admin.delete(&format!("{PODS}/waiting")).await.ok();
    assert_eq!(gone["kind"], "Pod");
    assert_eq!(admin.get(&format!("{PODS}/waiting")).await.code, 404);

    admin.create(PODS, &pod("placed")).await.ok();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "placed"}, "target": {"kind": "Node", "name": "n1"}});
    admin.create(&format!("{PODS}/placed/binding"), &binding).await.ok();
    let (code, message) = admin.create(&format!("{PODS}/placed/binding"), &binding).await.failure();
    assert_eq!(code, 409);
    assert!(message.contains("is already assigned to node \"n1\""), "{message}");
    let dying = admin.delete(&format!("{PODS}/placed")).await.ok();
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 30);
    let sooner = admin.delete(&format!("{PODS}/placed?gracePeriodSeconds=5")).await.ok();
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!((&dying["metadata"]["generation"], &sooner["metadata"]["generation"]), (&json!(2), &json!(2)));
    let later = admin.delete(&format!("{PODS}/placed?gracePeriodSeconds=60")).await.ok();
    assert_eq!(later["metadata"]["deletionGracePeriodSeconds"], 5);
    admin.delete(&format!("{PODS}/placed?gracePeriodSeconds=0")).await.ok();
    assert_eq!(admin.get(&format!("{PODS}/placed")).await.code, 404);
}

#[tokio::test]
async fn what_a_deleted_collection_held_is_answered_as_it_was() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        let mut map = config_map(name, json!({}));
        map["metadata"]["finalizers"] = json!(["example.com/hold"]);
        map["metadata"]["labels"] = json!({"group": "held"});
        admin.create(MAPS, &map).await.ok();
    }
    let list = admin.delete(&format!("{MAPS}?limit=2")).await.ok();
    assert!(list["metadata"]["continue"].is_string() && list["metadata"]["remainingItemCount"].is_u64(), "{list}");
    let list = admin.delete(&format!("{MAPS}?labelSelector=group%3Dheld&propagationPolicy=Orphan")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let last = list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "c").unwrap();
    assert!(last["metadata"].get("deletionTimestamp").is_none(), "{last}");
    assert!(admin.get(&format!("{MAPS}/c")).await.ok()["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn deletion_preconditions_are_held() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let (code, message) = admin.send(Method::DELETE, &format!("{MAPS}/a"), &options).await.failure();
    assert_eq!(code, 409);
    let head = "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match the UID in record";
    assert!(message.starts_with(head), "{message}");
    // What is emptied before it goes is judged in words of its own.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let made = admin.create("/api/v1/namespaces", &namespace).await.ok();
    for (field, what, own) in [
        ("uid", "UID", &made["metadata"]["uid"]),
        ("resourceVersion", "ResourceVersion", &made["metadata"]["resourceVersion"]),
    ] {
        let own = own.as_str().unwrap();
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {field: "1"}});
        let refused = admin.send(Method::DELETE, "/api/v1/namespaces/n", &options).await.failure();
        let why = format!("Precondition failed: {what} in precondition: 1, {what} in object meta: {own}");
        assert_eq!(refused, (409, format!("Operation cannot be fulfilled on namespaces \"n\": {why}")));
    }
}

#[tokio::test]
async fn a_name_is_taken_by_what_is_on_its_way_out_and_that_is_told() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut map = config_map("a", json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/wait"]);
    admin.create(MAPS, &map).await.ok();
    let there = "configmaps \"a\" already exists";
    assert_eq!(admin.create(MAPS, &map).await.failure(), (409, there.to_owned()));
    admin.delete(&format!("{MAPS}/a")).await.ok();
    assert_eq!(admin.create(MAPS, &map).await.failure(), (409, format!("object is being deleted: {there}")));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (name, keep) in [("a", "no"), ("b", "no"), ("c", "yes")] {
        let mut map = config_map(name, json!({}));
        map["metadata"]["labels"] = json!({"keep": keep});
        map["metadata"]["finalizers"] = json!(if name == "b" { vec!["example.com/held"] } else { vec![] });
        admin.create(MAPS, &map).await.ok();
    }
    let deleted = admin.delete(&format!("{MAPS}?labelSelector=keep%3Dno")).await.ok();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    assert_eq!(deleted["items"][1]["metadata"].get("deletionTimestamp"), None, "they are told as they were found");
    assert!(admin.get(&format!("{MAPS}/b")).await.ok()["metadata"]["deletionTimestamp"].is_string());
    admin.patch(&format!("{MAPS}/b"), MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    let left = admin.get(MAPS).await.ok();
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_collection_had_is_answered_in_the_shape_that_is_asked_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let asking = |shape: &str| {
        let accept = format!("application/json;as={shape};g=meta.k8s.io;v=v1");
        cluster.admin().with("accept", &accept)
    };
    let collection = format!("{MAPS}?labelSelector=of%3Dtest");
    for shape in ["PartialObjectMetadata", "PartialObjectMetadataList", "Table"] {
        let mut map = config_map("a", json!({"k": "v"}));
        map["metadata"]["labels"] = json!({"of": "test"});
        let made = admin.create(MAPS, &map).await;
        let answer = asking(shape).delete(&collection).await;
        match shape {
            "PartialObjectMetadata" => assert_eq!(answer.failure().0, 406, "a list is not one object"),
            "Table" => assert_eq!(answer.ok()["rows"][0]["cells"][0], "a"),
            _ => {
                assert_eq!(made.code, 409, "what was refused was not deleted");
                let list = answer.ok();
                assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!(shape), &json!("a")));
                assert!(list["items"][0].get("data").is_none());
            }
        }
    }
}
