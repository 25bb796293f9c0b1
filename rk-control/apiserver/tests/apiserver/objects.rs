//! Creating, reading, changing and deleting, through the front door.

mod deletion;
mod device_access;
mod devices;
mod forms;
mod identity;
mod owners;
mod scale;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, PODS, config_map, pod};

const MERGE: &str = "application/merge-patch+json";
const SCALED: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn an_object_lives_through_every_verb() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    let path = format!("{MAPS}/a");
    assert_eq!(admin.get(&path).await.ok(), made);
    let mut changed = made.clone();
    changed["data"]["k"] = json!("2");
    let put = admin.put(&path, &changed).await.ok();
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let (code, message) = admin.put(&path, &changed).await.failure();
    assert_eq!(code, 409);
    assert!(message.contains("the object has been modified"), "{message}");
    let patched = admin.patch(&path, MERGE, &json!({"data": {"k": null, "n": "3"}})).await.ok();
    assert_eq!(patched["data"], json!({"n": "3"}));
    let deleted = admin.delete(&path).await.ok();
    assert_eq!((deleted["kind"].as_str(), deleted["details"]["name"].as_str()), (Some("Status"), Some("a")));
    assert_eq!(admin.get(&path).await.failure(), (404, "configmaps \"a\" not found".to_owned()));
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    let again = admin.put(&format!("{MAPS}/a"), &made).await.ok();
    assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // The server's own loops write beside this: only what would be of this object is looked at.
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion=0")).await;
    admin.create(&format!("{MAPS}?dryRun=All"), &config_map("a", json!({}))).await.ok();
    let list = rk_store::ListRequest { prefix: "/registry/".to_owned(), ..Default::default() };
    let stored = cluster.store.list(list).await.unwrap();
    assert!(stored.entries.iter().all(|entry| !entry.key.ends_with("/configmaps/default/a")));
    admin.create(MAPS, &config_map("after", json!({}))).await.ok();
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "after".to_owned()));
    assert_eq!(admin.get(&format!("{MAPS}/a")).await.code, 404);
    assert_eq!(admin.create(&format!("{MAPS}?dryRun=Some"), &config_map("a", json!({}))).await.code, 422);
}

#[tokio::test]
async fn generated_names_are_fresh_and_taken_names_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut map = config_map("x", json!({}));
    map["metadata"] = json!({"generateName": "gen-"});
    let first = admin.create(MAPS, &map).await.ok();
    let second = admin.create(MAPS, &map).await.ok();
    let name = |value: &Value| value["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&first).starts_with("gen-") && name(&first) != name(&second));
    let (code, message) = admin.create(MAPS, &config_map(&name(&first), json!({}))).await.failure();
    assert_eq!((code, message), (409, format!("configmaps {:?} already exists", name(&first))));
    // Copies of such objects have a name and the base of it; clients look for these words.
    map["metadata"]["name"] = first["metadata"]["name"].clone();
    let (code, message) = admin.create(MAPS, &map).await.failure();
    let why = format!(
        "configmaps {:?} already exists, the server was not able to generate a unique name for the object",
        name(&first)
    );
    assert_eq!((code, message), (409, why));
}

