//! Mutating admission policies at work.

use serde_json::{Value, json};

use crate::support::{Client, Cluster, MAPS, config_map};

const ROOT: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}}}})
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn policy(name: &str, group: &str, resource: &str, mutations: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {"reinvocationPolicy": "Never", "mutations": mutations, "matchConstraints": {"resourceRules": [
            {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]}}})
}

async fn install(admin: &Client, policy: &Value) {
    let made = admin.create(&format!("{ROOT}/mutatingadmissionpolicies"), policy).await;
    assert!(made.headers.get("warning").is_none(), "{:?}", made.headers);
    made.ok();
    let name = &policy["metadata"]["name"];
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name}});
    admin.create(&format!("{ROOT}/mutatingadmissionpolicybindings"), &binding).await.ok();
}

#[tokio::test]
async fn a_policy_mutates_deployments() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let add = "Object{spec: Object.spec{replicas: object.spec.replicas + 1, template: Object.spec.template{spec: Object.spec.template.spec{
        initContainers: [Object.spec.template.spec.initContainers{name: 'first', image: 'example.com/f:1', restartPolicy: 'Always'}]}}}}";
    let label = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 2}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'n': string(object.spec.replicas)}}]";
    let mut both = policy("p", "apps", "deployments", &[apply(add), patch(label)]);
    // A condition that the first mutation itself would end.
    both["spec"]["matchConditions"] = json!([{"name": "one", "expression": "object.spec.replicas == 1"}]);
    install(&admin, &both).await;
    let made = admin.create(DEPLOYMENTS, &deployment("d")).await.ok();
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(made["metadata"]["labels"], json!({"n": "2"}));
    let spec = &made["spec"]["template"]["spec"];
    assert_eq!((&spec["containers"][0]["name"], &spec["initContainers"][0]["name"]), (&json!("c"), &json!("first")));
    assert_eq!(spec["initContainers"][0]["terminationMessagePolicy"], "File", "what is added gets its defaults");
}

#[tokio::test]
async fn a_policy_adds_annotations() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let add = "Object{metadata: Object.metadata{annotations: {'my-foo-annotation': 'myAnnotationValue'}}}";
    install(&admin, &policy("p", "apps", "deployments", &[apply(add)])).await;
    let mut own = deployment("d");
    own["metadata"]["annotations"] = json!({"own": "1"});
    let made = admin.create(DEPLOYMENTS, &own).await.ok();
    assert_eq!(made["metadata"]["annotations"], json!({"own": "1", "my-foo-annotation": "myAnnotationValue"}));
    // Another kind is let be, and a dry run shows what would be.
    let map = admin.create(MAPS, &config_map("m", json!({}))).await.ok();
    assert_eq!(map["metadata"]["annotations"], Value::Null);
    let dry = admin.create(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("dry")).await.ok();
    assert_eq!(dry["metadata"]["annotations"]["my-foo-annotation"], "myAnnotationValue");
}

#[tokio::test]
async fn policies_are_applied_again_when_others_changed_their_work() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let count = "[JSONPatch{op: 'add', path: '/data/count', value: string(size(object.data))}]";
    let mut counting = policy("a", "", "configmaps", &[patch(count)]);
    counting["spec"]["reinvocationPolicy"] = json!("IfNeeded");
    counting["spec"]["matchConditions"] =
        json!([{"name": "wanted", "expression": "object.metadata.name != 'skip-me'"}]);
    install(&admin, &counting).await;
    install(&admin, &policy("b", "", "configmaps", &[apply("Object{data: {'late': 'yes'}}")])).await;
    let made = admin.create(MAPS, &config_map("m", json!({"own": "1"}))).await.ok();
    assert_eq!(made["data"], json!({"own": "1", "late": "yes", "count": "3"}));
    let made = admin.create(MAPS, &config_map("skip-me", json!({"own": "1"}))).await.ok();
    assert_eq!(made["data"], json!({"own": "1", "late": "yes"}));
}

