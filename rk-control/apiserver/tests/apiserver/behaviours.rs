//! Behaviours that the community's suite asks of the API alone.

mod answers;
mod resizes;
mod subresources;

use serde_json::{Value, json};

use crate::support::{Client, Cluster, MAPS, PODS, config_map, pod};

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const NAMESPACES: &str = "/api/v1/namespaces";

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        object[key] = value;
    }
    object
}

#[tokio::test]
async fn namespaces_are_patched_updated_and_have_a_status_of_their_own() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(NAMESPACES, &object("v1", "Namespace", "n", json!({}))).await.ok();
    let path = format!("{NAMESPACES}/n");
    let patched = admin.patch(&path, STRATEGIC, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(patched["metadata"]["labels"], json!({"a": "b", "kubernetes.io/metadata.name": "n"}));
    // What the patch says of the kind, and that it keeps none of it, changes nothing.
    for patch in [json!({"apiVersion": "v2", "kind": "Foo"}), json!({"$retainKeys": ["metadata", "spec"]})] {
        let same = admin.patch(&format!("{path}?dryRun=All"), STRATEGIC, &patch).await.ok();
        assert_eq!((&same["apiVersion"], &same["kind"]), (&json!("v1"), &json!("Namespace")), "{patch}");
    }
    let mut whole = patched;
    whole["metadata"]["labels"]["updated"] = json!("yes");
    assert_eq!(admin.put(&path, &whole).await.ok()["metadata"]["labels"]["updated"], "yes");
    let condition = json!({"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"});
    let status = json!({"metadata": {"annotations": {"p": "q"}}, "status": {"conditions": [condition]}});
    let seen = admin.patch(&format!("{path}/status"), MERGE, &status).await.ok();
    assert_eq!(seen["status"]["conditions"][0]["type"], "StatusPatch");
    assert_eq!(seen["metadata"]["annotations"]["p"], "q");
    let mut whole = admin.get(&path).await.ok();
    whole["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "StatusUpdate", "status": "True"}));
    let seen = admin.put(&format!("{path}/status"), &whole).await.ok();
    assert_eq!(seen["status"]["conditions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn keys_must_be_keys_and_what_is_immutable_stays() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (kind, plural, value) in [("ConfigMap", "configmaps", "v"), ("Secret", "secrets", "dg==")] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let (code, message) =
            admin.create(&path, &object("v1", kind, "empty", json!({"data": {"": value}}))).await.failure();
        assert!(code == 422 && message.contains("data[]: Invalid value"), "{message}");
        admin.create(&path, &object("v1", kind, "fixed", json!({"data": {"a": value}}))).await.ok();
        let fixed = format!("{path}/fixed");
        admin.patch(&fixed, MERGE, &json!({"data": {"b": value}})).await.ok();
        admin.patch(&fixed, MERGE, &json!({"immutable": true})).await.ok();
        for change in [json!({"immutable": false}), json!({"immutable": null}), json!({"data": {"a": "eA=="}})] {
            let (code, message) = admin.patch(&fixed, MERGE, &change).await.failure();
            assert!(code == 422 && message.contains("field is immutable when `immutable` is set"), "{message}");
        }
        admin.patch(&fixed, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
        admin.delete(&fixed).await.ok();
    }
}

#[tokio::test]
async fn pods_have_classes_generations_and_parts_that_may_change() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut guaranteed = pod("g");
    let room = json!({"cpu": "100m", "memory": "100Mi"});
    guaranteed["spec"]["containers"][0]["resources"] = json!({"requests": room, "limits": room});
    guaranteed["metadata"]["generation"] = json!(100);
    let made = admin.create(PODS, &guaranteed).await.ok();
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    assert_eq!(made["metadata"]["generation"], 1, "a generation that was asked for is not taken");
    assert_eq!(admin.create(PODS, &pod("b")).await.ok()["status"]["qosClass"], "BestEffort");
    let path = format!("{PODS}/g");
    let generation =
        async |body: Value| admin.patch(&path, STRATEGIC, &body).await.ok()["metadata"]["generation"].clone();
    assert_eq!(generation(json!({"metadata": {"labels": {"time": "later"}}})).await, 1);
    assert_eq!(generation(json!({"spec": {"activeDeadlineSeconds": 50}})).await, 2);
    assert_eq!(generation(json!({"spec": {"activeDeadlineSeconds": 5}})).await, 3);
    assert_eq!(generation(json!({"spec": {"containers": [{"name": "c", "image": "example.com/i:2"}]}})).await, 4);
    assert_eq!(admin.patch(&path, STRATEGIC, &json!({"spec": {"activeDeadlineSeconds": 60}})).await.failure().0, 422);
    let status = json!({"status": {"message": "patched by e2e", "reason": "E2E", "observedGeneration": 4}});
    let seen = admin.patch(&format!("{path}/status"), STRATEGIC, &status).await.ok();
    assert_eq!((&seen["status"]["message"], &seen["metadata"]["generation"]), (&json!("patched by e2e"), &json!(4)));
    let resize = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}}}]}});
    let seen = admin.patch(&format!("{path}/resize"), STRATEGIC, &resize).await.ok();
    assert_eq!(seen["spec"]["containers"][0]["resources"]["limits"]["cpu"], "200m");
    let mut whole = seen;
    for list in ["requests", "limits"] {
        whole["spec"]["containers"][0]["resources"][list]["cpu"] = json!("300m");
    }
    let seen = admin.put(&format!("{path}/resize"), &whole).await.ok();
    assert_eq!(
        (&seen["spec"]["containers"][0]["resources"]["limits"]["cpu"], &seen["metadata"]["generation"]),
        (&json!("300m"), &json!(6))
    );
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "example.com/d"}]}});
    let seen = admin.patch(&format!("{path}/ephemeralcontainers"), STRATEGIC, &debug).await.ok();
    assert_eq!(seen["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    // A pod on a node waits for its grace period, which is one more generation.
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "g"}, "target": {"kind": "Node", "name": "n"}});
    admin.create(&format!("{path}/binding"), &binding).await.ok();
    let before = admin.get(&path).await.ok()["metadata"]["generation"].as_i64().unwrap();
    let seen = admin.delete(&path).await.ok();
    assert_eq!(seen["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(seen["metadata"]["generation"], before + 1);
}

#[tokio::test]
async fn sysctls_and_runtime_classes_are_checked_when_a_pod_comes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut bad = pod("s");
    let sysctls: Vec<Value> =
        ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."].map(|name| json!({"name": name, "value": "1"})).into();
    bad["spec"]["securityContext"] = json!({"sysctls": sysctls});
    let (code, message) = admin.create(PODS, &bad).await.failure();
    assert!(
        code == 422 && message.contains("Invalid value: \"foo-\"") && message.contains("Invalid value: \"bar..\""),
        "{message}"
    );
    assert!(!message.contains("kernel.shmmax"), "{message}");

    let mut wants = pod("r");
    wants["spec"]["runtimeClassName"] = json!("fast");
    let (code, message) = admin.create(PODS, &wants).await.failure();
    assert!(code == 403 && message.contains("RuntimeClass \"fast\" not found"), "{message}");
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = object(
        "node.k8s.io/v1",
        "RuntimeClass",
        "fast",
        json!({"handler": "runc", "overhead": {"podFixed": {"cpu": "10m"}}}),
    );
    admin.create(classes, &class).await.ok();
    assert_eq!(admin.create(PODS, &wants).await.ok()["spec"]["overhead"], json!({"cpu": "10m"}));
    admin.create(classes, &object("node.k8s.io/v1", "RuntimeClass", "plain", json!({"handler": "runc"}))).await.ok();
    let mut plain = pod("q");
    plain["spec"]["runtimeClassName"] = json!("plain");
    assert_eq!(admin.create(PODS, &plain).await.ok()["spec"]["overhead"], Value::Null);
    admin.delete(&format!("{classes}/fast")).await.ok();
    wants["metadata"]["name"] = json!("late");
    assert_eq!(admin.create(PODS, &wants).await.failure().0, 403);
}

