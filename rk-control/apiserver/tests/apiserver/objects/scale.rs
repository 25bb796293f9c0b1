//! Scales are held to their form as other objects are.

use http::Method;
use serde_json::{Value, json};

use super::{MERGE, SCALED};
use crate::support::{Answer, Client, Cluster};

const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A workload of two replicas.
pub(super) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    })
}

async fn send(admin: &Client, path: &str, kind: &str, text: &str) -> Answer {
    admin.answer(Method::PATCH, path, kind, text.to_owned().into()).await
}

#[tokio::test]
async fn odd_fields_of_a_scale_are_refused_warned_of_or_dropped_as_asked() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(SCALED, &deployment("d")).await.ok();
    let path = format!("{SCALED}/d/scale");
    for (kind, patch, notices) in [
        (MERGE, r#"{"spec": {"odd": 1, "replicas": 3}}"#, vec![r#"unknown field "spec.odd""#]),
        (STRATEGIC, r#"{"spec": {"odd": 1, "replicas": 3}}"#, vec![r#"unknown field "spec.odd""#]),
        (MERGE, r#"{"spec": {"replicas": 2, "replicas": 3}}"#, vec![r#"duplicate field "spec.replicas""#]),
        (
            JSON_PATCH,
            r#"[{"op": "replace", "path": "/spec/replicas", "value": 3, "why": "x"}, {"op": "add", "path": "/spec/odd", "value": 1}]"#,
            vec![r#"json patch unknown field "[0].why""#, r#"unknown field "spec.odd""#],
        ),
    ] {
        admin.patch(&path, MERGE, &json!({"spec": {"replicas": 2}})).await.ok();
        let strict = send(&admin, &format!("{path}?fieldValidation=Strict"), kind, patch).await;
        let (code, message) = strict.failure();
        let end = format!("strict decoding error: {}", notices.join(", "));
        assert!(code == 422 && message.ends_with(&end), "{kind}: {message}");
        assert_eq!(admin.get(&path).await.ok()["spec"]["replicas"], 2, "{kind}");
        let warned = send(&admin, &format!("{path}?fieldValidation=Warn"), kind, patch).await;
        let said: Vec<String> =
            warned.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        let want: Vec<String> = notices.iter().map(|notice| format!("299 - {notice:?}")).collect();
        assert_eq!(said, want, "{kind}");
        assert_eq!(warned.ok()["spec"], json!({"replicas": 3}), "{kind}");
        let quiet = send(&admin, &format!("{path}?fieldValidation=Ignore"), kind, patch).await;
        assert!(!quiet.headers.contains_key("warning"), "{kind}");
    }
    let (code, message) = send(&admin, &path, MERGE, "{").await.failure();
    assert_eq!((code, message.as_str()), (400, "error decoding patch: unexpected end of JSON input"));
}
