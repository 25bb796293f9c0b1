//! Rules of workloads, volumes and quotas, one broken at a time.

use serde_json::{Value, json};

use super::{breaks, merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::strategy;

#[test]
fn workloads_name_themselves_in_what_they_refuse() {
    let deadline = json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 1}}}});
    for (plural, kind) in [
        ("deployments", "ReplicaSet"),
        ("replicasets", "ReplicaSet"),
        ("daemonsets", "DaemonSet"),
        ("statefulsets", "StatefulSet"),
        ("replicationcontrollers", "ReplicationController"),
    ] {
        let want = format!("Forbidden: activeDeadlineSeconds in {kind} is not Supported");
        breaks(plural, &[(deadline.clone(), want.as_str())]);
    }
    breaks(
        "statefulsets",
        &[
            (json!({"metadata": {"name": "a.b"}}), "metadata.name: Invalid value: \"a.b\": must not contain dots"),
            (
                json!({"spec": {"podManagementPolicy": "Random"}}),
                "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
            ),
        ],
    );
}

#[test]
fn volumes_classes_and_drivers() {
    let source = |source: Value| json!({"spec": {"hostPath": null, "nfs": source}});
    let of_old = json!({"annotations": {"volume.beta.kubernetes.io/mount-options": "ro"}});
    breaks(
        "persistentvolumes",
        &[
            (
                json!({"metadata": of_old}),
                "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type",
            ),
            (
                source(json!({"server": "s", "path": "p"})),
                "spec.nfs.path: Invalid value: \"p\": must be an absolute path",
            ),
            (json!({"spec": {"capacity": {"storage": "1Gi", "cpu": "1"}}}), "spec.capacity: Unsupported value"),
            (
                json!({"spec": {"volumeAttributesClassName": "gold"}}),
                "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
            ),
            (
                json!({"spec": {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}}),
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"spec": {"hostPath": {"path": "/a/.."}, "persistentVolumeReclaimPolicy": "Recycle"}}),
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"spec": {"gcePersistentDisk": {"pdName": "d"}}}),
                "spec.gcePersistentDisk: Forbidden: may not specify more than 1 volume type",
            ),
            (
                json!({"spec": {"capacity": {"storage": "-1"}}}),
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            ),
            (
                json!({"spec": {"hostPath": null, "cinder": {"volumeID": "v", "secretRef": {"name": "s"}}}}),
                "spec.cinder.secretRef.namespace: Required value",
            ),
            (
                json!({"spec": {"hostPath": null, "azureFile": {"secretName": "s", "shareName": "s", "secretNamespace": ""}}}),
                "spec.azureFile.secretNamespace: Required value",
            ),
            (
                json!({"spec": {"hostPath": null, "glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": "A"}}}),
                "spec.glusterfs.endpointsNamespace: Invalid value: \"A\": a lowercase RFC 1123 label",
            ),
        ],
    );
    let share = json!({"hostPath": null, "nfs": {"server": "s", "path": "/p"}});
    lets_in("persistentvolumes", &json!({"metadata": of_old, "spec": share}));
    lets_in("persistentvolumes", &json!({"spec": {"accessModes": ["ReadWriteOncePod", "ReadWriteOncePod"]}}));
    breaks(
        "persistentvolumeclaims",
        &[(
            json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"},
                "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "b"}}}),
            "spec: Invalid value: {}: must match dataSourceRef",
        )],
    );
    let expression =
        |values: Value| json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": values}]}]});
    breaks(
        "storageclasses",
        &[
            (expression(json!([])), "allowedTopologies[0].matchLabelExpressions[0].values: Required value"),
            (
                json!({"volumeBindingMode": ""}),
                "volumeBindingMode: Unsupported value: \"\": supported values: \"Immediate\"",
            ),
            (json!({"allowedTopologies": [{}]}), "allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\""),
            (
                expression(json!(["a", "a"])),
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
            ),
        ],
    );
    let message = json!({"status": {"detachError": {"message": "a".repeat(1025)}}});
    let told = "status.detachError.message: Too long: may not be more than 262144 bytes";
    super::apps::refuses("volumeattachments", Some("status"), &[(json!({}), message, told)]);
    breaks(
        "csidrivers",
        &[
            (
                json!({"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 10}]}}),
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes",
            ),
            (
                json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "a"}]}}),
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            ),
            (
                json!({"spec": {"nodeAllocatableUpdatePeriodSeconds": 5}}),
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds",
            ),
        ],
    );
}

#[test]
fn quotas_limits_and_runtime_classes() {
    let scoped = |operator: &str, values: Value| json!({"spec": {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}}});
    breaks(
        "resourcequotas",
        &[
            (
                json!({"spec": {"hard": {"gold": "1"}}}),
                "spec.hard[gold]: Invalid value: \"gold\": must be a standard resource for quota",
            ),
            (
                json!({"spec": {"hard": {"secrets": "1500m"}}}),
                "spec.hard[secrets]: Invalid value: \"1500m\": must be an integer",
            ),
            (
                json!({"spec": {"hard": {"services": "1"}, "scopes": ["BestEffort"]}}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({"spec": {"hard": {"requests.ephemeral-storage": "1"}, "scopes": ["Terminating"]}}),
                "spec.scopes: Invalid value: [\"Terminating\"]: unsupported scope applied to resource",
            ),
            (
                scoped("In", json!([])),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            (
                scoped("Exists", json!(["a"])),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            (scoped("Near", json!([])), "not a valid selector operator"),
        ],
    );
    breaks(
        "limitranges",
        &[
            (
                json!({"spec": {"limits": [{"type": "Cow"}]}}),
                "spec.limits[0].type: Invalid value: \"Cow\": must be a standard limit type or fully qualified",
            ),
            (
                json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}}),
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            ),
            (
                json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}]}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
            ),
            (
                json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}, "max": {"cpu": "3"}}]}}),
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
            ),
            (
                json!({"spec": {"limits": [{"type": "Container", "max": {"gold": "1"}}]}}),
                "must be a standard resource for containers",
            ),
        ],
    );
    breaks(
        "runtimeclasses",
        &[(
            json!({"scheduling": {"tolerations": [{"operator": "Exists", "value": "x"}]}}),
            "scheduling.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
        )],
    );
}

