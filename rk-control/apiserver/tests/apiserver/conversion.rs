//! Custom kinds of several versions, which a webhook converts or nobody.

use http::Method;
use serde_json::{Value, json};

use crate::support::webhook::Webhook;
use crate::support::{Client, Cluster, bytes, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: &str = "application/merge-patch+json";

fn definition(webhook: &Webhook, storage: &str) -> Value {
    let version = |name: &str, properties: Value| {
        let paths = properties.as_object().unwrap().keys().map(|field| json!({"jsonPath": format!(".{field}")}));
        let selectable: Vec<Value> = paths.collect();
        let schema = json!({"type": "object", "properties": properties});
        json!({"name": name, "served": true, "storage": name == storage, "schema": {"openAPIV3Schema": schema},
            "selectableFields": selectable})
    };
    let text = json!({"type": "string"});
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": webhook.url("/convert"), "conversionReviewVersions": ["v1", "v1beta1"],
    }});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.convert.example.com"},
        "spec": {"group": "convert.example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "versions": [version("v1", json!({"hostPort": text})), version("v2", json!({"host": text, "port": text}))],
            "conversion": conversion}})
}

/// `hostPort` of v1 is `host` and `port` of v2; names that begin with `bad` cannot be converted.
fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap();
    let uid = &request["uid"];
    if objects.iter().any(|object| object["metadata"]["name"].as_str().unwrap().starts_with("bad")) {
        let result = json!({"status": "Failure", "message": "it is bad"});
        return json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {"uid": uid, "result": result}});
    }
    let converted: Vec<Value> = objects.iter().map(|object| one(object, wanted)).collect();
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": uid, "result": {"status": "Success"}, "convertedObjects": converted}})
}

fn one(object: &Value, wanted: &str) -> Value {
    let mut out = json!({"apiVersion": wanted, "kind": object["kind"], "metadata": object["metadata"]});
    if wanted.ends_with("/v2") {
        let (host, port) = object["hostPort"].as_str().unwrap().split_once(':').unwrap();
        (out["host"], out["port"]) = (json!(host), json!(port));
    } else {
        out["hostPort"] = json!(format!("{}:{}", object["host"].as_str().unwrap(), object["port"].as_str().unwrap()));
    }
    out
}

fn hosts(version: &str) -> String {
    format!("/apis/convert.example.com/{version}/namespaces/default/hosts")
}

async fn served(admin: &Client) {
    until("the service of the definition", async || admin.get(&hosts("v1")).await.code == 200).await;
}

/// Makes v2 the stored version, as `definition` has it, and waits until the table of what is served has it, too: the definition says so
/// before.
async fn stored_as_v2(admin: &Client, definition: &Value) {
    let group = definition["spec"]["group"].as_str().unwrap();
    let hash =
        async || admin.get(&format!("/apis/{group}/v1")).await.ok()["resources"][0]["storageVersionHash"].clone();
    let before = hash().await;
    let path = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().unwrap());
    admin.patch(&path, MERGE, &json!({"spec": {"versions": definition["spec"]["versions"]}})).await.ok();
    until("the second stored version", async || {
        admin.get(&path).await.ok()["status"]["storedVersions"] == json!(["v1", "v2"]) && hash().await != before
    })
    .await;
}

fn host(name: &str, value: &str) -> Value {
    json!({"apiVersion": "convert.example.com/v1", "kind": "Host", "metadata": {"name": name}, "hostPort": value})
}

