//! Behaviours that the community's suite asks of custom kinds.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, until};

const NESTED: &str = "com.example.more.v1.Nested";
const OPEN: &str = "com.example.more.v1.Open";
const OTHER: &str = "com.example.docs.v1.Other";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        object[key] = value;
    }
    object
}

fn definition(group: &str, kind: &str, versions: &[(&str, Value)]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, (name, schema))| {
            json!({"name": name, "served": true, "storage": index == 0, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}})
        })
        .collect();
    object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &format!("{plural}.{group}"),
        json!({"spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind}, "versions": versions,
        }}),
    )
}

fn spec_schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}})
}

#[tokio::test]
async fn a_new_object_has_the_status_that_its_kind_begins_with() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let schema = json!({"type": "object", "properties": {
        "status": {"type": "object", "default": {"phase": "Waiting"}, "properties": {"phase": {"type": "string"}}}}});
    admin.create(DEFINITIONS, &definition("begin.example.com", "Begun", &[("v1", schema)])).await.ok();
    let path = "/apis/begin.example.com/v1/namespaces/default/beguns";
    until("the service of the definition", async || admin.get(path).await.code == 200).await;
    for (name, status) in [("a", Value::Null), ("b", json!({"phase": "Mine"})), ("c", json!(5))] {
        let sent = object("begin.example.com/v1", "Begun", name, json!({"status": status}));
        let made = admin.create(path, &sent).await.ok();
        assert_eq!(made["status"], json!({"phase": "Waiting"}), "{name}");
        assert_eq!(admin.get(&format!("{path}/{name}")).await.ok()["status"], made["status"], "{name}");
    }
}

#[tokio::test]
async fn definitions_are_watched_listed_and_have_a_status() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{DEFINITIONS}?watch=1&labelSelector=of=watched&resourceVersion=0")).await;
    for kind in ["One", "Two"] {
        let mut made = definition("watch.example.com", kind, &[("v1", spec_schema())]);
        made["metadata"]["labels"] = json!({"of": "watched"});
        admin.create(DEFINITIONS, &made).await.ok();
    }
    let mut added = Vec::new();
    while added.len() < 2 {
        let (kind, name) = watch.brief().await;
        if kind == "ADDED" {
            added.push(name);
        }
    }
    assert_eq!(added, ["ones.watch.example.com", "twos.watch.example.com"]);
    assert_eq!(
        admin.get(&format!("{DEFINITIONS}?labelSelector=of=watched")).await.ok()["items"].as_array().unwrap().len(),
        2
    );
    let path = format!("{DEFINITIONS}/ones.watch.example.com");
    until("Established", async || admin.get("/apis/watch.example.com/v1/ones").await.code == 200).await;
    until("its status", async || {
        admin.get(&format!("{path}/status")).await.ok()["status"]["acceptedNames"]["kind"] == "One"
    })
    .await;
    let condition =
        json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"});
    let patch = json!([{"op": "add", "path": "/status/conditions/-", "value": condition}]);
    let seen = admin.patch(&format!("{path}/status"), "application/json-patch+json", &patch).await.ok();
    assert!(seen["status"]["conditions"].as_array().unwrap().iter().any(|own| own["type"] == "StatusUpdate"));
    // A condition may lack what makes it one.
    let patch = json!([{"op": "add", "path": "/status/conditions", "value": [{"message": "told"}]}]);
    let seen = admin.patch(&format!("{path}/status"), "application/json-patch+json", &patch).await.ok();
    assert!(seen["status"]["conditions"].as_array().unwrap().iter().any(|own| own["message"] == "told"));
    let groups = admin.get("/apis").await.ok();
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "watch.example.com"));
    let found = admin.get("/apis/apiextensions.k8s.io/v1").await.ok();
    assert!(found["resources"].as_array().unwrap().iter().any(|row| row["name"] == "customresourcedefinitions"));
    admin.delete(&format!("{DEFINITIONS}?labelSelector=of=watched")).await.ok();
    until("both gone", async || {
        admin.get(&format!("{DEFINITIONS}?labelSelector=of=watched")).await.ok()["items"].as_array().unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn documents_follow_definitions_of_every_sort() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let nested = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"size": {"type": "integer"}}}}});
    for made in [
        definition("docs.example.com", "Plain", &[("v1", spec_schema()), ("v2", spec_schema())]),
        definition("docs.example.com", "Other", &[("v1", spec_schema())]),
        definition("more.example.com", "Open", &[("v1", open)]),
        definition("more.example.com", "Nested", &[("v1", nested)]),
    ] {
        admin.create(DEFINITIONS, &made).await.ok();
    }
    // The whole document is long: the index of version 3 tells when it is worth reading.
    let listed = async |group: &str| admin.get("/openapi/v3").await.ok()["paths"][format!("apis/{group}")].is_object();
    until("the documents", async || {
        let more = admin.get("/openapi/v3/apis/more.example.com/v1").await.json();
        listed("docs.example.com/v2").await
            && [NESTED, OPEN].iter().all(|name| more["components"]["schemas"][name].is_object())
            && admin.get("/openapi/v3/apis/docs.example.com/v1").await.json()["components"]["schemas"][OTHER]
                .is_object()
    })
    .await;
    let v1 = "com.example.docs.v1.Plain";
    let definitions = admin.get("/openapi/v2").await.ok()["definitions"].clone();
    for name in [v1, "com.example.docs.v2.Plain", OTHER] {
        assert_eq!(definitions[name]["properties"]["spec"]["properties"]["size"]["type"], "integer", "{name}");
    }
    let open = &definitions[OPEN];
    assert_eq!((&open["type"], &open["properties"]), (&json!("object"), &Value::Null));
    assert_eq!(definitions[NESTED]["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"], true);
    // A version that is renamed, then one that is not served any more.
    let path = format!("{DEFINITIONS}/plains.docs.example.com");
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v3"}]);
    admin.patch(&path, "application/json-patch+json", &rename).await.ok();
    until("the new name", async || listed("docs.example.com/v3").await && !listed("docs.example.com/v2").await).await;
    let definitions = admin.get("/openapi/v2").await.ok()["definitions"].clone();
    assert!(definitions["com.example.docs.v3.Plain"].is_object() && definitions[v1].is_object());
    assert_eq!(definitions["com.example.docs.v2.Plain"], Value::Null);
    let hide = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    admin.patch(&path, "application/json-patch+json", &hide).await.ok();
    until("its end", async || !listed("docs.example.com/v3").await).await;
    let definitions = admin.get("/openapi/v2").await.ok()["definitions"].clone();
    assert!(definitions["com.example.docs.v3.Plain"].is_null() && definitions[v1].is_object());
}

