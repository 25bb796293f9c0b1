//! Claims of devices: made for pods, reserved, given back, and left when their devices are tainted. The test plays the scheduler and
//! the driver, stand-ins play the nodes.

use crate::cluster::node::LINGER;
use crate::cluster::rest::Rest;
use crate::cluster::start;
use serde_json::{Value, json};

const PROTECTION: &str = "resource.kubernetes.io/delete-protection";

fn spec() -> Value {
    json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d.example.com"}}]}})
}

fn claim(name: &str) -> Value {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": spec(),
        "metadata": {"name": name, "finalizers": [PROTECTION]}})
}

/// A pod on a node, with one claim.
fn pod(name: &str, claim: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "nodeName": "n1", "resourceClaims": [claim], "containers": [{"name": "c", "image": "example.com/i:1"}]}})
}

fn allocation() -> Value {
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"});
    json!({"status": {"allocation": {"devices": {"results": [result]}}}})
}

/// Whether a claim is reserved for this object alone.
fn is_reserved_for(claim: &Value, pod: &Value) -> bool {
    let users = claim["status"]["reservedFor"].as_array();
    users.is_some_and(|users| users.len() == 1 && users[0]["uid"] == pod["metadata"]["uid"])
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_come_with_their_pods_and_go_with_them() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "devices").await;
    let made = rest.create("pods", &pod("p", json!({"name": "gpu", "resourceClaimTemplateName": "t"}))).await;
    let text =
        "PodResourceClaim gpu: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found";
    rest.hears("p", "FailedResourceClaimCreation", |message| message == text).await;
    let template = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "t"},
        "spec": {"metadata": {"labels": {"a": "b"}}, "spec": spec()}});
    rest.create("resourceclaimtemplates", &template).await;
    let told = |pod: &Value| pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().map(str::to_owned);
    let seen = rest.until("pods/p", |pod| told(pod).is_some()).await;
    let name = told(&seen).expect("told of");
    assert!(name.starts_with("p-gpu-"), "{name}");
    let managers = seen["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = managers.iter().find(|own| own["manager"] == "ResourceClaimController").expect("a manager of its own");
    assert_eq!((&own["operation"], &own["subresource"]), (&json!("Apply"), &json!("status")));
    let place = format!("resourceclaims/{name}");
    let seen = rest.get(&place).await;
    assert_eq!(seen["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(seen["metadata"]["annotations"], json!({"resource.kubernetes.io/pod-claim-name": "gpu"}));
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true}]);
    assert_eq!(seen["metadata"]["ownerReferences"], owner);

    // What is lost is made anew, and told of.
    rest.delete(&place, &Value::Null).await;
    let seen = rest.until("pods/p", |pod| told(pod).is_some_and(|own| own != name)).await;
    let place = format!("resourceclaims/{}", told(&seen).expect("told of"));
    // A pod that came to its node by itself gets a reservation once there is an allocation.
    rest.patch(&place, &json!({"metadata": {"finalizers": [PROTECTION]}})).await;
    rest.patch(&format!("{place}/status"), &allocation()).await;
    rest.until(&place, |claim| is_reserved_for(claim, &made)).await;
    // Its end is enough: the pod stays.
    rest.until("pods/p", |pod| pod["status"]["phase"] == "Running").await;
    rest.patch("pods/p", &json!({"metadata": {"annotations": {"test/exit": "0"}}})).await;
    rest.until(&place, Value::is_null).await;
    assert_eq!(rest.get("pods/p").await["status"]["phase"], "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_pod_gives_back_what_a_claim_has_and_the_claim_stays() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "devices").await;
    for name in ["shared", "unused"] {
        rest.create("resourceclaims", &claim(name)).await;
        rest.patch(&format!("resourceclaims/{name}/status"), &allocation()).await;
    }
    let made = rest.create("pods", &pod("p", json!({"name": "gpu", "resourceClaimName": "shared"}))).await;
    rest.until("resourceclaims/shared", |claim| is_reserved_for(claim, &made)).await;
    rest.delete("resourceclaims/shared", &Value::Null).await;
    let seen = rest.get("resourceclaims/shared").await;
    assert!(seen["metadata"]["deletionTimestamp"].is_string() && seen["status"]["allocation"].is_object(), "{seen}");
    rest.delete("pods/p", &Value::Null).await;
    rest.until("resourceclaims/shared", Value::is_null).await;

    rest.create("resourceclaims", &claim("shared")).await;
    rest.patch("resourceclaims/shared/status", &allocation()).await;
    let made = rest.create("pods", &pod("q", json!({"name": "gpu", "resourceClaimName": "shared"}))).await;
    rest.until("resourceclaims/shared", |claim| is_reserved_for(claim, &made)).await;
    rest.delete("pods/q", &Value::Null).await;
    let free = |claim: &Value| {
        let is_empty = |list: &Value| list.as_array().is_none_or(|own| own.is_empty());
        let (status, finalizers) = (&claim["status"], &claim["metadata"]["finalizers"]);
        claim.is_object() && status["allocation"].is_null() && is_empty(&status["reservedFor"]) && is_empty(finalizers)
    };
    rest.until("resourceclaims/shared", free).await;
    // What nobody has used yet stays allocated until it is deleted.
    assert!(rest.get("resourceclaims/unused").await["status"]["allocation"].is_object());
    rest.delete("resourceclaims/unused", &Value::Null).await;
    rest.until("resourceclaims/unused", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_leave_devices_that_are_tainted() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "devices").await;
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"}, "spec": {
        "driver": "d.example.com", "nodeName": "n1", "devices": [{"name": "x"}],
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
    rest.create(slices, &slice).await;
    rest.create("resourceclaims", &claim("c")).await;
    rest.patch("resourceclaims/c/status", &allocation()).await;
    let mut user = pod("p", json!({"name": "gpu", "resourceClaimName": "c"}));
    user["metadata"]["annotations"] = json!({LINGER: "yes"});
    let made = rest.create("pods", &user).await;
    rest.until("resourceclaims/c", |claim| is_reserved_for(claim, &made)).await;
    // Its node, which is none, writes all conditions at once when it begins.
    rest.until("pods/p", |pod| pod["status"]["phase"] == "Running").await;
    let taint =
        |effect: &str| json!({"spec": {"devices": [{"name": "x", "taints": [{"key": "bad", "effect": effect}]}]}});
    rest.patch(&format!("{slices}/s"), &taint("NoSchedule")).await;
    rest.patch(&format!("{slices}/s"), &taint("NoExecute")).await;
    let seen = rest.until("pods/p", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions.iter().find(|own| own["type"] == "DisruptionTarget").expect("a reason");
    assert_eq!(told["reason"], "DeletionByDeviceTaintManager");
    // One that ends on its node may still use its devices.
    assert!(is_reserved_for(&rest.get("resourceclaims/c").await, &made));
    rest.patch("pods/p", &json!({"metadata": {"annotations": {LINGER: null}}})).await;
    rest.until("resourceclaims/c", |claim| claim["status"]["allocation"].is_null()).await;
}
