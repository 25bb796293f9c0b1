//! The standards by table: what is told of which pod, at which level, of which release.

use serde_json::{Value, json};

use super::checks::{describe, judge};
use super::policy::Policy;
use super::significant;
use super::subject::Subject;

/// What a pod breaks of a level, as it is told.
fn told_of(level: &str, version: &str, pod: &Value) -> String {
    let labels =
        json!({"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version});
    describe(&judge(Policy::of(&labels).0.enforce, &Subject::of(pod)))
}

/// The same of a spec and of the newest release.
fn told(level: &str, spec: Value) -> String {
    told_of(level, "latest", &json!({ "spec": spec }))
}

/// A spec that breaks nothing at the restricted level, with something else in its only container and beside.
fn careful(container: Value, spec: Value) -> Value {
    let mut pod = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    merge(&mut pod["containers"][0], container);
    merge(&mut pod, spec);
    pod
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => fields.into_iter().for_each(|(key, value)| merge(&mut into[key], value)),
        other => *into = other,
    }
}

#[test]
fn baseline_refuses_what_reaches_the_host_and_names_it() {
    let container = |name: &str, context: Value| json!({"name": name, "securityContext": context});
    for (spec, expected) in [
        (json!({"containers": [{"name": "a"}]}), ""),
        (
            json!({"containers": [
                container("a", json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}})),
                container("b", json!({"capabilities": {"add": ["NET_RAW"]}})),
            ]}),
            "non-default capabilities (containers \"a\", \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (json!({"hostNetwork": true, "hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}), "hostPath volumes (volume \"h\")"),
        (
            json!({"initContainers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}, {"containerPort": 1}]}]}),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            json!({"containers": [container("a", json!({"privileged": true})), container("b", json!({"privileged": false}))]}),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"containers": [container("a", json!({"procMount": "Unmasked"})), container("b", json!({"procMount": "Default"}))]}),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "foo", "user": "u"}},
                "containers": [container("a", json!({"seLinuxOptions": {"type": "container_t", "role": "r"}}))]}),
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"foo\"; user may not be set; role may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"containers": [container("a", json!({"windowsOptions": {"hostProcess": true}}))]}),
            "hostProcess (container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ] {
        assert_eq!(told("baseline", spec), expected);
    }
}

#[test]
fn probes_and_hooks_ask_their_own_pod_alone() {
    let spec = json!({
        "containers": [
            {"name": "b", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "x"}}}},
            {"name": "c", "readinessProbe": {"httpGet": {"path": "/"}}, "startupProbe": {"tcpSocket": {"host": ""}}},
        ],
        "initContainers": [{"name": "a", "lifecycle": {"postStart": {"httpGet": {"host": "10.0.0.1"}}}}],
    });
    let expected = "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \"10.0.0.1\", \"x\")";
    assert_eq!(told("baseline", spec.clone()), expected);
    assert_eq!(told_of("baseline", "v1.33", &json!({ "spec": spec })), "");
}

#[test]
fn profiles_of_apparmor_confine_by_field_and_by_annotation() {
    let pod = json!({
        "metadata": {"annotations": {
            "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
            "container.apparmor.security.beta.kubernetes.io/b": "localhost/x",
        }},
        "spec": {"containers": [{"name": "a", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]},
    });
    assert_eq!(
        told_of("baseline", "v1.0", &pod),
        "forbidden AppArmor profiles (container \"a\" and annotation must not set AppArmor profile type to \"Unconfined\", \
         \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")"
    );
}

