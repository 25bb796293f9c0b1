//! What the plugins of admission add to objects, refuse and remark.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster, PODS, named, pod};

const MERGE: &str = "application/merge-patch+json";
const NAMESPACES: &str = "/api/v1/namespaces";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The warnings of an answer, without their frame.
fn warnings(answer: &Answer) -> Vec<String> {
    let headers = answer.headers.get_all("warning").iter();
    headers.map(|value| value.to_str().unwrap().trim_start_matches("299 - ").replace('\\', "")).collect()
}

#[tokio::test]
async fn namespaces_are_refused_wrong_levels_and_told_of_pods_that_would_not_come_in() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let enforce = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let mut wrong = enforce("strict");
    wrong["apiVersion"] = json!("v1");
    wrong["kind"] = json!("Namespace");
    wrong["metadata"]["name"] = json!("n");
    let (code, message) = admin.create(NAMESPACES, &wrong).await.failure();
    let told = "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": \
                must be one of privileged, baseline, restricted";
    assert_eq!((code, message), (422, format!("Namespace \"n\" is invalid: {told}")));

    for name in ["b", "a"] {
        let mut host = pod(name);
        host["spec"]["hostNetwork"] = json!(true);
        admin.create(PODS, &host).await.ok();
    }
    let path = format!("{NAMESPACES}/default");
    assert_eq!(admin.patch(&path, MERGE, &enforce("strict")).await.failure().0, 422);
    let answer = admin.patch(&path, MERGE, &enforce("baseline")).await;
    answer.ok();
    assert_eq!(
        warnings(&answer),
        [
            "\"existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"\"",
            "\"a (and 1 other pod): host namespaces\"",
        ]
    );
    // What is there already may change otherwise, and a level that asks for less is no news.
    admin.patch(&format!("{PODS}/a"), MERGE, &json!({"metadata": {"labels": {"app": "a"}}})).await.ok();
    let answer = admin.patch(&path, MERGE, &enforce("privileged")).await;
    answer.ok();
    assert!(warnings(&answer).is_empty());
}

#[tokio::test]
async fn pods_are_judged_by_the_release_that_their_namespace_names() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let enforce = |version: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": version}}});
    let probing = |name: &str| {
        let mut probing = pod(name);
        probing["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"host": "192.0.2.1", "port": 80}});
        probing
    };
    let path = format!("{NAMESPACES}/default");
    admin.patch(&path, MERGE, &enforce("v1.33")).await.ok();
    admin.create(PODS, &probing("old")).await.ok();
    admin.patch(&path, MERGE, &enforce("v1.34")).await.ok();
    let (code, message) = admin.create(PODS, &probing("new")).await.failure();
    assert_eq!(code, 403);
    assert!(
        message.ends_with(
            "violates PodSecurity \"baseline:v1.34\": probe or lifecycle host (container \"c\" uses probe or lifecycle host \"192.0.2.1\")"
        ),
        "{message}"
    );
    let told = String::from_utf8(admin.get("/metrics").await.body.to_vec()).unwrap();
    let line = "pod_security_evaluations_total{decision=\"deny\",mode=\"enforce\",policy_level=\"baseline\",\
                policy_version=\"v1.34\",request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1";
    assert!(told.lines().any(|own| own == line), "{told}");
}

