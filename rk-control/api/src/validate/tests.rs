//! Rules, kind by kind: what a client sends, decoded and defaulted, and what the server says.

use serde_json::{Value, json};

mod apps;
mod bounds;
mod claims;
mod containers;
mod devices;
mod extensions;
mod flows;
mod immutable;
mod jobs;
mod networks;
mod older;
mod others;
mod pods;
mod policies;
mod requests;
mod storage;
mod traffic;
mod updates;

use super::samples::samples;
use crate::decode::{Form, fit};
use crate::resources::{Registry, Resource};
use crate::{defaults, patch, strategy};

fn resource(registry: &Registry, plural: &str) -> std::sync::Arc<Resource> {
    let named = registry.iter().find(|r| r.plural == plural && r.is_hub() && r.is_stored());
    named.expect("a resource of that name").clone()
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

fn merge(object: &mut Value, change: &Value) {
    patch::merge_patch(object, change).expect("a patch that applies");
}

/// Each change of an ordinary object is refused with words that contain these.
fn breaks(plural: &str, cases: &[(Value, &str)]) {
    let registry = Registry::builtin();
    let resource = resource(&registry, plural);
    for (change, want) in cases {
        let mut given = sample(plural);
        merge(&mut given, change);
        let errors: Vec<String> = strategy::validate_create(&resource, &prepared(&resource, given))
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(errors.iter().any(|e| e.contains(want)), "{plural} {change}: {errors:#?}");
    }
}

#[test]
fn broken_rules_are_told_in_known_words() {
    for (plural, change, want) in [
        ("pods", json!({"metadata": {"name": ""}}), "metadata.name: Required value: name or generateName is required"),
        ("pods", json!({"metadata": {"generateName": "-"}}), "metadata.generateName: Invalid value: \"-\": "),
        (
            "pods",
            json!({"metadata": {"labels": {"a": "b c"}}}),
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string",
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
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
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
        (
            "pods",
            json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        ("services", json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}), "spec.ports[0].name: Required value"),
        (
            "services",
            json!({"metadata": {"name": "1.a"}}),
            "metadata.name: Invalid value: \"1.a\": must not contain dots",
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
            "spec.schedule: Invalid value: \"bad\": expected exactly 5 fields, found 1: [bad]",
        ),
        (
            "roles",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "rolebindings",
            json!({"subjects": [{"kind": "Robot", "name": "u"}]}),
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ),
        (
            "ingresses",
            json!({"spec": {"rules": null}}),
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
        ),
        (
            "networkpolicies",
            json!({"spec": {"ingress": [{"from": [{}]}]}}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 0}}),
            "spec.maxReplicas: Required value: must be set and greater than 0",
        ),
        (
            "poddisruptionbudgets",
            json!({"spec": {"maxUnavailable": 1}}),
            "minAvailable and maxUnavailable cannot be both set",
        ),
        (
            "persistentvolumeclaims",
            json!({"spec": {"accessModes": null}}),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            "pods",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]}}),
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        (
            "pods",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
                {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2", "controller": true}]}}),
            "[{\"apiVersion\":\"v1\",\"kind\":\"A\",\"name\":\"a\",\"uid\":\"1\",\"controller\":true},{",
        ),
        (
            "nodes",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}}),
            "taints must be unique by key and effect pair",
        ),
        (
            "services",
            json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}}),
            "may specify no more than one IP for each IP family",
        ),
        (
            "services",
            json!({"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": "A"}]}]}),
            "subsets[0].addresses[0].nodeName: Invalid value: \"A\"",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "W10="}}),
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "events",
            json!({"metadata": {"namespace": "kube-system"}, "involvedObject": {"namespace": null}}),
            "involvedObject.namespace: Invalid value: \"\": does not match event.namespace",
        ),
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
            "metadata.taints[0].effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            "namespaces",
            json!({"metadata": {"name": "a.b"}}),
            "metadata.name: Invalid value: \"a.b\": must not contain dots",
        ),
    ] {
        breaks(plural, &[(change, want)]);
    }
}