#[tokio::test]
async fn accounts_and_pods_may_do_without_a_token() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for (name, mount) in [("mount", json!(true)), ("nomount", json!(false)), ("silent", Value::Null)] {
        let account = object("v1", "ServiceAccount", name, json!({"automountServiceAccountToken": mount}));
        admin.create(accounts, &account).await.ok();
        for (own, wanted) in [(Value::Null, mount != false), (json!(true), true), (json!(false), false)] {
            let mut wants = pod("p");
            (wants["metadata"]["generateName"], wants["metadata"]["name"]) = (json!("p-"), Value::Null);
            wants["spec"]["serviceAccountName"] = json!(name);
            wants["spec"]["automountServiceAccountToken"] = own.clone();
            let made = admin.create(PODS, &wants).await.ok();
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().map_or(0, Vec::len);
            assert_eq!(mounts == 1, wanted, "account {name}, pod {own}");
        }
    }
    let configuration = admin.get("/.well-known/openid-configuration").await.ok();
    assert!(configuration["issuer"].as_str().unwrap().starts_with("https://"));
    assert!(configuration["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let keys = admin.get("/openid/v1/jwks").await.ok();
    assert_eq!(keys["keys"][0]["use"], "sig");
    // Whoever runs in the cluster may ask, as the issuer's discovery needs.
    let account = rk_apiserver::User::new(
        "system:serviceaccount:default:mount",
        ["system:serviceaccounts".to_owned(), "system:serviceaccounts:default".to_owned()],
    );
    cluster.client(account).get("/openid/v1/jwks").await.ok();
}

#[tokio::test]
async fn certificate_requests_have_all_of_their_operations() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let params = rcgen::CertificateParams::new(vec![]).unwrap();
    let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let pem = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let spec = json!({"request": pem, "signerName": "example.com/e2e", "expirationSeconds": 3600,
        "usages": ["digital signature", "key encipherment", "server auth"]});
    let make = |name: &str| {
        let mut made = object("certificates.k8s.io/v1", "CertificateSigningRequest", name, json!({"spec": spec}));
        made["metadata"]["labels"] = json!({"of": "test"});
        made
    };
    let mut watch = admin.watch(&format!("{requests}?watch=1&labelSelector=of=test&resourceVersion=0")).await;
    let made = admin.create(requests, &make("a")).await.ok();
    assert_eq!(made["spec"]["username"], "admin");
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "a".to_owned()));
    let path = format!("{requests}/a");
    assert_eq!(admin.get(&path).await.ok()["spec"]["signerName"], "example.com/e2e");
    assert_eq!(
        admin.get(&format!("{requests}?labelSelector=of=test")).await.ok()["items"].as_array().unwrap().len(),
        1
    );
    let mut patched = admin.patch(&path, MERGE, &json!({"metadata": {"annotations": {"patched": "true"}}})).await.ok();
    assert_eq!(watch.brief().await.0, "MODIFIED");
    patched["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}]);
    assert_eq!(
        admin.put(&format!("{path}/approval"), &patched).await.ok()["status"]["conditions"][0]["type"],
        "Approved"
    );
    let issued = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, cluster.pki.ca_certificate());
    let seen = admin.patch(&format!("{path}/status"), MERGE, &json!({"status": {"certificate": issued}})).await.ok();
    assert_eq!(seen["status"]["certificate"], issued);
    let failed = json!([{"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}, {"type": "StatusUpdate", "status": "True", "reason": "E2E"}]);
    let mut whole = admin.get(&path).await.ok();
    whole["status"]["conditions"] = failed;
    assert_eq!(
        admin.put(&format!("{path}/status"), &whole).await.ok()["status"]["conditions"].as_array().unwrap().len(),
        2
    );
    admin.get(&format!("{path}/approval")).await.ok();
    admin.get(&format!("{path}/status")).await.ok();
    admin.delete(&path).await.ok();
    assert_eq!(admin.get(&path).await.code, 404);
    admin.create(requests, &make("b")).await.ok();
    admin.delete(&format!("{requests}?labelSelector=of=test")).await.ok();
    assert!(admin.get(&format!("{requests}?labelSelector=of=test")).await.ok()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn watches_see_the_same_events_in_the_same_order() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let start = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let writer = async {
        for round in 0..30 {
            let name = format!("m-{}", round % 5);
            if round < 5 {
                admin.create(MAPS, &config_map(&name, json!({}))).await.ok();
            } else if round % 7 == 0 {
                admin.delete(&format!("{MAPS}/{name}")).await;
            } else {
                admin.patch(&format!("{MAPS}/{name}"), MERGE, &json!({"data": {"round": round.to_string()}})).await;
            }
        }
        admin.create(MAPS, &config_map("last", json!({}))).await.ok();
    };
    let watcher = async || {
        let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={start}")).await;
        let mut seen = Vec::new();
        loop {
            let event = watch.next().await.unwrap();
            let metadata = &event["object"]["metadata"];
            seen.push((event["type"].clone(), metadata["name"].clone(), metadata["resourceVersion"].clone()));
            if metadata["name"] == "last" {
                return seen;
            }
        }
    };
    let ((), first, second, third) = tokio::join!(writer, watcher(), watcher(), watcher());
    assert!(first.len() > 20);
    assert_eq!(first, second);
    assert_eq!(second, third);
}

#[tokio::test]
async fn aggregated_discovery_comes_in_the_version_that_is_accepted() {
    let cluster = Cluster::start().await;
    for (accept, kind) in [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Some("apidiscovery.k8s.io/v2")),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            Some("apidiscovery.k8s.io/v2beta1"),
        ),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Some("apidiscovery.k8s.io/v2beta1"),
        ),
        ("application/json", None),
    ] {
        let client = cluster.admin().with("accept", accept);
        for path in ["/api", "/apis"] {
            let answer = client.get(path).await;
            let said = answer.headers["content-type"].to_str().unwrap().to_owned();
            let document = answer.ok();
            match kind {
                Some(version) => assert_eq!(
                    (&document["kind"], &document["apiVersion"]),
                    (&json!("APIGroupDiscoveryList"), &json!(version))
                ),
                None => assert!(said == "application/json" && document["kind"] != "APIGroupDiscoveryList", "{said}"),
            }
        }
    }
}

