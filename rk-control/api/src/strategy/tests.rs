//! Resets, generations and frozen halves.

use serde_json::{Value, json};

use super::*;
use crate::resources::{Registry, Resource};

fn resource(group: &str, version: &str, plural: &str) -> std::sync::Arc<Resource> {
    Registry::builtin().get(group, version, plural).unwrap().clone()
}

fn created(resource: &Resource, mut object: Value) -> Value {
    crate::decode::fit(&mut object, &resource.schema, crate::decode::Form::Canonical).unwrap();
    prepare_for_create(resource, &mut object);
    object
}

#[test]
fn a_status_is_written_without_the_spec_and_what_its_kind_keeps_of_the_metadata() {
    for (group, plural, want) in [
        ("apps", "daemonsets", json!({"f:spec": {}})),
        ("apps", "deployments", json!({"f:metadata": {"f:labels": {}}, "f:spec": {}})),
        ("flowcontrol.apiserver.k8s.io", "flowschemas", json!({"f:metadata": {}, "f:spec": {}})),
    ] {
        assert_eq!(status_resets(&resource(group, "v1", plural)).encode(), want, "{plural}");
    }
}

#[test]
fn a_new_object_starts_with_a_fresh_status_and_the_first_generation() {
    for (group, version, plural, want, generation) in [
        ("", "v1", "pods", json!({"phase": "Pending", "qosClass": "BestEffort"}), json!(1)),
        ("", "v1", "namespaces", json!({"phase": "Active"}), Value::Null),
        ("", "v1", "services", json!({"loadBalancer": {}}), Value::Null),
        ("apps", "v1", "deployments", json!({}), json!(1)),
        ("apps", "v1", "replicasets", json!({"replicas": 0}), json!(1)),
        ("", "v1", "nodes", json!({"phase": "lie", "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}}), Value::Null),
    ] {
        let resource = resource(group, version, plural);
        let object = created(
            &resource,
            json!({"metadata": {"name": "a", "generation": 9}, "status": {"phase": "lie"}, "spec": {}})
                .as_object()
                .map(|o| {
                    let mut o = o.clone();
                    if !matches!(plural, "pods" | "namespaces" | "nodes") {
                        o.remove("status");
                    }
                    Value::Object(o)
                })
                .unwrap(),
        );
        let mut status = object["status"].clone();
        if plural == "nodes" {
            status.as_object_mut().unwrap().remove("nodeInfo");
        }
        assert_eq!(status, want, "{plural}");
        assert_eq!(object["metadata"].get("generation").cloned().unwrap_or_default(), generation, "{plural}");
    }
}

#[test]
fn the_main_resource_keeps_the_status_and_the_subresource_keeps_the_rest() {
    let deployments = resource("apps", "v1", "deployments");
    let old = json!({"metadata": {"name": "d", "generation": 3, "uid": "u", "labels": {"a": "b"}}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
    let mut new = json!({"metadata": {"name": "d", "generation": 9, "labels": {"a": "c"}}, "spec": {"replicas": 2}, "status": {"replicas": 7}});
    let sent = new.clone();
    prepare_for_update(&deployments, None, &mut new, &old);
    assert_eq!(
        new,
        json!({"metadata": {"name": "d", "generation": 4, "uid": "u", "labels": {"a": "c"}}, "spec": {"replicas": 2}, "status": {"replicas": 1}})
    );
    let mut status = sent;
    prepare_for_update(&deployments, Some("status"), &mut status, &old);
    assert_eq!(
        status,
        json!({"metadata": {"name": "d", "generation": 3, "uid": "u", "labels": {"a": "b"}}, "spec": {"replicas": 1}, "status": {"replicas": 7}})
    );
}

#[test]
fn what_ends_an_object_is_kept_and_cannot_be_made_up() {
    let maps = resource("", "v1", "configmaps");
    let updated = |new: Value, old: Value| {
        let (mut new, old) = (json!({"metadata": new}), json!({"metadata": old}));
        prepare_for_update(&maps, None, &mut new, &old);
        let refused = crate::validate::metadata_update(&maps, &new, &old).0;
        let places: Vec<String> = refused.into_iter().map(|error| error.path).collect();
        (new["metadata"]["deletionTimestamp"].clone(), places.contains(&"metadata.deletionTimestamp".to_owned()))
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let ended = json!({"name": "m", "namespace": "n", "deletionTimestamp": early});
    let other = json!({"name": "m", "namespace": "n", "deletionTimestamp": late});
    let plain = json!({"name": "m", "namespace": "n"});
    assert_eq!(updated(plain.clone(), ended.clone()), (json!(early), false), "it may be left out");
    assert_eq!(updated(other.clone(), ended), (json!(early), false));
    assert_eq!(updated(other, plain), (json!(late), true));
}

#[test]
fn the_status_subresource_changes_as_much_of_the_metadata_as_each_kind_lets_it() {
    let metadata = |word: &str| json!({"name": "a", "labels": {"l": word}, "finalizers": [word], "ownerReferences": [{"uid": word}]});
    let kept = |group: &str, version: &str, plural: &str| {
        let mut new = json!({"metadata": metadata("new"), "status": {}});
        prepare_for_update(
            &resource(group, version, plural),
            Some("status"),
            &mut new,
            &json!({"metadata": metadata("old"), "status": {}}),
        );
        let metadata = &new["metadata"];
        [&metadata["labels"]["l"], &metadata["finalizers"][0], &metadata["ownerReferences"][0]["uid"]]
            .map(|word| word == "old")
    };
    assert_eq!(kept("", "v1", "pods"), [false, false, true]);
    assert_eq!(kept("apps", "v1", "deployments"), [true, false, false]);
    assert_eq!(kept("apps", "v1", "replicasets"), [false; 3]);
    assert_eq!(kept("storage.k8s.io", "v1", "volumeattachments"), [true; 3]);
}

#[test]
fn what_a_definition_stores_counts_as_stored() {
    let versions = |stored: &str| {
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == stored});
        json!({"versions": [version("v1"), version("v2")]})
    };
    let resource = resource("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let old = json!({"metadata": {"name": "a"}, "spec": versions("v1"), "status": {"storedVersions": ["v1"]}});
    let mut new = json!({"metadata": {"name": "a"}, "spec": versions("v2"), "status": {"storedVersions": []}});
    prepare_for_update(&resource, None, &mut new, &old);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    for (said, stored) in [(json!([]), json!(["v1"])), (Value::Null, json!(["v1"])), (json!(["v0"]), json!(["v0"]))] {
        let mut new = json!({"metadata": {"name": "a"}, "spec": versions("v1"), "status": {"storedVersions": said}});
        prepare_for_update(&resource, Some("status"), &mut new, &old);
        assert_eq!(new["status"]["storedVersions"], stored);
    }
}

#[test]
fn secrets_turn_strings_into_data() {
    let object = created(
        &resource("", "v1", "secrets"),
        json!({"metadata": {"name": "s"}, "stringData": {"a": "hi"}, "data": {"b": "AAAA"}}),
    );
    assert_eq!(object["data"], json!({"a": "aGk=", "b": "AAAA"}));
    assert!(object.get("stringData").is_none());
}

#[test]
fn a_job_finds_its_pods_by_its_own_uid() {
    let object = created(
        &resource("batch", "v1", "jobs"),
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}}),
    );
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    assert_eq!(
        object["metadata"]["labels"], object["spec"]["template"]["metadata"]["labels"],
        "it has none of its own"
    );
}

#[test]
fn labels_of_a_slice_are_content() {
    let slices = resource("discovery.k8s.io", "v1", "endpointslices");
    let old = json!({"metadata": {"name": "s", "generation": 1, "labels": {"a": "b"}}, "endpoints": []});
    for (key, generation) in [("labels", 2), ("annotations", 1)] {
        let mut new = old.clone();
        new["metadata"][key] = json!({"a": "c"});
        prepare_for_update(&slices, None, &mut new, &old);
        assert_eq!(new["metadata"]["generation"], generation, "{key}");
    }
}

#[test]
fn a_name_that_is_no_host_name_deserves_a_word() {
    let deployments = resource("apps", "v1", "deployments");
    let named = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(warnings(&deployments, None, &named("a"), None), Vec::<String>::new());
    assert_eq!(
        warnings(&deployments, None, &named("a.b"), None),
        [
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: \
             [must not contain dots]"
        ]
    );
    assert_eq!(warnings(&deployments, None, &named("a.b"), Some(&named("a.b"))), Vec::<String>::new());
}

#[test]
fn the_class_of_a_pod_follows_its_requests() {
    let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
    let both = json!({"cpu": "1", "memory": "1Gi"});
    for (resources, want) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"requests": both, "limits": both}), "Guaranteed"),
        (json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}), "Burstable"),
    ] {
        assert_eq!(qos_class(&pod(resources)), want);
    }
}

