//! What containers, volumes and places of pods may not be, one by one, and what of a pod does not change.

use serde_json::{Value, json};

use super::apps::refuses;
use super::pods::{container, pod, volume};
use super::{breaks, merge};

#[test]
fn mounts_probes_and_variables_of_containers() {
    let at = "spec.containers[0]";
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
    let mount = |more: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        merge(&mut mount, &more);
        pod(json!({"volumeMounts": [mount]}), json!({"volumes": [{"name": "v", "emptyDir": {}}]}))
    };
    let twice = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}], "volumeDevices": [{"name": "v", "devicePath": "/v"}]});
    let variable = |more: Value| {
        let mut variable = json!({"name": "A"});
        merge(&mut variable, &more);
        container(json!({"env": [variable]}))
    };
    let field = json!({"fieldPath": "metadata.name"});
    let probe = |kind: &str, probe: Value| container(json!({kind: probe}));
    let web =
        |header: &str| json!({"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": header, "value": "v"}]}});
    for (change, want) in [
        (
            mount(json!({"subPath": "a", "subPathExpr": "b"})),
            ".volumeMounts[0].subPathExpr: Invalid value: \"b\": subPathExpr and subPath are mutually exclusive",
        ),
        (
            mount(json!({"mountPropagation": "Bidirectional"})),
            ".volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ),
        (mount(json!({"subPath": "/a"})), ".volumeMounts.subPath: Invalid value: \"/a\": must be a relative path"),
        (
            pod(twice.clone(), claim.clone()),
            ".volumeDevices[0].name: Invalid value: \"v\": must not already exist in volumeMounts",
        ),
        (
            pod(twice.clone(), claim.clone()),
            ".volumeDevices[0].devicePath: Invalid value: \"/v\": must not already exist as a path in volumeMounts",
        ),
        (
            pod(twice, claim),
            ".volumeMounts[0].mountPath: Invalid value: \"/v\": must not already exist as a path in volumeDevices",
        ),
        (
            probe("readinessProbe", json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5})),
            ".readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
        ),
        (
            probe("livenessProbe", json!({"tcpSocket": {"port": 80}, "exec": {"command": ["a"]}})),
            ".livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            probe("livenessProbe", web("a b")),
            ".livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-'",
        ),
        (
            variable(json!({"valueFrom": {}})),
            ".env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        (
            variable(json!({"value": "a", "valueFrom": {"fieldRef": field}})),
            ".env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            variable(json!({"valueFrom": {"fieldRef": field, "secretKeyRef": {"name": "s", "key": "k"}}})),
            ".env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
        ),
        (
            pod(json!({"ports": [{"containerPort": 80, "hostPort": 81}]}), json!({"hostNetwork": true})),
            ".ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ),
    ] {
        breaks("pods", &[(change, format!("{at}{want}").as_str())]);
    }
    let first = json!([{"name": "i", "image": "i", "livenessProbe": {"tcpSocket": {"port": 80}}}]);
    let want = "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always";
    breaks("pods", &[(json!({"spec": {"initContainers": first}}), want)]);
    let template = json!({"spec": {"template": {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}}});
    breaks("deployments", &[(template, "ephemeral containers not allowed in pod template")]);
}

