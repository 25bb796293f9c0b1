//! Match conditions of admission webhooks.

use serde_json::{Value, json};

use crate::support::webhook::{Webhook, allow, deny, patch};
use crate::support::{Client, Cluster, MAPS, config_map};

const MERGE: &str = "application/merge-patch+json";

fn path(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations", kind.to_lowercase())
}

fn configuration(kind: &str, client: &Value, conditions: &[(&str, &str)]) -> Value {
    let conditions: Vec<Value> =
        conditions.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect();
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"), "metadata": {"name": "w"},
        "webhooks": [{"name": "maps.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "matchConditions": conditions, "timeoutSeconds": 30}]})
}

async fn install(admin: &Client, kind: &str, client: &Value, conditions: &[(&str, &str)]) {
    admin.create(&path(kind), &configuration(kind, client, conditions)).await.ok();
}

#[tokio::test]
async fn configurations_keep_their_match_conditions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let client = json!({"url": "https://127.0.0.1:9/"});
    for kind in ["Mutating", "Validating"] {
        let first = [("expression-1", "object.metadata.namespace == 'production'")];
        install(&admin, kind, &client, &first).await;
        let mut own = admin.get(&format!("{}/w", path(kind))).await.ok();
        let want = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]);
        assert_eq!(own["webhooks"][0]["matchConditions"], want);
        let want = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"},
            {"name": "expression-2", "expression": "request.userInfo.username != 'x' && !has(oldObject.data)"}]);
        own["webhooks"][0]["matchConditions"] = want.clone();
        let put = admin.put(&format!("{}/w", path(kind)), &own).await;
        assert!(put.headers.get("warning").is_none(), "{:?}", put.headers);
        put.ok();
        let own = admin.get(&format!("{}/w", path(kind))).await.ok();
        assert_eq!(own["webhooks"][0]["matchConditions"], want);
    }
}

#[tokio::test]
async fn conditions_that_do_not_compile_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let client = json!({"url": "https://127.0.0.1:9/"});
    for kind in ["Mutating", "Validating"] {
        let refused = async |expression: &str| {
            let object = configuration(kind, &client, &[("c", expression)]);
            let (code, message) = admin.create(&path(kind), &object).await.failure();
            assert_eq!(code, 422, "{message}");
            message
        };
        let message = refused("... [] bad expression").await;
        assert!(message.contains("webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed: ERROR: <input>:1:1: Syntax error"), "{message}");
        let message = refused("x == 1").await;
        let want =
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x == 1\n | ^";
        assert!(message.contains(want), "{message}");
        assert!(refused("request.nope == 1").await.contains("undefined field 'nope'"));
        assert!(refused("object.data.x").await.contains("must evaluate to bool"));
        assert!(refused("namespaceObject == null").await.contains("undeclared reference to 'namespaceObject'"));
        let twice = configuration(kind, &client, &[("c", "true"), ("c", "false")]);
        assert!(admin.create(&path(kind), &twice).await.failure().1.contains("Duplicate value: \"c\""));
    }
}

#[tokio::test]
async fn everything_is_mutated_but_what_conditions_leave_out() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| {
        patch(question, json!([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}]))
    })
    .await;
    install(&admin, "Mutating", &webhook.url("/m"), &[("skip-me", "object.metadata.name != 'skip-me'")]).await;
    let skipped = admin.create(MAPS, &config_map("skip-me", json!({"own": "1"}))).await.ok();
    assert_eq!(skipped["data"], json!({"own": "1"}));
    let changed = admin.create(MAPS, &config_map("other", json!({"own": "1"}))).await.ok();
    assert_eq!(changed["data"], json!({"own": "1", "mutation-stage-1": "yes"}));
    assert_eq!(webhook.calls("/m"), 1);
}

#[tokio::test]
async fn conditions_see_the_request_and_ask_the_authorizer() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| deny(question, "no")).await;
    let conditions = [
        ("update", "request.operation == 'UPDATE' && request.resource.resource == 'configmaps'"),
        ("changed", "object.data.own != oldObject.data.own"),
        ("by-admin", "'system:masters' in request.userInfo.groups && !request.dryRun"),
        ("may", "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"),
        ("own", "authorizer.requestResource.check('update').allowed()"),
        (
            "may-not",
            "!authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').check('get').allowed()",
        ),
    ];
    install(&admin, "Validating", &webhook.url("/v"), &conditions).await;
    admin.create(MAPS, &config_map("m", json!({"own": "1"}))).await.ok();
    let patch = async |body: Value| admin.patch(&format!("{MAPS}/m"), MERGE, &body).await;
    patch(json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(patch(json!({"data": {"own": "2"}})).await.failure().0, 403);
    admin.delete(&format!("{MAPS}/m")).await.ok();
    assert_eq!(webhook.calls("/v"), 1);
}

#[tokio::test]
async fn conditions_that_fail_do_what_the_policy_of_failure_says() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let webhook = Webhook::start(|_, question| allow(question)).await;
    let mut object = configuration("Validating", &webhook.url("/v"), &[("c", "object.spec.none == 1")]);
    admin.create(&path("Validating"), &object).await.ok();
    let (code, message) = admin.create(MAPS, &config_map("m", json!({}))).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (403, "configmaps \"m\" is forbidden: expression 'object.spec.none == 1' resulted in error: no such key: spec")
    );
    let change = async |object: &Value| {
        admin.patch(&format!("{}/w", path("Validating")), MERGE, &json!({"webhooks": object["webhooks"]})).await.ok();
    };
    object["webhooks"][0]["failurePolicy"] = json!("Ignore");
    change(&object).await;
    admin.create(MAPS, &config_map("m", json!({}))).await.ok();
    assert_eq!(webhook.calls("/v"), 0);
    // One that does not hold wins over any that fail.
    object["webhooks"][0]["failurePolicy"] = json!("Fail");
    let conditions =
        json!([{"name": "c", "expression": "object.spec.none == 1"}, {"name": "d", "expression": "false"}]);
    object["webhooks"][0]["matchConditions"] = conditions;
    change(&object).await;
    admin.create(MAPS, &config_map("n", json!({}))).await.ok();
}
