//! Admission webhooks that answer over HTTPS.

use serde_json::{Value, json};

use crate::support::webhook::{SILENT, Webhook, allow, deny, patch, review};
use crate::support::{Client, Cluster, MAPS, PODS, config_map, pod, until};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// One entry of `webhooks` for all operations on a resource.
fn hook(client: Value, group: &str, resource: &str) -> Value {
    json!({
        "name": format!("{}.example.com", resource.replace(['/', '*'], "x")), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"], "timeoutSeconds": 30,
        "rules": [{"operations": ["*"], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]}],
    })
}

fn configuration(kind: &str, name: &str, hooks: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name, "labels": {"of": "test"}}, "webhooks": hooks})
}

async fn mutating(admin: &Client, name: &str, hooks: &[Value]) {
    admin.create(MUTATING, &configuration("Mutating", name, hooks)).await.ok();
}

async fn validating(admin: &Client, name: &str, hooks: &[Value]) {
    admin.create(VALIDATING, &configuration("Validating", name, hooks)).await.ok();
}

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

#[tokio::test]
async fn mutating_webhooks_change_objects_one_after_the_other() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|path, question| match path {
        "/one" => patch(question, set("/data/one", json!("yes"))),
        "/secret" => patch(question, set("/stringData", json!({"a": "b"}))),
        "/spoil" => patch(question, set("/metadata/managedFields", json!([{"manager": "x", "operation": "Odd"}]))),
        "/two" if question["request"]["object"]["data"]["one"] == "yes" => {
            patch(question, set("/data/two", json!("yes")))
        }
        _ => allow(question),
    })
    .await;
    admin.create(MAPS, &config_map("early", json!({"own": "1"}))).await.ok();
    mutating(&admin, "a", &[hook(webhook.url("/one"), "", "configmaps")]).await;
    mutating(&admin, "b", &[hook(webhook.url("/two"), "", "configmaps")]).await;
    let strictly = format!("{MAPS}?fieldManager=me&fieldValidation=Strict");
    let first = admin.create(&strictly, &config_map("m", json!({"own": "1"}))).await.ok();
    assert_eq!(first["data"], json!({"own": "1", "one": "yes", "two": "yes"}));
    let question = webhook.seen.lock().unwrap()[0].1["request"].clone();
    let options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "fieldValidation": "Strict"});
    assert_eq!((&question["operation"], &question["options"]), (&json!("CREATE"), &options));
    assert_eq!(question["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(question["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&question["namespace"], &question["name"]), (&json!("default"), &json!("m")));
    assert_eq!(question["userInfo"]["username"], "admin");
    assert_eq!((&question["dryRun"], &question["oldObject"]), (&json!(false), &Value::Null));
    // A dry run is told as one, and webhooks act in it too.
    let dry = admin.create(&format!("{MAPS}?dryRun=All"), &config_map("dry", json!({"own": "1"}))).await.ok();
    assert_eq!(dry["data"]["two"], "yes");
    assert_eq!(webhook.seen.lock().unwrap()[2].1["request"]["dryRun"], true);
    // What they write is prepared as what a client sends.
    mutating(&admin, "c", &[hook(webhook.url("/secret"), "", "secrets")]).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let made = admin.create("/api/v1/namespaces/default/secrets", &secret).await.ok();
    assert_eq!((&made["data"]["a"], &made["stringData"]), (&json!("Yg=="), &Value::Null));
    let patched = admin.patch(&format!("{MAPS}/m"), MERGE, &json!({"data": {"two": null}})).await.ok();
    assert_eq!(patched["data"]["two"], "yes");
    // What they add is nobody's; who owns what is told even after one that spoiled it.
    let changed = admin.patch(&format!("{MAPS}/early"), MERGE, &json!({"data": {"own": "2"}})).await.ok();
    assert_eq!(changed["data"]["two"], "yes");
    for object in [&first, &changed] {
        let owners = object["metadata"]["managedFields"].to_string();
        assert!(owners.contains("f:own") && !owners.contains("f:one"), "{owners}");
    }
    mutating(&admin, "d", &[hook(webhook.url("/spoil"), "", "configmaps")]).await;
    let spoiled = config_map("spoiled", json!({"own": "1"}));
    let by = format!("{MAPS}/spoiled?fieldManager=m");
    for answer in [admin.patch(&by, APPLY, &spoiled).await, admin.patch(&by, APPLY, &spoiled).await] {
        let warning = answer.headers["warning"].to_str().unwrap();
        assert!(
            warning.starts_with("299 - \".metadata.managedFields was in an invalid state after admission; "),
            "{warning}"
        );
        assert!(warning.ends_with("please fix your requests: operation must be `Apply` or `Update`\""), "{warning}");
        let object = answer.ok();
        let [owner] = object["metadata"]["managedFields"].as_array().unwrap().as_slice() else { panic!("{object}") };
        assert_eq!((&owner["manager"], &owner["operation"]), (&json!("m"), &json!("Apply")));
        assert_eq!(owner["fieldsV1"], json!({"f:data": {"f:own": {}}}));
    }
}

