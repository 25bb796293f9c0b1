//! What is said to subresources and does not fit, as clients hear of it.

use http::Method;
use serde_json::{Value, json};

use super::{MERGE, object};
use crate::support::{Cluster, MAPS, PODS, pod};

const TOKENS: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";
const OTHER_NAMESPACE: &str = "the namespace of the provided object does not match the namespace sent on the request";

fn binding(name: &str, target: Value) -> Value {
    object("v1", "Binding", name, json!({"target": target}))
}

#[tokio::test]
async fn what_is_said_of_another_object_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(PODS, &pod("p")).await.ok();
    let node = json!({"kind": "Node", "name": "n"});
    let eviction = |name: &str| object("policy/v1", "Eviction", name, json!({}));
    let token =
        |name: &str, spec: Value| object("authentication.k8s.io/v1", "TokenRequest", name, json!({"spec": spec}));
    let elsewhere = |mut body: Value| {
        body["metadata"]["namespace"] = json!("kube-system");
        body
    };
    let head = "TokenRequest.authentication.k8s.io";
    for (path, body, code, message) in [
        (
            format!("{PODS}/p/binding"),
            binding("q", node.clone()),
            400,
            "name in URL does not match name in Binding object".to_owned(),
        ),
        (format!("{PODS}/p/binding"), elsewhere(binding("p", node.clone())), 400, OTHER_NAMESPACE.to_owned()),
        (format!("{PODS}/p/binding"), binding("p", json!({})), 500, "target.name: Required value".to_owned()),
        (format!("{PODS}/q/binding"), binding("q", node.clone()), 404, "pods \"q\" not found".to_owned()),
        (
            format!("{PODS}/p/eviction"),
            eviction("q"),
            400,
            "name in URL does not match name in Eviction object".to_owned(),
        ),
        (format!("{PODS}/p/eviction"), elsewhere(eviction("p")), 400, OTHER_NAMESPACE.to_owned()),
        (format!("{PODS}/q/eviction"), eviction("q"), 404, "pods \"q\" not found".to_owned()),
        (
            TOKENS.to_owned(),
            token("other", json!({})),
            422,
            format!(
                "{head} \"default\" is invalid: metadata.name: Invalid value: \"other\": must match the service account name if specified"
            ),
        ),
        (TOKENS.to_owned(), elsewhere(token("default", json!({}))), 400, OTHER_NAMESPACE.to_owned()),
        (
            TOKENS.to_owned(),
            token("", json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}})),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap".to_owned(),
        ),
    ] {
        assert_eq!(admin.create(&path, &body).await.failure(), (code, message), "{path}: {body}");
    }
    let of_old = object("policy/v1beta1", "Eviction", "p", json!({}));
    admin.create(&format!("{PODS}/p/eviction?dryRun=All"), &of_old).await.ok();
    let stale = token("", json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "old"}}));
    let (code, message) = admin.create(TOKENS, &stale).await.failure();
    let head = "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (old) does not match";
    assert!(code == 409 && message.starts_with(head), "{message}");
    let mut old = binding("p", node.clone());
    old["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(admin.create(&format!("{PODS}/p/binding"), &old).await.code, 409);
    admin.create(&format!("{PODS}/p/binding"), &binding("p", node.clone())).await.ok();
    let (code, message) = admin.create(&format!("{PODS}/p/binding"), &binding("p", node)).await.failure();
    let twice = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"";
    assert_eq!((code, message.as_str()), (409, twice));
}

#[tokio::test]
async fn parts_are_of_the_object_that_the_path_names() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(PODS, &pod("p")).await.ok();
    let changed = |field: &str, value: Value| {
        let mut body = made.clone();
        body["metadata"][field] = value;
        body
    };
    let nameless = "the name of the object (p based on URL) was undeterminable: name must be provided".to_owned();
    let other = "the name of the object (q) does not match the name on the URL (p)".to_owned();
    for part in ["", "/status", "/resize", "/ephemeralcontainers"] {
        let path = format!("{PODS}/p{part}");
        for (body, message) in [
            (changed("name", json!("q")), other.clone()),
            (changed("name", json!("")), nameless.clone()),
            (changed("namespace", json!("kube-system")), OTHER_NAMESPACE.to_owned()),
        ] {
            assert_eq!(admin.put(&path, &body).await.failure(), (400, message), "{path}");
        }
        let patched = |metadata: Value| {
            let (admin, path) = (admin.clone(), path.clone());
            async move { admin.patch(&path, MERGE, &json!({"metadata": metadata})).await }
        };
        assert_eq!(patched(json!({"name": "q"})).await.failure(), (400, other.clone()), "{path}");
        assert_eq!(patched(json!({"name": null})).await.failure(), (400, nameless.clone()), "{path}");
        let moved = patched(json!({"namespace": "kube-system"})).await;
        assert_eq!(moved.failure(), (400, OTHER_NAMESPACE.to_owned()), "{path}");
        assert_eq!(patched(json!({"namespace": null})).await.ok()["metadata"]["namespace"], "default", "{path}");
        let gone = admin.patch(&format!("{PODS}/q{part}"), MERGE, &json!({})).await;
        assert_eq!(gone.failure(), (404, "pods \"q\" not found".to_owned()), "{part}");
    }
}

