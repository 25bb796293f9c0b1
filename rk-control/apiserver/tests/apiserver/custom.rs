//! CustomResourceDefinitions and their objects.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Cluster, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

fn definition() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "description": "What is wanted of a foo.", "properties": {
            "color": {"type": "string", "enum": ["red", "green"]},
            "size": {"type": "integer", "minimum": 1, "default": 3},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "note": {"type": "string"}}},
    }});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [version("v1", true), version("v1beta1", false)]}})
}

fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

async fn define(admin: &Client) {
    admin.create(DEFINITIONS, &definition()).await.ok();
    until("Established", || async {
        let found = admin.get(&format!("{DEFINITIONS}/foos.example.com")).await.ok();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    })
    .await;
}

#[tokio::test]
async fn a_definition_is_served_the_moment_it_is_established() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(FOOS).await.code, 404);
    define(&admin).await;
    let made = admin.create(FOOS, &foo("a", json!({"color": "red"}))).await.ok();
    assert_eq!(made["spec"], json!({"color": "red", "size": 3}), "defaults are filled in");
    assert_eq!(made["metadata"]["generation"], 1);

    let groups = admin.get("/apis").await.ok();
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "example.com"));
    let found = admin.get("/apis/example.com/v1").await.ok();
    let names: Vec<&str> = found["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["foos", "foos/status", "foos/scale"]);
    let verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    assert_eq!(found["resources"][0]["verbs"], json!(verbs));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = admin.clone().with("accept", accept).get("/apis").await.ok();
    let group = aggregated["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["metadata"]["name"] == "example.com")
        .unwrap();
    assert_eq!(group["versions"][0]["version"], "v1");

    let list = admin.get(FOOS).await.ok();
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("FooList"), &json!("Foo")),
        "items say what they are"
    );
    let older = admin.get(&format!("{}/a", FOOS.replace("/v1/", "/v1beta1/"))).await.ok();
    assert_eq!((&older["apiVersion"], &older["spec"]), (&json!("example.com/v1beta1"), &made["spec"]));
    let table = admin.clone().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").get(FOOS).await.ok();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red"]));
}

