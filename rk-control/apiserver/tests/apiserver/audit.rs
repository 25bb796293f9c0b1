//! The audit log of a server at work.

use std::path::Path;

use http::Method;
use rk_apiserver::{AuditConfig, AuditLogConfig, AuditPolicy, Config, User};
use serde_json::{Value, json};

use crate::support::{Client, Cluster, MAPS, PODS, config_map, pod, until};

const MERGE: &str = "application/merge-patch+json";

async fn start(rules: &str) -> Cluster {
    let dir = tempfile::tempdir().expect("temporary directory");
    let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    let log =
        AuditLogConfig { path: dir.path().join("audit.log"), max_bytes: 100 << 20, max_backups: 1, max_age: None };
    let policy = AuditPolicy::parse(&policy).expect("a policy");
    Cluster::start_with(dir, Config { audit: Some(AuditConfig { policy, log }), ..Config::default() }).await
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read(path).expect("the log");
    // The server's own loops go on: their last event may be half written.
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.map(|line| serde_json::from_slice(line).expect("an event")).collect()
}

/// The events of requests with this id.
async fn events(cluster: &Cluster, id: &str) -> Vec<Value> {
    until("the log to be written", async || cluster.server.flush_audit().await).await;
    read(&cluster.dir.path().join("audit.log")).into_iter().filter(|event| event["auditID"] == id).collect()
}

fn named(client: Client, id: &str) -> Client {
    client.with("audit-id", id)
}

