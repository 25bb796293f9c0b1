//! Admission policies at work.

use serde_json::{Value, json};

use crate::support::{Client, Cluster, MAPS, config_map, until};

const ROOT: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}}}})
}

fn rule(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]})
}

/// Makes a policy of these parts of a spec, and a binding of those.
async fn install(admin: &Client, kind: &str, name: &str, spec: Value, binding: Value) {
    let plural = format!("{}admissionpolicies", kind.to_lowercase());
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}AdmissionPolicy"),
        "metadata": {"name": name}, "spec": spec});
    let made = admin.create(&format!("{ROOT}/{plural}"), &policy).await;
    assert!(made.headers.get("warning").is_none(), "{:?}", made.headers);
    made.ok();
    bind(admin, kind, name, "b", binding).await;
}

async fn bind(admin: &Client, kind: &str, policy: &str, name: &str, mut spec: Value) {
    let plural = format!("{}admissionpolicybindings", kind.to_lowercase());
    spec["policyName"] = json!(policy);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}AdmissionPolicyBinding"),
        "metadata": {"name": format!("{policy}-{name}")}, "spec": spec});
    admin.create(&format!("{ROOT}/{plural}"), &binding).await.ok();
}

fn deny() -> Value {
    json!({"validationActions": ["Deny"]})
}

#[tokio::test]
async fn a_policy_validates_deployments() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"matchConstraints": rule("apps", "deployments"), "validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'default'", "message": "only the default namespace", "reason": "Forbidden"},
        {"expression": "object.spec.replicas <= 5"}]});
    install(&admin, "Validating", "p", spec, deny()).await;
    let answer = admin.create(DEPLOYMENTS, &deployment("one", 1)).await;
    let (code, message) = answer.failure();
    let by = "deployments.apps \"one\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: ";
    assert_eq!((code, message), (422, format!("{by}wants replicas > 1, got 1")));
    assert_eq!(answer.json()["reason"], "Invalid");
    let cause = answer.json()["details"]["causes"][0]["message"].clone();
    assert!(cause.as_str().unwrap().ends_with("denied request: wants replicas > 1, got 1"), "{cause}");
    let figures = admin.get("/metrics").await.body;
    let told = "apiserver_validating_admission_policy_check_total{enforcement_action=\"deny\",error_type=\"no_error\",\
         policy=\"p\",policy_binding=\"p-b\"} 1";
    assert!(String::from_utf8_lossy(&figures).lines().any(|line| line == told));
    admin.create(DEPLOYMENTS, &deployment("two", 2)).await.ok();
    let (_, message) =
        admin.patch(&format!("{DEPLOYMENTS}/two"), MERGE, &json!({"spec": {"replicas": 6}})).await.failure();
    assert!(message.ends_with("denied request: failed expression: object.spec.replicas <= 5"), "{message}");
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    admin.create("/api/v1/namespaces", &other).await.ok();
    let (code, message) =
        admin.create("/apis/apps/v1/namespaces/other/deployments", &deployment("x", 3)).await.failure();
    assert!(code == 403 && message.ends_with("only the default namespace"), "{message}");
    // Nothing else is judged, and without its binding a policy does nothing.
    admin.create(MAPS, &config_map("m", json!({}))).await.ok();
    admin.delete(&format!("{ROOT}/validatingadmissionpolicybindings/p-b")).await.ok();
    admin.create(DEPLOYMENTS, &deployment("one", 1)).await.ok();
}

