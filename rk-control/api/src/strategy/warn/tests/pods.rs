//! What is said of pods and of what they are made from.

use serde_json::{Value, json};

use super::said;

#[test]
fn pods_are_told_what_means_nothing_or_has_another_place_now() {
    let nowhere = "a null labelSelector results in matching no pod";
    for (spec, want) in [
        (
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            vec![r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#.to_owned()],
        ),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"preference": {"matchExpressions": [{"key": "node-role.kubernetes.io/master", "values": ["-x"]}]}},
            ]}}}),
            vec![
                "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: \
                 node-role.kubernetes.io/master is use \"node-role.kubernetes.io/control-plane\" instead"
                    .to_owned(),
                format!(
                    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: \
                     -x is invalid, {}",
                    crate::meta::label_value("-x").concat()
                ),
            ],
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "zone", "labelSelector": {}}, {"topologyKey": "zone"}]}),
            vec![format!("spec.topologySpreadConstraints[1].labelSelector: {nowhere}")],
        ),
        (
            json!({"affinity": {"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"topologyKey": "zone"}}],
            }}}),
            vec![
                format!("spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: {nowhere}"),
                format!(
                    "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: {nowhere}"
                ),
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}], "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}),
            vec![
                r#"spec.hostAliases[1].ip: duplicate ip "1.1.1.1""#.to_owned(),
                r#"spec.imagePullSecrets[1].name: duplicate name "a""#.to_owned(),
                r#"spec.imagePullSecrets[2].name: invalid empty name """#.to_owned(),
            ],
        ),
        (
            json!({"overhead": {"memory": "200m"}, "terminationGracePeriodSeconds": -1}),
            vec![
                r#"spec.overhead[memory]: fractional byte value "200m" is invalid, must be an integer"#.to_owned(),
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1".to_owned(),
            ],
        ),
        (
            json!({"dnsConfig": {"nameservers": ["2001:DB8::1", "::ffff:1.2.3.4"]}}),
            vec![
                r#"spec.dnsConfig.nameservers[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#.to_owned(),
                r#"spec.dnsConfig.nameservers[1]: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes release: use "1.2.3.4""#.to_owned(),
            ],
        ),
    ] {
        let pod = json!({"metadata": {"name": "a"}, "spec": spec});
        assert_eq!(said("", "v1", "pods", &pod), want);
    }
    let named = said("", "v1", "pods", &json!({"metadata": {"name": "a.b"}}));
    assert!(named[0].starts_with("metadata.name: this is used in the Pod's hostname"), "{named:?}");
}

#[test]
fn containers_are_told_of_what_hides_what() {
    let container = json!({
        "name": "a",
        "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "$(X)2"}, {"name": "X", "value": "$(X)"}, {"name": "X", "valueFrom": {}}],
        "resources": {"limits": {"memory": "1", "ephemeral-storage": "1500m"}},
        "ports": [
            {"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80, "protocol": "TCP"},
            {"containerPort": 81, "protocol": "TCP", "hostIP": "1.1.1.1", "name": "p"},
        ],
    });
    let second = json!({"name": "b", "ports": [
        {"containerPort": 80, "protocol": "UDP", "hostPort": 80}, {"containerPort": 90, "protocol": "TCP", "hostPort": 90},
        {"containerPort": 90, "protocol": "TCP", "hostPort": 90, "hostIP": "1.1.1.1"},
    ]});
    let object = json!({"spec": {"template": {"spec": {"initContainers": [container], "containers": [second]}}}});
    let at = "spec.template.spec.initContainers[0]";
    assert_eq!(
        said("apps", "v1", "daemonsets", &object),
        [
            format!(r#"{at}.resources.limits[ephemeral-storage]: fractional byte value "1500m" is invalid, must be an integer"#),
            format!(r#"{at}.env[2]: hides previous definition of "X", which may be dropped when using apply"#),
            format!(r#"{at}.env[3]: hides previous definition of "X", which may be dropped when using apply"#),
            format!("{at}.ports[2]: duplicate port definition with {at}.ports[0]"),
            format!("{at}.ports[3]: hostIP set without hostPort: {{Name:p HostPort:0 ContainerPort:81 Protocol:TCP HostIP:1.1.1.1}}"),
            format!("spec.template.spec.containers[0].ports[0]: overlapping port definition with {at}.ports[1]"),
            "spec.template.spec.containers[0].ports[2]: dangerously ambiguous port definition with spec.template.spec.containers[0].ports[1]"
                .to_owned(),
        ]
    );
}

#[test]
fn profiles_in_annotations_are_told_where_no_field_says_them() {
    let annotations = json!({
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        "container.seccomp.security.alpha.kubernetes.io/a": "runtime/default",
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        "security.alpha.kubernetes.io/sysctls": "a=b",
    });
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let template = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let at = "spec.jobTemplate.spec.template.metadata.annotations";
    let mut job = json!({"metadata": {"name": "a"}, "spec": {"jobTemplate": {"spec": {"template": template}}}});
    assert_eq!(
        said("batch", "v1", "cronjobs", &job),
        [
            format!(
                r#"{at}[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the "sysctls" field instead"#
            ),
            format!(
                r#"{at}[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead"#
            ),
            format!(
                r#"{at}[container.seccomp.security.alpha.kubernetes.io/a]: non-functional in v1.27+; use the "seccompProfile" field instead"#
            ),
            format!(
                r#"{at}[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead"#
            ),
        ]
    );
    let profiles = json!({"seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Unconfined"}});
    let spec = &mut job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    spec["securityContext"] = profiles.clone();
    spec["containers"][0]["securityContext"] = profiles;
    assert_eq!(said("batch", "v1", "cronjobs", &job).len(), 1, "the fields say it");
}

#[test]
fn volumes_are_told_of_kinds_that_are_no_more_and_of_paths_that_meet() {
    let items = |paths: &[&str]| paths.iter().map(|path| json!({"key": "k", "path": path})).collect::<Value>();
    let volumes = json!([
        {"name": "old", "storageos": {}},
        {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1500m"}}}}}},
        {"name": "map", "configMap": {"name": "m", "items": items(&["a", "b/c", "b/"])}},
        {"name": "file", "secret": {"secretName": "s", "items": items(&["a", "b"])}},
        {"name": "all", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}}, {}, {"configMap": {"name": "m", "items": items(&["token", "x"])}}, {"secret": {"name": "s"}},
        ]}},
    ]);
    assert_eq!(
        said("", "v1", "pods", &json!({"metadata": {"name": "a"}, "spec": {"volumes": volumes}})),
        [
            "spec.volumes[0].storageOS: deprecated in v1.22, non-functional in v1.25+",
            r#"spec.volumes[1].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer"#,
            r#"volume "map" (ConfigMap "m"): overlapping paths: "b" with "b/c""#,
            r#"volume "all" (Projected) has no sources provided"#,
            r#"volume "all" (Projected ConfigMap "m"): overlapping paths: "token" with "token""#,
        ]
    );
}
