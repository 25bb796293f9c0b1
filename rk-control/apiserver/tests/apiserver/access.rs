//! Who may do what, and how the server knows who asks.

mod accounts;
mod creation;
mod tokens;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL;
use http::Method;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rk_apiserver::{ApiServer, Config, Pki, ServingNames, User};
use serde_json::{Value, json};

use crate::support::{Client, Cluster, PODS, RBAC, named, pod};

async fn review(client: &Client, verb: &str, resource: &str, namespace: &str) -> bool {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace}},
    });
    let answer = client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.ok();
    answer["status"]["allowed"] == true
}

#[tokio::test]
async fn a_role_allows_exactly_what_it_says_where_it_is_bound() {
    let cluster = Cluster::start().await;
    let jane = cluster.client(User::new("jane", []));
    let (code, message) = jane.get(PODS).await.failure();
    let words =
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#;
    assert_eq!((code, message.as_str()), (403, words));
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    let admin = cluster.admin();
    admin.create(&format!("{RBAC}/namespaces/default/roles"), &role).await.ok();
    admin.create(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.ok();
    jane.get(PODS).await.ok();
    assert!(review(&jane, "list", "pods", "default").await);
    assert!(!review(&jane, "list", "pods", "kube-system").await && !review(&jane, "get", "pods", "default").await);
    admin.delete(&format!("{RBAC}/namespaces/default/rolebindings/b")).await.ok();
    assert_eq!(jane.get(PODS).await.code, 403);
}

#[tokio::test]
async fn nobody_can_bind_or_write_more_than_they_hold() {
    let cluster = Cluster::start().await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    let admin = cluster.admin();
    admin.create(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.ok();
    let jane = cluster.client(User::new("jane", []));
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules});
    let path = format!("{RBAC}/namespaces/default/roles");
    let own = role(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
    jane.create(&format!("{path}?dryRun=All"), &own).await.ok();
    let more = role(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
    let (code, message) = jane.create(&path, &more).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("is attempting to grant RBAC permissions not currently held"), "{message}");
    let mut bind = binding.clone();
    bind["metadata"]["name"] = json!("c");
    bind["roleRef"]["name"] = json!("cluster-admin");
    assert_eq!(jane.create(&format!("{RBAC}/namespaces/default/rolebindings"), &bind).await.failure().0, 403);
}

#[tokio::test]
async fn who_may_bind_anything_binds_a_role_that_comes_later() {
    let cluster = Cluster::start().await;
    let binding = |name: &str, role: &str, user: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
    };
    let (path, admin) = (format!("{RBAC}/clusterrolebindings"), cluster.admin());
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "binder"},
        "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterrolebindings"], "verbs": ["create"]}]});
    admin.create(&format!("{RBAC}/clusterroles"), &role).await.ok();
    for (user, role) in [("jane", "cluster-admin"), ("john", "binder")] {
        admin.create(&path, &binding(user, role, user)).await.ok();
    }
    let of = |user: &str| cluster.client(User::new(user, []));
    of("jane").create(&path, &binding("early", "later", "sam")).await.ok();
    let (code, message) = of("john").create(&path, &binding("other", "later", "sam")).await.failure();
    assert_eq!((code, &*message), (404, "clusterroles.rbac.authorization.k8s.io \"later\" not found"));
}

#[tokio::test]
async fn a_review_has_no_table() {
    let cluster = Cluster::start().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let admin = cluster.admin().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(admin.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.failure().0, 406);
}

#[tokio::test]
async fn impersonation_needs_the_right_and_takes_the_place_of_the_caller() {
    let cluster = Cluster::start().await;
    let as_jane = cluster.admin().with("impersonate-user", "jane").with("impersonate-group", "dev");
    let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = as_jane.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &who).await.ok();
    assert_eq!(answer["status"]["userInfo"], json!({"username": "jane", "groups": ["dev", "system:authenticated"]}));
    assert_eq!(as_jane.get(PODS).await.failure().0, 403);
    let jane = cluster.client(User::new("jane", [])).with("impersonate-user", "admin");
    let (code, message) = jane.get(PODS).await.failure();
    let words = "pods is forbidden: User \"jane\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, message.as_str()), (403, words));
}