#[tokio::test]
async fn a_change_that_a_webhook_undoes_is_none() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| patch(question, set("/data/own", json!("fixed")))).await;
    admin.create(&format!("{MAPS}?fieldManager=a"), &config_map("m", json!({"own": "fixed"}))).await.ok();
    // Its owner came long ago, and who says so owns nothing in the end.
    let old = "2020-01-01T00:00:00Z";
    let dated = json!([
        {"op": "replace", "path": "/metadata/managedFields/0/time", "value": old},
        {"op": "add", "path": "/data/third", "value": "x"},
    ]);
    admin.patch(&format!("{MAPS}/m?fieldManager=c"), "application/json-patch+json", &dated).await.ok();
    let by = format!("{MAPS}/m?fieldManager=a");
    let before = admin.patch(&by, MERGE, &json!({"data": {"third": null}})).await.ok();
    assert_eq!(before["metadata"]["managedFields"][0]["time"], old, "{before}");
    mutating(&admin, "a", &[hook(webhook.url("/"), "", "configmaps")]).await;
    assert_eq!(admin.patch(&by, MERGE, &json!({"data": {"own": "1"}})).await.ok(), before);
    let after = admin.patch(&by, MERGE, &json!({"data": {"own": "1", "more": "y"}})).await.ok();
    assert_ne!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    assert_ne!(after["metadata"]["managedFields"][0]["time"], old);
}

#[tokio::test]
async fn what_others_changed_is_shown_again_to_those_who_ask_for_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|path, question| {
        let data = &question["request"]["object"]["data"];
        match path {
            "/count" => {
                patch(question, set("/data/count", json!(data.as_object().map_or(0, |data| data.len()).to_string())))
            }
            "/late" => patch(question, set("/data/late", json!("yes"))),
            _ => allow(question),
        }
    })
    .await;
    let mut again = hook(webhook.url("/count"), "", "configmaps");
    again["reinvocationPolicy"] = json!("IfNeeded");
    mutating(&admin, "a", &[again]).await;
    mutating(&admin, "b", &[hook(webhook.url("/late"), "", "configmaps")]).await;
    let made = admin.create(MAPS, &config_map("m", json!({"own": "1"}))).await.ok();
    assert_eq!(made["data"], json!({"own": "1", "late": "yes", "count": "3"}));
    assert_eq!((webhook.calls("/count"), webhook.calls("/late")), (2, 1));
}

#[tokio::test]
async fn a_changed_pod_gets_its_defaults() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| {
        patch(question, set("/spec/initContainers", json!([{"name": "first", "image": "example.com/i:1", "junk": 1}])))
    })
    .await;
    let mut only_new = hook(webhook.url("/pods"), "", "pods");
    only_new["rules"][0]["operations"] = json!(["CREATE"]);
    mutating(&admin, "pods", &[only_new]).await;
    let made = admin.create(PODS, &pod("p")).await.ok();
    let first = &made["spec"]["initContainers"][0];
    assert_eq!(first["terminationMessagePolicy"], "File");
    assert_eq!(first["junk"], Value::Null, "what the schema does not know goes");
    assert!(!first["volumeMounts"].as_array().unwrap().is_empty(), "the account's token comes to added containers too");
}

