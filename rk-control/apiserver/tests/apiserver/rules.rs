//! Rules of custom kinds (`x-kubernetes-validations`).

use serde_json::{Value, json};

use crate::support::{Client, Cluster, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

/// A definition whose `spec` has this schema.
fn definition(spec: &Value, root: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec}, "x-kubernetes-validations": root});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

async fn define(admin: &Client, spec: Value, root: Value) {
    let made = admin.create(DEFINITIONS, &definition(&spec, &root)).await;
    assert!(made.headers.get("warning").is_none(), "{:?}", made.headers);
    made.ok();
    until("the kind being served", async || admin.get(WIDGETS).await.code == 200).await;
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn rules_hold_at_every_level_of_a_schema() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let port = json!({"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.port > 0", "message": "must be positive"}]});
    let spec = json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.min <= self.replicas && self.replicas <= self.max", "messageExpression": "'replicas must be in ' + string(self.min) + '..' + string(self.max)"},
            {"rule": "!has(self.when) || self.when < timestamp('2030-01-01T00:00:00Z')", "fieldPath": ".when", "reason": "FieldValueForbidden", "message": "too late"}],
        "properties": {"min": {"type": "integer", "default": 0}, "max": {"type": "integer", "default": 5}, "replicas": {"type": "integer", "default": 1},
            "when": {"type": "string", "format": "date-time"}, "share": {"type": "number", "x-kubernetes-validations": [{"rule": "self <= 1.0"}]},
            "labels": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 4"}]},
                "x-kubernetes-validations": [{"rule": "self.all(key, key.startsWith('x'))"}]},
            "ports": {"type": "array", "items": port}}});
    let root = json!([{"rule": "self.metadata.name != 'forbidden'", "message": "no such name"}]);
    define(&admin, spec, root).await;
    admin
        .create(
            WIDGETS,
            &widget(
                "good",
                json!({"share": 1, "labels": {"xa": "b"}, "ports": [{"port": 1}], "when": "2029-01-01T00:00:00Z"}),
            ),
        )
        .await
        .ok();
    let refused = async |name: &str, spec: Value| {
        let (code, message) = admin.create(WIDGETS, &widget(name, spec)).await.failure();
        assert_eq!(code, 422, "{message}");
        message
    };
    assert_eq!(
        refused("forbidden", json!({})).await,
        "Widget.example.com \"forbidden\" is invalid: <nil>: Invalid value: no such name"
    );
    for (spec, want) in [
        (json!({"replicas": 9}), "spec: Invalid value: replicas must be in 0..5"),
        (json!({"when": "2031-01-01T00:00:00Z"}), "spec.when: Forbidden: too late"),
        (json!({"share": 2}), "spec.share: Invalid value: 2: failed rule: self <= 1.0"),
        (json!({"labels": {"xa": "long"}}), "spec.labels[xa]: Invalid value: \"long\": failed rule: self.size() < 4"),
        (json!({"labels": {"a": "b"}}), "spec.labels: Invalid value: failed rule"),
        (json!({"ports": [{"port": 1}, {"port": 0}]}), "spec.ports[1]: Invalid value: must be positive"),
        (
            json!({"ports": [{"name": "x"}]}),
            "spec.ports[0]: Invalid value: \"object\": no such key: port evaluating rule: must be positive",
        ),
        (json!({"replicas": "x"}), "some validation rules were not checked because the object was invalid"),
    ] {
        let message = refused("w", spec).await;
        assert!(message.contains(want), "{message}");
    }
}

