//! Jobs, daemons, quotas, namespaces and endpoints, as the community's suite asks of them; stand-ins play the nodes.

use crate::cluster::rest::{Rest, has, name, workload};
use crate::cluster::start;
use serde_json::{Value, json};

/// A pod of one container, labelled `app: <name>`.
pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_count_what_comes_and_goes() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "quota").await;
    let hard = json!({"pods": "5", "requests.cpu": "1", "count/replicasets.apps": "5", "configmaps": "5", "secrets": "5",
        "services": "5", "services.nodeports": "1", "replicationcontrollers": "5", "persistentvolumeclaims": "5", "requests.storage": "10Gi"});
    let quota = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec});
    // It is counted too, and comes by itself.
    rest.until("configmaps/kube-root-ca.crt", Value::is_object).await;
    rest.create("resourcequotas", &quota("all", json!({"hard": hard}))).await;
    let settled = rest
        .until("resourcequotas/all", |own| own["status"]["used"].as_object().is_some_and(|used| used.len() == 10))
        .await;
    let before =
        |key: &str| settled["status"]["used"][key].as_str().unwrap_or_default().parse::<u64>().unwrap_or_default();
    let simple = |kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "counted"}});
        for (key, value) in rest.as_object().cloned().unwrap_or_default() {
            object[key] = value;
        }
        object
    };
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    for (plural, key, object) in [
        ("configmaps", "configmaps", simple("ConfigMap", json!({}))),
        ("secrets", "secrets", simple("Secret", json!({}))),
        ("services", "services", simple("Service", json!({"spec": {"ports": [{"port": 80}]}}))),
        ("persistentvolumeclaims", "persistentvolumeclaims", simple("PersistentVolumeClaim", claim)),
        (
            "replicationcontrollers",
            "replicationcontrollers",
            workload("v1", "ReplicationController", "counted", json!({"replicas": 0}), json!({})),
        ),
        (
            "replicasets",
            "count/replicasets.apps",
            workload("apps/v1", "ReplicaSet", "counted", json!({"replicas": 0}), json!({})),
        ),
    ] {
        let used = |count: u64| {
            move |own: &Value| own["status"]["used"][key].as_str().is_some_and(|used| used.parse() == Ok(count))
        };
        rest.create(plural, &object).await;
        rest.until("resourcequotas/all", used(before(key) + 1)).await;
        rest.delete(&format!("{plural}/counted"), &Value::Null).await;
        // A claim waits for its protection to be taken away first.
        rest.until("resourcequotas/all", used(before(key))).await;
    }
    let mut one = pod("one");
    one["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "600m"}});
    rest.create("pods", &one).await;
    rest.until("resourcequotas/all", |own| {
        own["status"]["used"]["requests.cpu"] == "600m" && own["status"]["used"]["pods"] == "1"
    })
    .await;
    rest.delete("pods/one", &Value::Null).await;
    rest.until("resourcequotas/all", |own| own["status"]["used"]["requests.cpu"] == "0").await;
    rest.delete("resourcequotas/all", &Value::Null).await;

    for (name, scope) in
        [("best", "BestEffort"), ("notbest", "NotBestEffort"), ("ending", "Terminating"), ("lasting", "NotTerminating")]
    {
        rest.create("resourcequotas", &quota(name, json!({"hard": {"pods": "5"}, "scopes": [scope]}))).await;
        rest.until(&format!("resourcequotas/{name}"), |own| own["status"]["used"]["pods"] == "0").await;
    }
    let counts = async |wanted: [(&str, &str); 4]| {
        for (name, count) in wanted {
            rest.until(&format!("resourcequotas/{name}"), |own| own["status"]["used"]["pods"] == count).await;
        }
    };
    rest.create("pods", &pod("free")).await;
    counts([("best", "1"), ("notbest", "0"), ("ending", "0"), ("lasting", "1")]).await;
    one["spec"]["activeDeadlineSeconds"] = json!(3600);
    rest.create("pods", &one).await;
    counts([("best", "1"), ("notbest", "1"), ("ending", "1"), ("lasting", "1")]).await;
    rest.delete("pods/free", &Value::Null).await;
    rest.delete("pods/one", &Value::Null).await;
    counts([("best", "0"), ("notbest", "0"), ("ending", "0"), ("lasting", "0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_end_by_their_policies() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "jobs").await;
    let job = |name: &str, code: &str, spec: Value| {
        let mut job = workload("batch/v1", "Job", name, spec, json!({"restartPolicy": "Never"}));
        job["spec"]["template"]["metadata"]["annotations"] = json!({"test/exit": code});
        job
    };
    let on_exit =
        |action: &str| json!({"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]});
    rest.create("jobs", &job("early", "42", json!({"backoffLimit": 6, "podFailurePolicy": on_exit("FailJob")}))).await;
    let indexed = |more: Value| {
        let mut spec =
            json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        spec
    };
    rest.create("jobs", &job("index", "42", indexed(json!({"podFailurePolicy": on_exit("FailIndex")})))).await;
    // Index 0 fails and index 1 succeeds, each run once.
    rest.create("jobs", &job("some", "0=1,1=0", indexed(json!({"backoffLimitPerIndex": 0})))).await;
    rest.create(
        "jobs",
        &job("too-many", "1", indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "completions": 4}))),
    )
    .await;
    let success = |rule: Value| {
        indexed(
            json!({"backoffLimitPerIndex": null, "completions": 3, "parallelism": 3, "successPolicy": {"rules": [rule]}}),
        )
    };
    rest.create("jobs", &job("all-indexes", "0", success(json!({"succeededIndexes": "0-2"})))).await;
    rest.create("jobs", &job("one-index", "0=0", success(json!({"succeededIndexes": "0"})))).await;
    rest.create("jobs", &job("one-of-all", "1=0", success(json!({"succeededCount": 1})))).await;
    let reason = |job: &Value, condition: &str| {
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .find(|own| own["type"] == condition)
            .map(|own| own["reason"].as_str().unwrap_or_default().to_owned())
    };
    let seen = rest.until("jobs/early", |job| has(job, "Failed")).await;
    assert_eq!(reason(&seen, "Failed").as_deref(), Some("PodFailurePolicy"));
    assert_eq!(seen["status"]["failed"], 1);
    let seen = rest.until("jobs/index", |job| has(job, "Failed")).await;
    assert_eq!((&seen["status"]["failedIndexes"], &seen["status"]["failed"]), (&json!("0,1"), &json!(2)));
    let seen = rest.until("jobs/some", |job| has(job, "Failed")).await;
    assert_eq!((&seen["status"]["completedIndexes"], &seen["status"]["failedIndexes"]), (&json!("1"), &json!("0")));
    let seen = rest.until("jobs/too-many", |job| has(job, "Failed")).await;
    assert_eq!(reason(&seen, "Failed").as_deref(), Some("MaxFailedIndexesExceeded"));
    for name in ["all-indexes", "one-index", "one-of-all"] {
        let seen = rest.until(&format!("jobs/{name}"), |job| has(job, "Complete")).await;
        assert_eq!(reason(&seen, "SuccessCriteriaMet").as_deref(), Some("SuccessPolicy"), "{name}");
        assert!(seen["status"]["failed"].is_null(), "{name}: what ran beside is not counted as failed");
    }
    // Indexes are told to pods by label, annotation, name and variable.
    rest.create("jobs", &job("told", "0", json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"})))
        .await;
    rest.until("jobs/told", |job| has(job, "Complete") && job["status"]["completedIndexes"] == "0,1").await;
    let pods = rest.items("pods?labelSelector=app=told").await;
    for pod in &pods {
        let index =
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap_or_default();
        assert_eq!(pod["spec"]["hostname"], format!("told-{index}"));
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], index);
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    }
    // Disruptions do not count where the policy says so.
    let ignore =
        json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    rest.create("jobs", &job("ignore", "none", json!({"backoffLimit": 0, "podFailurePolicy": ignore}))).await;
    let first =
        name(
            &rest.until("pods?labelSelector=app=ignore", |list| list["items"][0]["status"]["phase"] == "Running").await
                ["items"][0],
        )
        .to_owned();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": first}});
    rest.create(&format!("pods/{first}/eviction"), &eviction).await;
    rest.until("pods?labelSelector=app=ignore", |list| {
        list["items"]
            .as_array()
            .is_some_and(|pods| pods.iter().any(|pod| name(pod) != first && pod["status"]["phase"] == "Running"))
    })
    .await;
    assert!(!has(&rest.get("jobs/ignore").await, "Failed"));
    // A suspended one waits.
    rest.create("jobs", &job("later", "0", json!({"suspend": true}))).await;
    rest.until("jobs/later", |job| has(job, "Suspended")).await;
    let seen = rest
        .patch("jobs/later", &json!({"metadata": {"labels": {"patched": "yes"}}, "spec": {"suspend": false}}))
        .await;
    assert_eq!(seen["metadata"]["labels"]["patched"], "yes");
    rest.until("jobs/later", |job| has(job, "Complete")).await;
    rest.delete("jobs?labelSelector=patched=yes", &Value::Null).await;
    rest.until("jobs/later", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_return_where_they_fail_and_follow_their_nodes() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "daemons").await;
    rest.create("daemonsets", &workload("apps/v1", "DaemonSet", "agent", json!({}), json!({}))).await;
    rest.until("daemonsets/agent", |set| set["status"]["numberReady"] == 2).await;
    let pods = rest.items("pods?labelSelector=app=agent").await;
    rest.delete(&format!("pods/{}", name(&pods[0])), &Value::Null).await;
    rest.patch(&format!("pods/{}/status", name(&pods[1])), &json!({"status": {"phase": "Failed"}})).await;
    let gone = |list: &Value, pod: &Value| {
        !list["items"].as_array().is_some_and(|all| all.iter().any(|own| name(own) == name(pod)))
    };
    rest.until("pods?labelSelector=app=agent", |list| gone(list, &pods[0]) && gone(list, &pods[1])).await;
    // The status may still be that of before.
    rest.until("pods?labelSelector=app=agent", |list| {
        list["items"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|own| has(own, "Ready")))
    })
    .await;
    rest.until("daemonsets/agent", |set| set["status"]["numberReady"] == 2).await;
    // Only where the label is.
    rest.create(
        "daemonsets",
        &workload("apps/v1", "DaemonSet", "blue", json!({}), json!({"nodeSelector": {"color": "blue"}})),
    )
    .await;
    rest.until("daemonsets/blue", |set| {
        set["status"]["observedGeneration"] == 1 && set["status"]["desiredNumberScheduled"] == 0
    })
    .await;
    rest.patch("/api/v1/nodes/n1", &json!({"metadata": {"labels": {"color": "blue"}}})).await;
    rest.until("daemonsets/blue", |set| set["status"]["numberReady"] == 1).await;
    rest.patch("/api/v1/nodes/n1", &json!({"metadata": {"labels": {"color": "green"}}})).await;
    let life = "node.alpha.kubernetes.io/ttl";
    rest.patch("/api/v1/nodes/n1", &json!({"metadata": {"annotations": {(life): "7"}}})).await;
    rest.until("/api/v1/nodes/n1", |node| node["metadata"]["annotations"][life] == "0").await;
    rest.count("pods?labelSelector=app=blue", 0).await;
    // A rollback brings the old template back without touching pods that have it still.
    let before = rest.items("pods?labelSelector=app=agent").await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    rest.patch("/api/v1/nodes/n1", &json!({"spec": {"unschedulable": true}})).await;
    rest.patch("daemonsets/agent", &json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})).await;
    rest.patch("daemonsets/agent", &image("example.com/bad")).await;
    rest.until("controllerrevisions?labelSelector=app=agent", |list| {
        list["items"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    rest.patch("daemonsets/agent", &image("example.com/i:1")).await;
    rest.patch("daemonsets/agent", &json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}})).await;
    rest.until("daemonsets/agent", |set| {
        set["status"]["updatedNumberScheduled"] == 2
            && set["status"]["observedGeneration"] == set["metadata"]["generation"]
    })
    .await;
    let after = rest.items("pods?labelSelector=app=agent").await;
    assert_eq!(before.iter().map(name).collect::<Vec<_>>(), after.iter().map(name).collect::<Vec<_>>());
    let revisions = rest.items("controllerrevisions?labelSelector=app=agent").await;
    assert!(revisions.iter().all(|own| own["metadata"]["labels"]["controller.kubernetes.io/hash"].is_null()));
    // One at a time comes beside an old one, and takes its place.
    let surge = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    rest.patch("daemonsets/agent", &json!({"spec": {"updateStrategy": surge}})).await;
    rest.patch("daemonsets/agent", &image("example.com/i:2")).await;
    let is_new = |pod: &Value| pod["spec"]["containers"][0]["image"] == "example.com/i:2";
    rest.until("pods?labelSelector=app=agent", |list| {
        list["items"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(is_new))
    })
    .await;
    rest.until("daemonsets/agent", |set| set["status"]["numberAvailable"] == 2).await;
    rest.delete("daemonsets/agent", &Value::Null).await;
    rest.count("pods?labelSelector=app=agent", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_go_on_when_their_template_has_a_second_revision() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    let rest = Rest::new(plane.client().await, "doubles").await;
    rest.create("daemonsets", &workload("apps/v1", "DaemonSet", "agent", json!({}), json!({}))).await;
    rest.until("daemonsets/agent", |set| set["status"]["numberReady"] == 2).await;
    let who = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    let before = rest.items("pods?labelSelector=app=agent").await;
    let revisions = "controllerrevisions?labelSelector=app=agent";
    let first = rest.count(revisions, 1).await.remove(0);
    // Nobody's, and without a hash; the newest of all is kept.
    for (double, number, kept) in [("newer", 7, "newer"), ("older", 3, "newer")] {
        let metadata = json!({"name": double, "labels": {"app": "agent"}});
        let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata,
            "data": first["data"], "revision": number});
        rest.create("controllerrevisions", &revision).await;
        let alone = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == 1 && name(&all[0]) == kept);
        let list = rest.until(revisions, alone).await;
        assert_eq!(list["items"][0]["metadata"]["labels"]["controller-revision-hash"], kept);
        let bearers = format!("pods?labelSelector=controller-revision-hash={kept}");
        assert_eq!(who(&rest.items(&bearers).await), who(&before), "{double}");
    }
    rest.until("daemonsets/agent", |set| set["status"]["updatedNumberScheduled"] == 2).await;
    assert_eq!(who(&rest.items("pods?labelSelector=app=agent").await), who(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_somebody_makes_for_a_daemon_set_stays_beside_its_own() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "revisions").await;
    let agent = rest.create("daemonsets", &workload("apps/v1", "DaemonSet", "agent", json!({}), json!({}))).await;
    rest.until("daemonsets/agent", |set| set["status"]["numberReady"] == 1).await;
    // Until this one is ready, too, nothing is left to be done for the first.
    rest.create("daemonsets", &workload("apps/v1", "DaemonSet", "other", json!({}), json!({}))).await;
    rest.until("daemonsets/other", |set| set["status"]["numberReady"] == 1).await;
    let revisions = "controllerrevisions?labelSelector=app=agent";
    let first = rest.count(revisions, 1).await.remove(0);
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": agent["metadata"]["uid"],
        "controller": true});
    let labels = json!({"app": "agent", "controller-revision-hash": "second"});
    let metadata = json!({"name": "agent-second", "labels": labels, "ownerReferences": [owner]});
    let second = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata,
        "data": first["data"], "revision": 2});
    rest.create("controllerrevisions", &second).await;
    // What was asked for later is done.
    rest.patch("daemonsets/other", &json!({"spec": {"minReadySeconds": 1}})).await;
    rest.until("daemonsets/other", |set| set["status"]["observedGeneration"] == 2).await;
    assert_eq!(rest.items(revisions).await.len(), 2);
    rest.delete(&format!("controllerrevisions/{}", name(&first)), &Value::Null).await;
    assert_eq!(name(&rest.count(revisions, 1).await[0]), "agent-second");
    rest.patch("daemonsets/agent", &json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}))
        .await;
    let mut numbers: Vec<_> =
        rest.count(revisions, 2).await.iter().filter_map(|own| own["revision"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_loses_its_pods_before_what_they_need() {
    let (plane, _) = start(&[]).await;
    let rest = Rest::new(plane.client().await, "ordered").await;
    let mut held = pod("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    rest.create("pods", &held).await;
    rest.create("configmaps", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "needed"}})).await;
    rest.delete("/api/v1/namespaces/ordered", &Value::Null).await;
    rest.until("/api/v1/namespaces/ordered", |own| has(own, "NamespaceFinalizersRemaining")).await;
    assert!(rest.get("configmaps/needed").await["metadata"]["deletionTimestamp"].is_null());
    rest.patch("pods/held", &json!({"metadata": {"finalizers": null}})).await;
    rest.until("/api/v1/namespaces/ordered", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_endpoints_of_the_pods_that_they_choose() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "endpoints").await;
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}})
    };
    for name in ["web", "none"] {
        rest.create("services", &service(name)).await;
        let slices = rest.count(&format!("endpointslices?labelSelector=kubernetes.io/service-name={name}"), 1).await;
        assert_eq!(slices[0]["endpoints"].as_array().map_or(0, Vec::len), 0);
        rest.until(&format!("endpoints/{name}"), |own| own.is_object() && own["subsets"].is_null()).await;
    }
    // A condition without its time is stored as it came, and keeps nobody from seeing the Service.
    let condition = json!({"type": "Seen", "status": "True", "reason": "E2E", "message": ""});
    let told = rest.patch("services/web/status", &json!({"status": {"conditions": [condition]}})).await;
    assert!(told["status"]["conditions"][0]["lastTransitionTime"].is_null());
    rest.create("pods", &pod("web")).await;
    let ready = rest
        .until("endpoints/web", |own| own["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 1))
        .await;
    assert_eq!(ready["subsets"][0]["addresses"][0]["targetRef"]["name"], "web");
    let slices = "endpointslices?labelSelector=kubernetes.io/service-name=web";
    rest.until(slices, |list| list["items"][0]["endpoints"][0]["conditions"]["ready"] == true).await;
    for name in ["web", "none"] {
        rest.delete(&format!("services/{name}"), &Value::Null).await;
        rest.count(&format!("endpointslices?labelSelector=kubernetes.io/service-name={name}"), 0).await;
        rest.until(&format!("endpoints/{name}"), Value::is_null).await;
    }
    // Endpoints that somebody else keeps are mirrored.
    let mut own = service("custom");
    own["spec"]["selector"] = Value::Null;
    rest.create("services", &own).await;
    let endpoints = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "custom"},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]})
    };
    rest.create("endpoints", &endpoints("10.1.2.3")).await;
    let mirrored = "endpointslices?labelSelector=kubernetes.io/service-name=custom";
    let first = rest.until(mirrored, |list| list["items"][0]["endpoints"][0]["addresses"][0] == "10.1.2.3").await;
    rest.patch("endpoints/custom", &endpoints("10.2.3.4")).await;
    let changed = rest.until(mirrored, |list| list["items"][0]["endpoints"][0]["addresses"][0] == "10.2.3.4").await;
    assert_eq!(changed["items"][0]["metadata"]["uid"], first["items"][0]["metadata"]["uid"], "changed in place");
    rest.patch("endpoints/custom", &json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})).await;
    let told = rest.until(mirrored, |list| list["items"][0]["metadata"]["labels"]["team"] == "a").await;
    assert_eq!(told["items"][0]["metadata"]["annotations"], json!({"note": "b"}));
    let slice = &told["items"][0]["metadata"];
    rest.delete(&format!("endpointslices/{}", slice["name"].as_str().expect("a name")), &Value::Null).await;
    let again = |list: &Value| {
        list["items"].as_array().is_some_and(|all| all.len() == 1 && all[0]["metadata"]["uid"] != slice["uid"])
    };
    rest.until(mirrored, again).await;
    rest.delete("endpoints/custom", &Value::Null).await;
    rest.count(mirrored, 0).await;
}