#[tokio::test]
async fn objects_are_pruned_judged_and_told_apart() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    let odd = foo("odd", json!({"color": "red", "stray": 1}));
    let (code, message) = admin.create(&format!("{FOOS}?fieldValidation=Strict"), &odd).await.failure();
    assert!(code == 400 && message.contains(r#"unknown field "spec.stray""#), "{message}");
    let apply = format!("{FOOS}/odd?fieldManager=m&fieldValidation=Strict");
    let (code, message) = admin.patch(&apply, "application/apply-patch+yaml", &odd).await.failure();
    assert!(code == 500 && message.ends_with("Kind=Foo): .spec.stray: field not declared in schema"), "{message}");
    let answer = admin.create(&format!("{FOOS}?fieldValidation=Warn"), &odd).await;
    assert!(answer.headers["warning"].to_str().unwrap().contains("spec.stray"));
    assert!(answer.ok()["spec"].get("stray").is_none());
    let (code, message) = admin.create(FOOS, &foo("bad", json!({"color": "blue", "size": 0}))).await.failure();
    assert_eq!(code, 422);
    for part in [
        r#"Foo.example.com "bad" is invalid"#,
        r#"spec.color: Unsupported value: "blue""#,
        "should be greater than or equal to 1",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    admin.create(FOOS, &foo("green", json!({"color": "green"}))).await.ok();
    let chosen = admin.get(&format!("{FOOS}?fieldSelector=spec.color%3Dgreen")).await.ok();
    assert_eq!(chosen["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get(&format!("{FOOS}?fieldSelector=spec.size%3D3")).await.code, 400);
    let mut watch = admin.watch(&format!("{FOOS}?watch=1&fieldSelector=spec.color%3Dgreen&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "green".into()));
    assert_eq!(watch.next().await.unwrap()["type"], "BOOKMARK");
    let turn = json!({"spec": {"color": "red"}});
    admin.patch(&format!("{FOOS}/green"), "application/merge-patch+json", &turn).await.ok();
    assert_eq!(watch.brief().await, ("DELETED".into(), "green".into()));
    let formats = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let unknown = format!("the body of the request was in an unknown format - accepted media types include: {formats}");
    for media_type in ["application/strategic-merge-patch+json", "text/plain"] {
        let refused = admin.patch(&format!("{FOOS}/green"), media_type, &turn).await.failure();
        assert_eq!(refused, (415, unknown.clone()), "{media_type}");
    }
    let (code, _) = admin.put(&format!("{FOOS}/green"), &foo("green", json!({"color": "red"}))).await.failure();
    assert_eq!(code, 422, "an update must name the version that it means");
}

#[tokio::test]
async fn status_scale_and_apply_work_as_for_other_kinds() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    let mut with_status = foo("a", json!({"color": "red", "replicas": 2}));
    with_status["status"] = json!({"note": "mine"});
    let made = admin.create(FOOS, &with_status).await.ok();
    assert!(made.get("status").is_none(), "status is its subresource's business");
    let path = format!("{FOOS}/a");
    let note = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/f"]}, "status": {"note": "well", "replicas": 2},
        "spec": {"color": "green"}});
    let told = admin.patch(&format!("{path}/status"), "application/merge-patch+json", &note).await.ok();
    assert_eq!((told["metadata"].get("labels"), told["metadata"].get("finalizers")), (None, None));
    assert_eq!((&told["status"]["note"], &told["spec"]["color"]), (&json!("well"), &json!("red")));
    assert_eq!(told["metadata"]["generation"], 1);
    let noted = |note: &str| {
        let mut object = foo("a", json!({}));
        object["status"] = json!({"note": note});
        object
    };
    let by = |more: &str| format!("{path}/status?fieldManager=node{more}");
    let (code, message) = admin.patch(&by(""), "application/apply-patch+yaml", &noted("better")).await.failure();
    assert!(code == 409 && message.contains(".status.note"), "{message}");
    let told = admin.patch(&by("&force=true"), "application/apply-patch+yaml", &noted("better")).await.ok();
    assert_eq!((&told["status"]["note"], &told["spec"]["color"]), (&json!("better"), &json!("red")));
    let entries = told["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "node").unwrap();
    assert_eq!((&entry["subresource"], &entry["operation"]), (&json!("status"), &json!("Apply")));
    assert_eq!(entry["fieldsV1"], json!({"f:status": {"f:note": {}}}));
    let scale = admin.get(&format!("{path}/scale")).await.ok();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(2), &json!(2)));
    admin.patch(&format!("{path}/scale"), "application/merge-patch+json", &json!({"spec": {"replicas": 5}})).await.ok();
    let scaled = admin.get(&path).await.ok();
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 6}});
    let by = |more: &str| format!("{path}/scale?fieldManager=scaler{more}");
    assert_eq!(admin.patch(&by(""), "application/apply-patch+yaml", &scale).await.code, 409);
    admin.patch(&by("&force=true"), "application/apply-patch+yaml", &scale).await.ok();
    let owned = admin.get(&path).await.ok();
    let entries = owned["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "scaler").unwrap();
    assert_eq!((&entry["subresource"], &entry["operation"]), (&json!("scale"), &json!("Apply")));
    assert_eq!((&owned["spec"]["replicas"], &entry["fieldsV1"]), (&json!(6), &json!({"f:spec": {"f:replicas": {}}})));

    let apply = |manager: &str| format!("{FOOS}/b?fieldManager={manager}");
    let kind = "application/apply-patch+yaml";
    admin.patch(&apply("one"), kind, &foo("b", json!({"color": "red"}))).await.ok();
    admin.patch(&apply("two"), kind, &foo("b", json!({"size": 7}))).await.ok();
    let (code, message) = admin.patch(&apply("two"), kind, &foo("b", json!({"color": "green"}))).await.failure();
    assert!(code == 409 && message.contains(".spec.color"), "{message}");
    let left = admin.patch(&apply("two"), kind, &foo("b", json!({}))).await.ok();
    assert_eq!(
        left["spec"],
        json!({"color": "red", "size": 3}),
        "what nobody applies any more falls back to its default"
    );
}