#[test]
fn where_a_pod_runs_and_what_it_is_let_do() {
    let spec = |more: Value| json!({"spec": more});
    let terms = |term: Value| {
        let required = json!({"nodeSelectorTerms": [term]});
        spec(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}))
    };
    let fields =
        |key: &str, values: Value| terms(json!({"matchFields": [{"key": key, "operator": "In", "values": values}]}));
    let secured = |context: Value| container(json!({"securityContext": context}));
    let long = format!("{0}.{0}", "a".repeat(40));
    breaks(
        "pods",
        &[
            (
                spec(json!({"dnsPolicy": "None", "dnsConfig": {}})),
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
            ),
            (
                spec(json!({"dnsConfig": {"searches": vec![long; 32]}})),
                "must not have more than 2048 characters (including spaces) in the search list",
            ),
            (
                terms(json!({"matchExpressions": [{"key": "a", "operator": "Lt", "values": ["1", "2"]}]})),
                "matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
            ),
            (
                fields("metadata.name", json!(["a", "b"])),
                "matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            (
                fields("spec.x", json!(["a"])),
                "matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
            ),
            (
                spec(json!({"tolerations": [{"operator": "Equal", "value": "x"}]})),
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \
                 \"match all values and all keys\"",
            ),
            (
                spec(
                    json!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}]}),
                ),
                "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            ),
            (
                spec(json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "minDomains": 2,
                    "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}]})),
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if \
                 whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ),
            (
                spec(json!({"schedulingGates": [{"name": "a"}], "nodeName": "n"})),
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ),
            (
                spec(json!({"shareProcessNamespace": true, "hostPID": true})),
                "ShareProcessNamespace and HostPID cannot both be enabled",
            ),
            (spec(json!({"hostUsers": false, "hostPID": true})), "spec.hostPID: Forbidden: when `hostUsers` is false"),
            (
                spec(json!({"securityContext": {"sysctls": [{"name": "A", "value": "1"}]}})),
                "spec.securityContext.sysctls[0].name: Invalid value: \"A\": must have at most 253 characters and match regex",
            ),
            (
                spec(
                    json!({"hostIPC": true, "securityContext": {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}}),
                ),
                "may not be specified when 'hostIPC' is true",
            ),
            (
                secured(json!({"seccompProfile": {"localhostProfile": "x"}})),
                "seccompProfile.type: Required value: type is required when seccompProfile is set",
            ),
            (
                secured(json!({"seccompProfile": {"type": "Localhost"}})),
                "seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ),
            (
                secured(json!({"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}})),
                "can only be set when seccomp type is Localhost",
            ),
            (
                secured(json!({"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}})),
                "appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
            ),
            (
                secured(json!({"allowPrivilegeEscalation": false, "privileged": true})),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ),
            (
                secured(json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}})),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            ),
            (
                secured(json!({"procMount": "Unmasked"})),
                "securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ),
        ],
    );
}

#[test]
fn files_of_volumes_are_within_them() {
    let item = |path: &str| json!({"key": "k", "path": path});
    let told = |more: Value| {
        let mut item = json!({"path": "p"});
        merge(&mut item, &more);
        volume(json!({"downwardAPI": {"items": [item]}}))
    };
    let both = json!({"fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}});
    let projected = volume(json!({"projected": {"sources": [
        {"secret": {"name": "a", "items": [item("p")]}, "configMap": {"name": "b", "items": [item("p")]}},
    ]}}));
    let at = "spec.volumes[0]";
    for (change, want) in [
        (
            volume(json!({"emptyDir": {"sizeLimit": "-1"}})),
            ".emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            volume(json!({"configMap": {"name": "c", "defaultMode": 512}})),
            ".configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            volume(json!({"configMap": {"name": "c", "items": [item("..a")]}})),
            ".configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
        ),
        (
            told(both),
            ".downwardAPI: Invalid value: \"resource\": fieldRef and resourceFieldRef can not be specified simultaneously",
        ),
        (told(json!({})), ".downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"),
        (projected.clone(), ".projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"),
        (projected, ".projected: Invalid value: \"b\": conflicting duplicate paths"),
    ] {
        breaks("pods", &[(change, format!("{at}{want}").as_str())]);
    }
}

#[test]
fn of_a_pod_that_is_there_little_changes() {
    let spec = |more: Value| json!({"spec": more});
    let deadline = |seconds: Value| spec(json!({"activeDeadlineSeconds": seconds}));
    let two = json!([{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]);
    let tolerated = spec(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}));
    refuses(
        "pods",
        None,
        &[
            (
                json!({}),
                spec(json!({"containers": two})),
                "spec.containers: Forbidden: pod updates may not add or remove containers",
            ),
            (
                tolerated,
                spec(json!({"tolerations": []})),
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ),
            (
                deadline(json!(5)),
                deadline(json!(6)),
                "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
            ),
            (
                deadline(json!(5)),
                deadline(json!(null)),
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ),
        ],
    );
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    let ephemeral = |all: Value| spec(json!({"ephemeralContainers": all}));
    let debugged = ephemeral(json!([{"name": "e", "image": "i"}]));
    let gone = (debugged, ephemeral(json!([])), "existing ephemeral containers \"e\" may not be removed");
    let of_a_node = (mirror.clone(), json!({}), "static pods do not support ephemeral containers");
    refuses("pods", Some("ephemeralcontainers"), &[of_a_node, gone]);
    let windows = (spec(json!({"os": {"name": "windows"}})), json!({}), "windows pods cannot be resized");
    refuses("pods", Some("resize"), &[(mirror, json!({}), "static pods cannot be resized"), windows]);
}