/// An ordinary object with a change is not refused.
pub(super) fn lets_in(plural: &str, change: &Value) {
    let registry = Registry::builtin();
    let resource = resource(&registry, plural);
    let mut given = sample(plural);
    merge(&mut given, change);
    assert_eq!(strategy::validate_create(&resource, &prepared(&resource, given)).0, [], "{plural} {change}");
}

#[test]
fn volumes_of_pods_are_told_of_where_upstream_tells_of_them() {
    let volume = |mut source: Value| {
        source["name"] = json!("v");
        json!({"spec": {"volumes": [source]}})
    };
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let made = |metadata: Value| json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": metadata, "spec": claim}}});
    let taken = json!({"name": "w", "persistentVolumeClaim": {"claimName": "a-v"}});
    let name = "iqn.2001-04.com.example:disk";
    breaks(
        "pods",
        &[
            (
                volume(json!({"gcePersistentDisk": {"pdName": "d", "partition": 256}})),
                "spec.volumes[0].persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ),
            (
                volume(json!({"emptyDir": {}, "cephfs": {"monitors": ["m"]}})),
                "spec.volumes[0].cephFS: Forbidden: may not specify more than 1 volume type",
            ),
            (
                volume(json!({"gitRepo": {"repository": "r", "directory": "../x"}})),
                "spec.volumes[0].gitRepo.directory: Invalid value: \"../x\": must not contain '..'",
            ),
            (
                volume(json!({"nfs": {"server": "s", "path": ""}})),
                "spec.volumes[0].nfs.path: Invalid value: \"\": must be an absolute path",
            ),
            (
                volume(json!({"hostPath": {"path": "/x", "type": "Drawer"}})),
                "Unsupported value: \"Drawer\": supported values: \"\", \"BlockDevice\", ",
            ),
            (
                volume(json!({"cinder": {"volumeID": "v", "secretRef": {"name": ""}}})),
                "spec.volumes[0].cinder.secretRef.name: Required value",
            ),
            (
                volume(json!({"csi": {"driver": ""}})),
                "spec.volumes[0].csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            ),
            (
                volume(
                    json!({"iscsi": {"targetPortal": "p".repeat(63), "iqn": name, "lun": 0, "initiatorName": name}}),
                ),
                "spec.volumes[0].name: Invalid value: \"v\": Total length of <volume name>:<iscsi.targetPortal> must be under 64",
            ),
            (
                json!({"spec": {"volumes": [made(json!({"name": "n"}))]}}),
                "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            ),
            (
                json!({"spec": {"volumes": [taken, made(json!({}))]}}),
                "spec.volumes[0].persistentVolumeClaim.claimName: Invalid value: \"a-v\": must not reference a PVC that gets created for an ephemeral volume",
            ),
        ],
    );
}

#[test]
fn names_profiles_and_resources_of_pods() {
    let container = |fields: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        merge(&mut container, &fields);
        json!([container])
    };
    let from =
        |name: &str| json!({"spec": {"containers": container(json!({"envFrom": [{"configMapRef": {"name": name}}]}))}});
    let search = |name: &str| json!({"spec": {"dnsConfig": {"searches": [name]}}});
    for fine in [from("made-"), search("_a._tcp.example.com."), search(".")] {
        lets_in("pods", &fine);
    }
    let profiled = |key: &str, value: &str, context: Value| json!({"metadata": {"annotations": {key: value}}, "spec": {"containers": container(json!({"securityContext": context}))}});
    let pages = json!({"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "4Mi"}}});
    breaks(
        "pods",
        &[
            (from("-"), "spec.containers[0].envFrom[0].configMapRef.name: Invalid value: \"-\""),
            (
                search("a.."),
                "spec.dnsConfig.searches[0]: Invalid value: \"a.\": a lowercase RFC 1123 subdomain must consist of lower case \
                 alphanumeric characters, '_', '-' or '.', and must",
            ),
            (search("a_"), "spec.dnsConfig.searches[0]: Invalid value: \"a_\""),
            (
                profiled("seccomp.security.alpha.kubernetes.io/pod", "loose", json!({})),
                "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"loose\": must be a valid seccomp profile",
            ),
            (
                profiled(
                    "container.seccomp.security.alpha.kubernetes.io/c",
                    "unconfined",
                    json!({"seccompProfile": {"type": "RuntimeDefault"}}),
                ),
                "spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
            ),
            (
                profiled(
                    "container.apparmor.security.beta.kubernetes.io/c",
                    "localhost/x",
                    json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "y"}}),
                ),
                "appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
            ),
            (
                json!({"spec": {"os": {"name": "windows"}, "resources": {"requests": {"cpu": "1"}}}}),
                "spec.resources: Forbidden: may not be set for a windows pod",
            ),
            (
                json!({"spec": {"containers": container(pages), "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "2Mi"}}}}),
                "spec.resources.limits[hugepages-2Mi]: Invalid value: \"2Mi\": must be greater than or equal to aggregate container limits of 4Mi",
            ),
            (
                json!({"spec": {"containers": container(json!({"readinessProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 0}}))}}),
                "readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            ),
        ],
    );
}