#[tokio::test]
async fn a_changed_definition_shows_in_what_is_stored_already() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    admin.create(FOOS, &foo("old", json!({"color": "red"}))).await.ok();
    let path = format!("{DEFINITIONS}/foos.example.com");
    let change = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape",
        "value": {"type": "string", "default": "round"}}, {"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    admin.patch(&path, "application/json-patch+json", &change).await.ok();
    until("the new default", || async { admin.get(&format!("{FOOS}/old")).await.json()["spec"]["shape"] == "round" })
        .await;
    assert_eq!(
        admin.get(&FOOS.replace("/v1/", "/v1beta1/")).await.code,
        404,
        "a version that is not served is not there"
    );
    let again = Cluster::start_in(cluster.stop().await).await;
    let old = again.admin().get(&format!("{FOOS}/old")).await.ok();
    assert_eq!(
        old["spec"],
        json!({"color": "red", "size": 3, "shape": "round"}),
        "a restart serves what was defined before"
    );
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_with_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    let mut held = foo("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(FOOS, &held).await.ok();
    admin.create(FOOS, &foo("free", json!({}))).await.ok();
    let path = format!("{DEFINITIONS}/foos.example.com");
    admin.delete(&path).await.ok();
    until("the deletion of what is free", || async { admin.get(&format!("{FOOS}/free")).await.code == 404 }).await;
    assert_eq!(admin.create(FOOS, &foo("late", json!({}))).await.code, 403, "nothing new comes while it goes");
    assert_eq!(admin.get(&path).await.code, 200, "it waits for what is held");
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&format!("{FOOS}/held"), "application/merge-patch+json", &free).await.ok();
    until("the end of the definition", || async { admin.get(&path).await.code == 404 }).await;
    until("the end of its paths", || async { admin.get(FOOS).await.code == 404 }).await;
    admin.create(DEFINITIONS, &definition()).await.ok();
    until("its return", || async { admin.get(FOOS).await.code == 200 }).await;
    assert_eq!(admin.get(FOOS).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn documents_tell_of_custom_kinds() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let before = admin.get("/openapi/v2").await;
    define(&admin).await;
    let after = admin.get("/openapi/v2").await;
    assert_ne!(before.headers["etag"], after.headers["etag"]);
    let document = after.ok();
    let foo = &document["definitions"]["com.example.v1.Foo"];
    assert_eq!(foo["properties"]["spec"]["description"], "What is wanted of a foo.");
    assert_eq!(foo["x-kubernetes-group-version-kind"][0]["kind"], "Foo");
    assert!(document["paths"]["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"]["patch"].is_object());
    assert!(document["definitions"]["io.k8s.api.core.v1.Pod"].is_object(), "the others are still there");
    let index = admin.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let v3 = admin.get(&url).await;
    assert_eq!(v3.headers["cache-control"], "public, immutable");
    assert!(v3.headers["expires"].to_str().unwrap().ends_with(" GMT"), "{:?}", v3.headers);
    let (plain, _) = url.split_once('?').unwrap();
    let former = admin.get(&format!("{plain}?hash=FORMER")).await;
    assert_eq!((former.code.as_u16(), former.headers["location"].to_str().unwrap()), (301, url.as_str()));
    assert_eq!(admin.get(plain).await.headers["cache-control"], "no-cache, private");
    let v3 = v3.ok();
    assert_eq!(v3["components"]["schemas"]["com.example.v1.Foo"]["required"], json!(["spec"]));
    let patch =
        &v3["paths"]["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"]["patch"]["requestBody"]["content"];
    let strategic = patch.get("application/strategic-merge-patch+json");
    assert!(
        strategic.is_none() && patch.get("application/merge-patch+json").is_some(),
        "kubectl patches as it is told to here"
    );
    let mut wanting = Vec::new();
    references(&v3, &mut wanting);
    assert!(!wanting.is_empty());
    for reference in wanting {
        assert!(v3.pointer(&reference).is_some(), "{reference}");
    }
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let protobuf =
        admin.clone().with("accept", accept).answer(Method::GET, "/openapi/v2", "", Default::default()).await;
    let found = protobuf.body.windows(18).any(|bytes| bytes == b"com.example.v1.Foo");
    assert!(protobuf.code == 200 && found);
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.push(reference.trim_start_matches('#').to_owned());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_group_has_its_api_service_while_it_is_served() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let path = |name: &str| format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
    let apps = admin.get(&path("v1.apps")).await.ok();
    assert_eq!((&apps["spec"]["group"], &apps["status"]["conditions"][0]["status"]), (&json!("apps"), &json!("True")));
    define(&admin).await;
    until("the service of a custom group", || async { admin.get(&path("v1beta1.example.com")).await.code == 200 })
        .await;
    admin.delete(&format!("{DEFINITIONS}/foos.example.com")).await.ok();
    until("its end", || async { admin.get(&path("v1beta1.example.com")).await.code == 404 }).await;
}

#[tokio::test]
async fn scales_of_custom_objects_go_both_ways_in_protobuf_and_name_the_version_that_they_mean() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    admin.create(FOOS, &foo("a", json!({"color": "red", "replicas": 2}))).await.ok();
    let messages = cluster.admin().with("accept", PROTOBUF);
    let path = format!("{FOOS}/a/scale");
    let read = |answer: &Answer| {
        assert_eq!((answer.code.as_u16(), &answer.headers["content-type"]), (200, &PROTOBUF.parse().unwrap()));
        rk_api::proto::decode(&answer.body, None, rk_api::decode::Limits::default()).unwrap()
    };
    let mut scale = read(&messages.get(&path).await);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    scale["spec"]["replicas"] = json!(4);
    let body = rk_api::proto::encode(&scale).unwrap();
    let put = messages.answer(Method::PUT, &path, PROTOBUF, body).await;
    assert_eq!(read(&put)["spec"]["replicas"], 4);
    let patched = messages.patch(&path, "application/merge-patch+json", &json!({"spec": {"replicas": 5}})).await;
    assert_eq!(read(&patched)["spec"]["replicas"], 5);
    assert_eq!(admin.get(&format!("{FOOS}/a")).await.ok()["spec"]["replicas"], 5);

    scale["metadata"]["resourceVersion"] = json!("0");
    let why = "foos.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert_eq!(admin.put(&path, &scale).await.failure(), (422, why.to_owned()));
    scale["metadata"]["resourceVersion"] = json!("");
    assert_eq!(admin.put(&path, &scale).await.ok()["spec"]["replicas"], 4, "what is left out is any version");
    scale["spec"]["replicas"] = json!(-1);
    let why = "Foo.example.com \"a\" is invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer";
    assert_eq!(admin.put(&path, &scale).await.failure(), (422, why.to_owned()));
    let status = json!({"metadata": {"uid": "other"}, "status": {"note": "n"}});
    let told = admin.patch(&format!("{FOOS}/a/status"), "application/merge-patch+json", &status).await.ok();
    assert_eq!((&told["metadata"]["uid"], &told["status"]["note"]), (&scale["metadata"]["uid"], &json!("n")));
}