#[test]
fn restricted_asks_for_every_precaution() {
    assert_eq!(
        told("restricted", json!({"containers": [{"name": "a"}, {"name": "b"}]})),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let volumes =
        json!({"volumes": [{"name": "i", "image": {}}, {"name": "n", "nfs": {}}, {"name": "h", "hostPath": {}}]});
    for (container, spec, expected) in [
        (json!({}), json!({}), ""),
        // The stricter rule alone is told, not the baseline's beside it.
        (
            json!({"securityContext": {"capabilities": {"drop": ["KILL"], "add": ["NET_BIND_SERVICE", "SYS_TIME"]}}}),
            json!({}),
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             container \"a\" must not include \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (
            json!({}),
            volumes,
            "restricted volume types (volumes \"n\", \"h\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            json!({}),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0}}),
            json!({"securityContext": {"runAsUser": 0}}),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
             runAsUser=0 (pod and container \"a\" must not set runAsUser=0)",
        ),
    ] {
        assert_eq!(told("restricted", careful(container, spec)), expected);
    }
}

#[test]
fn each_release_has_its_own_standards() {
    let restricted = |version: &str, spec: &Value| told_of("restricted", version, &json!({ "spec": spec }));
    let root_inside = careful(
        json!({"securityContext": {"procMount": "Unmasked"}}),
        json!({"hostUsers": false, "securityContext": {"runAsNonRoot": false, "runAsUser": 0}}),
    );
    let unmasked = "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")";
    let root = "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)";
    assert_eq!(restricted("v1.22", &root_inside), format!("{unmasked}, {root}"));
    assert_eq!(
        restricted("v1.34", &root_inside),
        format!("{unmasked}, {root}, runAsUser=0 (pod must not set runAsUser=0)")
    );
    assert_eq!(restricted("v1.35", &root_inside), unmasked);
    assert_eq!(told("baseline", root_inside.clone()), "");
    assert_eq!(told_of("baseline", "v1.34", &json!({ "spec": root_inside })), unmasked);

    let windows =
        json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]});
    assert_eq!(restricted("v1.25", &windows), "");
    assert!(restricted("v1.24", &windows).starts_with("allowPrivilegeEscalation != false"));
    // What a release did not ask for yet, the baseline's rule stands for.
    let grants = json!({"securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_TIME"]}}}]});
    assert!(restricted("v1.7", &grants).starts_with("non-default capabilities (container \"a\""));

    for (name, since) in
        [("net.ipv4.ip_local_reserved_ports", 27), ("net.ipv4.tcp_fin_timeout", 29), ("net.ipv4.tcp_wmem", 32)]
    {
        let pod = json!({"spec": {"securityContext": {"sysctls": [{"name": name}]}}});
        assert_eq!(told_of("baseline", &format!("v1.{since}"), &pod), "", "{name}");
        assert_ne!(told_of("baseline", &format!("v1.{}", since - 1), &pod), "", "{name}");
    }
    let engine = json!({"spec": {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}});
    assert_eq!(told_of("baseline", "v1.31", &engine), "");
    assert!(told_of("baseline", "v1.30", &engine).ends_with("type \"container_engine_t\")"));
}

#[test]
fn seccomp_was_an_annotation_before_it_was_a_field() {
    let pod = json!({
        "metadata": {"annotations": {
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/a": "docker/default",
        }},
        "spec": {"containers": [{"name": "a"}]},
    });
    assert_eq!(
        told_of("baseline", "v1.18", &pod),
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
    assert_eq!(told_of("baseline", "v1.19", &pod), "");
}

#[test]
fn an_update_matters_by_its_images_and_ephemeral_containers() {
    let pod = |image: &str, ephemeral: Value, more: Value| {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": image}], "ephemeralContainers": ephemeral}});
        merge(&mut pod, more);
        pod
    };
    let old = pod("i:1", json!([]), json!({}));
    let seccomp = json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}});
    for (new, matters) in [
        (
            pod(
                "i:1",
                json!([]),
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"tolerations": [{"operator": "Exists"}]}}),
            ),
            false,
        ),
        (pod("i:2", json!([]), json!({})), true),
        (pod("i:1", json!([{"name": "d", "image": "i"}]), json!({})), true),
        (pod("i:1", json!([]), seccomp), true),
    ] {
        assert_eq!(significant(&old, &new), matters, "{new}");
    }
}