#[tokio::test]
async fn unknown_and_repeated_fields_of_open_kinds_are_told_as_asked() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    admin.create(DEFINITIONS, &definition("open.example.com", "Open", &[("v1", open)])).await.ok();
    let opens = "/apis/open.example.com/v1/namespaces/default/opens";
    until("Established", async || admin.get(opens).await.code == 200).await;
    let body = r#"{"apiVersion":"open.example.com/v1","kind":"Open","metadata":{"name":"a"},"unknown":"x","spec":{"one":1,"one":2}}"#;
    let send = async |mode: &str, body: &str| {
        admin
            .answer(
                Method::POST,
                &format!("{opens}?fieldValidation={mode}"),
                "application/json",
                body.to_owned().into(),
            )
            .await
    };
    let (code, message) = send("Strict", body).await.failure();
    assert!(
        code == 400 && message.contains("duplicate field \"spec.one\"") && !message.contains("unknown field"),
        "{message}"
    );
    let answer = send("Warn", body).await;
    assert!(
        answer.headers["warning"].to_str().unwrap().contains("duplicate field \\\"spec.one\\\""),
        "{:?}",
        answer.headers
    );
    let made = answer.ok();
    assert_eq!((&made["unknown"], &made["spec"]["one"]), (&json!("x"), &json!(2)));
    let clean = body.replace("\"one\":1,", "").replace("\"name\":\"a\"", "\"name\":\"b\"");
    assert_eq!(send("Strict", &clean).await.ok()["unknown"], "x");
    let config = "apiVersion: open.example.com/v1\nkind: Open\nmetadata: {name: c}\nunknown: x\n";
    let applied = admin
        .answer(
            Method::PATCH,
            &format!("{opens}/c?fieldManager=t&fieldValidation=Strict"),
            "application/apply-patch+yaml",
            config.into(),
        )
        .await;
    assert_eq!(applied.ok()["unknown"], "x");
}