#[tokio::test]
async fn a_service_account_token_works_while_its_account_and_pod_live() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(PODS, &pod("p")).await.ok();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": ["vault"], "expirationSeconds": 600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]},
    }});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = admin.create(path, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned();
    let judge = |audience: &'static str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [audience]}});
        let admin = admin.clone();
        async move { admin.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()["status"].clone() }
    };
    let good = judge("vault").await;
    assert_eq!(good["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_ne!(judge("other").await["authenticated"], true);
    admin.delete(&format!("{PODS}/p")).await.ok();
    assert_ne!(judge("vault").await["authenticated"], true);
    let mut short = request.clone();
    short["spec"]["expirationSeconds"] = json!(60);
    let why = "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes";
    assert_eq!(
        admin.create(path, &short).await.failure(),
        (422, format!("TokenRequest.authentication.k8s.io \"\" is invalid: {why}"))
    );
}

/// Verifies a token as a stranger does: by the documents alone.
async fn verified_by_documents(client: &Client, token: &str) -> bool {
    let about = client.get("/.well-known/openid-configuration").await.ok();
    let claims: Vec<&str> = token.split('.').collect();
    let part = |index: usize| -> Vec<u8> { URL.decode(claims[index]).unwrap() };
    let json = |index: usize| -> Value { serde_json::from_slice(&part(index)).unwrap() };
    assert_eq!(about["issuer"], json(1)["iss"]);
    let algorithms = about["id_token_signing_alg_values_supported"].as_array().unwrap();
    assert!(algorithms.contains(&json(0)["alg"]) && json(0)["alg"] == "ES256");
    assert!(about["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let answer = client.get("/openid/v1/jwks").await;
    assert_eq!(answer.headers["content-type"], "application/jwk-set+json");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let key = keys.iter().find(|key| key["kid"] == json(0)["kid"]).expect("the key is told");
    let number = |name: &str| URL.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], number("x"), number("y")].concat();
    let signed = format!("{}.{}", claims[0], claims[1]);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &part(2)).is_ok()
}

