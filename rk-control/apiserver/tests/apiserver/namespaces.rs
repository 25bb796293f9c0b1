//! Namespaces, Services and what admission adds or refuses.

mod services;

use rk_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, PODS, config_map, pod, until};

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn a_new_cluster_has_its_namespaces_services_and_policy() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = admin.get(&format!("/api/v1/namespaces/{name}")).await.ok();
        assert_eq!(
            (&namespace["status"]["phase"], &namespace["spec"]["finalizers"]),
            (&json!("Active"), &json!(["kubernetes"]))
        );
    }
    assert_eq!(admin.get(&format!("{SERVICES}/kubernetes")).await.ok()["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(
        admin.get("/api/v1/namespaces/kube-system/services/kube-dns").await.ok()["spec"]["clusterIP"],
        "10.96.0.10"
    );
    let endpoints = admin.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.10");
    let slice = admin.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.ok();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.10"]));
    admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin").await.ok();
    admin.get("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical").await.ok();
    until("readiness", async || admin.get("/readyz").await.body == "ok").await;
}

#[tokio::test]
async fn a_namespace_is_labelled_with_its_name_whoever_made_that_up() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for metadata in [json!({"name": "named"}), json!({"generateName": "made-up-"})] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let made = admin.create("/api/v1/namespaces", &namespace).await.ok();
        assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], made["metadata"]["name"]);
        assert_eq!((&made["status"]["phase"], &made["spec"]["finalizers"]), (&json!("Active"), &json!(["kubernetes"])));
    }
}

#[tokio::test]
async fn figures_tell_of_deprecated_apis_and_of_what_watches_got() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.get("/api/v1/namespaces/default/endpoints").await.ok();
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "a".to_owned()));
    let figures = admin.get("/metrics").await.body;
    let figures = String::from_utf8_lossy(&figures);
    for line in [
        "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
        "apiserver_watch_events_total{group=\"\",resource=\"configmaps\",version=\"v1\"} 1",
        "apiserver_watch_events_sizes_count{group=\"\",resource=\"configmaps\",version=\"v1\"} 1",
        "apiserver_init_events_total{group=\"\",resource=\"configmaps\"} 1",
    ] {
        assert!(figures.lines().any(|own| own == line), "{line}\n{figures}");
    }
    for counted in [
        "apiserver_request_body_size_bytes_count{group=\"\",verb=\"create\",resource=\"configmaps\"} ",
        "apiserver_request_filter_duration_seconds_count{filter=\"authorization\"} ",
        "apiserver_request_filter_duration_seconds_count{filter=\"impersonation\"} ",
        "apiserver_request_filter_duration_seconds_count{filter=\"priorityandfairness\"} ",
        "etcd_requests_total{group=\"\",operation=\"create\",resource=\"configmaps\"} ",
    ] {
        let told = figures.lines().find_map(|own| own.strip_prefix(counted));
        assert!(told.is_some_and(|told| told != "0"), "{counted}\n{figures}");
    }
    let pods = admin.get("/metrics/resources").await;
    assert_eq!(pods.code, 200);
    assert!(String::from_utf8_lossy(&pods.body).contains("# TYPE kube_pod_resource_request gauge"));
}