#[tokio::test]
async fn validating_webhooks_refuse_and_warn() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| {
        let request = &question["request"];
        let bad = |object: &Value| object["metadata"]["labels"]["webhook-e2e-test"] == "disallow";
        match request["operation"].as_str() {
            Some("DELETE") if bad(&request["oldObject"]) => deny(question, "it must stay"),
            Some("CREATE" | "UPDATE") if bad(&request["object"]) && !bad(&request["oldObject"]) => {
                deny(question, "no such label")
            }
            _ => review(question, json!({"allowed": true, "warnings": ["looked at"]})),
        }
    })
    .await;
    validating(&admin, "v", &[hook(webhook.url("/maps"), "", "configmaps"), hook(webhook.url("/pods"), "", "pods")])
        .await;
    let labels = json!({"webhook-e2e-test": "disallow"});
    let (mut map, mut bad_pod) = (config_map("bad", json!({})), pod("bad"));
    (map["metadata"]["labels"], bad_pod["metadata"]["labels"]) = (labels.clone(), labels.clone());
    let (code, message) = admin.create(MAPS, &map).await.failure();
    let want = "admission webhook \"configmaps.example.com\" denied the request: no such label";
    assert_eq!((code, message.as_str()), (403, want));
    assert_eq!(admin.create(PODS, &bad_pod).await.failure().0, 403);
    let good = admin.create(MAPS, &config_map("good", json!({}))).await;
    assert_eq!(good.headers["warning"], "299 - \"looked at\"");
    good.ok();
    let change = json!({"metadata": {"labels": labels}});
    assert_eq!(admin.patch(&format!("{MAPS}/good"), MERGE, &change).await.failure().0, 403);
    let mut put = config_map("good", json!({}));
    put["metadata"]["labels"] = labels.clone();
    assert_eq!(admin.put(&format!("{MAPS}/good"), &put).await.failure().0, 403);
    // One that came before the webhook.
    admin.delete(&format!("{VALIDATING}/v")).await.ok();
    admin.create(MAPS, &map).await.ok();
    validating(&admin, "v", &[hook(webhook.service("/maps"), "", "configmaps")]).await;
    let name = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert!(admin.delete(&format!("{MAPS}/bad")).await.failure().1.contains("service \"hook\" not found"));
    admin.create("/api/v1/namespaces/default/services", &name).await.ok();
    let (_, message) = admin.delete(&format!("{MAPS}/bad")).await.failure();
    assert!(message.ends_with("denied the request: it must stay"), "{message}");
}

#[tokio::test]
async fn webhooks_hear_of_what_their_rules_and_selectors_name() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| deny(question, "no")).await;
    let namespace = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    for (name, labels) in [("watched", json!({"watched": "yes"})), ("free", json!({}))] {
        admin.create("/api/v1/namespaces", &namespace(name, labels)).await.ok();
    }
    let mut by_namespace = hook(webhook.url("/namespace"), "", "configmaps");
    by_namespace["namespaceSelector"] = json!({"matchLabels": {"watched": "yes"}});
    let mut by_object = hook(webhook.url("/object"), "", "secrets");
    by_object["objectSelector"] = json!({"matchExpressions": [{"key": "judge", "operator": "Exists"}]});
    // Both names of an Event are one resource, unless a webhook wants exactly what it named.
    let events = hook(webhook.url("/events"), "events.k8s.io", "events");
    let mut exact = events.clone();
    (exact["name"], exact["matchPolicy"], exact["clientConfig"]) =
        (json!("exact.example.com"), json!("Exact"), webhook.url("/exact"));
    validating(&admin, "v", &[by_namespace, by_object, exact, events]).await;
    let maps = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    admin.create(&maps("free"), &config_map("m", json!({}))).await.ok();
    assert_eq!(admin.create(&maps("watched"), &config_map("m", json!({}))).await.failure().0, 403);
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    admin.create("/api/v1/namespaces/free/secrets", &secret).await.ok();
    secret["metadata"] = json!({"name": "t", "labels": {"judge": ""}});
    assert_eq!(admin.create("/api/v1/namespaces/free/secrets", &secret).await.failure().0, 403);
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "free", "name": "p"}});
    assert_eq!(admin.create("/api/v1/namespaces/free/events", &event).await.failure().0, 403);
    assert_eq!((webhook.calls("/events"), webhook.calls("/exact")), (1, 0));
    let question = webhook.seen.lock().unwrap().last().unwrap().1["request"].clone();
    assert_eq!(question["kind"]["group"], "events.k8s.io");
    assert_eq!(question["requestKind"]["group"], "");
    assert_eq!((&question["object"]["regarding"]["name"], &question["object"]["note"]), (&json!("p"), &json!("m")));
}

