//! What may not change, and what a subresource may write.

use serde_json::{Value, json};

use super::{merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::strategy;

/// A kind, a part of it, what the old object is besides the sample, the change, and the words of the refusal; none when it is let in.
type Case = (&'static str, Option<&'static str>, Value, Value, &'static str);

fn judged(cases: Vec<Case>) {
    for (plural, part, more, change, want) in cases {
        refused((plural, part, more, change), want);
    }
}

/// One of these, with the words of the refusal apart.
fn refused((plural, part, more, change): (&str, Option<&str>, Value, Value), want: &str) {
    let registry = Registry::builtin();
    let resource = resource(&registry, plural);
    let mut given = sample(plural);
    merge(&mut given, &more);
    let status = more.get("status").cloned();
    let mut old = prepared(&resource, given);
    if let Some(status) = status {
        merge(&mut old, &json!({"status": status}));
    }
    let mut new = old.clone();
    merge(&mut new, &change);
    strategy::prepare_for_update(&resource, part, &mut new, &old);
    let errors: Vec<String> =
        strategy::validate_update(&resource, part, &new, &old).0.iter().map(ToString::to_string).collect();
    let fits = if want.is_empty() { errors.is_empty() } else { errors.iter().any(|e| e.contains(want)) };
    assert!(fits, "{plural} {change}: {errors:#?}");
}

fn statuses(state: Value) -> Value {
    json!({"status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}})
}

fn own_policy(policy: &str) -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "restartPolicy": policy}]}})
}

/// Whatever a container ended with: another may restart all of them.
fn restarts_all() -> Value {
    let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}});
    let mut pod = own_policy("Never");
    pod["spec"]["containers"][0]["restartPolicyRules"] = json!([rule]);
    pod
}

#[test]
fn containers_that_ended_for_good_do_not_come_back() {
    let ended = statuses(json!({"terminated": {"exitCode": 1}}));
    let running = statuses(json!({"running": {}}));
    let refused = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    let old = |mut spec: Value| {
        merge(&mut spec, &ended);
        spec
    };
    judged(vec![
        ("pods", Some("status"), old(json!({"spec": {"restartPolicy": "Never"}})), running.clone(), refused),
        ("pods", Some("status"), old(json!({"spec": {"restartPolicy": "OnFailure"}})), running.clone(), ""),
        ("pods", Some("status"), old(own_policy("Always")), running.clone(), ""),
        ("pods", Some("status"), old(restarts_all()), running.clone(), ""),
        ("pods", Some("status"), old(own_policy("Never")), running, refused),
    ]);
}

#[test]
fn a_pod_is_told_of_claims_and_requests_that_are_its_own() {
    let asks = |name: &str| json!({"name": name, "image": "i", "resources": {"limits": {"example.com/gpu": "1"}}});
    let pod = json!({"spec": {"containers": [asks("c")], "initContainers": [asks("i")],
        "resourceClaims": [{"name": "own", "resourceClaimTemplateName": "t"}]}});
    let mapping = |container: &str, resource: &str, request: &str| json!({"containerName": container, "resourceName": resource, "requestName": request});
    let told = |claim: &str, mappings: Value| json!({"status": {"extendedResourceClaimStatus": {"resourceClaimName": claim, "requestMappings": mappings}}});
    let own = mapping("c", "example.com/gpu", "container-0-request-0");
    let made = |statuses: Value| json!({"status": {"resourceClaimStatuses": statuses}});
    let under = "status.extendedResourceClaimStatus.";
    for (change, want) in [
        (told("p-x", json!([own, mapping("i", "example.com/gpu", "container-0-request-0")])), String::new()),
        (
            told("p-x", json!([])),
            format!("{under}requestMappings: Required value: at least one request mapping is required"),
        ),
        (
            told("p-x", json!([mapping("d", "example.com/gpu", "r")])),
            format!(
                "{under}requestMappings[0].containerName: Invalid value: \"d\": must match the name of an entry in \
                 spec.initContainers.name or spec.containers.name"
            ),
        ),
        (
            told("p-x", json!([mapping("c", "example.com/other", "r")])),
            format!(
                "{under}requestMappings[0].resourceName: Invalid value: \"example.com/other\": must match the extended \
                 resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"
            ),
        ),
        (
            told("p-x", json!([mapping("c", "example.com/gpu", "R")])),
            format!("{under}requestName: Invalid value: \"R\""),
        ),
        (told("p-x", json!([own, own])), format!("{under}requestMappings[1].requestName: Duplicate value")),
        (told("", json!([own])), format!("{under}resourceClaimName: Required value")),
        (told("P", json!([own])), format!("{under}resourceClaimName: Invalid value: \"P\"")),
        (made(json!([{"name": "own", "resourceClaimName": "p-own-x"}])), String::new()),
        (
            made(json!([{"name": "other"}])),
            "status.resourceClaimStatuses[0].name: Invalid value: \"other\": must match the name of an entry in \
             `spec.resourceClaims`"
                .to_owned(),
        ),
        (
            made(json!([{"name": "own"}, {"name": "own"}])),
            "status.resourceClaimStatuses[1].name: Duplicate value: \"own\"".to_owned(),
        ),
        (
            made(json!([{"name": "own", "resourceClaimName": "P"}])),
            "status.resourceClaimStatuses[0].name: Invalid value: \"P\"".to_owned(),
        ),
    ] {
        refused(("pods", Some("status"), pod.clone(), change), &want);
    }
}