#[tokio::test]
async fn a_webhook_converts_what_is_read_written_and_watched() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    let mut watch = admin.watch(&format!("{}?watch=1", hosts("v2"))).await;
    let made = admin.create(&hosts("v1"), &host("a", "example.com:80")).await.ok();
    assert_eq!((&made["hostPort"], webhook.calls("/convert")), (&json!("example.com:80"), 0));
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["object"]["host"], &event["object"]["apiVersion"]),
        (&json!("example.com"), &json!("convert.example.com/v2"))
    );
    let seen = admin.get(&format!("{}/a", hosts("v2"))).await.ok();
    assert_eq!((&seen["host"], &seen["port"], &seen["hostPort"]), (&json!("example.com"), &json!("80"), &Value::Null));
    assert_eq!(seen["metadata"]["uid"], made["metadata"]["uid"]);
    // Written in the other version, kept in the first.
    let changed = admin.patch(&format!("{}/a", hosts("v2")), MERGE, &json!({"port": "81"})).await.ok();
    assert_eq!(changed["port"], "81");
    assert_eq!(admin.get(&format!("{}/a", hosts("v1"))).await.ok()["hostPort"], "example.com:81");
    let v2 = json!({"apiVersion": "convert.example.com/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "b.example.com", "port": "1"});
    assert_eq!(admin.create(&hosts("v2"), &v2).await.ok()["host"], "b.example.com");
    let listed = admin.get(&hosts("v2")).await.ok();
    let ports: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|item| &item["port"]).collect();
    assert_eq!(ports, [&json!("81"), &json!("1")]);
    // A failure is told, and only to those who asked for the other version.
    admin.create(&hosts("v1"), &host("bad", "x:1")).await.ok();
    let (code, message) = admin.get(&format!("{}/bad", hosts("v2"))).await.failure();
    assert_eq!(code, 500);
    assert!(
        message.ends_with("conversion webhook for convert.example.com/v1, Kind=Host failed: it is bad"),
        "{message}"
    );
    assert_eq!(admin.get(&hosts("v1")).await.ok()["items"].as_array().unwrap().len(), 3);
    admin.delete(&format!("{}/a", hosts("v2"))).await.ok();
}

#[tokio::test]
async fn what_is_converted_for_a_watch_waits_for_no_other_conversion() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    let path = format!("{}?watch=1", hosts("v2"));
    let make = async |name: &str| admin.create(&hosts("v1"), &host(name, "example.com:80")).await.ok();
    make("a").await;
    make("b").await;
    let mut body = admin.raw(Method::GET, &path, "", Default::default()).await.into_body();
    // What is there, and then changes that came behind each other.
    for names in [["a", "b"], ["c", "d"]] {
        for name in names {
            let piece: Value = serde_json::from_slice(&bytes(&mut body, 1).await).expect("one event");
            assert_eq!(piece["object"]["metadata"]["name"], name);
        }
        if names == ["a", "b"] {
            make("c").await;
            make("d").await;
        }
    }
}

#[tokio::test]
async fn objects_of_several_stored_versions_are_listed_in_one() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    admin.create(&hosts("v1"), &host("old", "old.example.com:1")).await.ok();
    stored_as_v2(&admin, &definition(&webhook, "v2")).await;
    admin.create(&hosts("v1"), &host("new", "new.example.com:2")).await.ok();
    let listed = async |version: &str, field: &str| -> Vec<Value> {
        let list = admin.get(&hosts(version)).await.ok();
        list["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
    };
    assert_eq!(listed("v2", "host").await, [json!("new.example.com"), json!("old.example.com")]);
    assert_eq!(listed("v1", "hostPort").await, [json!("new.example.com:2"), json!("old.example.com:1")]);
    // The next change of the old one stores it anew.
    let changed =
        admin.patch(&format!("{}/old", hosts("v1")), MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(changed["hostPort"], "old.example.com:1");
    let stored = cluster.store.get("/registry/convert.example.com/hosts/default/old").await.unwrap().unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["apiVersion"], &stored["host"]), (&json!("convert.example.com/v2"), &json!("old.example.com")));
}