#[tokio::test]
async fn documents_of_both_versions_come_in_protobuf_when_asked() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (path, version) in [("/openapi/v2", "v2"), ("/openapi/v3/apis/apps/v1", "v3")] {
        for (asked, answered) in [
            (format!("application/com.github.proto-openapi.spec.{version}@v1.0+protobuf"), true),
            (format!("application/com.github.proto-openapi.spec.{version}.v1.0+protobuf, */*"), true),
            ("application/json".to_owned(), false),
        ] {
            let answer = admin.clone().with("accept", &asked).get(path).await;
            assert_eq!(answer.code, 200, "{path} as {asked}");
            let wanted = match answered {
                true => format!("application/com.github.proto-openapi.spec.{version}.v1.0+protobuf"),
                false => "application/json".to_owned(),
            };
            assert_eq!(answer.headers["content-type"], wanted);
            assert_eq!(answer.body.first() == Some(&b'{'), !answered);
        }
        let other = admin.clone().with("accept", "application/vnd.example").get(path).await;
        assert_eq!((other.code.as_u16(), other.body.len()), (406, 0));
    }
}

#[tokio::test]
async fn a_definition_adds_nothing_to_a_version_of_kubernetes_own() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut made = definition("networking.k8s.io", "Foo", &[("v1", spec_schema()), ("v9", spec_schema())]);
    made["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, test-only"});
    admin.create(DEFINITIONS, &made).await.ok();
    let path = |version: &str| format!("/apis/networking.k8s.io/{version}/namespaces/default/foos");
    until("the service of the other version", async || admin.get(&path("v9")).await.code == 200).await;
    assert_eq!(admin.get(&path("v1")).await.failure().0, 404);
    let told = admin.get("/apis/networking.k8s.io/v1").await.ok()["resources"].clone();
    let told = told.as_array().unwrap();
    let has = |name: &str| told.iter().any(|row| row["name"] == name);
    assert!(has("networkpolicies") && !has("foos"), "{told:?}");
    let one = object("networking.k8s.io/v9", "Foo", "a", json!({"spec": {"size": 1}}));
    admin.create(&path("v9"), &one).await.ok();
    assert_eq!(admin.get(&format!("{}/a", path("v9"))).await.ok()["spec"]["size"], 1);
}

#[tokio::test]
async fn a_definition_named_as_a_built_in_kind_takes_none_of_its_objects_along() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = object("networking.k8s.io/v1", "NetworkPolicy", "kept", json!({"spec": {"podSelector": {}}}));
    admin.create(policies, &policy).await.ok();
    let mut made = definition("networking.k8s.io", "NetworkPolicy", &[("v1", spec_schema())]);
    made["metadata"]["name"] = json!("networkpolicies.networking.k8s.io");
    made["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, test-only"});
    made["spec"]["names"]["plural"] = json!("networkpolicies");
    admin.create(DEFINITIONS, &made).await.ok();
    let path = format!("{DEFINITIONS}/networkpolicies.networking.k8s.io");
    until("a verdict on its names", async || admin.get(&path).await.ok()["status"]["conditions"].is_array()).await;
    admin.delete(&path).await.ok();
    until("its end", async || admin.get(&path).await.code == 404).await;
    assert_eq!(admin.get(&format!("{policies}/kept")).await.code, 200);
}

#[tokio::test]
async fn what_no_version_serves_goes_with_its_definition() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = definition("hidden.example.com", "Hidden", &[("v1", spec_schema())]);
    admin.create(DEFINITIONS, &made).await.ok();
    let hidden = "/apis/hidden.example.com/v1/namespaces/default/hiddens";
    until("its service", async || admin.get(hidden).await.code == 200).await;
    admin.create(hidden, &object("hidden.example.com/v1", "Hidden", "a", json!({}))).await.ok();
    let path = format!("{DEFINITIONS}/hiddens.hidden.example.com");
    let hide = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
    admin.patch(&path, "application/json-patch+json", &hide).await.ok();
    until("the end of its service", async || admin.get(hidden).await.code == 404).await;
    admin.delete(&path).await.ok();
    until("its end", async || admin.get(&path).await.code == 404).await;
    admin.create(DEFINITIONS, &made).await.ok();
    until("its service", async || admin.get(hidden).await.code == 200).await;
    assert_eq!(admin.get(hidden).await.ok()["items"], json!([]));
}
