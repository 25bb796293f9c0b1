//! Requests for tokens of service accounts.

use serde_json::{Value, json};

use crate::support::Cluster;

#[tokio::test]
async fn a_token_is_for_the_account_that_the_request_says_and_bound_to_what_can_vouch_for_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = |metadata: Value, spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": metadata, "spec": spec});
    let account = admin.get("/api/v1/namespaces/default/serviceaccounts/default").await.ok();
    let made = admin.create(path, &request(json!({}), json!({"expirationSeconds": 100_000_000}))).await.ok();
    assert_eq!((&made["metadata"]["name"], &made["metadata"]["uid"]), (&json!("default"), &account["metadata"]["uid"]));
    let ends: jiff::Timestamp = made["status"]["expirationTimestamp"].as_str().unwrap().parse().unwrap();
    assert!(ends.as_second() - jiff::Timestamp::now().as_second() > 99_999_000, "as long as was asked for: {ends}");
    let frame = "TokenRequest.authentication.k8s.io \"default\"";
    let bound =
        |version: &str, kind: &str| json!({"boundObjectRef": {"apiVersion": version, "kind": kind, "name": "x"}});
    for (metadata, spec, code, want) in [
        (
            json!({"name": "other"}),
            json!({}),
            422,
            format!(
                "{frame} is invalid: metadata.name: Invalid value: \"other\": must match the service account name if specified"
            ),
        ),
        (
            json!({"uid": "u"}),
            json!({}),
            409,
            format!(
                "Operation cannot be fulfilled on {frame}: the UID in the token request (u) does not match the UID of the service account ({})",
                account["metadata"]["uid"].as_str().unwrap()
            ),
        ),
        (
            json!({}),
            bound("v1", "ConfigMap"),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap".to_owned(),
        ),
        (
            json!({}),
            bound("apps/v1", "Deployment"),
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment".to_owned(),
        ),
    ] {
        assert_eq!(admin.create(path, &request(metadata, spec)).await.failure(), (code, want));
    }
}