#[tokio::test]
async fn parts_of_custom_objects_answer_as_upstream_s_handler_does() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    define(&admin).await;
    admin.create(FOOS, &foo("a", json!({"color": "red", "replicas": 2}))).await.ok();
    admin.create(FOOS, &foo("without", json!({"color": "red"}))).await.ok();
    let messages = cluster.admin().with("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(messages.get(&format!("{FOOS}/a")).await.code, 406, "a custom object is no message");
    let yaml = cluster.admin().with("accept", "application/yaml");
    assert_eq!(yaml.get(&format!("{FOOS}?watch=1&timeoutSeconds=1")).await.code, 406, "YAML has no events");
    assert_eq!(admin.get(&format!("{FOOS}/a?watch=1")).await.ok()["kind"], "Foo", "who names an object gets it");
    let failed = async |method: Method, path: &str, body: &Value| {
        admin.send(method, &format!("{FOOS}/{path}"), body).await.failure()
    };
    let mut other = foo("a", json!({"color": "red"}));
    other["kind"] = json!("Bar");
    let why = "Bar.example.com \"a\" is invalid: kind: Invalid value: \"Bar\": must be Foo".to_owned();
    assert_eq!(failed(Method::PUT, "a", &other).await, (422, why));
    let unversioned = "foos.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    for (version, code, why) in [
        (json!("0"), 422, unversioned),
        (Value::Null, 422, unversioned),
        (json!("abc"), 500, "strconv.ParseUint: parsing \"abc\": invalid syntax"),
    ] {
        let patch = json!({"metadata": {"resourceVersion": version}});
        let told = admin.patch(&format!("{FOOS}/a"), "application/merge-patch+json", &patch).await.failure();
        assert_eq!(told, (code, why.to_owned()));
    }
    let why = "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist".to_owned();
    assert_eq!(failed(Method::GET, "without/scale", &Value::Null).await, (500, why));
    let why = "delete is not supported on resources of kind \"foos.example.com\"".to_owned();
    assert_eq!(failed(Method::DELETE, "a/status", &Value::Null).await, (405, why));
    let everywhere = "/apis/example.com/v1/foos";
    assert_eq!(admin.delete(everywhere).await.code, 404, "all namespaces are read together and nothing else");
    assert_eq!(admin.get(&format!("{FOOS}/a")).await.code, 200);
    for method in [Method::PUT, Method::PATCH] {
        let answer = admin.send(method, FOOS, &json!({})).await;
        assert_eq!(answer.failure(), (400, "name must be provided".to_owned()));
    }
    assert_eq!(admin.send(Method::HEAD, FOOS, &Value::Null).await.code, 200);
    assert_eq!(admin.send(Method::OPTIONS, &format!("{FOOS}/a/status"), &Value::Null).await.code, 405);
    assert_eq!(
        failed(Method::GET, "a/unknown", &Value::Null).await,
        (404, "foos.example.com \"a\" not found".to_owned())
    );
}
