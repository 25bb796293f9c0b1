//! Requests for tokens of service accounts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Client, Cluster, until};

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

/// How often the store was asked for one Secret.
async fn looked_up(admin: &Client) -> u64 {
    let figures = String::from_utf8(admin.get("/metrics").await.body.to_vec()).unwrap();
    let line = "etcd_request_duration_seconds_count{group=\"\",operation=\"get\",resource=\"secrets\"} ";
    figures.lines().find_map(|own| own.strip_prefix(line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_made_up_bootstrap_token_costs_the_store_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let judge = async |token: &str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        admin.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()["status"].clone()
    };
    let before = looked_up(&admin).await;
    for id in 0..20 {
        let told = judge(&format!("made{id:02}.0123456789abcdef")).await;
        assert_ne!(told["authenticated"], true, "{told}");
    }
    assert_eq!(looked_up(&admin).await, before);

    let known = judge("abcdef.0123456789abcdef").await;
    assert_eq!(known["user"]["username"], "system:bootstrap:abcdef", "{known}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-made07"},
        "type": "bootstrap.kubernetes.io/token", "stringData": {"token-id": "made07", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true"}});
    admin.create("/api/v1/namespaces/kube-system/secrets", &secret).await.ok();
    let told = judge("made07.0123456789abcdef").await;
    assert_eq!(told["authenticated"], true, "one that was made a moment ago is known: {told}");
}

#[tokio::test]
async fn the_last_use_of_a_token_that_lies_in_a_secret_is_written_down() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let is_day =
        |day: &Value| day.as_str().is_some_and(|day| day.len() == 10 && day.parse::<jiff::civil::Date>().is_ok());
    let map = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    until("the day of the beginning", async || is_day(&admin.get(map).await.json()["data"]["since"])).await;
    let merge = "application/merge-patch+json";
    admin.patch(map, merge, &json!({"data": {"since": "ever", "own": "kept"}})).await.ok();
    until("a day again", async || is_day(&admin.get(map).await.json()["data"]["since"])).await;
    assert_eq!(admin.get(map).await.ok()["data"]["own"], "kept");

    let secrets = "/api/v1/namespaces/default/secrets";
    let path = format!("{secrets}/t");
    let annotations = json!({"kubernetes.io/service-account.name": "default"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": annotations}});
    admin.create(secrets, &secret).await.ok();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "t"}}});
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = admin.create(account, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned();
    let judge = async || {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        admin.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()["status"].clone()
    };
    let last =
        async || admin.get(&path).await.ok()["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].clone();
    assert_eq!(judge().await["authenticated"], true, "bound to the Secret");
    admin.patch(&path, merge, &json!({"data": {"token": STANDARD.encode(&token)}})).await.ok();
    assert_eq!(last().await, Value::Null, "what did not lie in it when it was used");
    assert_eq!(judge().await["user"]["username"], "system:serviceaccount:default:default");
    until("the day of its last use", async || is_day(&last().await)).await;

    let void = |day: Value| json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": day}}});
    admin.patch(&path, merge, &void(json!("2030-01-01"))).await.ok();
    assert_ne!(judge().await["authenticated"], true);
    admin.patch(&path, merge, &void(Value::Null)).await.ok();
    assert_eq!(judge().await["authenticated"], true);
}
