//! Rules, kind by kind: what a client sends, decoded and defaulted, and what the server says.

use serde_json::{Value, json};

use crate::decode::{Form, fit};
use crate::resources::{Registry, Resource};
use crate::{defaults, patch, strategy};

fn resource(registry: &Registry, plural: &str) -> std::sync::Arc<Resource> {
    registry
        .iter()
        .find(|r| r.plural == plural && r.is_hub() && r.is_stored())
        .expect("a resource of that name")
        .clone()
}

/// As a request would: fitted, defaulted, prepared.
fn prepared(resource: &Resource, given: Value) -> Value {
    let mut object = given;
    if resource.namespaced() && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!("default");
    }
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(&*resource.gvk.kind);
    let unknown = fit(&mut object, &resource.schema, Form::Canonical).unwrap();
    assert!(unknown.is_empty(), "{}: {unknown:?}", resource.plural);
    defaults::apply(&resource.gvk, &mut object);
    fit(&mut object, &resource.schema, Form::Canonical).unwrap();
    object["metadata"]["uid"] = json!("5a2f8f3c-0000-4000-8000-000000000000");
    strategy::prepare_for_create(resource, &mut object);
    object
}

fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "nginx:1"}]})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": pod_spec()})
}

/// One ordinary object of every stored kind.
fn samples() -> Vec<(&'static str, Value)> {
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
            with(json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}})),
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

#[test]
fn an_ordinary_object_of_every_kind_is_valid_and_may_be_written_back() {
    let registry = Registry::builtin();
    for (plural, sample) in samples() {
        let resource = resource(&registry, plural);
        let object = prepared(&resource, sample);
        assert_eq!(strategy::validate_create(&resource, &object).0, [], "{plural}");
        let mut again = object.clone();
        strategy::prepare_for_update(&resource, None, &mut again, &object);
        assert_eq!(again, object, "{plural} changes when it is written back");
        assert_eq!(strategy::validate_update(&resource, None, &again, &object).0, [], "{plural}");
    }
}

#[test]
fn every_stored_kind_has_a_sample() {
    let known: Vec<&str> = samples().into_iter().map(|(plural, _)| plural).collect();
    for resource in Registry::builtin().iter().filter(|r| r.is_stored()) {
        assert!(known.contains(&&*resource.plural), "{} has no sample", resource.plural);
    }
}

fn sample(plural: &str) -> Value {
    samples().into_iter().find(|(p, _)| *p == plural).map(|(_, s)| s).expect("a sample")
}

#[test]
fn broken_rules_are_told_in_known_words() {
    let registry = Registry::builtin();
    for (plural, change, want) in [
        ("pods", json!({"metadata": {"name": ""}}), "metadata.name: Required value: name or generateName is required"),
        (
            "pods",
            json!({"metadata": {"labels": {"a": "b c"}}}),
            "metadata.labels[a]: Invalid value: \"b c\": a valid label must be an empty string",
        ),
        (
            "pods",
            json!({"metadata": {"finalizers": ["x"]}}),
            "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        ("pods", json!({"spec": {"containers": []}}), "spec.containers: Required value"),
        ("pods", json!({"spec": {"containers": [{"name": "c"}]}}), "spec.containers[0].image: Required value"),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "C", "image": "i"}]}}),
            "spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}}),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            "pods",
            json!({"spec": {"restartPolicy": "Sometimes"}}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "livenessProbe": {}}]}}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "pods",
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}}),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            "pods",
            json!({"spec": {"tolerations": [{"key": "a", "operator": "Near"}]}}),
            "spec.tolerations[0].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\"",
        ),
        (
            "pods",
            json!({"spec": {"dnsPolicy": "None"}}),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        ("services", json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}), "spec.ports[0].name: Required value"),
        (
            "services",
            json!({"metadata": {"name": "1a"}}),
            "metadata.name: Invalid value: \"1a\": a DNS-1035 label must consist of",
        ),
        (
            "services",
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        ("services", json!({"spec": {"type": "ExternalName"}}), "spec.externalName: Required value"),
        (
            "deployments",
            json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ),
        ("deployments", json!({"spec": {"selector": null}}), "spec.selector: Required value"),
        (
            "deployments",
            json!({"spec": {"replicas": -1}}),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "deployments",
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            "deployments",
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}}),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "configmaps",
            json!({"data": {"a/b": "x"}}),
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of",
        ),
        ("secrets", json!({"type": "kubernetes.io/tls"}), "data[tls.crt]: Required value"),
        (
            "jobs",
            json!({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            "cronjobs",
            json!({"spec": {"schedule": "bad"}}),
            "spec.schedule: Invalid value: \"bad\": expected exactly 5 fields, found 1: [\"bad\"]",
        ),
        (
            "roles",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "rolebindings",
            json!({"subjects": [{"kind": "Robot", "name": "u"}]}),
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
        ),
        (
            "ingresses",
            json!({"spec": {"rules": null}}),
            "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",
        ),
        (
            "networkpolicies",
            json!({"spec": {"ingress": [{"from": [{}]}]}}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 0}}),
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
        ),
        (
            "poddisruptionbudgets",
            json!({"spec": {"maxUnavailable": 1}}),
            "minAvailable and maxUnavailable cannot be both set",
        ),
        ("persistentvolumeclaims", json!({"spec": {"accessModes": null}}), "spec.accessModes: Required value"),
        (
            "endpointslices",
            json!({"endpoints": [{"addresses": ["::1"]}]}),
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
        ),
        (
            "customresourcedefinitions",
            json!({"metadata": {"name": "x.y.z"}}),
            "metadata.name: Invalid value: \"x.y.z\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            "priorityclasses",
            json!({"value": 2_000_000_000}),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "leases",
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "nodes",
            json!({"spec": {"taints": [{"key": "a", "effect": "Go"}]}}),
            "spec.taints[0].effect: Unsupported value: \"Go\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
        ),
        (
            "namespaces",
            json!({"metadata": {"name": "a.b"}}),
            "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label",
        ),
    ] {
        let resource = resource(&registry, plural);
        let mut given = sample(plural);
        patch::merge_patch(&mut given, &change).unwrap();
        let errors: Vec<String> = strategy::validate_create(&resource, &prepared(&resource, given))
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(errors.iter().any(|e| e.contains(want)), "{plural} {change}: {errors:#?}");
    }
}

