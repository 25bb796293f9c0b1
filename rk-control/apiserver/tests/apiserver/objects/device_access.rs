//! Who may use devices that others have, and who may write which part of a claim's status.

use rk_apiserver::User;
use serde_json::{Value, json};

use super::MERGE;
use crate::support::{Cluster, named};

const ROOT: &str = "/apis/resource.k8s.io/v1/namespaces/default";

fn claim(name: &str, admin: bool) -> Value {
    let exactly = json!({"deviceClassName": "d.example.com", "adminAccess": admin});
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name},
        "spec": {"devices": {"requests": [{"name": "q", "exactly": {"deviceClassName": "d.example.com"}}, {"name": "r", "exactly": exactly}]}}})
}

fn allocation(admin: bool) -> Value {
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "x", "adminAccess": admin});
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["n"]});
    json!({"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}})
}

fn rule(resource: &str, verbs: Value, names: Value) -> Value {
    json!([{"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": verbs, "resourceNames": names}])
}

#[tokio::test]
async fn devices_of_others_are_for_namespaces_that_say_so() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let why = "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the \
               `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let template = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "t"},
        "spec": {"spec": claim("", true)["spec"]}});
    let all = [("resourceclaims", claim("c", true)), ("resourceclaimtemplates", template)];
    for (plural, object) in &all {
        let (code, message) = admin.create(&format!("{ROOT}/{plural}"), object).await.failure();
        assert!(code == 422 && message.contains(why), "{code} {message}");
    }
    admin.create(&format!("{ROOT}/resourceclaims"), &claim("plain", false)).await.ok();
    let status = json!({"status": {"allocation": allocation(true)}});
    let (code, message) = admin.patch(&format!("{ROOT}/resourceclaims/plain/status"), MERGE, &status).await.failure();
    assert!(
        code == 422 && message.contains("status.allocation.devices.results[0].adminAccess: Forbidden"),
        "{message}"
    );
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    admin.patch("/api/v1/namespaces/default", MERGE, &label).await.ok();
    for (plural, object) in &all {
        admin.create(&format!("{ROOT}/{plural}"), object).await.ok();
    }
    admin.patch(&format!("{ROOT}/resourceclaims/plain/status"), MERGE, &status).await.ok();
}

#[tokio::test]
async fn each_author_of_a_claim_s_status_writes_its_own_part() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(&format!("{ROOT}/resourceclaims"), &claim("c", false)).await.ok();
    let path = format!("{ROOT}/resourceclaims/c/status");
    let account = || named("User", "system:serviceaccount:default:driver");
    let mut user = User::service_account("default", "driver", "");
    user.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec!["n".to_owned()]);
    let driver = cluster.client(user);
    let patch = json!(["patch"]);
    admin.grant("status", account(), rule("resourceclaims/status", patch.clone(), json!([]))).await;

    let bound = json!({"status": {"allocation": allocation(false)}});
    let (code, message) = driver.patch(&path, MERGE, &bound).await.failure();
    let why = "status: Forbidden: changing status.allocation or status.reservedFor requires \
               resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is forbidden";
    assert!(code == 422 && message.contains(why), "{code} {message}");
    admin.grant("binding", account(), rule("resourceclaims/binding", patch, json!([]))).await;
    driver.patch(&path, MERGE, &bound).await.ok();

    let told = json!({"status": {"devices": [{"driver": "d.example.com", "pool": "p", "device": "x"}]}});
    let (code, message) = driver.patch(&path, MERGE, &told).await.failure();
    let why = "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", \
               verb=\"[associated-node:patch arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"d.example.com\" is forbidden";
    assert!(code == 422 && message.contains(why), "{code} {message}");
    let associated = json!(["associated-node:patch"]);
    let other = rule("resourceclaims/driver", associated.clone(), json!(["other.example.com"]));
    admin.grant("other", account(), other).await;
    assert_eq!(driver.patch(&path, MERGE, &told).await.code, 422);
    admin.grant("driver", account(), rule("resourceclaims/driver", associated, json!(["d.example.com"]))).await;
    driver.patch(&path, MERGE, &told).await.ok();
    // The same account elsewhere.
    let elsewhere = cluster.client(User::service_account("default", "driver", ""));
    let none = json!({"status": {"devices": null}});
    assert_eq!(elsewhere.patch(&path, MERGE, &none).await.code, 422);
    // What is told of devices goes with them, for whoever may give them back.
    let left = elsewhere.patch(&path, MERGE, &json!({"status": {"allocation": null}})).await.ok();
    assert!(left["status"]["allocation"].is_null() && left["status"]["devices"].is_null(), "{left}");
}