#[tokio::test]
async fn a_new_cluster_has_its_flow_schemas_and_they_tell_where_they_lead() {
    const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let shows = async |schema: &str, reason: &str| {
        until(&format!("{schema} to be {reason}"), async || {
            let answer = admin.get(&format!("{FLOW}/flowschemas/{schema}")).await;
            let seen: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            seen["status"]["conditions"][0]["type"] == "Dangling" && seen["status"]["conditions"][0]["reason"] == reason
        })
        .await;
    };
    shows("global-default", "Found").await;
    let levels = admin.get(&format!("{FLOW}/prioritylevelconfigurations")).await.ok();
    assert_eq!(levels["items"].as_array().map(Vec::len), Some(8));
    let version = "flowcontrol.apiserver.k8s.io/v1";
    let own = json!({"apiVersion": version, "kind": "FlowSchema", "metadata": {"name": "own"},
        "spec": {"priorityLevelConfiguration": {"name": "own"}, "matchingPrecedence": 1500}});
    admin.create(&format!("{FLOW}/flowschemas"), &own).await.ok();
    shows("own", "NotFound").await;
    let level = json!({"apiVersion": version, "kind": "PriorityLevelConfiguration", "metadata": {"name": "own"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    admin.create(&format!("{FLOW}/prioritylevelconfigurations"), &level).await.ok();
    shows("own", "Found").await;
    // What the system has is made anew.
    admin.delete(&format!("{FLOW}/flowschemas/catch-all")).await;
    shows("catch-all", "Found").await;
}

#[tokio::test]
async fn answers_tell_which_flow_schema_a_request_matched() {
    const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = "flowcontrol.apiserver.k8s.io/v1";
    let level = json!({"apiVersion": version, "kind": "PriorityLevelConfiguration", "metadata": {"name": "own"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}});
    let level = admin.create(&format!("{FLOW}/prioritylevelconfigurations"), &level).await.ok();
    let schema = json!({"apiVersion": version, "kind": "FlowSchema", "metadata": {"name": "own"},
        "spec": {"priorityLevelConfiguration": {"name": "own"}, "matchingPrecedence": 1000, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let schema = admin.create(&format!("{FLOW}/flowschemas"), &schema).await.ok();
    let noxu = cluster.client(User::new("noxu", []));
    let told = async |path: &str| {
        let headers = noxu.get(path).await.headers;
        let uid = |kind: &str| Some(json!(headers.get(format!("x-kubernetes-pf-{kind}-uid"))?.to_str().ok()?));
        (uid("flowschema"), uid("prioritylevel"))
    };
    let own = (Some(schema["metadata"]["uid"].clone()), Some(level["metadata"]["uid"].clone()));
    until("the schema to be matched", async || told("/version").await == own).await;
    // Who is refused hears it, too.
    assert_eq!(noxu.get("/api/v1/secrets").await.failure().0, 403);
    let (other, _) = told("/api/v1/secrets").await;
    assert!(other.is_some() && other != own.0, "{other:?}");
    let figures = admin.get("/metrics").await.body;
    let seats = "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"own\"} 3";
    let figures = String::from_utf8_lossy(&figures).into_owned();
    assert!(figures.lines().any(|line| line == seats));
    let begun = "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"own\",priority_level=\"own\"} ";
    let begun = figures.lines().find_map(|line| line.strip_prefix(begun)).expect("what was counted of it").to_owned();
    assert_ne!(begun, "0");
    // Operators look into it by the pages that upstream has for that, as any other path for whoever may.
    let page = "/debug/api_priority_and_fairness/dump_priority_levels";
    assert_eq!(noxu.get(&format!("{page}/more")).await.failure().0, 403);
    let levels = admin.get(page).await;
    let levels = String::from_utf8_lossy(&levels.body).into_owned();
    let row = levels.lines().find(|line| line.starts_with("own,")).unwrap_or_else(|| panic!("{levels}"));
    let values: Vec<&str> = row.split(',').map(str::trim).collect();
    assert_eq!(values[..6], ["own", "0", "true", "false", "0", "0"], "{row}");
    assert_eq!(admin.get("/debug/api_priority_and_fairness/dump_requests").await.code, 404);
}

#[tokio::test]
async fn starting_again_changes_nothing() {
    let cluster = Cluster::start().await;
    // The loops have said what they have to say.
    until("all FlowSchemas to tell where they lead", async || {
        let list = cluster.admin().get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas").await.ok();
        let told = |own: &Value| own["status"]["conditions"][0]["reason"] == "Found";
        list["items"].as_array().is_some_and(|all| all.len() == 13 && all.iter().all(told))
    })
    .await;
    let tracked = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    until("the day since which tokens are tracked", async || cluster.admin().get(tracked).await.code == 200).await;
    let before = cluster.store.revision().await.unwrap();
    cluster.server.bootstrap().await.unwrap();
    assert_eq!(cluster.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn a_terminating_namespace_takes_nothing_new_and_ends_with_its_finalizer() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    admin.create("/api/v1/namespaces", &namespace).await.ok();
    let dying = admin.delete("/api/v1/namespaces/n").await.ok();
    assert_eq!(dying["status"]["phase"], "Terminating");
    let (code, message) = admin.create("/api/v1/namespaces/n/configmaps", &config_map("a", json!({}))).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("because it is being terminated"), "{message}");
    let mut last = admin.get("/api/v1/namespaces/n").await.ok();
    last["spec"]["finalizers"] = json!([]);
    admin.put("/api/v1/namespaces/n/finalize", &last).await.ok();
    assert_eq!(admin.get("/api/v1/namespaces/n").await.code, 404);
    assert_eq!(admin.delete("/api/v1/namespaces/kube-system").await.failure().0, 403);
    let (code, message) =
        admin.create("/api/v1/namespaces/none/configmaps", &config_map("a", json!({}))).await.failure();
    assert_eq!((code, message.as_str()), (404, "namespaces \"none\" not found"));
}

#[tokio::test]
async fn a_pod_gets_its_token_priority_and_tolerations() {
    let cluster = Cluster::start().await;
    let made = cluster.admin().create(PODS, &pod("p")).await.ok();
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"));
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let mut orphan = pod("q");
    orphan["spec"]["serviceAccountName"] = json!("nobody");
    let (code, message) = cluster.admin().create(PODS, &orphan).await.failure();
    assert_eq!(code, 403);
    assert!(
        message.ends_with("error looking up service account default/nobody: serviceaccount \"nobody\" not found"),
        "{message}"
    );
}

#[tokio::test]
async fn pod_security_is_enforced_by_label() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}}});
    admin.patch("/api/v1/namespaces/default", "application/merge-patch+json", &labels).await.ok();
    let plain = admin.create(PODS, &pod("plain")).await;
    assert!(plain.headers["warning"].to_str().unwrap().contains("would violate PodSecurity"));
    plain.ok();
    let mut host = pod("host");
    host["spec"]["hostNetwork"] = json!(true);
    let (code, message) = admin.create(PODS, &host).await.failure();
    assert_eq!(code, 403);
    assert!(
        message.contains("violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"),
        "{message}"
    );
}

#[tokio::test]
async fn limits_fill_in_and_refuse() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}},
    ]}});
    admin.create("/api/v1/namespaces/default/limitranges", &range).await.ok();
    let made = admin.create(PODS, &pod("p")).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let mut big = pod("big");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let (code, message) = admin.create(PODS, &big).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("maximum cpu usage per Container is 1, but limit is 2"), "{message}");
}

