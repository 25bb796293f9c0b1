//! What is said of objects of each kind.

mod pods;

use serde_json::{Value, json};

use super::warnings;
use crate::resources::{Registry, Resource};

fn resource(group: &str, version: &str, plural: &str) -> std::sync::Arc<Resource> {
    Registry::builtin().get(group, version, plural).unwrap().clone()
}

/// What is said of a new object.
fn said(group: &str, version: &str, plural: &str, object: &Value) -> Vec<String> {
    warnings(&resource(group, version, plural), None, object, None)
}

#[test]
fn services_are_told_what_is_ignored_and_what_has_another_name_now() {
    for (spec, want) in [
        (
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "sessionAffinity": "None"}),
            vec![],
        ),
        (
            json!({
                "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "loadBalancerIP": "1.1.1.1",
                "externalIPs": ["1.1.1.1"],
            }),
            vec![
                "spec.loadBalancerIP is ignored for headless services",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            json!({"type": "NodePort", "externalIPs": ["FD00::1"], "externalName": "x", "trafficDistribution": "PreferClose"}),
            vec![
                r#"spec.externalIPs[0]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#,
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                r#"spec.externalName is ignored when spec.type is not "ExternalName""#,
                r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#,
            ],
        ),
        (
            json!({"type": "ExternalName", "externalName": "x", "externalIPs": ["1.1.1.1"]}),
            vec![r#"spec.externalIPs is ignored when spec.type is "ExternalName""#],
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.1.2.3/8", "fd00:0::/16", "10.0.0.0/8"]}),
            vec![
                r#"spec.loadBalancerSourceRanges[0]: CIDR value "10.1.2.3/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.2.3/32"?)"#,
                r#"spec.loadBalancerSourceRanges[1]: IPv6 CIDR value "fd00:0::/16" should be in RFC 5952 canonical format ("fd00::/16")"#,
            ],
        ),
    ] {
        assert_eq!(said("", "v1", "services", &json!({"spec": spec})), want);
    }
    let services = resource("", "v1", "services");
    let told = json!({"status": {"loadBalancer": {"ingress": [{"ip": "FD00::1"}, {"hostname": "x"}]}}});
    assert_eq!(
        warnings(&services, Some("status"), &told, Some(&told)),
        [
            r#"status.loadBalancer.ingress[0].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#
        ]
    );
}

#[test]
fn objects_of_other_kinds_are_told_what_is_deprecated() {
    let slice = |label: &str| {
        json!({
            "metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": label}}, "addressType": "IPv6",
            "endpoints": [{"addresses": ["FD00::1"]}],
        })
    };
    let cases: [(&str, &str, &str, Value, Vec<&str>); 15] = [
        (
            "",
            "v1",
            "nodes",
            json!({"spec": {"configSource": {}, "externalID": "x", "podCIDRs": ["10.0.0.1/24"]}}),
            vec![
                "spec.configSource: the feature is removed",
                "spec.externalID: this field is deprecated, and is unused by Kubernetes",
                r#"spec.podCIDRs[0]: CIDR value "10.0.0.1/24" is ambiguous in this context (should be "10.0.0.0/24" or "10.0.0.1/32"?)"#,
            ],
        ),
        (
            "",
            "v1",
            "serviceaccounts",
            json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}),
            vec![
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
            ],
        ),
        (
            "",
            "v1",
            "endpoints",
            json!({"subsets": [{"notReadyAddresses": [{"ip": "FD00::1"}]}]}),
            vec![
                r#"subsets[0].notReadyAddresses[0].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#,
            ],
        ),
        (
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            slice("mine"),
            vec![
                r#"endpoints[0].addresses[0]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#,
            ],
        ),
        ("discovery.k8s.io", "v1", "endpointslices", slice("endpointslice-controller.k8s.io"), vec![]),
        (
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]}),
            vec!["spec.addressType: FQDN endpoints are deprecated"],
        ),
        (
            "networking.k8s.io",
            "v1",
            "networkpolicies",
            json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.1.1/16"]}}]}]}}),
            vec![
                r#"spec.egress[0].to[0].ipBlock.except[0]: CIDR value "10.1.1.1/16" is ambiguous in this context (should be "10.1.0.0/16" or "10.1.1.1/32"?)"#,
            ],
        ),
        (
            "networking.k8s.io",
            "v1",
            "ingresses",
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}),
            vec![
                r#"annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead"#,
            ],
        ),
        (
            "",
            "v1",
            "persistentvolumes",
            json!({
                "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x", "volume.beta.kubernetes.io/mount-options": "x"}},
                "spec": {"persistentVolumeReclaimPolicy": "Recycle", "rbd": {}},
            }),
            vec![
                r#"metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead"#,
                r#"metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead"#,
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        ),
        (
            "",
            "v1",
            "persistentvolumeclaims",
            json!({"spec": {"resources": {"limits": {"storage": "100m"}}}}),
            vec![r#"spec.resources.limits[storage]: fractional byte value "100m" is invalid, must be an integer"#],
        ),
        (
            "storage.k8s.io",
            "v1",
            "storageclasses",
            json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "beta.kubernetes.io/arch"}]}]}),
            vec![
                r#"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/arch" instead"#,
            ],
        ),
        (
            "storage.k8s.io",
            "v1",
            "csistoragecapacities",
            json!({"nodeTopology": {"matchLabels": {"beta.kubernetes.io/arch": "x"}, "matchExpressions": [{"key": "beta.kubernetes.io/os"}]}}),
            vec![
                r#"nodeTopology.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead"#,
                r#"nodeTopology.matchLabels.beta.kubernetes.io/arch: deprecated since v1.14; use "kubernetes.io/arch" instead"#,
            ],
        ),
        (
            "node.k8s.io",
            "v1",
            "runtimeclasses",
            json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/arch": "x"}}}),
            vec![r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead"#],
        ),
        (
            "resource.k8s.io",
            "v1",
            "resourceslices",
            json!({"spec": {"driver": "D.example.com"}}),
            vec![r#"spec.driver: driver names should be lowercase; "D.example.com" contains uppercase characters"#],
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "validatingwebhookconfigurations",
            json!({"metadata": {"name": "a.static.k8s.io"}}),
            vec![
                r#"metadata.name: names ending with ".static.k8s.io" will be reserved for static manifest-based configurations when the ManifestBasedAdmissionControlConfig feature gate is enabled"#,
            ],
        ),
    ];
    for (group, version, plural, object, want) in cases {
        assert_eq!(said(group, version, plural, &object), want, "{plural}");
    }
}