#[tokio::test]
async fn a_token_verifies_by_the_issuers_documents_which_every_account_may_read() {
    let cluster = Cluster::start().await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = cluster.admin().create(path, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned();
    let account = cluster.client(User::service_account("default", "default", "u"));
    assert!(verified_by_documents(&account, &token).await);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert!(!verified_by_documents(&account, &format!("{signed}.{}", URL.encode([1; 64]))).await);
    let stranger = cluster.client(User::new("system:anonymous", ["system:unauthenticated".to_owned()]));
    assert_eq!(stranger.get("/openid/v1/jwks").await.failure().0, 403);
}

#[tokio::test]
async fn tokens_of_another_control_plane_are_taken_where_its_key_is_known() {
    let first = Cluster::start().await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = first.admin().create(path, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned();
    let dir = tempfile::tempdir().expect("temporary directory");
    let names = ServingNames::new("cluster.local", "10.96.0.1".parse().expect("address"), ["127.0.0.1".to_owned()]);
    let pki = Pki::load_or_create(&dir.path().join("pki"), &names).expect("PKI");
    let public = std::fs::read_to_string(first.dir.path().join("pki/sa.pub")).expect("public key");
    for (keys, taken) in [(vec![], false), (vec![public], true)] {
        // Another server on the same store, with a key of its own.
        let config = Config { service_account_keys: keys, ..Config::default() };
        let server = ApiServer::new(config, &pki, Arc::clone(&first.store)).await.expect("server");
        let second = Cluster::client_of(&server, User::new("admin", ["system:masters".to_owned()]));
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let status = second.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()["status"].clone();
        assert_eq!(status["authenticated"] == true, taken, "{status}");
        let keys = second.get("/openid/v1/jwks").await.ok()["keys"].as_array().unwrap().len();
        assert_eq!(keys, if taken { 2 } else { 1 });
        server.shutdown();
    }
}

#[tokio::test]
async fn a_node_reads_what_its_pods_need_and_no_more() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (secret, node) in [("mine", "n1"), ("theirs", "n2")] {
        let object =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"k": "v"}});
        admin.create("/api/v1/namespaces/default/secrets", &object).await.ok();
        let mut pod = pod(node);
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": secret}}]);
        admin.create(PODS, &pod).await.ok();
    }
    let node = cluster.client(User::new("system:node:n1", ["system:nodes".to_owned()]));
    node.get("/api/v1/namespaces/default/secrets/mine").await.ok();
    let (code, message) = node.get("/api/v1/namespaces/default/secrets/theirs").await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("no relationship found between node 'n1' and this object"), "{message}");
    assert_eq!(node.get("/api/v1/namespaces/default/secrets").await.failure().0, 403);
    node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.ok();
    node.get(&format!("{PODS}/n1")).await.ok();
    for foreign in ["pods", "pods?fieldSelector=spec.nodeName%3Dn2", "namespaces/default/pods/n2"] {
        assert_eq!(node.get(&format!("/api/v1/{foreign}")).await.failure().0, 403, "{foreign}");
    }
    let status = json!({"status": {"phase": "Running"}});
    let merge = "application/merge-patch+json";
    node.patch(&format!("{PODS}/n1/status"), merge, &status).await.ok();
    assert_eq!(node.patch(&format!("{PODS}/n2/status"), merge, &status).await.failure().0, 403);
    let eviction = |pod: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let (code, message) = node.create(&format!("{PODS}/n2/eviction"), &eviction("n2")).await.failure();
    assert!(
        code == 403 && message.contains("can only evict pods with spec.nodeName set to itself"),
        "{code} {message}"
    );
    let own = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"disk": "ssd"}}});
    let own = node.create("/api/v1/nodes", &own).await.ok();
    let mut mirror = pod("mirror");
    mirror["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "controller": true,
        "uid": own["metadata"]["uid"]}]);
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    mirror["spec"]["nodeName"] = json!("n1");
    let reach = json!([{"name": "v", "configMap": {"name": "kube-root-ca.crt"}}]);
    let mut reaching = mirror.clone();
    reaching["spec"]["volumes"] = reach;
    let (code, message) = node.create(PODS, &reaching).await.failure();
    assert!(code == 403 && message.contains("can not create pods that reference configmaps"), "{code} {message}");
    let mut former = mirror.clone();
    former["metadata"]["ownerReferences"][0]["uid"] = json!("of-a-former-node");
    let (code, message) = node.create(PODS, &former).await.failure();
    assert!(
        code == 403 && message.contains("node n1 UID mismatch: expected of-a-former-node got "),
        "{code} {message}"
    );
    node.create(PODS, &mirror).await.ok();
    let other = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n3"}});
    assert_eq!(node.create("/api/v1/nodes", &other).await.failure().0, 403);
    let label = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    assert_eq!(node.patch("/api/v1/nodes/n1", merge, &label).await.failure().0, 403);
}

/// A certificate signing request of a node, in base64.
fn node_request(node: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(request)
}