#[tokio::test]
async fn a_webhook_that_fails_does_what_its_policy_says() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|path, question| if path == "/strange" { json!({}) } else { allow(question) }).await;
    let with = |path: &str, resource: &str, policy: &str| {
        let mut hook = hook(webhook.url(path), "", resource);
        let patience = if path == SILENT { 1 } else { 30 };
        (hook["failurePolicy"], hook["timeoutSeconds"]) = (json!(policy), json!(patience));
        hook
    };
    let mut untrusted = with("/ok", "limitranges", "Fail");
    untrusted["clientConfig"]["caBundle"] = Value::Null;
    validating(
        &admin,
        "v",
        &[
            with(SILENT, "configmaps", "Fail"),
            with("/strange", "secrets", "Ignore"),
            with("/strange", "pods", "Fail"),
            untrusted,
        ],
    )
    .await;
    let (code, message) = admin.create(MAPS, &config_map("m", json!({}))).await.failure();
    assert_eq!(code, 500);
    assert!(
        message.contains("failed calling webhook \"configmaps.example.com\": failed to call webhook: Post"),
        "{message}"
    );
    assert!(message.contains("/silent?timeout=1s\": context deadline exceeded"), "{message}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    admin.create("/api/v1/namespaces/default/secrets", &secret).await.ok();
    let (_, message) = admin.create(PODS, &pod("p")).await.failure();
    assert!(message.contains("received invalid webhook response: webhook response was absent"), "{message}");
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": []}});
    let (code, message) = admin.create("/api/v1/namespaces/default/limitranges", &range).await.failure();
    assert!(code == 500 && message.contains("x509: certificate signed by unknown authority"), "{message}");
}

#[tokio::test]
async fn connections_bindings_and_evictions_can_be_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(PODS, &pod("p")).await.ok();
    let webhook = Webhook::start(|path, question| deny(question, path)).await;
    let hooks = ["attach", "exec", "binding", "eviction"]
        .map(|sub| hook(webhook.url(&format!("/{sub}")), "", &format!("pods/{sub}")));
    validating(&admin, "v", &hooks).await;
    let attach = admin.create(&format!("{PODS}/p/attach?container=c&stdout=true"), &Value::Null).await.failure();
    assert!(attach.0 == 403 && attach.1.ends_with("/attach"), "{attach:?}");
    admin.create(&format!("{PODS}/p/exec?container=c&stdout=true&command=ls"), &Value::Null).await.failure();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert!(admin.create(&format!("{PODS}/p/binding"), &binding).await.failure().1.ends_with("/binding"));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert!(admin.create(&format!("{PODS}/p/eviction"), &eviction).await.failure().1.ends_with("/eviction"));
    let seen = webhook.seen.lock().unwrap();
    let question = |index: usize| &seen[index].1["request"];
    assert_eq!(
        (&question(0)["operation"], &question(0)["kind"]["kind"]),
        (&json!("CONNECT"), &json!("PodAttachOptions"))
    );
    assert_eq!(question(1)["object"]["command"], json!(["ls"]));
    assert_eq!((&question(2)["subResource"], &question(2)["kind"]["kind"]), (&json!("binding"), &json!("Binding")));
    assert_eq!(question(3)["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
}

#[tokio::test]
async fn configurations_are_listed_changed_and_removed_and_never_judged() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|path, question| match path {
        "/mark" => patch(question, set("/metadata/labels", json!({"marked": "yes"}))),
        _ => deny(question, "no"),
    })
    .await;
    // These judge everything, and so would keep themselves from being mended.
    mutating(&admin, "all", &[hook(webhook.url("/mark"), "*", "*")]).await;
    validating(&admin, "all", &[hook(webhook.url("/no"), "*", "*")]).await;
    let denied = async |name: &str| admin.create(MAPS, &config_map(name, json!({}))).await.code == 403;
    assert!(denied("a").await);
    let listed = admin.get(&format!("{VALIDATING}?labelSelector=of=test")).await.ok();
    assert_eq!(listed["items"][0]["webhooks"][0]["failurePolicy"], "Fail");
    assert_eq!(admin.get(&format!("{MUTATING}/all")).await.ok()["metadata"]["labels"]["marked"], Value::Null);
    // Changed by PUT to hear of nothing, and by PATCH of everything again.
    let mut object = listed["items"][0].clone();
    object["apiVersion"] = json!("admissionregistration.k8s.io/v1");
    object["kind"] = json!("ValidatingWebhookConfiguration");
    object["webhooks"][0]["rules"][0]["operations"] = json!(["DELETE"]);
    admin.put(&format!("{VALIDATING}/all"), &object).await.ok();
    admin.delete(&format!("{MUTATING}/all")).await.ok();
    assert!(!denied("b").await);
    let back = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    admin.patch(&format!("{VALIDATING}/all"), "application/json-patch+json", &back).await.ok();
    assert!(denied("c").await);
    admin.delete(&format!("{VALIDATING}?labelSelector=of=test")).await.ok();
    assert!(!denied("d").await);
    let found = admin.get("/apis/admissionregistration.k8s.io/v1").await.ok();
    let names: Vec<&str> = found["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&"mutatingwebhookconfigurations") && names.contains(&"validatingwebhookconfigurations"));
    let groups = admin.get("/apis").await.ok();
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "admissionregistration.k8s.io"));
}