#[tokio::test]
async fn racing_patches_all_land() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let patches = (0..20).map(|index| {
        let admin = admin.clone();
        async move {
            let change = json!({"data": {format!("k{index}"): "v"}});
            admin.patch(&format!("{MAPS}/a"), MERGE, &change).await.ok();
        }
    });
    futures::future::join_all(patches).await;
    assert_eq!(admin.get(&format!("{MAPS}/a")).await.ok()["data"].as_object().unwrap().len(), 20);
    // Each of them finds nothing at first, and one alone makes it.
    let applies = (0..20).map(|index| {
        let admin = admin.clone();
        async move {
            let config = config_map("b", json!({format!("k{index}"): "v"}));
            let path = format!("{MAPS}/b?fieldManager=m{index}");
            admin.patch(&path, "application/apply-patch+yaml", &config).await.ok();
        }
    });
    futures::future::join_all(applies).await;
    assert_eq!(admin.get(&format!("{MAPS}/b")).await.ok()["data"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped_as_asked() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut map = config_map("a", json!({}));
    map["nonsense"] = json!(1);
    let (code, message) = admin.create(&format!("{MAPS}?fieldValidation=Strict"), &map).await.failure();
    assert_eq!(code, 400);
    assert!(message.ends_with("strict decoding error: unknown field \"nonsense\""), "{message}");
    let warned = admin.create(&format!("{MAPS}?fieldValidation=Warn"), &map).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"nonsense\"""#);
    assert!(warned.ok().get("nonsense").is_none());
    map["metadata"]["name"] = json!("b");
    let ignored = admin.create(&format!("{MAPS}?fieldValidation=Ignore"), &map).await;
    assert!(!ignored.headers.contains_key("warning"));
    ignored.ok();
    let path = format!("{MAPS}/b");
    for patch in [json!({"nonsense": {"a": {"b": 1}}}), json!({"nonsense": [{"a": 1}]}), json!({"nonsense": 1})] {
        let patched = admin.patch(&path, "application/strategic-merge-patch+json", &patch).await;
        assert_eq!(patched.headers["warning"], r#"299 - "unknown field \"nonsense\"""#, "{patch}");
        assert!(patched.ok().get("nonsense").is_none(), "{patch}");
        for (kind, shown) in [(MERGE, "{"), ("application/strategic-merge-patch+json", "map[nonsense:")] {
            let (code, message) = admin.patch(&format!("{path}?fieldValidation=Strict"), kind, &patch).await.failure();
            let begin = format!(" \"\" is invalid: patch: Invalid value: \"{shown}");
            assert!(code == 422 && message.starts_with(&begin), "{message}");
            assert!(message.ends_with("strict decoding error: unknown field \"nonsense\""), "{message}");
        }
    }
    let (code, message) = admin.patch(&path, MERGE, &json!({"data": "x"})).await.failure();
    assert!(code == 422 && message.contains("cannot unmarshal string into Go struct field"), "{message}");
    let wrong = json!({"immutable": "yes"});
    let refused = admin.patch(&path, "application/strategic-merge-patch+json", &wrong).await.failure();
    let why = " \"\" is invalid: patch: Invalid value: \"map[immutable:yes]\": unrecognized type: bool";
    assert_eq!(refused, (422, why.to_owned()));
}

#[tokio::test]
async fn who_is_refused_is_warned_as_well_and_of_each_thing_once() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let deprecated = r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    let path = "/api/v1/namespaces/default/endpoints";
    let missing = admin.get(&format!("{path}/none")).await;
    assert_eq!(missing.headers["warning"], deprecated);
    assert_eq!(missing.failure().0, 404);
    let mut endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}, "nonsense": 1});
    endpoints["subsets"] = json!([{"addresses": [{"ip": "FD00::1"}], "ports": [{"port": 80}]}]);
    let made = admin.create(&format!("{path}?fieldValidation=Warn"), &endpoints).await;
    let told: Vec<&str> = made.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    let written = r#"299 - "subsets[0].addresses[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")""#;
    assert_eq!(told, [deprecated, r#"299 - "unknown field \"nonsense\"""#, written]);
    made.ok();
}

#[tokio::test]
async fn server_side_apply_creates_owns_and_conflicts() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let apply = |manager: &str, value: &str| {
        let (admin, path) = (admin.clone(), format!("{MAPS}/a?fieldManager={manager}"));
        let body = config_map("a", json!({"k": value}));
        async move { admin.patch(&path, "application/apply-patch+yaml", &body).await }
    };
    assert_eq!(apply("one", "1").await.code, 201);
    assert_eq!(apply("one", "2").await.ok()["data"]["k"], "2");
    let (code, message) = apply("two", "3").await.failure();
    assert_eq!(code, 409);
    assert!(message.contains("conflict with \"one\""), "{message}");
    let forced = apply("two&force=true", "3").await.ok();
    assert_eq!(forced["data"]["k"], "3");
    assert_eq!(apply("", "1").await.code, 422);
}

