//! Rules of networks, certificates, events and reviews, one broken at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::apps::{refuses, told};
use super::breaks;
use super::others::lets_in;
use crate::resources::Registry;
use crate::status::FieldErrors;
use crate::validate;

#[test]
fn networks() {
    let backend = |backend: Value| json!({"spec": {"defaultBackend": backend}});
    breaks(
        "ingresses",
        &[
            (backend(json!({})), "spec.defaultBackend: Invalid value: \"\": resource or service backend is required"),
            (
                backend(json!({"service": {"name": "s"}})),
                "spec.defaultBackend: Required value: port name or number is required",
            ),
            (
                backend(json!({"resource": {"kind": "K"}})),
                "defaultBackend.resource.name: Required value: name is required",
            ),
            (
                json!({"spec": {"rules": [{"host": "010.0.0.1"}]}}),
                "spec.rules[0].host: Invalid value: \"010.0.0.1\": must be a DNS name, not an IP address",
            ),
            (
                json!({"spec": {"rules": [{"http": {"paths": [{"pathType": ""}]}}]}}),
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"\"",
            ),
            (
                backend(json!({"resource": {"kind": "K", "name": "a/b"}})),
                "spec.defaultBackend.resource.name: Invalid value: \"a/b\": may not contain '/'",
            ),
            (
                json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {"ingressClassName": "y"}}),
                "annotations.kubernetes.io/ingress.class: Invalid value: \"x\": must match `ingressClassName` when both are specified",
            ),
        ],
    );
    refuses(
        "ingresses",
        Some("status"),
        &[(
            json!({}),
            json!({"status": {"loadBalancer": {"ingress": [{"hostname": "1.2.3.4"}]}}}),
            "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        )],
    );
    breaks(
        "networkpolicies",
        &[
            (
                json!({"spec": {"policyTypes": ["Sideways"]}}),
                "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
            ),
            (
                json!({"spec": {"ingress": [{"ports": [{"protocol": "ICMP"}]}]}}),
                "supported values: \"TCP\", \"UDP\", \"SCTP\"",
            ),
            (
                json!({"spec": {"ingress": [{"ports": [{"protocol": ""}]}]}}),
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"\"",
            ),
        ],
    );
    let class = |parameters: Value| json!({"spec": {"parameters": parameters}});
    breaks(
        "ingressclasses",
        &[
            (class(json!({"kind": "K"})), "spec.parameters.name: Required value: name is required"),
            (
                class(json!({"kind": "K", "name": "n", "namespace": ""})),
                "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ),
            (class(json!({"kind": "K", "name": "n", "scope": ""})), "spec.parameters.scope: Unsupported value: \"\""),
        ],
    );
    let of_one_family = "{\"CIDRs\":[\"10.96.0.0/16\",\"x\"]}: may specify no more than one IP for each IP family";
    breaks(
        "servicecidrs",
        &[
            (
                json!({"spec": {"cidrs": ["10.96.0.1/16"]}}),
                "spec.cidrs[0]: Invalid value: \"10.96.0.1/16\": must not have bits set beyond the prefix length",
            ),
            (json!({"spec": {"cidrs": ["10.96.0.0/16", "x"]}}), of_one_family),
        ],
    );
    refuses(
        "servicecidrs",
        None,
        &[(
            json!({}),
            json!({"spec": {"cidrs": ["10.97.0.0/16"]}}),
            "spec.cidrs[0]: Invalid value: \"10.97.0.0/16\": field is immutable",
        )],
    );
    breaks(
        "ipaddresses",
        &[
            (json!({"metadata": {"name": "2001:DB8::1"}}), "must be in canonical form (\"2001:db8::1\")"),
            (json!({"spec": {"parentRef": {"group": "A"}}}), "spec.parentRef.group: Invalid value: \"A\""),
        ],
    );
    let at = |address: &str| json!({"endpoints": [{"addresses": [address]}]});
    let zones: Vec<Value> = (0..9).map(|zone| json!({"name": zone.to_string()})).collect();
    breaks(
        "endpointslices",
        &[
            (
                json!({"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": zones}}]}),
                "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items",
            ),
            (at("x"), "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or"),
            (at("010.0.0.1"), "endpoints[0].addresses[0]: Invalid value: \"010.0.0.1\": must not have leading 0s"),
            (at("fd00::1"), "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address"),
            (json!({"ports": [{"protocol": ""}]}), "ports[0].protocol: Unsupported value: \"\""),
            (
                json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a"]}]}),
                "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots",
            ),
        ],
    );
}

