//! What the node's own server shows, and to whom.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, PostParams};
use kube::client::Body;
use serde_json::json;

use crate::support::{Rig, eventually, ready};

/// A token of a new account that may `get` these and nothing else.
async fn who_may_get(rig: &Rig, name: &str, resources: &[&str]) -> String {
    let (client, post) = (&rig.control.client, PostParams::default());
    let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": ["get"]}]);
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    let roles: Api<ClusterRole> = Api::all(client.clone());
    roles.create(&post, &role).await.unwrap();
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}]});
    let binding: ClusterRoleBinding = serde_json::from_value(binding).unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    bindings.create(&post, &binding).await.unwrap();
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    accounts.create(&post, &account).await.unwrap();
    let wish: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let answer: TokenRequest = accounts.create_subresource("token", name, &post, &wish).await.unwrap();
    answer.status.and_then(|status| status.token).unwrap()
}

/// What the node answers, asked past the API server: a code and a text.
async fn answer(rig: &Rig, token: &str, path: &str) -> Result<(u16, String), String> {
    let mut config = kube::Config::new(format!("https://{}", rig.options.listen).parse().unwrap());
    config.accept_invalid_certs = true;
    let node = kube::Client::try_from(config).unwrap();
    let request = http::Request::get(path).header("authorization", format!("Bearer {token}"));
    let response = node.send(request.body(Body::empty()).unwrap()).await.map_err(|e| e.to_string())?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.map_err(|e| e.to_string())?;
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_what_a_node_shows_is_for_those_who_may_get_that_part() {
    let rig = Rig::new().await;
    rig.create("web", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("web", "the pod is ready", 30, ready).await;
    let viewer = who_may_get(&rig, "viewer", &["nodes/pods", "nodes/healthz", "nodes/configz"]).await;
    let scraper = who_may_get(&rig, "scraper", &["nodes/metrics"]).await;
    let proxy = who_may_get(&rig, "proxy", &["nodes/proxy"]).await;
    let nobody = "nonsense".to_owned();
    for (token, path, code, words) in [
        (&viewer, "/pods", 200, "\"name\":\"web\""),
        (&viewer, "/runningpods/", 200, "\"name\":\"web\""),
        (&viewer, "/healthz", 200, "ok"),
        (&viewer, "/configz", 200, "\"kubeletconfig\""),
        (&viewer, "/metrics", 403, "subresource(s)=[metrics]"),
        (&viewer, "/stats/summary", 403, "subresource(s)=[stats]"),
        (&viewer, "/logs/", 403, "subresource(s)=[log]"),
        (&viewer, "/containerLogs/default/web/c", 403, "subresource(s)=[proxy]"),
        (&viewer, "/exec/default/web/c?command=id", 403, "subresource(s)=[proxy]"),
        (&scraper, "/metrics", 200, "kubelet_node_name{node=\"node-a\"} 1\n"),
        (&scraper, "/metrics", 200, "kubelet_cgroup_version 2\n"),
        (&scraper, "/metrics/cadvisor", 200, "machine_memory_bytes"),
        (&scraper, "/metrics/probes", 200, "prober_probe_total"),
        (&scraper, "/metrics/resource", 200, "node_memory_working_set_bytes"),
        (&scraper, "/pods", 403, "subresource(s)=[pods proxy]"),
        (&scraper, "/healthz", 403, "subresource(s)=[healthz proxy]"),
        (&proxy, "/pods", 200, "\"name\":\"web\""),
        (&proxy, "/healthz", 200, "ok"),
        (&proxy, "/containerLogs/default/web/c", 200, "hello from run"),
        (&proxy, "/metrics", 403, "subresource(s)=[metrics]"),
        (&nobody, "/healthz", 401, "Unauthorized"),
    ] {
        eventually(path, 60, || async {
            let (seen, told) = answer(&rig, token, path).await?;
            if seen == code && told.contains(words) { Ok(()) } else { Err(format!("{seen} {told}")) }
        })
        .await;
    }
}