#[tokio::test]
async fn an_eviction_waits_for_the_budget() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut p = pod("p");
    p["metadata"]["labels"] = json!({"app": "a"});
    p["spec"]["nodeName"] = json!("n");
    admin.create(PODS, &p).await.ok();
    let merge = "application/merge-patch+json";
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin.patch(&format!("{PODS}/p/status"), merge, &running).await.ok();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    admin.create(budgets, &budget).await.ok();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{PODS}/p/eviction");
    assert_eq!(admin.create(&path, &eviction).await.failure().0, 429);
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1}});
    admin.patch(&format!("{budgets}/b/status"), merge, &status).await.ok();
    let version = |of: &Value| of["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let before = admin.get(&format!("{PODS}/p")).await.ok();
    let on_condition = |wanted: &str| {
        let mut eviction = eviction.clone();
        eviction["deleteOptions"] = json!({"preconditions": {"resourceVersion": wanted}});
        eviction
    };
    // What is refused or only tried leaves the pod as it was.
    assert_eq!(admin.create(&path, &on_condition("1")).await.failure().0, 409);
    admin.create(&format!("{path}?dryRun=All"), &eviction).await.ok();
    assert_eq!(version(&admin.get(&format!("{PODS}/p")).await.ok()), version(&before));
    admin.patch(&format!("{budgets}/b/status"), merge, &json!({"status": {"disruptionsAllowed": 1}})).await.ok();
    admin.create(&path, &on_condition(&version(&before))).await.ok();
    let evicted = admin.get(&format!("{PODS}/p")).await.ok();
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    let types: Vec<&Value> = conditions.iter().map(|condition| &condition["type"]).collect();
    assert_eq!(types, ["Ready", "DisruptionTarget"]);
    assert_eq!((&conditions[1]["status"], &conditions[1]["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
}