#[test]
fn what_is_for_ever_does_not_change() {
    let registry = Registry::builtin();
    for (plural, change, want) in [
        (
            "pods",
            json!({"spec": {"nodeName": "other"}}),
            "spec: Forbidden: pod updates may not change fields other than",
        ),
        (
            "deployments",
            json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
        ),
        (
            "services",
            json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/other"}),
            "type: Invalid value: \"kubernetes.io/other\": field is immutable",
        ),
        ("configmaps", json!({"data": {"k": "w"}}), "data: Forbidden: field is immutable when `immutable` is set"),
        (
            "statefulsets",
            json!({"spec": {"serviceName": "x"}}),
            "spec: Forbidden: updates to statefulset spec for fields other than",
        ),
        ("jobs", json!({"spec": {"completions": 5}}), "spec.completions: Invalid value: 5: field is immutable"),
        ("rolebindings", json!({"roleRef": {"name": "other"}}), "cannot change roleRef"),
        (
            "storageclasses",
            json!({"provisioner": "example.com/y"}),
            "provisioner: Forbidden: updates to provisioner are forbidden.",
        ),
        ("priorityclasses", json!({"value": 5}), "value: Forbidden: may not be changed in an update."),
        (
            "persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            "spec: Forbidden: spec is immutable after creation",
        ),
        ("pods", json!({"metadata": {"name": "b"}}), "metadata.name: Invalid value: \"b\": field is immutable"),
    ] {
        let resource = resource(&registry, plural);
        let mut old = prepared(&resource, sample(plural));
        match plural {
            "services" => {
                old["spec"]["clusterIP"] = json!("10.96.0.1");
                old["spec"]["clusterIPs"] = json!(["10.96.0.1"]);
            }
            "configmaps" => old["immutable"] = json!(true),
            _ => {}
        }
        let mut new = old.clone();
        patch::merge_patch(&mut new, &change).unwrap();
        strategy::prepare_for_update(&resource, None, &mut new, &old);
        let errors: Vec<String> =
            strategy::validate_update(&resource, None, &new, &old).0.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|e| e.contains(want)), "{plural} {change}: {errors:#?}");
    }
}

#[test]
fn a_pod_may_change_its_images_and_gain_tolerations() {
    let registry = Registry::builtin();
    let pods = resource(&registry, "pods");
    let old = prepared(&pods, sample("pods"));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("nginx:2");
    new["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    strategy::prepare_for_update(&pods, None, &mut new, &old);
    assert_eq!(strategy::validate_update(&pods, None, &new, &old).0, []);
    assert_eq!(new["metadata"]["generation"], 2);
}
