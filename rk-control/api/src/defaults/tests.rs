//! Defaulting, kind by kind: what a client sends and what the server adds.

use serde_json::{Value, json};

use super::apply;
use crate::resources::GroupVersionKind;

fn defaulted(group: &'static str, version: &'static str, kind: &'static str, mut object: Value) -> Value {
    let gvk = GroupVersionKind::new(group, version, kind);
    apply(&gvk, &mut object);
    let once = object.clone();
    apply(&gvk, &mut object);
    assert_eq!(once, object, "defaulting {kind} twice must equal once");
    object
}

#[test]
fn a_pod_gets_everything_that_its_author_left_out() {
    let given = json!({"spec": {
        "hostNetwork": true,
        "containers": [{
            "name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        }],
        "volumes": [{"name": "e"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    }});
    let want = json!({"spec": {
        "hostNetwork": true, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "enableServiceLinks": true,
        "containers": [{
            "name": "c", "image": "nginx", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
            "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                "successThreshold": 1, "failureThreshold": 3},
            "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}},
            "env": [{"name": "E", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}},
        }],
        "volumes": [{"name": "e", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
            {"name": "h", "hostPath": {"path": "/", "type": ""}},
            {"name": "p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}],
    }});
    assert_eq!(defaulted("", "v1", "Pod", given), want);
}

#[test]
fn images_that_move_are_pulled_always() {
    for (image, want) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0000", "IfNotPresent"),
    ] {
        assert_eq!(super::container::pull_policy(image), want, "{image}");
    }
}

#[test]
fn a_deployment_rolls_by_a_quarter() {
    let object = defaulted(
        "apps",
        "v1",
        "Deployment",
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}}),
    );
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!((&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]), (&json!(10), &json!(600)));
    assert_eq!(spec["template"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert!(spec["template"]["spec"].get("enableServiceLinks").is_none());
    let recreate = defaulted("apps", "v1", "Deployment", json!({"spec": {"strategy": {"type": "Recreate"}}}));
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn kinds_get_their_own_defaults() {
    for (group, version, kind, given, pointer, want) in [
        (
            "",
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80}]}}),
            "/spec/ports/0",
            json!({"port": 80, "protocol": "TCP", "targetPort": 80}),
        ),
        (
            "",
            "v1",
            "Service",
            json!({"spec": {"type": "NodePort"}}),
            "/spec",
            json!({"type": "NodePort", "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        ),
        (
            "",
            "v1",
            "Service",
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
            "/spec/sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        ),
        (
            "",
            "v1",
            "Service",
            json!({"spec": {"type": "ExternalName"}}),
            "/spec",
            json!({"type": "ExternalName", "sessionAffinity": "None"}),
        ),
        (
            "",
            "v1",
            "Service",
            json!({"spec": {"type": "ExternalName", "internalTrafficPolicy": "Local"}}),
            "/spec",
            json!({"type": "ExternalName", "sessionAffinity": "None"}),
        ),
        (
            "",
            "v1",
            "Namespace",
            json!({"metadata": {"name": "n"}}),
            "",
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}}, "status": {"phase": "Active"}}),
        ),
        ("", "v1", "Secret", json!({}), "/type", json!("Opaque")),
        (
            "",
            "v1",
            "ReplicationController",
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
            "/spec/selector",
            json!({"a": "b"}),
        ),
        (
            "",
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
            "/spec/limits/0/defaultRequest",
            json!({"cpu": "2"}),
        ),
        (
            "apps",
            "v1",
            "StatefulSet",
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}),
            "/spec/volumeClaimTemplates/0",
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"}, "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
        ),
        (
            "apps",
            "v1",
            "StatefulSet",
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}),
        ),
        (
            "apps",
            "v1",
            "DaemonSet",
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        ),
        (
            "batch",
            "v1",
            "Job",
            json!({}),
            "/spec",
            json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "suspend": false, "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed"}),
        ),
        ("batch", "v1", "Job", json!({"spec": {"parallelism": 3}}), "/spec/completions", Value::Null),
        (
            "batch",
            "v1",
            "Job",
            json!({"spec": {"podFailurePolicy": {"rules": [{"onPodConditions": [{"type": "A", "status": ""}]}]}}}),
            "/spec/podFailurePolicy/rules/0/onPodConditions/0/status",
            json!("True"),
        ),
        (
            "batch",
            "v1",
            "CronJob",
            json!({}),
            "/spec",
            json!({"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}),
        ),
        (
            "batch",
            "v1",
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"podFailurePolicy": {"rules": [{"onPodConditions": [{"type": "A"}]}]}}}}}),
            "/spec/jobTemplate/spec/podFailurePolicy/rules/0/onPodConditions/0/status",
            json!("True"),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}}),
            "/spec/limited/limitResponse",
            json!({"type": "Queue"}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            json!({"spec": {"limited": {"limitResponse": {"queuing": {"queues": 7}}}}}),
            "/spec/limited/limitResponse/queuing",
            json!({"queues": 7, "handSize": 8, "queueLengthLimit": 50}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            json!({"spec": {"type": "Exempt"}}),
            "/spec",
            json!({"type": "Exempt"}),
        ),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            json!({}),
            "/spec/metrics/0/resource/target",
            json!({"type": "Utilization", "averageUtilization": 80}),
        ),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"behavior": {}}}),
            "/spec/behavior",
            json!({}),
        ),
        (
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            json!({"spec": {"egress": [{}]}}),
            "/spec/policyTypes",
            json!(["Ingress", "Egress"]),
        ),
        (
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            json!({"ports": [{"port": 1}]}),
            "/ports/0",
            json!({"port": 1, "name": "", "protocol": "TCP"}),
        ),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
            "/subjects",
            json!([{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "name": "s"}]),
        ),
        (
            "storage.k8s.io",
            "v1",
            "StorageClass",
            json!({}),
            "",
            json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "Foo"}}}),
            "/spec/names",
            json!({"kind": "Foo", "singular": "foo", "listKind": "FooList"}),
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": [{"rules": [{}]}]}),
            "/webhooks/0",
            json!({"failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "timeoutSeconds": 10, "rules": [{"scope": "*"}]}),
        ),
    ] {
        let object = defaulted(group, version, kind, given);
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), &want, "{kind} {pointer}: {object}");
    }
}