#[test]
fn workloads_are_told_again_with_every_generation() {
    let deployments = resource("apps", "v1", "deployments");
    let of = |generation: u32| {
        let spec = json!({"template": {"spec": {"terminationGracePeriodSeconds": -1}}});
        json!({"metadata": {"name": "a.b", "generation": generation}, "spec": spec})
    };
    assert_eq!(warnings(&deployments, None, &of(1), None).len(), 2, "of the name, too");
    assert_eq!(warnings(&deployments, None, &of(2), Some(&of(1))).len(), 1);
    assert_eq!(warnings(&deployments, None, &of(2), Some(&of(2))), Vec::<String>::new());
    assert_eq!(warnings(&deployments, Some("status"), &of(2), Some(&of(1))), Vec::<String>::new());
    let pods = resource("", "v1", "pods");
    let pod = |generation: u32| json!({"metadata": {"generation": generation}, "spec": {"terminationGracePeriodSeconds": -1}});
    assert_eq!(warnings(&pods, None, &pod(2), Some(&pod(1))), Vec::<String>::new());
    let sets = resource("apps", "v1", "statefulsets");
    assert_eq!(
        warnings(&sets, None, &json!({"spec": {"revisionHistoryLimit": -1}}), None),
        ["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"]
    );
    let jobs = resource("batch", "v1", "jobs");
    let large = json!({"metadata": {"name": "a"}, "spec": {"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001}});
    assert!(
        warnings(&jobs, None, &large, None)[0]
            .starts_with("spec: In Indexed Jobs with a number of completions higher than 10^5")
    );
}

#[test]
fn formats_that_nobody_looks_at_are_told_once() {
    let definition = |formats: &[&str]| {
        let fields =
            formats.iter().map(|format| ((*format).to_owned(), json!({"items": {"type": "string", "format": format}})));
        json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": fields.collect::<serde_json::Map<_, _>>()}}}]}})
    };
    let definitions = resource("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let known = ["date-time", "password", "k8s-short-name"];
    assert_eq!(warnings(&definitions, None, &definition(&known), None), Vec::<String>::new());
    let (old, new) = (definition(&["colour"]), definition(&["colour", "taste"]));
    assert_eq!(warnings(&definitions, None, &old, None), ["unrecognized format \"colour\""]);
    assert_eq!(warnings(&definitions, None, &new, Some(&old)), ["unrecognized format \"taste\""]);
    let number = |kind: &str| {
        let fields = json!({"a": {"type": kind, "format": "int32"}});
        let made = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": fields}}}]}});
        warnings(&definitions, None, &made, None).len()
    };
    assert_eq!(["integer", "number", "string", "boolean"].map(number), [0, 1, 1, 1], "formats belong to types");
}

#[test]
fn finalizers_of_custom_kinds_should_have_paths() {
    let definition = json!({"metadata": {"name": "foos.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }});
    let foos = crate::custom::rows(&definition).remove(0);
    let foo = |finalizers: &[&str]| json!({"metadata": {"name": "a", "finalizers": finalizers}});
    let new = foo(&["example.com/mine", "foregroundDeletion", "mine", "theirs.com"]);
    let said = |name: &str, path: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )
    };
    let (mine, theirs) = (said("mine", ""), said("theirs.com", " including a path (/)"));
    assert_eq!(warnings(&foos, None, &new, None), [mine, theirs.clone()]);
    assert_eq!(warnings(&foos, None, &new, Some(&foo(&["mine"]))), [theirs]);
}
