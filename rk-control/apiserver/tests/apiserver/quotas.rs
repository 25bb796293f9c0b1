//! ResourceQuotas, as admission keeps them.

use serde_json::json;

use crate::support::{Cluster, MAPS, PODS, config_map, pod};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

#[tokio::test]
async fn a_quota_is_never_overdrawn_even_by_many_at_once() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "3"}}});
    admin.create(QUOTAS, &quota).await.ok();
    let creations = (0..10).map(|index| {
        let admin = admin.clone();
        async move { admin.create(MAPS, &config_map(&format!("m{index}"), json!({}))).await }
    });
    let answers = futures::future::join_all(creations).await;
    assert_eq!(answers.iter().filter(|answer| answer.code == 201).count(), 3);
    let refused = answers.iter().find(|answer| answer.code == 403).unwrap();
    assert!(
        refused
            .failure()
            .1
            .contains("exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3")
    );
}

#[tokio::test]
async fn a_quota_is_charged_for_what_its_scopes_and_names_say() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let class = |name: &str| json!({"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": [name]}]});
    for (name, spec) in [
        ("abroad", json!({"hard": {"pods": "0"}, "scopes": ["CrossNamespacePodAffinity"]})),
        ("bounded", json!({"hard": {"limits.cpu": "5"}, "scopes": ["Terminating"]})),
        ("gold", json!({"hard": {"requests.storage": "1Gi"}, "scopeSelector": class("gold")})),
        ("gpus", json!({"hard": {"gpu.deviceclass.resource.k8s.io/devices": "3"}})),
    ] {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec});
        admin.create(QUOTAS, &quota).await.ok();
    }
    let mut abroad = pod("abroad");
    let term = json!({"topologyKey": "zone", "namespaces": ["kube-system"], "labelSelector": {}});
    abroad["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let (code, message) = admin.create(PODS, &abroad).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("exceeded quota: abroad, requested: pods=1, used: pods=0, limited: pods=0"), "{message}");
    let mut bounded = pod("bounded");
    bounded["spec"]["activeDeadlineSeconds"] = json!(9);
    let (code, message) = admin.create(PODS, &bounded).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("failed quota: bounded: must specify limits.cpu for: "), "{message}");
    admin.create(PODS, &pod("plain")).await.ok();
    let claim = |name: &str, class: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": class, "resources": {"requests": {"storage": "2Gi"}}}})
    };
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    assert_eq!(admin.create(claims, &claim("gold", "gold")).await.failure().0, 403);
    admin.create(claims, &claim("tin", "tin")).await.ok();
    let devices = |name: &str, count: i64| {
        let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu", "count": count}});
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
    };
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    admin.create(claims, &devices("two", 2)).await.ok();
    let (code, message) = admin.create(claims, &devices("more", 2)).await.failure();
    assert_eq!(code, 403);
    let gpus = "gpu.deviceclass.resource.k8s.io/devices";
    assert!(
        message.contains(&format!("exceeded quota: gpus, requested: {gpus}=2, used: {gpus}=2, limited: {gpus}=3")),
        "{message}"
    );
}

#[tokio::test]
async fn pods_and_claims_share_a_quota_by_the_name_of_an_extended_resource() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let class = json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "lamps"},
        "spec": {"extendedResourceName": "example.com/lamp"}});
    admin.create("/apis/resource.k8s.io/v1/deviceclasses", &class).await.ok();
    let lamps = "requests.example.com/lamp";
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {lamps: "2"}}});
    admin.create(QUOTAS, &quota).await.ok();
    let mut asking = pod("asking");
    asking["spec"]["containers"][0]["resources"] = json!({"limits": {"example.com/lamp": "1"}});
    let asking = admin.create(PODS, &asking).await.ok();
    let claim = |name: &str| {
        let request = json!({"name": "r", "exactly": {"deviceClassName": "lamps", "count": 1}});
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name},
            "spec": {"devices": {"requests": [request]}}})
    };
    let mut of_pod = claim("of-pod");
    of_pod["metadata"]["annotations"] = json!({"resource.kubernetes.io/extended-resource-claim": "true"});
    of_pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "asking",
        "uid": asking["metadata"]["uid"], "controller": true}]);
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    admin.create(claims, &of_pod).await.ok();
    admin.create(claims, &claim("one")).await.ok();
    let (code, message) = admin.create(claims, &claim("more")).await.failure();
    assert_eq!(code, 403);
    let why = format!("exceeded quota: q, requested: {lamps}=1, used: {lamps}=2, limited: {lamps}=2");
    assert!(message.contains(&why), "{message}");
}

#[tokio::test]
async fn what_one_quota_refuses_is_charged_to_none() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (name, hard) in
        [("a", json!({"configmaps": "5"})), ("b", json!({"count/configmaps": "0"})), ("c", json!({"configmaps": "5"}))]
    {
        let quota =
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
        admin.create(QUOTAS, &quota).await.ok();
    }
    let used = async |name: &str| admin.get(&format!("{QUOTAS}/{name}")).await.ok()["status"]["used"].clone();
    let (code, message) = admin.create(MAPS, &config_map("m", json!({}))).await.failure();
    assert_eq!(code, 403);
    assert!(message.contains("exceeded quota: b, requested: count/configmaps=1"), "{message}");
    for name in ["a", "c"] {
        assert!(used(name).await.is_null(), "{name}");
    }
    admin.delete(&format!("{QUOTAS}/b")).await.ok();
    admin.create(&format!("{MAPS}?dryRun=All"), &config_map("m", json!({}))).await.ok();
    assert!(used("a").await.is_null(), "nothing was made");
    admin.create(MAPS, &config_map("m", json!({}))).await.ok();
    for name in ["a", "c"] {
        assert_eq!(used(name).await, json!({"configmaps": "1"}), "{name}");
    }
}