#[tokio::test]
async fn mutations_that_fail_do_what_the_policy_of_failure_says() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let refused = async |mutation: Value| {
        let object = policy("x", "", "configmaps", &[mutation]);
        let (code, message) = admin.create(&format!("{ROOT}/mutatingadmissionpolicies"), &object).await.failure();
        assert_eq!(code, 422, "{message}");
        message
    };
    let message = refused(apply("Object{nope")).await;
    assert!(
        message.contains(
            "spec.mutations[0].applyConfiguration.expression: Invalid value: \"Object{nope\": compilation failed: ERROR"
        ),
        "{message}"
    );
    assert!(refused(apply("{'a': 1}")).await.contains("must evaluate to Object"));
    assert!(refused(patch("[]")).await.contains("must evaluate to list(JSONPatch) but got list(dyn)"));
    assert!(refused(patch("[1]")).await.contains("must evaluate to list(JSONPatch)"));
    install(&admin, &policy("p", "", "configmaps", &[apply("Object{spec: Object.spec{nope: 1}}")])).await;
    let (code, message) = admin.create(MAPS, &config_map("m", json!({}))).await.failure();
    let want = "policy 'p' with binding 'p' denied request: error applying patch: failed to convert patch object to typed object: .spec: field not declared in schema";
    assert!(code == 403 && message == want, "{code} {message}");
    admin.delete(&format!("{ROOT}/mutatingadmissionpolicies/p")).await.ok();
    let mut open = policy(
        "q",
        "",
        "configmaps",
        &[apply("Object{data: {'a': 'b'}}"), patch("[JSONPatch{op: 'remove', path: '/data/none'}]")],
    );
    open["spec"]["failurePolicy"] = json!("Ignore");
    install(&admin, &open).await;
    let made = admin.create(MAPS, &config_map("m", json!({"own": "1"}))).await.ok();
    assert_eq!(made["data"], json!({"own": "1", "a": "b"}), "a mutation that fails leaves alone what others did");
    // Lists that are owned as a whole cannot be merged into.
    admin.delete(&format!("{ROOT}/mutatingadmissionpolicies/q")).await.ok();
    let args = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'c', args: ['x']}]}}}}";
    install(&admin, &policy("r", "apps", "deployments", &[apply(args)])).await;
    let (_, message) = admin.create(DEPLOYMENTS, &deployment("d")).await.failure();
    assert!(
        message.contains("may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args"),
        "{message}"
    );
}

#[tokio::test]
async fn policies_see_objects_as_they_were_sent_and_may_name_new_ones() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let seen = "Object{metadata: Object.metadata{annotations: {'seen': string(has(object.metadata.uid)) + ' ' + \
                string(has(object.metadata.name)) + ' ' + string(has(request.name))}}}";
    let mut shown = policy("seen", "", "configmaps", &[apply(seen)]);
    shown["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE", "UPDATE"]);
    install(&admin, &shown).await;
    let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-", "uid": "mine"}});
    let made = admin.create(MAPS, &unnamed).await.ok();
    assert_eq!(made["metadata"]["annotations"]["seen"], "false false false");
    assert!(made["metadata"]["name"].as_str().unwrap().starts_with("g-"), "{made}");
    let named = admin.create(MAPS, &config_map("m", json!({}))).await.ok();
    assert_eq!(named["metadata"]["annotations"]["seen"], "false true true");
    let put = admin.put(&format!("{MAPS}/m"), &config_map("m", json!({"a": "b"}))).await.ok();
    assert_eq!(put["metadata"]["annotations"]["seen"], "false true true");
    assert_eq!(put["metadata"]["uid"], named["metadata"]["uid"]);
    let rename = |field: &str| patch(&format!("[JSONPatch{{op: 'add', path: '/metadata/{field}', value: 'other'}}]"));
    install(&admin, &policy("t-name", "", "configmaps", &[rename("name")])).await;
    let made = admin.create(MAPS, &config_map("n", json!({}))).await.ok();
    assert_eq!(made["metadata"]["name"], "other");
    install(&admin, &policy("t-space", "", "configmaps", &[rename("namespace")])).await;
    let (code, message) = admin.create(MAPS, &config_map("o", json!({}))).await.failure();
    let want = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!((code, message.as_str()), (400, want));
}
