//! Who may create, by whatever verb.

use rk_apiserver::User;
use serde_json::json;

use crate::support::{Cluster, MAPS, RBAC, config_map, named};

#[tokio::test]
async fn what_is_not_there_is_made_by_those_who_may_create_it() {
    let cluster = Cluster::start().await;
    let rule = |group: &str, resource: &str, verb: &str, names: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names});
    let rules = [
        rule("", "configmaps", "patch", &[]),
        rule("", "configmaps", "create", &["a"]),
        rule("coordination.k8s.io", "leases", "update", &[]),
    ];
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    let (admin, jane) = (cluster.admin(), cluster.client(User::new("jane", [])));
    admin.create(&format!("{RBAC}/namespaces/default/roles"), &role).await.ok();
    admin.create(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.ok();

    let apply = async |name: &str| {
        let path = format!("{MAPS}/{name}?fieldManager=m");
        jane.patch(&path, "application/apply-patch+yaml", &config_map(name, json!({"k": "v"}))).await
    };
    let (code, message) = apply("b").await.failure();
    let words = r#"configmaps "b" is forbidden: User "jane" cannot create resource "configmaps" in API group """#;
    assert!(code == 403 && message.starts_with(words), "{code} {message}");
    apply("a").await.ok();
    admin.create(MAPS, &config_map("b", json!({}))).await.ok();
    assert_eq!(apply("b").await.ok()["data"]["k"], "v");

    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}});
    assert_eq!(jane.put(&format!("{leases}/l"), &lease).await.code, 403);
    let mut other = lease.clone();
    other["metadata"]["name"] = json!("other");
    let (code, message) = admin.put(&format!("{leases}/l"), &other).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (400, "the name of the object (other) does not match the name on the URL (l)")
    );
    assert_eq!(admin.get(&format!("{leases}/other")).await.code, 404);
    assert_eq!(admin.put(&format!("{leases}/l"), &lease).await.code, 201);
    // The names in a role hold for the place, so the place must be the object's.
    assert_eq!(jane.create(&format!("{MAPS}/a"), &config_map("c", json!({}))).await.code, 405);
    assert_eq!(admin.put(leases, &lease).await.code, 405);

    admin.grant("spaces", named("User", "jane"), json!([rule("", "namespaces", "patch", &[])])).await;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    let made = jane.patch("/api/v1/namespaces/new?fieldManager=m", "application/apply-patch+yaml", &space).await;
    let (code, message) = made.failure();
    assert!(code == 403 && message.ends_with("at the cluster scope"), "{code} {message}");
}