#[test]
fn only_running_pods_get_time_to_end() {
    let pods = resource("", "v1", "pods");
    let running = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
    assert_eq!(grace_period(&pods, &running, None), Ok(Some(30)));
    assert_eq!(grace_period(&pods, &running, Some(5)), Ok(Some(5)));
    assert_eq!(grace_period(&pods, &json!({"spec": {"terminationGracePeriodSeconds": 30}}), None), Ok(Some(0)));
    assert_eq!(
        grace_period(&pods, &json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}), Some(9)),
        Ok(Some(0))
    );
    assert_eq!(grace_period(&resource("apps", "v1", "deployments"), &running, Some(5)), Ok(None));
}

#[test]
fn decisions_on_certificates_are_made_through_approval_alone() {
    let requests = resource("certificates.k8s.io", "v1", "certificatesigningrequests");
    let approved = json!({"type": "Approved", "status": "True"});
    let old = json!({"metadata": {"name": "c"}, "spec": {"a": 1}, "status": {"conditions": [approved]}});
    let mut status = json!({"metadata": {"name": "c"}, "spec": {"a": 2}, "status": {"certificate": "x"}});
    prepare_for_update(&requests, Some("status"), &mut status, &old);
    assert_eq!(status["status"], json!({"certificate": "x", "conditions": [approved]}));
    assert_eq!(status["spec"], json!({"a": 1}));
    let mut approval =
        json!({"metadata": {"name": "c"}, "spec": {"a": 2}, "status": {"certificate": "y", "conditions": [approved]}});
    let undecided = json!({"metadata": {"name": "c"}, "spec": {"a": 1}, "status": {}});
    prepare_for_update(&requests, Some("approval"), &mut approval, &undecided);
    assert_eq!(approval, json!({"metadata": {"name": "c"}, "spec": {"a": 1}, "status": {"conditions": [approved]}}));
}

