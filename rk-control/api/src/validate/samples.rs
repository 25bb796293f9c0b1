//! An ordinary object of every stored kind, for tests.

use serde_json::{Value, json};

use crate::patch;

fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "nginx:1"}]})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": pod_spec()})
}

/// One ordinary object of every stored kind.
pub(super) fn samples() -> Vec<(&'static str, Value)> {
    let selector = json!({"matchLabels": {"app": "a"}});
    let workload = json!({"metadata": {"name": "a"}, "spec": {"selector": selector, "template": template()}});
    let never = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let named = json!({"metadata": {"name": "a"}});
    let with = |extra: Value| {
        let mut object = json!({"metadata": {"name": "a"}});
        patch::merge_patch(&mut object, &extra).unwrap();
        object
    };
    let webhook = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
    let policy = json!({"spec": {"matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}}});
    let mut validating = with(policy.clone());
    validating["spec"]["validations"] = json!([{"expression": "true"}]);
    let mut mutating = with(policy);
    mutating["spec"]["mutations"] = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]);
    let claim = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let csr = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
    vec![
        ("pods", with(json!({"spec": pod_spec()}))),
        ("podtemplates", with(json!({"template": template()}))),
        ("replicationcontrollers", with(json!({"spec": {"template": template()}}))),
        ("services", with(json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "a"}}}))),
        ("endpoints", with(json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}))),
        ("configmaps", with(json!({"data": {"k": "v"}, "binaryData": {"b": "AAAA"}}))),
        ("secrets", with(json!({"stringData": {"k": "v"}}))),
        ("namespaces", with(json!({"spec": {"finalizers": ["kubernetes"]}}))),
        (
            "nodes",
            with(json!({"spec": {"podCIDRs": ["10.244.0.0/24"], "taints": [{"key": "a", "effect": "NoSchedule"}]}})),
        ),
        ("serviceaccounts", named.clone()),
        (
            "events",
            json!({"metadata": {"name": "a"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}}),
        ),
        ("limitranges", with(json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}))),
        ("resourcequotas", with(json!({"spec": {"hard": {"pods": "10", "requests.cpu": "1"}}}))),
        (
            "persistentvolumes",
            with(
                json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
            ),
        ),
        (
            "persistentvolumeclaims",
            with(json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})),
        ),
        ("deployments", workload.clone()),
        ("replicasets", workload.clone()),
        ("statefulsets", workload.clone()),
        ("daemonsets", workload),
        ("controllerrevisions", with(json!({"data": {"a": 1}, "revision": 1}))),
        ("jobs", with(json!({"spec": {"template": never}}))),
        ("cronjobs", with(json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": never}}}}))),
        (
            "horizontalpodautoscalers",
            with(
                json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
            ),
        ),
        (
            "poddisruptionbudgets",
            with(json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "a"}}}})),
        ),
        (
            "leases",
            with(
                json!({"spec": {"holderIdentity": "n", "leaseDurationSeconds": 40, "renewTime": "2024-01-01T00:00:00.000000Z"}}),
            ),
        ),
        (
            "endpointslices",
            with(
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80, "name": "http"}]}),
            ),
        ),
        (
            "ingresses",
            with(
                json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
            ),
        ),
        ("ingressclasses", with(json!({"spec": {"controller": "example.com/x"}}))),
        (
            "networkpolicies",
            with(
                json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}}),
            ),
        ),
        (
            "ipaddresses",
            json!({"metadata": {"name": "10.96.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "n"}}}),
        ),
        ("servicecidrs", with(json!({"spec": {"cidrs": ["10.96.0.0/16"]}}))),
        ("roles", with(json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}))),
        (
            "clusterroles",
            with(
                json!({"metadata": {"name": "system:x"}, "rules": [{"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]}),
            ),
        ),
        (
            "rolebindings",
            with(json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]})),
        ),
        (
            "clusterrolebindings",
            with(
                json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
            ),
        ),
        ("storageclasses", with(json!({"provisioner": "example.com/x"}))),
        ("csidrivers", with(json!({"spec": {}}))),
        (
            "csinodes",
            with(json!({"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["a"]}]}})),
        ),
        ("csistoragecapacities", with(json!({"storageClassName": "c", "capacity": "1Gi"}))),
        (
            "volumeattachments",
            with(
                json!({"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            ),
        ),
        ("volumeattributesclasses", with(json!({"driverName": "d.example.com", "parameters": {"a": "b"}}))),
        ("priorityclasses", with(json!({"value": 100}))),
        ("runtimeclasses", with(json!({"handler": "h"}))),
        (
            "certificatesigningrequests",
            with(json!({"spec": {"request": csr, "signerName": "example.com/s", "usages": ["client auth"]}})),
        ),
        ("mutatingwebhookconfigurations", with(webhook.clone())),
        ("validatingwebhookconfigurations", with(webhook)),
        ("validatingadmissionpolicies", validating),
        ("mutatingadmissionpolicies", mutating),
        (
            "validatingadmissionpolicybindings",
            with(json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})),
        ),
        ("mutatingadmissionpolicybindings", with(json!({"spec": {"policyName": "p"}}))),
        (
            "customresourcedefinitions",
            json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}}),
        ),
        (
            "apiservices",
            json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100,
                "versionPriority": 10, "service": {"name": "s", "namespace": "n"}}}),
        ),
        (
            "flowschemas",
            with(
                json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": [{"subjects": [{"kind": "Group", "group": {"name": "g"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}),
            ),
        ),
        (
            "prioritylevelconfigurations",
            with(json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}})),
        ),
        ("resourceclaims", with(json!({"spec": claim}))),
        ("resourceclaimtemplates", with(json!({"spec": {"spec": claim}}))),
        ("deviceclasses", with(json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}))),
        (
            "resourceslices",
            with(
                json!({"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "n", "resourceSliceCount": 1}, "devices": [{"name": "d"}]}}),
            ),
        ),
    ]
}