#[test]
fn fields_of_old_and_their_successors_say_the_same() {
    let pod = defaulted("", "v1", "Pod", json!({"spec": {"serviceAccount": "a"}, "status": {"podIP": "10.0.0.1"}}));
    assert_eq!(pod["spec"]["serviceAccountName"], "a");
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
    let pod = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {"serviceAccountName": "b", "serviceAccount": "a"}, "status": {"podIPs": [{"ip": "10.0.0.2"}]}}),
    );
    assert_eq!((&pod["spec"]["serviceAccount"], &pod["status"]["podIP"]), (&json!("b"), &json!("10.0.0.2")));
    let node = defaulted("", "v1", "Node", json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.2.0.0/24"]}}));
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.1.0.0/24"]));
}

#[test]
fn a_pod_as_a_whole_has_the_huge_pages_of_its_containers() {
    let pages = |amount: &str| json!({"limits": {"hugepages-2Mi": amount, "cpu": "1"}});
    let pod = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {
            "resources": {"requests": {"memory": "1Gi"}},
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": pages("2Mi")},
                {"name": "i", "restartPolicy": "Never", "resources": pages("8Mi")},
            ],
            "containers": [{"name": "a", "resources": pages("4Mi")}],
        }}),
    );
    let want = json!({"limits": {"hugepages-2Mi": "10Mi"}, "requests": {"hugepages-2Mi": "10Mi", "cpu": "2", "memory": "1Gi"}});
    assert_eq!(pod["spec"]["resources"], want, "an init container runs beside the sidecar before it");
}