#[tokio::test]
async fn scale_reads_and_writes_replicas() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(SCALED, &scale::deployment("d")).await.ok();
    let path = format!("{SCALED}/d/scale");
    let mut scale = admin.get(&path).await.ok();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    scale["spec"]["replicas"] = json!(5);
    assert_eq!(admin.put(&path, &scale).await.ok()["spec"]["replicas"], 5);
    assert_eq!(admin.patch(&path, MERGE, &json!({"spec": {"replicas": 7}})).await.ok()["spec"]["replicas"], 7);
    let (code, message) = admin.patch(&path, MERGE, &json!({"spec": {"replicas": "x"}})).await.failure();
    assert!(code == 422 && message.contains("cannot unmarshal string into Go struct field"), "{message}");
    let whole = admin.get(&format!("{SCALED}/d")).await.ok();
    assert_eq!((&whole["spec"]["replicas"], &whole["metadata"]["generation"]), (&json!(7), &json!(3)));

    // Replicas have one owner, whether it speaks of the workload or of its Scale.
    let owner = |whole: &Value, manager: &str| {
        let entries = whole["metadata"]["managedFields"].as_array().unwrap();
        let found = entries.iter().find(|entry| entry["manager"] == manager && entry["subresource"] == "scale");
        found.map(|entry| (entry["operation"].clone(), entry["apiVersion"].clone(), entry["fieldsV1"].clone()))
    };
    let fields = json!({"f:spec": {"f:replicas": {}}});
    let by = |manager: &str, more: &str| format!("{path}?fieldManager={manager}{more}");
    admin.patch(&by("autoscaler", ""), MERGE, &json!({"spec": {"replicas": 8}})).await.ok();
    let whole = admin.get(&format!("{SCALED}/d")).await.ok();
    assert_eq!(owner(&whole, "autoscaler"), Some((json!("Update"), json!("apps/v1"), fields.clone())));

    let (kind, config) = (
        "application/apply-patch+yaml",
        |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}}),
    );
    let (code, message) = admin.patch(&by("one", ""), kind, &config(9)).await.failure();
    assert!(code == 409 && message.contains("conflict with \"autoscaler\" with subresource \"scale\""), "{message}");
    assert_eq!(admin.patch(&path, MERGE, &config(9)).await.code, 200, "who does not apply takes what it likes");
    assert_eq!(admin.patch(&by("one", "&force=true"), kind, &config(4)).await.ok()["spec"]["replicas"], 4);
    let whole = admin.get(&format!("{SCALED}/d")).await.ok();
    assert_eq!(owner(&whole, "one"), Some((json!("Apply"), json!("apps/v1"), fields)));
    assert_eq!((&whole["spec"]["replicas"], owner(&whole, "autoscaler")), (&json!(4), None));
    assert_eq!(admin.patch(&by("two", ""), kind, &config(5)).await.code, 409);
    assert_eq!(admin.patch(&by("two", "&force=true"), MERGE, &config(5)).await.code, 422);
    assert_eq!(admin.patch(&path, kind, &config(5)).await.code, 422, "who applies has a name");
    let odd = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    assert_eq!(admin.patch(&by("one", ""), kind, &odd).await.code, 400);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut made = admin.create(PODS, &pod("p")).await.ok();
    made["status"]["phase"] = json!("Running");
    made["metadata"]["labels"] = json!({"from": "main"});
    let main = admin.put(&format!("{PODS}/p"), &made).await.ok();
    assert_eq!((&main["status"]["phase"], &main["metadata"]["labels"]["from"]), (&json!("Pending"), &json!("main")));
    let status = admin.patch(&format!("{PODS}/p/status"), MERGE, &json!({"status": {"phase": "Running"}})).await.ok();
    assert_eq!(status["status"]["phase"], "Running");
}