#[tokio::test]
async fn a_node_asks_in_its_own_name_and_for_its_own_pods() {
    let cluster = Cluster::start().await;
    let (admin, node) = (cluster.admin(), cluster.client(User::new("system:node:n1", ["system:nodes".to_owned()])));
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let csr = |of: &str| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "csr-"},
            "spec": {"request": node_request(of), "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "client auth"]}})
    };
    node.create(requests, &csr("n1")).await.ok();
    let (code, message) = node.create(requests, &csr("n2")).await.failure();
    assert!(code == 403 && message.contains("can only create a node CSR with CN=system:node:n1"), "{code} {message}");
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = |of: &str| {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": of}, "spec": {
            "driver": "example.com", "nodeName": of, "pool": {"name": of, "generation": 1, "resourceSliceCount": 1}}})
    };
    node.create(slices, &slice("n1")).await.ok();
    let (code, message) = node.create(slices, &slice("n2")).await.failure();
    assert!(code == 403 && message.contains("with the same NodeName as the requesting node"), "{code} {message}");
    admin.create(slices, &slice("n2")).await.ok();
    node.get(&format!("{slices}/n1")).await.ok();
    assert_eq!(node.get(&format!("{slices}/n2")).await.failure().0, 403);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    admin.create(claims, &claim).await.ok();
    let merge = "application/merge-patch+json";
    let grown = json!({"status": {"capacity": {"storage": "1Gi"}}});
    assert_eq!(node.patch(&format!("{claims}/data/status"), merge, &grown).await.failure().0, 403);
    let mut user = pod("user");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}}]);
    let user = admin.create(PODS, &user).await.ok();
    node.patch(&format!("{claims}/data/status"), merge, &grown).await.ok();
    let lost = json!({"status": {"phase": "Lost"}});
    let (code, message) = node.patch(&format!("{claims}/data/status"), merge, &lost).await.failure();
    assert!(code == 403 && message.contains("is not allowed to update fields other than"), "{code} {message}");
    for (volume, claim) in [("used", "data"), ("unused", "other")] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": volume}});
        admin.create("/api/v1/namespaces/kube-system/secrets", &secret).await.ok();
        let source = json!({"driver": "example.com", "volumeHandle": volume, "nodeStageSecretRef": {"name": volume, "namespace": "kube-system"}});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source,
            "claimRef": {"namespace": "default", "name": claim}}});
        admin.create("/api/v1/persistentvolumes", &volume).await.ok();
    }
    for place in ["/api/v1/persistentvolumes", "/api/v1/namespaces/kube-system/secrets"] {
        node.get(&format!("{place}/used")).await.ok();
        assert_eq!(node.get(&format!("{place}/unused")).await.failure().0, 403);
    }
    let token = |audiences: Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "user", "uid": user["metadata"]["uid"]}}})
    };
    let tokens = "/api/v1/namespaces/default/serviceaccounts/default/token";
    node.create(tokens, &token(json!([]))).await.ok();
    node.create(tokens, &token(json!(["vault"]))).await.ok();
    let (code, message) = node.create(tokens, &token(json!(["bank"]))).await.failure();
    assert!(code == 403 && message.contains(r#"audience "bank" not found in pod spec volume"#), "{code} {message}");
    let (code, message) = node.create(tokens, &token(json!(["vault", "bank"]))).await.failure();
    assert!(code == 403 && message.contains("node may only request 0 or 1 audiences"), "{code} {message}");
    let rules =
        json!([{"apiGroups": [""], "resources": ["bank"], "verbs": ["request-serviceaccounts-token-audience"]}]);
    admin.grant("bank", named("Group", "system:nodes"), rules).await;
    node.create(tokens, &token(json!(["bank"]))).await.ok();
}

#[tokio::test]
async fn a_joining_node_gets_as_far_as_its_certificate_request() {
    let cluster = Cluster::start().await;
    let anonymous = cluster.client(User::anonymous());
    let info = anonymous.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").await.ok();
    assert!(info["data"]["kubeconfig"].as_str().unwrap().contains("https://192.0.2.10:6443"));
    assert_eq!(anonymous.get("/api/v1/nodes").await.failure().0, 403);
    let joining = cluster.client(User::new(
        "system:bootstrap:abcdef",
        ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token"].map(str::to_owned),
    ));
    let csr = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "csr-"},
    "spec": {
        "request": node_request("n1"),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"], "username": "somebody-else",
    }});
    let filed = joining.create("/apis/certificates.k8s.io/v1/certificatesigningrequests", &csr).await.ok();
    assert_eq!(filed["spec"]["username"], "system:bootstrap:abcdef");
    assert_eq!(joining.get("/api/v1/secrets").await.failure().0, 403);
    assert_eq!(joining.send(Method::POST, "/api/v1/nodes", &json!({})).await.failure().0, 403);
}

#[tokio::test]
async fn what_is_refused_leaves_no_figures_of_what_it_invented() {
    let cluster = Cluster::start().await;
    let jane = cluster.client(User::new("jane", []));
    for path in ["/apis/made.example/v1/ups", "/api/v1/namespaces/default/pods/p/made-up", PODS] {
        assert_eq!(jane.get(path).await.failure().0, 403, "{path}");
    }
    for (path, plural) in [(PODS, "pods"), ("/api/v1/namespaces/default/widgets", "widgets")] {
        assert_eq!(cluster.admin().get(&format!("{path}/none")).await.failure().0, 404, "{plural}");
    }
    let figures = String::from_utf8(cluster.admin().get("/metrics").await.body.to_vec()).unwrap();
    assert!(!figures.contains("made.example") && !figures.contains("made-up") && !figures.contains("widgets"));
    let mut missing = figures.lines().filter(|line| line.starts_with("apiserver_request_total{code=\"404\""));
    assert!(missing.any(|line| line.contains("resource=\"pods\"")), "{figures}");
    let mut refused = figures.lines().filter(|line| line.starts_with("apiserver_request_total{code=\"403\""));
    assert!(refused.any(|line| line.contains("resource=\"pods\"")), "{figures}");
}