#[tokio::test]
async fn rules_compare_with_what_was() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "must not shrink"}]});
    let spec = json!({"type": "object", "properties": {
        "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        "once": {"type": "integer", "x-kubernetes-validations": [{"rule": "!oldSelf.hasValue() || self > oldSelf.value()", "optionalOldSelf": true}]},
        "disks": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item},
        "kept": {"type": "integer"}}});
    define(&admin, spec, json!([])).await;
    let own = widget("w", json!({"fixed": "a", "once": 1, "disks": [{"name": "a", "size": 5}], "kept": 50}));
    admin.create(WIDGETS, &own).await.ok();
    let path = format!("{WIDGETS}/w");
    let change = async |spec: Value| admin.patch(&path, MERGE, &json!({"spec": spec})).await;
    let (_, message) = change(json!({"fixed": "b"})).await.failure();
    assert!(message.contains("spec.fixed: Invalid value: \"b\": is immutable"), "{message}");
    assert!(
        change(json!({"once": 1, "kept": 51})).await.code.is_client_error(),
        "a rule that may see what was is asked every time"
    );
    change(json!({"once": 2, "disks": [{"name": "new", "size": 1}, {"name": "a", "size": 6}]})).await.ok();
    let (_, message) = change(json!({"once": 3, "disks": [{"name": "a", "size": 1}]})).await.failure();
    assert!(message.contains("spec.disks[0]: Invalid value: must not shrink"), "{message}");
    // What a new rule refuses is let be where it did not change.
    let stricter = json!({"type": "object", "properties": {"fixed": {"type": "string"}, "kept": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self < 10", "message": "at most 9"}]}}});
    let changed = definition(&stricter, &json!([]));
    let body = json!({"spec": {"versions": changed["spec"]["versions"]}});
    admin.patch(&format!("{DEFINITIONS}/widgets.example.com"), MERGE, &body).await.ok();
    until("the new rule", async || {
        admin.create(&format!("{WIDGETS}?dryRun=All"), &widget("x", json!({"kept": 11}))).await.code == 422
    })
    .await;
    change(json!({"fixed": "c"})).await.ok();
    assert!(change(json!({"kept": 12})).await.failure().1.contains("spec.kept: Invalid value: 12: at most 9"));
}

#[tokio::test]
async fn rules_that_do_not_compile_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let refused = async |rule: Value| {
        let spec = json!({"type": "object", "properties": {"replicas": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}}}, "x-kubernetes-validations": [rule]});
        let (code, message) = admin.create(DEFINITIONS, &definition(&spec, &json!([]))).await.failure();
        assert_eq!(code, 422, "{message}");
        message
    };
    let place = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    let message = refused(json!({"rule": "self.none > 1"})).await;
    assert!(message.contains(&format!("{place}.rule: Invalid value: ")), "{message}");
    let want = "compilation failed: ERROR: <input>:1:5: undefined field 'none'\n | self.none > 1\n | ....^";
    assert!(message.contains(want), "{message}");
    assert!(
        refused(json!({"rule": "self.replicas > 'x'"}))
            .await
            .contains("found no matching overload for '_>_' applied to '(int, string)'")
    );
    assert!(refused(json!({"rule": "self.replicas"})).await.contains("cel expression must evaluate to a bool"));
    let message = refused(json!({"rule": "true", "reason": "Nope"})).await;
    assert!(message.contains(&format!("{place}.reason: Unsupported value: \"Nope\"")), "{message}");
    assert!(refused(json!({"rule": " "})).await.contains("rule is not specified"));
    assert!(refused(json!({"rule": "self.replicas >"})).await.contains("Syntax error"));
    assert!(refused(json!({"rule": "object.x == 1"})).await.contains("undeclared reference to 'object'"));
    let message = refused(json!({"rule": "true", "messageExpression": "1"})).await;
    assert!(
        message.contains(&format!("{place}.messageExpression: ")) && message.contains("must evaluate to a string"),
        "{message}"
    );
    let list = json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
    let (_, message) = admin.create(DEFINITIONS, &definition(&list, &json!([]))).await.failure();
    assert!(message.contains("oldSelf cannot be used on the uncorrelatable portion of the schema"), "{message}");
}

#[tokio::test]
async fn rules_have_a_budget() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut spec = json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]}}});
    let (code, message) = admin.create(DEFINITIONS, &definition(&spec, &json!([]))).await.failure();
    let why = "properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x";
    assert!(code == 422 && message.contains(why), "{message}");
    assert!(message.contains("estimated rule cost total for entire OpenAPIv3 schema exceeds budget"), "{message}");
    spec["properties"]["list"]["maxItems"] = json!(90);
    define(&admin, spec, json!([])).await;
    let few: Vec<i64> = (0..10).collect();
    admin.create(WIDGETS, &widget("few", json!({"list": few}))).await.ok();
    let many: Vec<i64> = (0..90).collect();
    let (_, message) = admin.create(WIDGETS, &widget("many", json!({"list": many}))).await.failure();
    assert!(message.contains("'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit"), "{message}");
}

#[tokio::test]
async fn compiling_rules_and_judging_by_them_is_timed() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.a > 0"}]});
    define(&admin, spec, json!([])).await;
    admin.create(WIDGETS, &widget("good", json!({"a": 1}))).await.ok();
    let figures = String::from_utf8(admin.get("/metrics").await.body.to_vec()).unwrap();
    for name in ["compilation", "evaluation"] {
        let begins = format!("apiserver_cel_{name}_duration_seconds_count ");
        let told = figures.lines().find_map(|own| own.strip_prefix(&begins));
        assert!(told.is_some_and(|told| told != "0"), "{name}\n{figures}");
    }
}