#[tokio::test]
async fn a_body_is_judged_by_size_type_and_kind() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let huge = vec![b' '; 4 * 1024 * 1024];
    assert_eq!(admin.answer(Method::POST, MAPS, "application/json", huge.into()).await.failure().0, 413);
    assert_eq!(admin.answer(Method::POST, MAPS, "text/plain", "x".into()).await.failure().0, 415);
    assert_eq!(admin.answer(Method::POST, MAPS, "application/json", "{".into()).await.failure().0, 400);
    let (code, message) = admin.create(MAPS, &pod("p")).await.failure();
    assert_eq!(code, 400);
    assert!(message.contains("Pod"), "{message}");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {a: b}\n";
    assert_eq!(admin.answer(Method::POST, MAPS, "application/yaml", yaml.into()).await.ok()["data"]["a"], "b");
}

#[tokio::test]
async fn protobuf_goes_both_ways() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().with("accept", "application/vnd.kubernetes.protobuf");
    let body = rk_api::proto::encode(&config_map("p", json!({"k": "v"}))).unwrap();
    let answer = admin.answer(Method::POST, MAPS, "application/vnd.kubernetes.protobuf", body).await;
    assert_eq!(answer.code, 201);
    assert!(answer.body.starts_with(b"k8s\0"));
    let list = admin.get(MAPS).await;
    assert!(list.body.starts_with(b"k8s\0"));
    assert_eq!(cluster.admin().get(&format!("{MAPS}/p")).await.ok()["data"]["k"], "v");
}

#[tokio::test]
async fn documents_of_discovery_tell_the_same_in_protobuf() {
    let cluster = Cluster::start().await;
    let (text, messages) =
        (cluster.admin(), cluster.admin().with("accept", "application/vnd.kubernetes.protobuf,application/json"));
    for (path, place) in [
        ("/apis", "/groups/0/versions"),
        ("/apis", "/groups/0/preferredVersion"),
        ("/apis/apps", "/versions"),
        ("/apis/apps/v1", "/groupVersion"),
        ("/apis/apps/v1", "/resources/0/verbs"),
        ("/api/v1", "/resources/0/name"),
    ] {
        let answer = messages.get(path).await;
        assert_eq!(answer.headers["content-type"], "application/vnd.kubernetes.protobuf", "{path}");
        let read = rk_api::proto::decode(&answer.body, None, rk_api::decode::Limits::default()).unwrap();
        let written = text.get(path).await.ok();
        assert!(read.pointer(place).is_some_and(|own| !own.is_null()), "{path} {place}: {read}");
        assert_eq!(read.pointer(place), written.pointer(place), "{path} {place}");
        assert_eq!(read["kind"], written["kind"], "{path}");
    }
    // A document without a version has no message.
    assert_eq!(messages.get("/api").await.ok()["versions"], json!(["v1"]));
}

