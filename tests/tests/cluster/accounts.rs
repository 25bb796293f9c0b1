//! What a pod knows of the account that it runs as.

use crate::{cluster, ready};
use rk_tests::Kubectl;
use serde_json::{Value, json};

/// What the API says of a token that is meant for `audiences` (its own, when there are none).
fn review(kubectl: &Kubectl, token: &str, audiences: &[&str]) -> Value {
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences}});
    let answer = kubectl.fed(&["create", "-f", "-", "-o", "json"], &question.to_string());
    assert!(answer.success, "{}", answer.err);
    serde_json::from_str::<Value>(&answer.out).unwrap_or_else(|e| panic!("{e}: {}", answer.out))["status"].clone()
}

#[test]
fn tokens_of_the_account_are_mounted_and_name_it() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("accounts");
    kubectl.ok(&["create", "serviceaccount", "clerk"]);
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: clerk}\nspec:\n  serviceAccountName: clerk\n  terminationGracePeriodSeconds: 1\n  \
         securityContext: {runAsUser: 1000, fsGroup: 2000}\n  containers:\n  - name: main\n    image: rk.local/busybox:demo\n    \
         command: [sleep, '3600']\n    volumeMounts: [{name: own, mountPath: /own}]\n  volumes:\n  - name: own\n    projected:\n      \
         sources: [{serviceAccountToken: {audience: vault.example, expirationSeconds: 600, path: token}}]\n",
    );
    ready(&kubectl, "clerk");
    let read = |path: &str| kubectl.ok(&["exec", "clerk", "--", "cat", path]);
    let dir = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(read(&format!("{dir}/namespace")), "accounts");
    let authority = kubectl.path(&["configmap", "kube-root-ca.crt"], "{.data.ca\\.crt}");
    assert_eq!(read(&format!("{dir}/ca.crt")).trim(), authority.trim());

    let user = "system:serviceaccount:accounts:clerk";
    let mounted = review(&kubectl, &read(&format!("{dir}/token")), &[]);
    assert_eq!((&mounted["authenticated"], &mounted["user"]["username"]), (&json!(true), &json!(user)), "{mounted}");
    let uid = kubectl.path(&["pod", "clerk"], "{.metadata.uid}");
    assert_eq!(mounted["user"]["extra"]["authentication.kubernetes.io/pod-uid"], json!([uid]), "{mounted}");

    let token = read("/own/token");
    let projected = review(&kubectl, &token, &["vault.example"]);
    assert_eq!((&projected["authenticated"], &projected["audiences"]), (&json!(true), &json!(["vault.example"])));
    assert_eq!(projected["user"]["username"], user);
    assert!(!review(&kubectl, &token, &[])["authenticated"].as_bool().unwrap_or_default());
    let mode = kubectl.ok(&["exec", "clerk", "--", "stat", "-L", "-c", "%a %g", "/own/token"]);
    assert_eq!(mode.trim(), "640 2000", "the group of the pod's volumes may read, nobody else");
}