#[test]
fn a_service_that_changes_its_type_leaves_behind_what_only_the_former_type_had() {
    let services = resource("", "v1", "services");
    let old = json!({"metadata": {"name": "s"}, "spec": {
        "type": "LoadBalancer", "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b", "externalTrafficPolicy": "Cluster",
    }, "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}, "conditions": []}});
    let left = |kind: &str, change: Value| {
        let mut new = old.clone();
        new["spec"]["type"] = json!(kind);
        new["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        prepare_for_update(&services, None, &mut new, &old);
        let balanced = new["spec"]["type"] == "LoadBalancer";
        assert_eq!(new["status"] == old["status"], balanced, "{}", new["status"]);
        assert_eq!(new["status"]["loadBalancer"] == json!({}), !balanced, "{}", new["status"]);
        let mut keys: Vec<String> = new["spec"].as_object().unwrap().keys().filter(|k| *k != "type").cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(
        left("LoadBalancer", json!({})),
        "allocateLoadBalancerNodePorts externalTrafficPolicy loadBalancerClass"
    );
    assert_eq!(left("ExternalName", json!({})), "");
    assert_eq!(left("ClusterIP", json!({})), "");
    assert_eq!(left("NodePort", json!({})), "externalTrafficPolicy");
    assert_eq!(left("ClusterIP", json!({"externalTrafficPolicy": "Local"})), "externalTrafficPolicy", "asked for anew");
}

#[test]
fn addresses_of_a_load_balancer_are_refused_where_there_is_none() {
    let services = resource("", "v1", "services");
    let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}});
    for (kind, refused) in [("LoadBalancer", false), ("ClusterIP", true)] {
        let old = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": kind}, "status": {"loadBalancer": {}}});
        let mut new = old.clone();
        new["status"] = status.clone();
        let errors = validate_update(&services, Some("status"), &new, &old);
        assert_eq!(!errors.is_empty(), refused, "{kind}: {errors:?}");
        // What an older server has taken already holds nobody back.
        assert!(validate_update(&services, Some("status"), &new, &new).is_empty());
    }
}

#[test]
fn an_object_with_an_old_fault_can_still_lose_a_finalizer() {
    let classes = resource("node.k8s.io", "v1", "runtimeclasses");
    let old = json!({"metadata": {"name": "c", "finalizers": ["example.com/f"]}, "handler": "Not A Label"});
    let mut new = old.clone();
    new["metadata"].as_object_mut().unwrap().remove("finalizers");
    assert!(!validate_create(&classes, &old).is_empty(), "a new one is refused");
    assert_eq!(validate_update(&classes, None, &new, &old).0, []);
    new["handler"] = json!("Another One");
    assert!(!validate_update(&classes, None, &new, &old).is_empty(), "a new fault is");
}

#[test]
fn conditions_of_certificate_requests_are_stamped_once() {
    let requests = resource("certificates.k8s.io", "v1", "certificatesigningrequests");
    let old = json!({"status": {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
    let mut new = json!({"status": {"conditions": [
        {"type": "Failed", "status": "True"},
        {"type": "Other", "status": "True", "lastUpdateTime": "2021-01-01T00:00:00Z"},
    ]}});
    stamp(&requests, &mut new, &old, "2024-01-02T03:04:05Z".parse().unwrap());
    assert_eq!(
        new["status"]["conditions"],
        json!([
            {"type": "Failed", "status": "True", "lastUpdateTime": "2024-01-02T03:04:05Z", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "Other", "status": "True", "lastUpdateTime": "2021-01-01T00:00:00Z", "lastTransitionTime": "2024-01-02T03:04:05Z"},
        ])
    );
}

#[test]
fn a_taint_of_a_device_is_there_since_it_was_told() {
    let slices = resource("resource.k8s.io", "v1", "resourceslices");
    let mut slice = json!({"spec": {"devices": [{"name": "a"}, {"name": "b", "taints": [
        {"key": "k", "effect": "NoSchedule"},
        {"key": "l", "effect": "NoExecute", "timeAdded": "2020-01-01T00:00:00Z"},
    ]}]}});
    fill_times(&slices, &mut slice, "2024-01-02T03:04:05.6Z".parse().unwrap());
    let taints = &slice["spec"]["devices"][1]["taints"];
    assert_eq!(
        (&taints[0]["timeAdded"], &taints[1]["timeAdded"]),
        (&json!("2024-01-02T03:04:05Z"), &json!("2020-01-01T00:00:00Z"))
    );
    let other = json!({"spec": {"devices": [{"taints": [{}]}]}});
    let mut same = other.clone();
    fill_times(&resource("", "v1", "pods"), &mut same, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(same, other);
}

#[test]
fn a_system_priority_class_can_be_annotated() {
    let classes = resource("scheduling.k8s.io", "v1", "priorityclasses");
    let class = |value: i64| json!({"metadata": {"name": "system-node-critical"}, "value": value});
    assert!(validate_create(&classes, &class(2_000_001_000)).is_empty());
    let refusal = validate_create(&classes, &class(7));
    assert!(
        refusal.0[0].to_string().contains("value of system-node-critical PriorityClass must be 2000001000"),
        "{refusal:?}"
    );
    let change = validate_update(&classes, None, &class(7), &class(2_000_001_000));
    assert_eq!(change.0.len(), 1, "the value alone is wrong: {change:?}");
}

#[test]
fn a_claim_names_its_source_twice_and_a_volume_says_since_when() {
    let claims = resource("", "v1", "persistentvolumeclaims");
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    for key in ["dataSource", "dataSourceRef"] {
        let object = created(&claims, json!({"metadata": {"name": "c"}, "spec": {key: snapshot}}));
        assert_eq!(object["spec"]["dataSource"], snapshot, "{key}");
        assert_eq!(object["spec"]["dataSourceRef"], snapshot, "{key}");
    }
    let volumes = resource("", "v1", "persistentvolumes");
    let old = json!({"status": {"phase": "Available", "lastPhaseTransitionTime": "2020-01-01T00:00:00Z"}});
    for (phase, since) in [("Available", "2020-01-01T00:00:00Z"), ("Bound", "2024-01-02T03:04:05Z")] {
        let mut new = json!({"status": {"phase": phase}});
        stamp(&volumes, &mut new, &old, "2024-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(new["status"]["lastPhaseTransitionTime"], since);
    }
}

#[test]
fn a_status_keeps_what_its_writer_left_out() {
    let pods = resource("", "v1", "pods");
    let condition = json!({"type": "Ready", "status": "True", "observedGeneration": 2});
    let old = json!({"metadata": {"name": "p"}, "status": {"qosClass": "Burstable", "observedGeneration": 2, "conditions": [condition]}});
    let mut new = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    prepare_for_update(&pods, Some("status"), &mut new, &old);
    assert_eq!(new["status"], old["status"]);
}