#[tokio::test]
async fn expressions_refer_to_variables() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"matchConstraints": rule("apps", "deployments"),
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"}, {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
            {"name": "never", "expression": "object.none.at.all"}],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"},
            {"expression": "variables.replicas < 100 || variables.never == 1"}]});
    install(&admin, "Validating", "p", spec.clone(), deny()).await;
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("one", 1)).await.failure();
    assert!(message.ends_with("failed expression: variables.replicas > 1"), "{message}");
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("two", 2)).await.failure();
    assert!(message.ends_with("failed expression: variables.oddReplicas"), "{message}");
    admin.create(DEPLOYMENTS, &deployment("three", 3)).await.ok();
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("many", 101)).await.failure();
    assert!(
        message.ends_with("resulted in error: composited variable \"never\" fails to evaluate: no such key: none"),
        "{message}"
    );
    let policy = |variables: Value, expression: &str| {
        let mut spec = spec.clone();
        (spec["variables"], spec["validations"]) = (variables, json!([{"expression": expression}]));
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "q"}, "spec": spec})
    };
    let refused =
        async |object: Value| admin.create(&format!("{ROOT}/validatingadmissionpolicies"), &object).await.failure().1;
    let message = refused(policy(json!([]), "variables.none == 1")).await;
    let want = "spec.validations[0].expression: Invalid value: \"variables.none == 1\": compilation failed: ERROR: <input>:1:10: undefined field 'none'";
    assert!(message.contains(want), "{message}");
    let message = refused(policy(json!([{"name": "a", "expression": "nope"}]), "true")).await;
    assert!(message.contains("spec.variables[0].expression: Invalid value: \"nope\": compilation failed"), "{message}");
    assert!(refused(policy(json!([]), "object.spec.x")).await.contains("must evaluate to bool"));
    assert!(refused(policy(json!([]), "params.x == 1")).await.contains("undeclared reference to 'params'"));
}

#[tokio::test]
async fn policies_warn_fail_open_and_look_at_conditions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"matchConstraints": rule("", "configmaps"), "failurePolicy": "Ignore",
        "matchConditions": [{"name": "not-skipped", "expression": "object.metadata.name != 'skip-me'"}],
        "validations": [{"expression": "object.data.none == 1"}, {"expression": "!has(object.data.bad)", "message": "bad"}]});
    let selector = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "excludeResourceRules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"], "resourceNames": ["free"]}]});
    install(
        &admin,
        "Validating",
        "p",
        spec,
        json!({"validationActions": ["Warn", "Audit"], "matchResources": selector}),
    )
    .await;
    let answer = admin.create(MAPS, &config_map("m", json!({"bad": "1"}))).await;
    let want = "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': bad\"";
    assert_eq!(answer.headers["warning"], want);
    answer.ok();
    for name in ["skip-me", "free"] {
        let answer = admin.create(MAPS, &config_map(name, json!({"bad": "1"}))).await;
        assert!(answer.headers.get("warning").is_none(), "{name}: {:?}", answer.headers);
        answer.ok();
    }
    let system = "/api/v1/namespaces/kube-system/configmaps";
    assert!(admin.create(system, &config_map("m", json!({"bad": "1"}))).await.headers.get("warning").is_none());
}

#[tokio::test]
async fn a_policy_speaks_before_a_version_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let validations = json!([{"expression": "object.metadata.name != 'bad'", "message": "not this one"}]);
    let spec = json!({"matchConstraints": rule("", "configmaps"), "validations": validations});
    install(&admin, "Validating", "p", spec, deny()).await;
    let create = async |name: &str| {
        let mut object = config_map(name, json!({}));
        object["metadata"]["resourceVersion"] = json!("7");
        admin.create(MAPS, &object).await.failure()
    };
    let (code, message) = create("bad").await;
    assert!(code == 422 && message.ends_with("denied request: not this one"), "{code} {message}");
    let want = "resourceVersion should not be set on objects to be created";
    assert_eq!(create("good").await, (500, want.to_owned()));
}