#[tokio::test]
async fn documents_and_failures_come_as_they_are_asked_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let text = async |client: Client, path: &str| {
        let answer = client.get(path).await;
        (
            answer.headers["content-type"].to_str().unwrap().to_owned(),
            String::from_utf8_lossy(&answer.body).into_owned(),
        )
    };
    let missing = format!("{MAPS}/none");
    let yaml = admin.clone().with("accept", "application/yaml");
    for (path, line) in [
        ("/api", "kind: APIVersions\n"),
        ("/apis", "kind: APIGroupList\n"),
        ("/apis/apps", "kind: APIGroup\n"),
        ("/apis/apps/v1", "groupVersion: apps/v1\n"),
        (missing.as_str(), "reason: NotFound\n"),
    ] {
        let (kind, told) = text(yaml.clone(), path).await;
        assert!(kind == "application/yaml" && told.contains(line), "{path}: {kind} {told}");
        let other = admin.clone().with("accept", "text/html").get(path).await;
        assert!(matches!(other.code.as_u16(), 404 | 406), "{path}: {}", other.code);
    }
    let indented = |text: &str| text.starts_with("{\n  \"");
    let curl = admin.clone().with("user-agent", "curl/8.0");
    assert!(indented(&text(curl, &missing).await.1));
    let asked = admin.clone().with("accept", "application/json;pretty=1");
    assert!(indented(&text(asked, "/apis").await.1));
    for (path, wanted) in
        [("/apis", false), ("/apis?pretty=T", true), ("/apis?pretty=no", false), ("/version", true), ("/", true)]
    {
        assert_eq!(indented(&text(admin.clone(), path).await.1), wanted, "{path}");
    }
}