#[test]
fn certificates_classes_and_leases() {
    breaks(
        "certificatesigningrequests",
        &[
            (
                json!({"spec": {"signerName": "example.com/a/b"}}),
                "spec.signerName: Invalid value: \"example.com/a/b\": must be a fully qualified domain and path",
            ),
            (
                json!({"spec": {"signerName": "Example.com/a"}}),
                "spec.signerName: Invalid value: \"Example.com\": validating label \"Example\": a lowercase RFC 1123 label",
            ),
        ],
    );
    let none = "must contain at least one CERTIFICATE PEM block";
    for (pem, want) in [
        ("x", none),
        ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", none),
        (
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "found CERTIFICATE PEM block containing 0 certificates",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nA: b\n\nAAAA\n-----END CERTIFICATE-----\n",
            "no PEM block headers are permitted",
        ),
        ("-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n", "only CERTIFICATE PEM blocks are allowed, found \"KEY\""),
    ] {
        let change = json!({"status": {"certificate": STANDARD.encode(pem)}});
        let want = format!("status.certificate: Invalid value: \"<certificate data>\": {want}");
        refuses("certificatesigningrequests", Some("status"), &[(json!({}), change, want.as_str())]);
    }
    breaks(
        "runtimeclasses",
        &[(json!({"overhead": {"podFixed": {"gold": "1"}}}), "overhead.limits[gold]: Invalid value")],
    );
    breaks(
        "priorityclasses",
        &[
            (json!({"preemptionPolicy": ""}), "preemptionPolicy: Required value"),
            (
                json!({"preemptionPolicy": "Some"}),
                "preemptionPolicy: Unsupported value: \"Some\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000, "globalDefault": true}),
                "globalDefault of system-node-critical PriorityClass must be false",
            ),
        ],
    );
    breaks(
        "leases",
        &[(
            json!({"spec": {"leaseTransitions": -1}}),
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        )],
    );
}

#[test]
fn features_of_a_node_have_names_and_an_order() {
    let declares = |names: &[&str]| json!({"status": {"declaredFeatures": names}});
    let at = "status.declaredFeatures[1]: ";
    for (names, want) in [
        (["A", "A"], "Duplicate value: \"A\""),
        (["B", "A"], "Invalid value: \"A\": list must be sorted alphabetically"),
        (["A", "a"], "Invalid value: \"a\": invalid feature name \"a\": must start with an UpperCamelCase segment"),
        (["A/b2", "B/2"], "Invalid value: \"B/2\": invalid feature name"),
    ] {
        let want = format!("{at}{want}");
        refuses("nodes", Some("status"), &[(json!({}), declares(&names), want.as_str())]);
    }
}

#[test]
fn services_are_told_of_what_was_an_annotation_before_it_was_a_field() {
    let noted =
        |annotations: Value, kind: &str| json!({"metadata": {"annotations": annotations}, "spec": {"type": kind}});
    let ranges = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let (mode, hints) = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints");
    breaks(
        "services",
        &[
            (
                noted(json!({ranges: ""}), "ClusterIP"),
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ),
            (
                noted(json!({ranges: "10.0.0.0/8, 10.0.0.0"}), "LoadBalancer"),
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"10.0.0.0\": must be a valid CIDR value",
            ),
            (
                noted(json!({mode: "Auto", hints: "Disabled"}), "ClusterIP"),
                "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": \
                 must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified",
            ),
            (
                json!({"spec": {"type": "ExternalName", "externalName": "a.."}}),
                "spec.externalName: Invalid value: \"a.\": a lowercase RFC 1123 subdomain",
            ),
        ],
    );
}