#[tokio::test]
async fn webhooks_see_custom_objects_in_the_version_that_they_name() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = |name: &str, storage: bool| {
        let data = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let schema = json!({"type": "object", "properties": {"data": data}});
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "bars.hooks.example.com"}, "spec": {"group": "hooks.example.com", "scope": "Namespaced",
            "names": {"plural": "bars", "kind": "Bar"}, "versions": [version("v1", false), version("v2", true)]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let webhook = Webhook::start(|path, question| match path {
        "/crds" => deny(question, "no definitions"),
        "/change" if question["request"]["operation"] != "DELETE" => patch(
            question,
            json!([{"op": "add", "path": "/data/added", "value": "yes"}, {"op": "add", "path": "/junk", "value": 1}]),
        ),
        _ if question["request"]["object"]["data"]["bad"] == "yes" => deny(question, "bad"),
        _ if question["request"]["operation"] == "DELETE" => deny(question, "stays"),
        _ => allow(question),
    })
    .await;
    validating(&admin, "crds", &[hook(webhook.url("/crds"), "apiextensions.k8s.io", "customresourcedefinitions")])
        .await;
    let (code, message) = admin.create(definitions, &definition).await.failure();
    assert!(code == 403 && message.ends_with("no definitions"), "{message}");
    admin.delete(&format!("{VALIDATING}/crds")).await.ok();
    admin.create(definitions, &definition).await.ok();
    let bars = "/apis/hooks.example.com/v1/namespaces/default/bars";
    until("the service of the definition", async || admin.get(bars).await.code == 200).await;
    let mut change = hook(webhook.url("/change"), "hooks.example.com", "bars");
    change["rules"][0]["apiVersions"] = json!(["v2"]);
    mutating(&admin, "change", &[change]).await;
    validating(&admin, "judge", &[hook(webhook.url("/judge"), "hooks.example.com", "bars")]).await;
    let bar = |name: &str, data: Value| json!({"apiVersion": "hooks.example.com/v1", "kind": "Bar", "metadata": {"name": name}, "data": data});
    let made = admin.create(bars, &bar("b", json!({"own": "1"}))).await.ok();
    assert_eq!((&made["data"], &made["junk"]), (&json!({"own": "1", "added": "yes"}), &Value::Null));
    assert_eq!(made["apiVersion"], "hooks.example.com/v1");
    let shown =
        |path: &str| webhook.seen.lock().unwrap().iter().find(|(own, _)| own == path).unwrap().1["request"].clone();
    assert_eq!(shown("/change")["object"]["apiVersion"], "hooks.example.com/v2");
    assert_eq!(shown("/change")["requestKind"]["version"], "v1");
    assert_eq!(shown("/judge")["object"]["apiVersion"], "hooks.example.com/v1");
    assert_eq!(admin.create(bars, &bar("c", json!({"bad": "yes"}))).await.failure().0, 403);
    assert_eq!(admin.patch(&format!("{bars}/b"), MERGE, &json!({"data": {"bad": "yes"}})).await.failure().0, 403);
    assert_eq!(admin.delete(&format!("{bars}/b")).await.failure().0, 403);
}