#[tokio::test]
async fn delete_options_come_under_the_name_of_any_group_and_in_every_format() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let options =
        |version: &str| json!({"apiVersion": version, "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let bodies = [
        ("application/json", options("apps/v1").to_string().into()),
        ("application/yaml", "apiVersion: policy/v1\nkind: DeleteOptions\npreconditions: {uid: other}\n".into()),
        ("application/vnd.kubernetes.protobuf", rk_api::proto::encode(&options("apps/v1")).unwrap()),
        ("application/vnd.kubernetes.protobuf", rk_api::proto::encode(&options("node.k8s.io/v1")).unwrap()),
    ];
    admin.create(MAPS, &config_map("d", json!({}))).await.ok();
    for (media_type, body) in bodies {
        let answer = admin.answer(Method::DELETE, &format!("{MAPS}/d"), media_type, body).await;
        assert_eq!(answer.code, 409, "the precondition is read from {media_type}: {:?}", answer.body);
    }
    let scheme = "in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"";
    for (body, why) in [
        (
            r#"{"apiVersion": "v1", "kind": "Pod"}"#,
            format!("no kind \"Pod\" is registered for version \"v1\" {scheme}"),
        ),
        (r#"{"kind": "X"}"#, format!("no kind \"X\" is registered for version \"meta.k8s.io/v1\" {scheme}")),
        ("{", "couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned()),
    ] {
        let answer = admin.answer(Method::DELETE, &format!("{MAPS}/d"), "application/json", body.into()).await;
        assert_eq!(answer.failure(), (400, why));
    }
}

#[tokio::test]
async fn an_update_of_version_zero_replaces_any_version() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("z", json!({}))).await.ok();
    let mut map = config_map("z", json!({"a": "b"}));
    map["metadata"]["resourceVersion"] = json!("0");
    assert_eq!(admin.put(&format!("{MAPS}/z"), &map).await.ok()["data"]["a"], "b");
}

#[tokio::test]
async fn head_is_no_verb_of_a_resource_and_never_has_a_body() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (path, code) in [(MAPS, 405), ("/version", 405), ("/livez/ping", 200), ("/apis/none", 404)] {
        let answer = admin.answer(Method::HEAD, path, "", Bytes::new()).await;
        assert!(answer.code == code && answer.body.is_empty(), "{path}: {} {:?}", answer.code, answer.body);
    }
}

#[tokio::test]
async fn head_reaches_what_lies_behind_a_proxy() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for place in ["pods/p", "services/http:s:80"] {
        let path = format!("/api/v1/namespaces/default/{place}/proxy");
        let answer = admin.answer(Method::HEAD, &format!("{path}?a=b"), "", Bytes::new()).await;
        assert_eq!(answer.code, 301);
        assert_eq!(answer.headers["location"], format!("{path}/?a=b"));
        // No such pod or Service, but no wrong method either.
        assert_eq!(admin.answer(Method::HEAD, &format!("{path}/"), "", Bytes::new()).await.code, 404, "{place}");
    }
}

#[tokio::test]
async fn nobody_can_own_what_a_kind_does_not_have() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let kind = "application/apply-patch+yaml";
    for mode in ["Strict", "Warn", "Ignore"] {
        let path = format!("{MAPS}/u?fieldManager=m&fieldValidation={mode}");
        let one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: u, unknownMeta: x}\n";
        let (code, message) = admin.answer(Method::PATCH, &path, kind, one.into()).await.failure();
        assert_eq!(code, 500);
        assert_eq!(
            message,
            "failed to create typed patch object (/u; v1, Kind=ConfigMap): .metadata.unknownMeta: field not declared in schema"
        );
        let two = format!("{one}stray: 1\n");
        let (_, message) = admin.answer(Method::PATCH, &path, kind, two.into()).await.failure();
        assert!(message.contains("): errors:\n  ."), "{message}");
    }
    assert_eq!(admin.get(&format!("{MAPS}/u")).await.code, 404);
}

#[tokio::test]
async fn an_applied_configuration_with_a_key_twice_is_refused_when_strict() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\ndata:\n  a: '1'\n  a: '2'\n";
    let apply = |mode: &str| format!("{MAPS}/t?fieldManager=m&fieldValidation={mode}");
    let kind = "application/apply-patch+yaml";
    let (code, message) = admin.answer(Method::PATCH, &apply("Strict"), kind, twice.into()).await.failure();
    assert!(code == 400 && message.contains("already set in map"), "{message}");
    let answer = admin.answer(Method::PATCH, &apply("Warn"), kind, twice.into()).await;
    assert!(answer.headers["warning"].to_str().unwrap().contains("already set in map"), "{:?}", answer.headers);
    assert_eq!(answer.ok()["data"]["a"], "2");
}