#[test]
fn rules_of_a_service_are_told_in_upstreams_order() {
    let registry = Registry::builtin();
    let services = registry.get("", "v1", "services").unwrap();
    let paths = |spec: Value| {
        let mut errors = FieldErrors::new();
        validate::object(services, &json!({"metadata": {"name": "s"}, "spec": spec}), &mut errors);
        errors.0.into_iter().map(|error| error.path.replace("spec.", "")).collect::<Vec<_>>().join(" ")
    };
    let port = |name: &str| json!({"name": name, "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080});
    for (spec, want) in [
        (
            json!({"type": "ExternalName", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "sessionAffinity": "None"}),
            "clusterIPs ipFamilies ipFamilyPolicy externalName",
        ),
        (
            json!({"type": "ClusterIP", "ports": [port("a"), port("a")], "sessionAffinity": "None", "externalIPs": ["127.0.0.1"],
                "ipFamilyPolicy": "Both", "loadBalancerSourceRanges": ["10.0.0.0/8"], "allocateLoadBalancerNodePorts": true,
                "loadBalancerClass": "a/b", "externalTrafficPolicy": "Cluster", "healthCheckNodePort": 30000, "internalTrafficPolicy": "", "trafficDistribution": ""}),
            "ports[1].name ipFamilyPolicy externalIPs[0] ports[0].nodePort ports[1].nodePort ports[1].nodePort ports[1] \
             LoadBalancerSourceRanges allocateLoadBalancerNodePorts loadBalancerClass healthCheckNodePort \
             internalTrafficPolicy trafficDistribution",
        ),
        (
            json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "clusterIP": "None",
                "clusterIPs": ["None"], "sessionAffinity": "None", "externalTrafficPolicy": "Local", "healthCheckNodePort": -1}),
            "clusterIPs[0] healthCheckNodePort",
        ),
        (
            json!({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "clusterIP": "10.0.0.1",
                "clusterIPs": ["10.0.0.1", "fd00::1", "10.0.0.2"], "sessionAffinity": "None"}),
            "clusterIPs",
        ),
    ] {
        assert_eq!(paths(spec), want);
    }
    // The kubelet's number is one as any other.
    lets_in("services", &json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 10250}]}}));
}

#[test]
fn events_of_the_newer_group_are_held_to_more() {
    let registry = Registry::builtin();
    let newer = registry.get("events.k8s.io", "v1", "events").unwrap();
    let core = registry.get("", "v1", "events").unwrap();
    let event = json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"name": "p"}, "count": 1,
        "eventTime": "2024-01-01T00:00:00.000000Z", "reportingComponent": "", "reason": "r", "action": "a", "reportingInstance": "i"});
    let mut errors = FieldErrors::new();
    validate::requested(newer, &event, None, &mut errors);
    let all = told(&errors);
    for want in [
        "reportingController: Required value",
        "type: Invalid value: \"\": has invalid value: ",
        "count: Invalid value: \"\": needs to be unset",
    ] {
        assert!(all.iter().any(|e| e.starts_with(want)), "{want}: {all:#?}");
    }
    let mut errors = FieldErrors::new();
    validate::requested(core, &event, None, &mut errors);
    assert!(told(&errors).contains(&"reportingComponent: Required value".to_owned()), "{errors:?}");
    let mut later = event.clone();
    later["reason"] = json!("other");
    let mut errors = FieldErrors::new();
    validate::requested(newer, &later, Some(&event), &mut errors);
    assert!(told(&errors).contains(&"reason: Invalid value: \"other\": field is immutable".to_owned()), "{errors:?}");
}

#[test]
fn a_review_asks_one_thing_about_somebody() {
    for (kind, review, want) in [
        (
            "SubjectAccessReview",
            json!({"spec": {"user": "u"}}),
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            "SubjectAccessReview",
            json!({"spec": {"nonResourceAttributes": {"path": "/"}}}),
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
        (
            "SelfSubjectAccessReview",
            json!({"metadata": {"name": "a"}, "spec": {"nonResourceAttributes": {"path": "/"}}}),
            "metadata: Invalid value: {\"name\":\"a\"}: must be empty",
        ),
        (
            "LocalSubjectAccessReview",
            json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}}),
            "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace",
        ),
        (
            "SelfSubjectAccessReview",
            json!({"spec": {"resourceAttributes": {"fieldSelector": {}}}}),
            "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            "SelfSubjectAccessReview",
            json!({"spec": {"resourceAttributes": {"labelSelector": {"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]}}}}),
            "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements",
        ),
    ] {
        assert_eq!(told(&validate::access_review(kind, &review)), [want], "{kind}");
    }
}
