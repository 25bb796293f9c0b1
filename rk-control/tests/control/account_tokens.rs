//! Secrets that hold a token of a service account.

use crate::cluster::rest::Rest;
use crate::cluster::start;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_gets_the_token_of_its_account_and_goes_with_it() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "tokens").await;
    let secret = |name: &str, account: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": {"name": name,
            "annotations": {"kubernetes.io/service-account.name": account}}})
    };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let account = rest.create("serviceaccounts", &account).await;
    for name in ["key", "spare"] {
        rest.create("secrets", &secret(name, "robot")).await;
    }
    // No account has such a name; as a part of a path it would name one.
    for (name, account) in [("lost", "nobody"), ("odd", "robot?x")] {
        rest.create("secrets", &secret(name, account)).await;
    }
    let of = |own: &Value, key: &str| {
        let bytes = STANDARD.decode(own["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let filled = rest.until("secrets/key", |own| own["data"]["token"].is_string()).await;
    assert_eq!(of(&filled, "namespace"), "tokens");
    assert!(of(&filled, "ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    let annotations = &filled["metadata"]["annotations"];
    assert_eq!(annotations["kubernetes.io/service-account.uid"], account["metadata"]["uid"]);
    for name in ["lost", "odd"] {
        rest.until(&format!("secrets/{name}"), Value::is_null).await;
    }

    let token = of(&filled, "token");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = rest.create(reviews, &review).await["status"].clone();
    assert_eq!(status["user"]["username"], "system:serviceaccount:tokens:robot", "{status}");
    rest.delete("secrets/key", &Value::Null).await;
    let status = rest.create(reviews, &review).await["status"].clone();
    assert_ne!(status["authenticated"], true, "a token dies with its Secret: {status}");
    rest.until("secrets/spare", |own| own["data"]["token"].is_string()).await;
    rest.delete("serviceaccounts/robot", &Value::Null).await;
    rest.until("secrets/spare", Value::is_null).await;
}
