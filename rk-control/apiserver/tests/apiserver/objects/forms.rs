//! What clients say in YAML, and what they are told.

use http::Method;
use serde_json::json;

use crate::support::{Cluster, MAPS};

const YAML: &str = "application/yaml";

#[tokio::test]
async fn yaml_has_the_rules_of_version_1_1_in_all_bodies_and_answers() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let path = format!("{MAPS}/f");
    let map = |more: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: f}}\n{more}\n");
    let (code, message) = admin.answer(Method::POST, MAPS, YAML, map("data: {a: yes}").into()).await.failure();
    assert_eq!(code, 400);
    assert!(message.contains("cannot unmarshal bool into Go struct field ConfigMap.data of type string"), "{message}");
    let body = map("data: {010: 'no', yes: !!str 1_0}\n...\n}");
    let made = admin.answer(Method::POST, MAPS, YAML, body.into()).await.ok();
    assert_eq!(made["data"], json!({"8": "no", "true": "1_0"}));
    let apply = format!("{path}?fieldManager=m");
    let applied =
        admin.answer(Method::PATCH, &apply, "application/apply-patch+yaml", map("immutable: Yes").into()).await.ok();
    assert_eq!(applied["immutable"], true);
    let told = admin.clone().with("accept", YAML).get(&path).await;
    let told = String::from_utf8_lossy(&told.body);
    assert!(told.contains("data:\n  \"8\": \"no\"\n  \"true\": \"1_0\"\nimmutable: true\n"), "{told}");
    let options = "apiVersion: v1\nkind: DeleteOptions\norphanDependents: no\ngracePeriodSeconds: 0x0\n";
    admin.answer(Method::DELETE, &path, YAML, options.into()).await.ok();
    assert_eq!(admin.get(&path).await.code, 404);
}