#[tokio::test]
async fn events_tell_who_did_what_and_what_became_of_it() {
    let cluster = start("rules: [{level: Metadata}]").await;
    let jane = cluster.client(User::new("jane", ["devs".to_owned()]));
    let answer =
        named(jane, "one").with("user-agent", "kubectl/v1").get("/api/v1/namespaces/default/pods/web?x=1").await;
    assert_eq!((answer.code.as_u16(), &answer.headers["audit-id"]), (403, &"one".parse().expect("header")));
    let told = events(&cluster, "one").await;
    let [received, complete] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!([&received["stage"], &complete["stage"]], ["RequestReceived", "ResponseComplete"]);
    assert_eq!(received["stageTimestamp"], received["requestReceivedTimestamp"]);
    assert!(received["responseStatus"].is_null() && received["annotations"].is_null(), "{received}");
    for (field, wanted) in [
        ("kind", json!("Event")),
        ("apiVersion", json!("audit.k8s.io/v1")),
        ("level", json!("Metadata")),
        ("verb", json!("get")),
        ("requestURI", json!("/api/v1/namespaces/default/pods/web?x=1")),
        ("user", json!({"username": "jane", "groups": ["devs", "system:authenticated"]})),
        ("userAgent", json!("kubectl/v1")),
        ("objectRef", json!({"resource": "pods", "namespace": "default", "name": "web", "apiVersion": "v1"})),
        ("annotations", json!({"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""})),
    ] {
        assert_eq!(complete[field], wanted, "{complete}");
    }
    let status = &complete["responseStatus"];
    assert_eq!(
        [&status["code"], &status["reason"], &status["status"]],
        [&json!(403), &json!("Forbidden"), &json!("Failure")]
    );
    assert!(status["kind"].is_null(), "{status}");
    let figures = cluster.admin().get("/metrics").await.body;
    let figures = String::from_utf8_lossy(&figures);
    for line in ["apiserver_audit_error_total{plugin=\"log\"} 0", "apiserver_audit_requests_rejected_total 0"] {
        assert!(figures.lines().any(|own| own == line), "{figures}");
    }
    assert!(!figures.contains("apiserver_audit_event_total 0\n") && figures.contains("apiserver_audit_event_total "));
}

#[tokio::test]
async fn bodies_are_told_as_far_as_the_policy_says() {
    let rules = "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
                 - {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n\
                 - {level: Request, verbs: [patch, delete]}\n\
                 - {level: RequestResponse, resources: [{group: '', resources: [configmaps, services]}]}\n";
    let cluster = start(rules).await;
    let admin = cluster.admin();
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hidden"}});
    named(admin.clone(), "secret").create("/api/v1/namespaces/default/secrets", &secret).await.ok();
    let told = events(&cluster, "secret").await;
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&event["objectRef"]["name"], &event["responseStatus"]["code"]), (&json!("s"), &json!(201)));
    assert!(event["requestObject"].is_null() && event["responseObject"].is_null(), "{event}");

    let map = config_map("a", json!({"k": "v"}));
    let protobuf = "application/vnd.kubernetes.protobuf";
    named(admin.clone(), "create").with("accept", protobuf).create(MAPS, &map).await;
    let told = events(&cluster, "create").await;
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!([&event["requestObject"]["data"], &event["responseObject"]["data"]], [&json!({"k": "v"}); 2]);
    assert!(event["responseObject"]["metadata"]["uid"].is_string(), "{event}");
    assert!(event["responseObject"]["metadata"]["managedFields"].is_null(), "{event}");

    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let services = "/api/v1/namespaces/default/services";
    named(admin.clone(), "service").create(services, &service).await.ok();
    let told = events(&cluster, "service").await;
    assert_eq!(told[0]["requestObject"]["spec"]["sessionAffinity"], "None", "it is shown with its defaults");

    let patch = json!({"data": {"k": null}});
    named(admin.clone(), "patch").patch(&format!("{MAPS}/a"), MERGE, &patch).await.ok();
    let told = events(&cluster, "patch").await;
    assert_eq!((told.len(), &told[0]["requestObject"], &told[0]["responseObject"]), (1, &patch, &Value::Null));

    named(admin.clone(), "list").get(&format!("{MAPS}?pretty=true")).await.ok();
    assert_eq!(events(&cluster, "list").await[0]["responseObject"]["kind"], "ConfigMapList");

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    named(admin, "delete").send(Method::DELETE, &format!("{MAPS}/a"), &options).await.ok();
    let told = events(&cluster, "delete").await;
    assert_eq!(told[0]["requestObject"]["propagationPolicy"], "Background");
    assert_eq!(
        (&told[0]["responseStatus"]["code"], &told[0]["responseStatus"]["status"]),
        (&json!(200), &json!("Success"))
    );
    assert_eq!(told[0]["responseStatus"]["details"]["name"], "a");
    let text = std::fs::read_to_string(cluster.dir.path().join("audit.log")).expect("the log");
    assert!(!text.contains("hidden"), "no body of a Secret");
}

#[tokio::test]
async fn a_watch_has_a_beginning_and_an_end() {
    let cluster = start("omitStages: [RequestReceived]\nrules: [{level: RequestResponse}]").await;
    let watch = named(cluster.admin(), "watch").watch(&format!("{MAPS}?watch=true")).await;
    let told = events(&cluster, "watch").await;
    assert_eq!(told.iter().map(|event| event["stage"].clone()).collect::<Vec<_>>(), ["ResponseStarted"]);
    drop(watch);
    let told = events(&cluster, "watch").await;
    assert_eq!(
        told.iter().map(|event| event["stage"].clone()).collect::<Vec<_>>(),
        ["ResponseStarted", "ResponseComplete"]
    );
    assert!(told[1]["responseObject"].is_null());
    assert_eq!(told[1]["verb"], "watch");
    named(cluster.admin(), "refused").get(&format!("{MAPS}?watch=true&resourceVersion=x")).await;
    let told = events(&cluster, "refused").await;
    assert_eq!((told.len(), &told[0]["responseObject"]["kind"]), (2, &json!("Status")), "{told:?}");
}

#[tokio::test]
async fn impersonation_deprecation_and_standards_are_told() {
    let cluster = start("omitStages: [RequestReceived]\nrules: [{level: Metadata}]").await;
    let admin = cluster.admin();
    let client = named(admin.clone(), "as").with("impersonate-user", "jane");
    client.get("/api/v1/namespaces/default/endpoints").await;
    let told = events(&cluster, "as").await;
    assert_eq!(
        (&told[0]["user"]["username"], &told[0]["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("jane"))
    );
    assert_eq!(told[0]["authenticationMetadata"], json!({"impersonationConstraint": "impersonate:user-info"}));
    assert_eq!(told[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    named(admin.clone(), "probe").get("/livez").await;
    let told = events(&cluster, "probe").await;
    assert_eq!(told[0]["annotations"]["authorization.k8s.io/decision"], "allow");
    named(admin.clone(), "old").get("/api/v1/namespaces/default/endpoints").await.ok();
    let told = events(&cluster, "old").await;
    assert_eq!(told[0]["annotations"]["k8s.io/deprecated"], "true");
    assert_eq!(told[0]["annotations"]["authorization.k8s.io/decision"], "allow");

    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}});
    admin.patch("/api/v1/namespaces/default", MERGE, &labels).await.ok();
    named(admin, "pod").create(PODS, &pod("p")).await.ok();
    let told = events(&cluster, "pod").await;
    let notes = &told[0]["annotations"];
    assert_eq!(notes["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let violations = notes["pod-security.kubernetes.io/audit-violations"].as_str().unwrap_or_default();
    assert!(violations.starts_with("would violate PodSecurity \"restricted:latest\": "), "{notes}");
}

#[tokio::test]
async fn admission_policies_tell_what_they_want_to_have_audited() {
    let cluster = start("omitStages: [RequestReceived]\nrules: [{level: Metadata}]").await;
    let admin = cluster.admin();
    let root = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}]},
            "validations": [{"expression": "true"}, {"expression": "!has(object.data)", "message": "no data"}],
            "auditAnnotations": [{"key": "name", "valueExpression": "'made ' + string(object.metadata.name)"}]}});
    admin.create(&format!("{root}/validatingadmissionpolicies"), &policy).await.ok();
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Audit"]}});
    admin.create(&format!("{root}/validatingadmissionpolicybindings"), &binding).await.ok();
    named(admin, "map").create(MAPS, &config_map("a", json!({"k": "v"}))).await.ok();
    let told = events(&cluster, "map").await;
    let notes = &told[0]["annotations"];
    assert_eq!(notes["p/name"], "made a");
    let failures = notes["validation.policy.admission.k8s.io/validation_failure"].as_str().expect("failures");
    let failures: Value = serde_json::from_str(failures).expect("JSON");
    let wanted = json!([{"message": "no data", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"]}]);
    assert_eq!(failures, wanted);
}

#[tokio::test]
async fn without_an_audit_log_requests_have_an_id_all_the_same() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    assert_eq!(admin.get("/version").await.headers["audit-id"].len(), 36);
    assert_eq!(named(admin.clone(), "mine").get("/version").await.headers["audit-id"], "mine");
    let figures = admin.get("/metrics").await.body;
    assert!(!String::from_utf8_lossy(&figures).contains("apiserver_audit_"));
}