#[tokio::test]
async fn bindings_give_parameters() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut limit = config_map("limit", json!({"most": "3"}));
    limit["metadata"]["labels"] = json!({"of": "limits"});
    admin.create(MAPS, &limit).await.ok();
    let spec = json!({"matchConstraints": rule("apps", "deployments"), "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "params == null || object.spec.replicas <= int(params.data.most)", "messageExpression": "'at most ' + params.data.most"}]});
    let by_name = json!({"validationActions": ["Deny"], "paramRef": {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    install(&admin, "Validating", "p", spec, by_name).await;
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("four", 4)).await.failure();
    assert!(message.ends_with("with binding 'p-b' denied request: at most 3"), "{message}");
    admin.create(DEPLOYMENTS, &deployment("three", 3)).await.ok();
    admin.delete(&format!("{MAPS}/limit")).await.ok();
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("x", 1)).await.failure();
    let want = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(message.ends_with(want), "{message}");
    admin.delete(&format!("{ROOT}/validatingadmissionpolicybindings/p-b")).await.ok();
    let by_label = json!({"validationActions": ["Deny"],
        "paramRef": {"selector": {"matchLabels": {"of": "limits"}}, "parameterNotFoundAction": "Allow"}});
    bind(&admin, "Validating", "p", "c", by_label).await;
    admin.create(DEPLOYMENTS, &deployment("many", 9)).await.ok();
    admin.create(MAPS, &limit).await.ok();
    assert_eq!(admin.create(DEPLOYMENTS, &deployment("more", 9)).await.failure().0, 422);
}

#[tokio::test]
async fn parameters_may_be_kept_in_a_version_that_is_not_served() {
    const LIMITS: &str = "/apis/policies.example.com/v1/namespaces/default/limits";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = |name: &str, served: bool| {
        let schema = json!({"type": "object", "properties": {"most": {"type": "integer"}}});
        json!({"name": name, "served": served, "storage": !served, "schema": {"openAPIV3Schema": schema}})
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "limits.policies.example.com"},
        "spec": {"group": "policies.example.com", "scope": "Namespaced", "names": {"plural": "limits", "kind": "Limit"},
            "versions": [version("v1", true), version("v2", false)]}});
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.ok();
    until("the service of the definition", async || admin.get(LIMITS).await.code == 200).await;
    let limit =
        json!({"apiVersion": "policies.example.com/v1", "kind": "Limit", "metadata": {"name": "limit"}, "most": 3});
    admin.create(LIMITS, &limit).await.ok();
    let spec = json!({"matchConstraints": rule("apps", "deployments"),
        "paramKind": {"apiVersion": "policies.example.com/v1", "kind": "Limit"},
        "validations": [{"expression": "object.spec.replicas <= params.most", "message": "too many"}]});
    let by_name = json!({"validationActions": ["Deny"], "paramRef": {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    install(&admin, "Validating", "p", spec, by_name).await;
    admin.create(DEPLOYMENTS, &deployment("three", 3)).await.ok();
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("four", 4)).await.failure();
    assert!(message.ends_with("with binding 'p-b' denied request: too many"), "{message}");
}

#[tokio::test]
async fn policies_are_type_checked() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"matchConstraints": rule("apps", "deployments"), "validations": [
        {"expression": "object.spec.replicas > '1'", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"},
        {"expression": "object.spec.maxReplicas > 1"}, {"expression": "object.metadata.name != ''"}]});
    install(&admin, "Validating", "p", spec, deny()).await;
    let path = format!("{ROOT}/validatingadmissionpolicies/p");
    until("a type check", async || admin.get(&path).await.ok()["status"]["typeChecking"].is_object()).await;
    let policy = admin.get(&path).await.ok();
    assert_eq!(policy["status"]["observedGeneration"], policy["metadata"]["generation"]);
    let warnings = policy["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap().clone();
    let found: Vec<&str> = warnings.iter().map(|warning| warning["fieldRef"].as_str().unwrap()).collect();
    assert_eq!(
        found,
        ["spec.validations[0].expression", "spec.validations[0].messageExpression", "spec.validations[1].expression"]
    );
    let text = |index: usize| warnings[index]["warning"].as_str().unwrap();
    assert!(text(0).starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"), "{}", text(0));
    assert!(text(1).contains("found no matching overload for '_+_' applied to '(string, int)'"), "{}", text(1));
    assert!(text(2).contains("undefined field 'maxReplicas'"), "{}", text(2));
    admin.patch(&path, MERGE, &json!({"spec": {"validations": [{"expression": "true"}]}})).await.ok();
    until("another check", async || {
        let policy = admin.get(&path).await.ok();
        policy["status"]["observedGeneration"] == 2 && policy["status"]["typeChecking"] == json!({})
    })
    .await;
}