#[tokio::test]
async fn pods_carry_the_zone_and_region_of_their_node() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    const REGION: &str = "topology.kubernetes.io/region";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {ZONE: "z1", REGION: "r1", "topology.kubernetes.io/rack": "7"}}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let binding = |to: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "labels": labels},
            "target": {"apiVersion": "v1", "kind": "Node", "name": to}})
    };
    let mut scheduled = pod("p");
    scheduled["metadata"]["labels"] = json!({"app": "a", ZONE: "elsewhere"});
    admin.create(PODS, &scheduled).await.ok();
    admin.create(&format!("{PODS}/p/binding"), &binding("n", json!({"of": "scheduler"}))).await.ok();
    assert_eq!(
        admin.get(&format!("{PODS}/p")).await.ok()["metadata"]["labels"],
        json!({"app": "a", "of": "scheduler", ZONE: "z1", REGION: "r1"})
    );

    let mut placed = pod("q");
    placed["spec"]["nodeName"] = json!("n");
    let labels = json!({ZONE: "z1", REGION: "r1"});
    assert_eq!(admin.create(PODS, &placed).await.ok()["metadata"]["labels"], labels);
    let mut lost = pod("r");
    lost["spec"]["nodeName"] = json!("nowhere");
    assert_eq!(admin.create(PODS, &lost).await.ok()["metadata"]["labels"], Value::Null);
}

fn object(version: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = more;
    object["apiVersion"] = json!(version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object
}

fn claim(name: &str, class: Option<&str>) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    if let Some(class) = class {
        spec["storageClassName"] = json!(class);
    }
    object("v1", "PersistentVolumeClaim", name, json!({ "spec": spec }))
}

#[tokio::test]
async fn what_names_no_class_gets_the_default_one() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let marked = |key: &str| json!({"annotations": {key: "true"}});
    assert_eq!(admin.create(CLAIMS, &claim("early", None)).await.ok()["spec"]["storageClassName"], Value::Null);
    let plain = json!({"provisioner": "example.com/x"});
    admin.create(CLASSES, &object("storage.k8s.io/v1", "StorageClass", "other", plain)).await.ok();
    let default =
        json!({"provisioner": "example.com/x", "metadata": marked("storageclass.kubernetes.io/is-default-class")});
    admin.create(CLASSES, &object("storage.k8s.io/v1", "StorageClass", "standard", default)).await.ok();
    for (name, asked, got) in [("a", None, "standard"), ("b", Some("other"), "other"), ("c", Some(""), "")] {
        assert_eq!(admin.create(CLAIMS, &claim(name, asked)).await.ok()["spec"]["storageClassName"], got);
    }

    let class = json!({"spec": {"controller": "example.com/c"}, "metadata": marked("ingressclass.kubernetes.io/is-default-class")});
    let classes = "/apis/networking.k8s.io/v1/ingressclasses";
    admin.create(classes, &object("networking.k8s.io/v1", "IngressClass", "web", class)).await.ok();
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    for (name, metadata, got) in [
        ("a", json!({}), json!("web")),
        ("b", json!({"annotations": {"kubernetes.io/ingress.class": "old"}}), Value::Null),
    ] {
        let more = json!({"metadata": metadata, "spec": {"defaultBackend": backend}});
        let made = admin.create(ingresses, &object("networking.k8s.io/v1", "Ingress", name, more)).await.ok();
        assert_eq!(made["spec"]["ingressClassName"], got, "{name}");
    }
}

#[tokio::test]
async fn storage_outlives_its_use() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec =
        json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
    let volume = object("v1", "PersistentVolume", "v", spec);
    let more = json!({"driverName": "d.example.com", "parameters": {"a": "b"}});
    let attributes = object("storage.k8s.io/v1", "VolumeAttributesClass", "g", more);
    for (path, made, finalizer) in [
        (CLAIMS, claim("c", None), "kubernetes.io/pvc-protection"),
        ("/api/v1/persistentvolumes", volume, "kubernetes.io/pv-protection"),
        ("/apis/storage.k8s.io/v1/volumeattributesclasses", attributes, "kubernetes.io/vac-protection"),
    ] {
        assert_eq!(admin.create(path, &made).await.ok()["metadata"]["finalizers"], json!([finalizer]));
        let own = format!("{path}/{}", made["metadata"]["name"].as_str().unwrap());
        admin.delete(&own).await.ok();
        assert!(admin.get(&own).await.ok()["metadata"]["deletionTimestamp"].is_string(), "{own}");
    }
}

