//! Objects that are not the ones that a write means.

use http::Method;
use serde_json::{Value, json};

use super::{MERGE, SCALED, scale};
use crate::support::{Client, Cluster, MAPS, config_map};

const APPLY: &str = "application/apply-patch+yaml";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// A copy that claims to be another object.
fn other(object: &Value) -> Value {
    let mut other = object.clone();
    other["metadata"]["uid"] = json!("other");
    other
}

/// What upstream's store says of it.
fn failed(what: &str, name: &str, key: &str, own: &str) -> (u16, String) {
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
         precondition: other, UID in object meta: {own}"
    );
    (409, format!("Operation cannot be fulfilled on {what} {name:?}: {why}"))
}

async fn put(admin: &Client, path: &str, body: &Value) -> (u16, String) {
    admin.send(Method::PUT, path, body).await.failure()
}

#[tokio::test]
async fn a_put_of_another_uid_misses_its_precondition_and_a_patch_of_one_breaks_a_rule() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    let own = made["metadata"]["uid"].as_str().unwrap();
    let path = format!("{MAPS}/a");
    let want = failed("configmaps", "a", "/registry/configmaps/default/a", own);
    assert_eq!(put(&admin, &path, &other(&made)).await, want);
    let mut stale = other(&made);
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(put(&admin, &path, &stale).await, want, "it comes before the version");

    let named = json!({"metadata": {"uid": "other"}});
    let config = other(&config_map("a", json!({"k": "1"})));
    let why = "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable".to_owned();
    for (kind, patch) in [
        (MERGE, &named),
        ("application/strategic-merge-patch+json", &named),
        ("application/json-patch+json", &json!([{"op": "replace", "path": "/metadata/uid", "value": "other"}])),
        (APPLY, &config),
    ] {
        let answer = admin.patch(&format!("{path}?fieldManager=m"), kind, patch).await;
        assert_eq!(answer.failure(), (422, why.clone()), "{kind}");
    }
    assert_eq!(admin.get(&path).await.ok()["metadata"]["uid"], own);
}

#[tokio::test]
async fn what_is_not_there_is_not_the_object_that_a_write_means() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let config = other(&config_map("a", json!({})));
    let path = format!("{MAPS}/a");
    assert_eq!(put(&admin, &path, &config).await, (404, "configmaps \"a\" not found".to_owned()));
    let why = "uid mismatch: the provided object specified uid other, and no existing object was found";
    let told = format!("Operation cannot be fulfilled on configmaps \"a\": {why}");
    let applied = admin.patch(&format!("{path}?fieldManager=m"), APPLY, &config).await;
    assert_eq!(applied.failure(), (409, told));
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a", "uid": "other"}});
    let want = failed("leases.coordination.k8s.io", "a", "/registry/leases/default/a", "");
    assert_eq!(put(&admin, &format!("{LEASES}/a"), &lease).await, want, "a PUT could have made it");
    let class =
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "a"}, "handler": "h"});
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    assert_eq!(admin.put(&format!("{classes}/a"), &class).await.code, 201, "and does of kinds of old");
}

#[tokio::test]
async fn a_scale_names_the_workload_that_it_means() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(SCALED, &scale::deployment("d")).await.ok();
    let own = made["metadata"]["uid"].as_str().unwrap();
    let path = format!("{SCALED}/d/scale");
    let mut seen = admin.get(&path).await.ok();
    let want = failed("deployments.apps", "d", "/registry/deployments/default/d", own);
    assert_eq!(put(&admin, &path, &other(&seen)).await, want);
    let (code, message) = admin.patch(&path, MERGE, &json!({"metadata": {"uid": "other"}})).await.failure();
    let why = format!("Precondition failed: UID in precondition: other, UID in object meta: {own}");
    assert_eq!((code, message), (409, format!("Operation cannot be fulfilled on deployments/scale.apps \"d\": {why}")));

    for (version, replicas) in [("0", 4), ("", 5)] {
        seen["metadata"]["resourceVersion"] = json!(version);
        seen["spec"]["replicas"] = json!(replicas);
        assert_eq!(admin.put(&path, &seen).await.ok()["spec"]["replicas"], replicas, "{version:?} is any version");
    }
    seen["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(put(&admin, &path, &seen).await.0, 409);
}

#[tokio::test]
async fn a_patch_that_takes_the_kind_away_leaves_it_and_one_that_takes_the_version_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("kept", json!({}))).await.ok();
    let path = format!("{MAPS}/kept");
    for kind in [Value::Null, json!("")] {
        let patched = admin.patch(&path, MERGE, &json!({"kind": kind})).await.ok();
        assert_eq!((&patched["kind"], &patched["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    }
    assert_eq!(admin.get(&path).await.ok()["kind"], "ConfigMap");
    let told =
        admin.patch(&path, "application/json-patch+json", &json!([{"op": "remove", "path": "/apiVersion"}])).await;
    let why = "the name of the object (kept based on URL) was undeterminable: name must be provided";
    assert_eq!(told.failure(), (400, why.to_owned()));
}

#[tokio::test]
async fn a_name_that_no_path_can_have_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (name, shown, why) in [("a%25", "a%", "may not contain '%'"), ("%2e%2e", "..", "may not be '..'")] {
        for method in [Method::GET, Method::DELETE] {
            let told = admin.send(method, &format!("{MAPS}/{name}"), &json!({})).await.failure();
            assert_eq!(told, (400, format!("Name parameter invalid: \"{shown}\": {why}")));
        }
    }
}