#[test]
fn gated_pods_are_narrowed_and_others_stay() {
    let gates = json!({"spec": {"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}}});
    let grace = |seconds: i64| json!({"spec": {"terminationGracePeriodSeconds": seconds}});
    judged(vec![
        ("pods", None, gates.clone(), json!({"spec": {"nodeSelector": {"c": "d"}}}), ""),
        (
            "pods",
            None,
            gates.clone(),
            json!({"spec": {"nodeSelector": {"a": "x"}}}),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ),
        (
            "pods",
            None,
            gates,
            json!({"spec": {"schedulingGates": [{"name": "g"}, {"name": "h"}]}}),
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'",
        ),
        ("pods", None, grace(-1), grace(1), ""),
        ("pods", None, grace(-1), grace(2), "spec: Forbidden: pod updates may not change fields other than"),
        (
            "pods",
            None,
            json!({}),
            json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}),
            "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation",
        ),
    ]);
}

#[test]
fn a_resize_takes_nothing_away() {
    let asks =
        |cpu: Value| json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": cpu}}]}});
    let both = json!({"cpu": "1", "memory": "1Gi"});
    judged(vec![
        ("pods", Some("resize"), asks(both.clone()), asks(json!({"cpu": "2", "memory": "1Gi"})), ""),
        (
            "pods",
            Some("resize"),
            asks(both),
            asks(json!({"cpu": "2"})),
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            "pods",
            Some("resize"),
            json!({}),
            json!({"spec": {"containers": [{"name": "renamed", "image": "i"}]}}),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ),
        (
            "pods",
            Some("resize"),
            json!({}),
            json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            "pods",
            Some("resize"),
            json!({"spec": {"initContainers": [{"name": "first", "image": "i"}]}}),
            json!({"spec": {"initContainers": [{"name": "first", "resources": {"requests": {"ephemeral-storage": "1Gi"}}}]}}),
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ),
        (
            "pods",
            Some("resize"),
            json!({"status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}}),
            json!({}),
            "spec: Forbidden: Pod running on node without support for resize",
        ),
    ]);
}

#[test]
fn init_containers_are_resized_where_nothing_is_done_twice() {
    let first = |cpu: &str, resize: &str| {
        json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "first", "image": "i", "resources": {"requests": {"cpu": cpu}},
                "resizePolicy": [{"resourceName": "cpu", "restartPolicy": resize}]}]}})
    };
    judged(vec![
        ("pods", Some("resize"), first("1", "NotRequired"), first("2", "NotRequired"), ""),
        ("pods", Some("resize"), first("1", "RestartContainer"), first("1", "RestartContainer"), ""),
        (
            "pods",
            Some("resize"),
            first("1", "RestartContainer"),
            first("2", "RestartContainer"),
            "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
        ),
    ]);
}

#[test]
fn what_a_pod_asks_for_as_a_whole_changes_and_stays() {
    let asks = |resources: Value| json!({"spec": {"resources": resources}});
    let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}});
    judged(vec![
        (
            "pods",
            Some("resize"),
            asks(both.clone()),
            asks(json!({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "3"}})),
            "",
        ),
        (
            "pods",
            Some("resize"),
            asks(both.clone()),
            asks(Value::Null),
            "spec.resources: Forbidden: pod-level resources cannot be removed",
        ),
        (
            "pods",
            Some("resize"),
            asks(both.clone()),
            asks(json!({"requests": {"memory": null}})),
            "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed",
        ),
        (
            "pods",
            Some("resize"),
            asks(both),
            asks(json!({"requests": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "2Mi"},
                "limits": {"cpu": "2", "hugepages-2Mi": "2Mi"}})),
            "spec: Forbidden: only cpu and memory resources are mutable at pod-level",
        ),
    ]);
}