/// Whether somebody owns a path of `fieldsV1`.
fn is_owned(object: &Value, path: &[&str]) -> bool {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().any(|entry| path.iter().try_fold(&entry["fieldsV1"], |at, name| at.get(*name)).is_some())
}

#[tokio::test]
async fn what_the_server_adds_to_an_object_belongs_to_nobody() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let marked = json!({"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}});
    let default = json!({"provisioner": "example.com/x", "metadata": marked});
    admin.create(CLASSES, &object("storage.k8s.io/v1", "StorageClass", "standard", default)).await.ok();
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let service = object("v1", "Service", "s", json!({"spec": {"ports": [{"port": 80}]}}));
    let job = object("batch/v1", "Job", "j", json!({"spec": {"template": template}}));
    for (path, sent, own, added) in [
        (CLAIMS, claim("c", None), "f:resources", "storageClassName"),
        ("/api/v1/namespaces/default/services", service, "f:type", "clusterIP"),
        ("/apis/batch/v1/namespaces/default/jobs", job, "f:template", "selector"),
        (PODS, pod("p"), "f:containers", "serviceAccountName"),
    ] {
        let made = admin.create(path, &sent).await.ok();
        assert!(made["spec"].get(added).is_some() && is_owned(&made, &["f:spec", own]), "{made}");
        assert!(!is_owned(&made, &["f:spec", &format!("f:{added}")]), "{made}");
    }
    let secret = object("v1", "Secret", "x", json!({"stringData": {"a": "b"}}));
    let made = admin.create("/api/v1/namespaces/default/secrets", &secret).await.ok();
    assert!(is_owned(&made, &["f:data", "f:a"]) && !is_owned(&made, &["f:stringData"]), "{made}");

    // As kubectl does when it applies by the server what it made otherwise: all that the one owned is the other's, and then applied.
    let path = format!("{CLAIMS}/c");
    let mut entry = admin.get(&path).await.ok()["metadata"]["managedFields"][0].clone();
    entry["operation"] = json!("Apply");
    entry["manager"] = json!("kubectl");
    let handed_over = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]);
    admin.patch(&path, "application/json-patch+json", &handed_over).await.ok();
    let by = format!("{path}?fieldManager=kubectl");
    let applied = admin.patch(&by, "application/apply-patch+yaml", &claim("c", None)).await.ok();
    assert_eq!(applied["spec"]["storageClassName"], "standard");
}

#[tokio::test]
async fn bound_claims_grow_where_their_class_allows_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (name, grows) in [("fixed", false), ("grows", true)] {
        let more = json!({"provisioner": "example.com/x", "allowVolumeExpansion": grows});
        admin.create(CLASSES, &object("storage.k8s.io/v1", "StorageClass", name, more)).await.ok();
        admin.create(CLAIMS, &claim(name, Some(name))).await.ok();
    }
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(admin.patch(&format!("{CLAIMS}/grows"), MERGE, &grow).await.failure().0, 422);
    for name in ["fixed", "grows"] {
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        admin.patch(&format!("{CLAIMS}/{name}/status"), MERGE, &bound).await.ok();
    }
    let grown = admin.patch(&format!("{CLAIMS}/grows"), MERGE, &grow).await.ok();
    assert_eq!(grown["spec"]["resources"]["requests"]["storage"], "2Gi");
    let (code, message) = admin.patch(&format!("{CLAIMS}/fixed"), MERGE, &grow).await.failure();
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    assert!(code == 403 && message.ends_with(why), "{message}");
}

#[tokio::test]
async fn a_new_node_takes_no_pods_before_it_is_ready() {
    let cluster = Cluster::start().await;
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let own = json!({"key": "example.com/own", "effect": "NoExecute"});
    for (name, taints, expected) in [
        ("a", json!([]), json!([taint])),
        ("b", json!([own]), json!([own, taint])),
        ("c", json!([taint]), json!([taint])),
    ] {
        let node = object("v1", "Node", name, json!({"spec": {"taints": taints}}));
        assert_eq!(cluster.admin().create("/api/v1/nodes", &node).await.ok()["spec"]["taints"], expected, "{name}");
    }
}