#[tokio::test]
async fn methods_that_nobody_serves_are_refused_as_by_a_router() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(PODS, &pod("p")).await.ok();
    let why = "the server does not allow this method on the requested resource".to_owned();
    for (method, path) in [
        (Method::GET, format!("{PODS}/p/binding")),
        (Method::PUT, format!("{PODS}/p/eviction")),
        (Method::DELETE, format!("{PODS}/p/status")),
        (Method::POST, format!("{PODS}/p/resize")),
        (Method::PATCH, TOKENS.to_owned()),
        (Method::PUT, MAPS.to_owned()),
        (Method::POST, format!("{MAPS}/a")),
        (Method::DELETE, "/api/v1/configmaps".to_owned()),
    ] {
        let answer = admin.send(method.clone(), &path, &json!({})).await;
        assert_eq!(answer.failure(), (405, why.clone()), "{method} {path}");
        assert_eq!((&answer.json()["reason"], &answer.json()["details"]), (&json!("MethodNotAllowed"), &json!({})));
    }
    let unknown = admin.get(&format!("{PODS}/p/unknown")).await.failure();
    assert_eq!(unknown, (404, "the server could not find the requested resource".to_owned()));
    let own = ["/apis/apps/v1/namespaces/default/widgets", "/apis/apps/v9/deployments", "/apis/apps/v9", "/api/v2"];
    for path in own {
        let unknown = admin.get(path).await.failure();
        assert_eq!(unknown, (404, "the server could not find the requested resource".to_owned()), "{path}");
    }
    for path in ["/apis/made.example/v1/namespaces/default/ups", "/apis/made.example/v1", "/apis/made.example"] {
        let page = admin.get(path).await;
        assert_eq!((page.code.as_u16(), page.body.as_ref()), (404, b"404 page not found\n".as_slice()), "{path}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff", "{path}");
    }
    let dry = admin.create(&format!("{PODS}/p/exec?command=ls&stdout=true&dryRun=All"), &Value::Null).await;
    assert_eq!(dry.failure(), (400, "dryRun is not supported".to_owned()));
}

#[tokio::test]
async fn what_belongs_to_no_namespace_loses_the_one_it_names() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "r", json!({"rules": []}));
    role["metadata"]["namespace"] = json!("default");
    assert!(admin.create(roles, &role).await.ok()["metadata"].get("namespace").is_none());
    role["metadata"]["labels"] = json!({"a": "b"});
    let put = admin.put(&format!("{roles}/r"), &role).await.ok();
    assert!(put["metadata"].get("namespace").is_none() && put["metadata"]["labels"]["a"] == "b");
}

#[tokio::test]
async fn updates_and_configurations_say_of_which_version_they_are() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = object("coordination.k8s.io/v1", "Lease", "l", json!({"spec": {"holderIdentity": "h"}}));
    let mut versioned = lease.clone();
    versioned["metadata"]["resourceVersion"] = json!("7");
    let refused = admin.create(leases, &versioned).await;
    let why = "resourceVersion should not be set on objects to be created";
    assert_eq!((refused.failure(), refused.json().get("reason")), ((500, why.to_owned()), None));
    // It is the store that refuses it: a dry run does not come to it.
    admin.create(&format!("{leases}?dryRun=All"), &versioned).await.ok();
    let mut wrong = versioned.clone();
    wrong["metadata"]["name"] = json!("L");
    assert_eq!(admin.create(leases, &wrong).await.failure().0, 422);
    versioned["metadata"]["resourceVersion"] = json!("0");
    admin.create(leases, &versioned).await.ok();
    let why = "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert_eq!(admin.put(&format!("{leases}/l"), &lease).await.failure(), (422, why.to_owned()));
    let apply = format!("{leases}/l?fieldManager=m");
    for (version, shown) in [(json!("apps/v1"), "apps/v1"), (json!("v1"), "/v1"), (Value::Null, "/")] {
        let mut config = lease.clone();
        config["apiVersion"] = version;
        let refused = admin.patch(&apply, "application/apply-patch+yaml", &config).await.failure();
        let why = format!("invalid object type: {shown}, Kind=Lease");
        assert_eq!(refused, (400, why));
    }
}

#[tokio::test]
async fn what_a_change_makes_names_its_version_in_vain() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let send = async |way: &str, version: &str| {
        let mut lease = object("coordination.k8s.io/v1", "Lease", way, json!({"spec": {"holderIdentity": "h"}}));
        lease["metadata"]["resourceVersion"] = json!(version);
        match way {
            "put" => admin.put(&format!("{leases}/{way}"), &lease).await,
            _ => admin.patch(&format!("{leases}/{way}?fieldManager=m"), "application/apply-patch+yaml", &lease).await,
        }
    };
    let why = "strconv.ParseUint: parsing \"x\": invalid syntax";
    for way in ["put", "applied"] {
        let refused = send(way, "x").await;
        assert_eq!((refused.failure(), refused.json().get("reason")), ((500, why.to_owned()), None), "{way}");
        assert_eq!(send(way, "7").await.code, 201, "{way}");
        assert_eq!(send(way, "7").await.failure().0, 409, "{way}: now there is one of another version");
    }
}