#[tokio::test]
async fn a_change_that_changes_nothing_stores_an_object_in_the_version_of_now() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    let made = admin.create(&hosts("v1"), &host("a", "example.com:1")).await.ok();
    stored_as_v2(&admin, &definition(&webhook, "v2")).await;
    let path = format!("{}/a", hosts("v1"));
    let moved = admin.put(&path, &made).await.ok();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_ne!(version(&moved), version(&made));
    assert_eq!((&moved["hostPort"], &moved["apiVersion"]), (&made["hostPort"], &made["apiVersion"]));
    let stored = cluster.store.get("/registry/convert.example.com/hosts/default/a").await.unwrap().unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["apiVersion"], &stored["port"]), (&json!("convert.example.com/v2"), &json!("1")));
    let again = admin.put(&path, &moved).await.ok();
    assert_eq!(version(&again), version(&moved), "it is where it belongs");
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_version_is_selected_by_its_own_fields() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    let selected = |version: &str, fields: &str, more: &str| format!("{}?fieldSelector={fields}{more}", hosts(version));
    for (name, value) in [("a", "one:80"), ("b", "one:8080"), ("c", "two:80")] {
        admin.create(&hosts("v1"), &host(name, value)).await.ok();
    }
    let listed = async |version: &str, fields: &str| admin.get(&selected(version, fields, "")).await.ok();
    assert_eq!(names(&listed("v1", "hostPort=one:80").await), ["a"]);
    assert_eq!(names(&listed("v2", "host=one").await), ["a", "b"]);
    assert_eq!(names(&listed("v2", "host=one,port!=80").await), ["b"]);
    assert_eq!(names(&listed("v2", "port=80,metadata.name!=a").await), ["c"]);
    assert_eq!(admin.get(&selected("v2", "hostPort=one:80", "")).await.failure().0, 400);
    // Page by page, none of which is empty before the end.
    let first = admin.get(&selected("v2", "port=80", "&limit=1")).await.ok();
    let next = first["metadata"]["continue"].as_str().unwrap();
    let second = admin.get(&selected("v2", "port=80", &format!("&limit=1&continue={next}"))).await.ok();
    assert_eq!((names(&first), names(&second)), (vec!["a"], vec!["c"]));

    let since = listed("v2", "host=one").await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut later = admin.watch(&selected("v2", "host=one", &format!("&watch=1&resourceVersion={since}"))).await;
    let initial = "&watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut whole = admin.watch(&selected("v2", "host=one", initial)).await;
    for name in ["a", "b"] {
        let event = whole.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    assert_eq!(whole.next().await.unwrap()["type"], "BOOKMARK");
    // Into the selection, changed within it, and out of it.
    for (name, value) in [("c", "one:80"), ("c", "one:81"), ("b", "two:8080")] {
        admin.patch(&format!("{}/{name}", hosts("v1")), MERGE, &json!({"hostPort": value})).await.ok();
    }
    for watch in [&mut later, &mut whole] {
        for (kind, name, port) in [("ADDED", "c", "80"), ("MODIFIED", "c", "81"), ("DELETED", "b", "8080")] {
            let event = watch.next().await.unwrap();
            let object = &event["object"];
            let seen = [&event["type"], &object["metadata"]["name"], &object["port"], &object["host"]];
            assert_eq!(seen, [&json!(kind), &json!(name), &json!(port), &json!("one")]);
        }
    }
    admin.delete(&selected("v2", "host=one", "")).await.ok();
    assert_eq!(names(&admin.get(&hosts("v1")).await.ok()), ["b"]);
}