/// A request for a certificate of a signer, for members of groups.
fn signing_request(name: &str, signer: &str, groups: &[&str]) -> Value {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    for group in groups {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
    }
    let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let spec = json!({"request": STANDARD.encode(pem), "signerName": signer, "usages": ["client auth"]});
    object("certificates.k8s.io/v1", "CertificateSigningRequest", name, json!({ "spec": spec }))
}

#[tokio::test]
async fn certificates_are_approved_and_signed_by_those_who_may_speak_for_their_signer() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.client(User::new("jane", [])));
    let parts = json!({"apiGroups": ["certificates.k8s.io"], "verbs": ["update", "patch"],
        "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"]});
    admin.grant("writes", named("User", "jane"), json!([parts])).await;
    let path = format!("{REQUESTS}/a");
    let mut approved = admin.create(REQUESTS, &signing_request("a", "example.com/e2e", &[])).await.ok();
    approved["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "m"}]);
    let speaks = |verb: &str, name: &str| json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [name], "verbs": [verb]});

    let (code, message) = jane.put(&format!("{path}/approval"), &approved).await.failure();
    let why = "user not permitted to approve requests with signerName \"example.com/e2e\"";
    assert!(code == 403 && message.ends_with(why), "{message}");
    admin.grant("approves", named("User", "jane"), json!([speaks("approve", "example.com/*")])).await;
    jane.put(&format!("{path}/approval"), &approved).await.ok();

    let issued = json!({"status": {"certificate": STANDARD.encode(cluster.pki.ca_certificate())}});
    let (code, message) = jane.patch(&format!("{path}/status"), MERGE, &issued).await.failure();
    let why = "user not permitted to sign requests with signerName \"example.com/e2e\"";
    assert!(code == 403 && message.ends_with(why), "{message}");
    let mut noted = admin.get(&path).await.ok();
    let note = json!({"type": "example.com/Seen", "status": "True", "reason": "Test", "message": "m"});
    noted["status"]["conditions"].as_array_mut().unwrap().push(note);
    let (code, message) = jane.put(&format!("{path}/status"), &noted).await.failure();
    assert!(code == 403 && message.ends_with(why), "conditions are the signer's, too: {message}");
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    jane.patch(&format!("{path}/status"), MERGE, &labelled).await.ok();
    admin.grant("signs", named("User", "jane"), json!([speaks("sign", "example.com/e2e")])).await;
    jane.patch(&format!("{path}/status"), MERGE, &issued).await.ok();
}

#[tokio::test]
async fn nobody_becomes_an_administrator_by_a_certificate() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let signer = "kubernetes.io/kube-apiserver-client";
    admin.create(REQUESTS, &signing_request("a", signer, &["developers"])).await.ok();
    let masters = signing_request("b", signer, &["system:masters"]);
    let (code, message) = admin.create(REQUESTS, &masters).await.failure();
    let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    assert!(code == 403 && message.ends_with(why), "{message}");
}

#[tokio::test]
async fn who_is_refused_by_admission_is_warned_as_well_and_who_breaks_a_rule_is_not() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut old = pod("p");
    old["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let told =
        [r#""spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead""#];
    assert_eq!(warnings(&admin.create(PODS, &old).await), told);
    let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    admin.patch(&format!("{NAMESPACES}/default"), MERGE, &level).await.ok();
    old["metadata"]["name"] = json!("q");
    let refused = admin.create(PODS, &old).await;
    assert_eq!(refused.failure().0, 403);
    assert_eq!(warnings(&refused), told);
    old["spec"]["containers"][0]["image"] = json!("");
    let broken = admin.create(PODS, &old).await;
    assert_eq!(broken.failure().0, 422);
    assert!(warnings(&broken).is_empty(), "{:?}", broken.headers);
}