#[test]
fn other_kinds_keep_what_was_decided() {
    judged(vec![
        (
            "namespaces",
            Some("status"),
            json!({}),
            json!({"status": {"phase": "Terminating"}}),
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
        ),
        (
            "services",
            Some("status"),
            json!({}),
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1", "ipMode": "VIP"}]}}}),
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
        ),
        (
            "persistentvolumeclaims",
            None,
            json!({"spec": {"volumeAttributesClassName": "gold"}}),
            json!({"spec": {"volumeAttributesClassName": null}}),
            "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden",
        ),
        (
            "nodes",
            None,
            json!({}),
            json!({"spec": {"externalID": "x"}}),
            "spec.externalID: Forbidden: may not be updated",
        ),
    ]);
}

#[test]
fn a_claim_gets_the_class_of_its_annotation_and_grows_in_known_steps() {
    let noted = |class: &str| json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": class}}});
    let class = |class: &str| json!({"spec": {"storageClassName": class}});
    let status = |status: Value| json!({"status": status});
    let claims = "persistentvolumeclaims";
    judged(vec![
        (claims, None, json!({}), class("gold"), ""),
        (claims, None, noted("gold"), class("gold"), ""),
        (claims, None, noted("gold"), class("silver"), "spec: Forbidden: spec is immutable after creation"),
        (
            claims,
            None,
            noted("gold"),
            noted("silver"),
            "metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"silver\": field is immutable",
        ),
        (
            claims,
            Some("status"),
            json!({}),
            status(json!({"capacity": {"storage": "-1"}})),
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
        ),
        (
            claims,
            Some("status"),
            json!({}),
            status(json!({"allocatedResources": {"cpu": "1"}})),
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ),
        (
            claims,
            Some("status"),
            json!({}),
            status(json!({"allocatedResourceStatuses": {"storage": "Soon"}})),
            "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", ",
        ),
    ]);
}

#[test]
fn a_service_gives_up_its_second_family_in_so_many_words() {
    let addresses = |addresses: &[&str], families: &[&str], policy: &str| json!({"spec": {"clusterIP": addresses[0], "clusterIPs": addresses, "ipFamilies": families, "ipFamilyPolicy": policy}});
    let (four, six) = ("10.96.0.9", "fd00::9");
    let old = addresses(&[four, six], &["IPv4", "IPv6"], "RequireDualStack");
    judged(vec![
        ("services", None, old.clone(), addresses(&[four], &["IPv4"], "SingleStack"), ""),
        (
            "services",
            None,
            old.clone(),
            addresses(&[four], &["IPv4"], "PreferDualStack"),
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
        ),
        (
            "services",
            None,
            old.clone(),
            addresses(&[four, six], &["IPv4"], "RequireDualStack"),
            "must be set to 'SingleStack' when releasing the secondary ipFamily",
        ),
        (
            "services",
            None,
            old,
            addresses(&[four, "fd00::8"], &["IPv4", "IPv6"], "RequireDualStack"),
            "spec.clusterIPs[1]: Invalid value: [\"10.96.0.9\",\"fd00::8\"]: may not change once set",
        ),
    ]);
}

#[test]
fn a_pod_is_told_of_users_and_devices_that_its_containers_can_have() {
    let with = |more: Value| {
        let mut pod = statuses(json!({"running": {}}));
        merge(&mut pod["status"]["containerStatuses"][0], &more);
        pod
    };
    let device =
        |name: &str, devices: Value| with(json!({"allocatedResourcesStatus": [{"name": name, "resources": devices}]}));
    let at = "status.containerStatuses[0]";
    for (change, want) in [
        (
            with(json!({"user": {"linux": {"uid": -1, "gid": 0}}})),
            "linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            device("example.com/gpu", json!([])),
            "allocatedResourcesStatus[0].name: Invalid value: \"example.com/gpu\": must match one of the container's resource requests",
        ),
        (
            device("claim:a", json!([])),
            "allocatedResourcesStatus[0].name: Invalid value: \"claim:a\": must match one of the container's resource claims",
        ),
        (
            device("cpu", json!([{"resourceID": "a", "health": "Well"}])),
            "allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Well\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
        ),
    ] {
        refused(("pods", Some("status"), json!({}), change), &format!("{at}.{want}"));
    }
}