#[tokio::test]
async fn owners_of_converted_objects_speak_their_own_versions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, review| convert(review)).await;
    admin.create(DEFINITIONS, &definition(&webhook, "v1")).await.ok();
    served(&admin).await;
    admin.create(&format!("{}?fieldManager=one", hosts("v1")), &host("a", "example.com:80")).await.ok();
    let entries = |object: &Value| -> Vec<(Value, Value)> {
        let list = object["metadata"]["managedFields"].as_array().unwrap();
        list.iter().map(|entry| (entry["apiVersion"].clone(), entry["fieldsV1"].clone())).collect()
    };
    let of_one = (json!("convert.example.com/v1"), json!({"f:hostPort": {}}));
    let path = |version: &str, manager: &str| format!("{}/a?fieldManager={manager}", hosts(version));
    let labelled = admin.patch(&path("v2", "two"), MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert!(entries(&labelled).contains(&of_one), "what was not changed is owned as it was: {labelled}");
    let changed = admin.patch(&path("v2", "two"), MERGE, &json!({"port": "81"})).await.ok();
    let labels = json!({"f:labels": {".": {}, "f:a": {}}});
    let of_two = (json!("convert.example.com/v2"), json!({"f:metadata": labels, "f:port": {}}));
    assert_eq!(entries(&changed), [of_two]);
    let apply = async |value: &str, more: &str| {
        admin.patch(&format!("{}{more}", path("v1", "three")), "application/apply-patch+yaml", &host("a", value)).await
    };
    let (code, message) = apply("example.com:82", "").await.failure();
    let why = "Apply failed with 1 conflict: conflict with \"two\" using convert.example.com/v2: .port";
    assert_eq!((code, message.as_str()), (409, why));
    let forced = apply("example.com:82", "&force=true").await.ok();
    assert_eq!(forced["hostPort"], "example.com:82");
    assert_eq!(entries(&forced)[0], of_one);
}

/// A kind of two versions that nobody converts.
fn lamps(storage: &str) -> Value {
    let version = |name: &str, spec: Value| {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
        json!({"name": name, "served": true, "storage": name == storage, "schema": {"openAPIV3Schema": schema}})
    };
    let (text, watts) = (json!({"type": "string"}), json!({"type": "integer"}));
    let socket = json!({"type": "object", "properties": {"kind": text}});
    let shade = json!({"type": "string", "default": "none"});
    let tint = json!({"type": "string", "default": "warm"});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "lamps.none.example.com"},
    "spec": {"group": "none.example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"}, "versions": [
        version("v1", json!({"watts": watts, "socket": socket, "shade": shade})),
        version("v2", json!({"watts": watts, "socket": text, "tint": tint})),
    ]}})
}

#[tokio::test]
async fn versions_that_nobody_converts_tell_what_each_of_them_knows() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let lamp = |version: &str, name: &str| format!("/apis/none.example.com/{version}/namespaces/default/lamps{name}");
    admin.create(DEFINITIONS, &lamps("v1")).await.ok();
    until("the service of the definition", async || admin.get(&lamp("v1", "")).await.code == 200).await;
    let own = json!({"watts": 5, "socket": {"kind": "E27"}, "shade": "none"});
    for (name, spec) in [("a", own.clone()), ("b", json!({"watts": 1}))] {
        let object =
            json!({"apiVersion": "none.example.com/v1", "kind": "Lamp", "metadata": {"name": name}, "spec": spec});
        admin.create(&lamp("v1", ""), &object).await.ok();
    }
    let told = async |version: &str, name: &str| admin.get(&lamp(version, name)).await.ok()["spec"].clone();
    // Without what only v1 knows, and without defaults: nobody sent or stored it in v2.
    assert_eq!(told("v2", "/a").await, json!({"watts": 5, "socket": {}}));
    assert_eq!(admin.get(&lamp("v2", "")).await.ok()["items"][1]["spec"], json!({"watts": 1}));

    stored_as_v2(&admin, &lamps("v2")).await;
    assert_eq!(told("v1", "/a").await, own, "what was stored in v1 is all there for its readers");
    assert_eq!(told("v2", "/a").await, json!({"watts": 5, "socket": {}}));
    let labels = json!({"metadata": {"labels": {"l": "1"}}});
    let moved = admin.patch(&lamp("v1", "/b"), MERGE, &labels).await.ok();
    assert_eq!(moved["spec"], json!({"watts": 1}), "it is stored in v2, which knows no shade");
    assert_eq!(told("v2", "/b").await, json!({"watts": 1, "tint": "warm"}));
}