#[tokio::test]
async fn quotas_are_changed_and_removed_and_services_change_their_kind() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = object("v1", "ResourceQuota", "q", json!({"spec": {"hard": {"cpu": "1", "memory": "500Mi"}}}));
    admin.create(quotas, &quota).await.ok();
    let mut whole = admin.get(&format!("{quotas}/q")).await.ok();
    whole["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"});
    assert_eq!(admin.put(&format!("{quotas}/q"), &whole).await.ok()["spec"]["hard"]["cpu"], "2");
    admin.delete(&format!("{quotas}/q")).await.ok();
    assert_eq!(admin.get(&format!("{quotas}/q")).await.code, 404);

    let services = "/api/v1/namespaces/default/services";
    let ports = json!([{"port": 80, "protocol": "TCP"}]);
    admin
        .create(
            services,
            &object("v1", "Service", "s", json!({"spec": {"type": "ExternalName", "externalName": "example.com"}})),
        )
        .await
        .ok();
    let path = format!("{services}/s");
    let mut seen = admin
        .patch(&path, MERGE, &json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": ports}}))
        .await
        .ok();
    assert!(!seen["spec"]["clusterIP"].as_str().unwrap_or_default().is_empty());
    seen = admin.patch(&path, MERGE, &json!({"spec": {"type": "NodePort"}})).await.ok();
    let node_port = seen["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&node_port));
    let away = json!({"spec": {"type": "ExternalName", "externalName": "example.com", "clusterIP": null, "clusterIPs": null, "ports": null}});
    seen = admin.patch(&path, MERGE, &away).await.ok();
    assert!(seen["spec"]["clusterIP"].as_str().unwrap_or_default().is_empty(), "{seen}");
    let affinity =
        json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": ports, "sessionAffinity": "ClientIP"}});
    seen = admin.patch(&path, MERGE, &affinity).await.ok();
    assert_eq!(seen["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
    let all = admin.get("/api/v1/services").await.ok();
    assert!(all["items"].as_array().unwrap().iter().any(|service| service["metadata"]["name"] == "kubernetes"));
    let status = json!({"metadata": {"annotations": {"patched": "true"}}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    seen = admin.patch(&path, MERGE, &json!({"spec": {"type": "LoadBalancer"}})).await.ok();
    assert_eq!(seen["spec"]["type"], "LoadBalancer");
    seen = admin.patch(&format!("{path}/status"), MERGE, &status).await.ok();
    assert_eq!(seen["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    seen["status"]["conditions"] = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    assert_eq!(
        admin.put(&format!("{path}/status"), &seen).await.ok()["status"]["conditions"][0]["type"],
        "StatusUpdate"
    );
    admin.delete(&path).await.ok();
}
