//! Rules of pods, one broken at a time.

use serde_json::{Value, json};

use super::{breaks, merge};

/// A pod of one container with these fields.
pub(super) fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    merge(&mut container, &fields);
    json!({"spec": {"containers": [container]}})
}

pub(super) fn pod(container_fields: Value, spec: Value) -> Value {
    let mut pod = container(container_fields);
    merge(&mut pod["spec"], &spec);
    pod
}

pub(super) fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    merge(&mut volume, &source);
    json!({"spec": {"volumes": [volume]}})
}

#[test]
fn mounts_and_devices_of_containers() {
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
    let empty = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let mount = |more: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        merge(&mut mount, &more);
        json!({"volumeMounts": [mount]})
    };
    let device = |path: &str| json!({"volumeDevices": [{"name": "v", "devicePath": path}]});
    breaks(
        "pods",
        &[
            (
                pod(mount(json!({"recursiveReadOnly": "Enabled"})), empty.clone()),
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            ),
            (
                pod(
                    mount(
                        json!({"recursiveReadOnly": "Enabled", "readOnly": true, "mountPropagation": "HostToContainer"}),
                    ),
                    empty.clone(),
                ),
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            ),
            (
                pod(mount(json!({"recursiveReadOnly": "Deep", "readOnly": true})), empty.clone()),
                "spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: \"Deep\"",
            ),
            (
                pod(device("/dev/x"), empty),
                "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            (pod(device("/dev/x"), json!({})), "spec.containers[0].volumeDevices[0].name: Not found: \"v\""),
            (pod(device(""), claim.clone()), "spec.containers[0].volumeDevices[0].devicePath: Required value"),
            (
                pod(device("/dev/../x"), claim.clone()),
                "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/dev/../x\": can not contain backsteps ('..')",
            ),
            (
                pod(
                    json!({"volumeDevices": [{"name": "v", "devicePath": "/d"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
                    claim,
                ),
                "spec.containers[0].volumeMounts[0].name: Invalid value: \"v\": must not already exist in volumeDevices",
            ),
        ],
    );
}

#[test]
fn restarts_and_hooks_of_containers() {
    let never = json!({"restartPolicy": "Never"});
    let resize =
        |resource: &str, restart: &str| json!({"resizePolicy": [{"resourceName": resource, "restartPolicy": restart}]});
    let rule = json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
    breaks(
        "pods",
        &[
            (
                container(resize("disk", "NotRequired")),
                "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
            ),
            (
                pod(resize("cpu", "RestartContainer"), never),
                "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
            ),
            (
                container(rule),
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ),
            (
                container(
                    json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Near", "values": [1]}}]}),
                ),
                "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Near\"",
            ),
            (
                container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ),
        ],
    );
}

#[test]
fn claims_of_devices_and_resources_of_the_whole_pod() {
    let amounts = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    breaks(
        "pods",
        &[
            (
                json!({"spec": {"resourceClaims": [{"name": "c"}]}}),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            (
                json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimName": "a", "resourceClaimTemplateName": "b"}]}}),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (
                container(json!({"resources": {"claims": [{"name": "gone"}]}})),
                "spec.containers[0].resources.claims[0]: Not found: \"gone\": must be one of the names in pod.spec.resourceClaims which is empty",
            ),
            (
                pod(amounts("2"), amounts("1")),
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
            ),
            (
                pod(
                    json!({"resources": {"limits": {"cpu": "2"}}}),
                    json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}),
                ),
                "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
            ),
            (
                json!({"spec": {"resources": {"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}}}}),
                "spec.resources.limits[example.com/gpu]: Unsupported value: \"example.com/gpu\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
            ),
        ],
    );
}

#[test]
fn security_and_system_of_a_pod() {
    let profile = |key: &str, profile: Value| json!({"spec": {"securityContext": {key: profile}}});
    breaks(
        "pods",
        &[
            (
                profile("seccompProfile", json!({"type": "Localhost", "localhostProfile": "../up"})),
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"../up\": must not contain '..'",
            ),
            (
                profile("appArmorProfile", json!({"type": "Localhost"})),
                "spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
            ),
            (
                profile("appArmorProfile", json!({"type": "Localhost", "localhostProfile": " p"})),
                "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \" p\": must not be padded with whitespace",
            ),
            (
                json!({"spec": {"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}}}),
                "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.ip_forward\": may not be specified when 'hostNetwork' is true",
            ),
            (
                json!({"spec": {"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}}),
                "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            ),
            (
                json!({"spec": {"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}}}),
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ),
            (
                json!({"spec": {"os": {"name": "windows"}, "hostPID": true}}),
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
            ),
            (
                json!({"spec": {"hostnameOverride": "a".repeat(65)}}),
                "spec.hostnameOverride: Too long: may not be more than 64 bytes",
            ),
        ],
    );
}

#[test]
fn sources_of_volumes_and_references_to_resources() {
    let file =
        |reference: Value| volume(json!({"downwardAPI": {"items": [{"path": "f", "resourceFieldRef": reference}]}}));
    let variable =
        |reference: Value| container(json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}]}));
    breaks(
        "pods",
        &[
            (
                file(json!({"resource": "limits.cpu"})),
                "spec.volumes[0].downwardAPI.resourceFieldRef.containerName: Required value",
            ),
            (
                variable(json!({"resource": "limits.memory", "divisor": "3Mi"})),
                "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
            ),
            (
                variable(json!({"resource": "limits.cpu", "divisor": "2"})),
                "only divisor's values 1m and 1 are supported with the cpu resource",
            ),
            (volume(json!({"rbd": {"image": "x", "monitors": []}})), "spec.volumes[0].rbd.monitors: Required value"),
            (
                volume(json!({"nfs": {"server": "s", "path": "p"}})),
                "spec.volumes[0].nfs.path: Invalid value: \"p\": must be an absolute path",
            ),
            (
                volume(json!({"csi": {"driver": "No_Driver"}})),
                "spec.volumes[0].csi.driver: Invalid value: \"No_Driver\"",
            ),
            (
                volume(json!({"image": {"reference": "r", "pullPolicy": "Often"}})),
                "spec.volumes[0].image.pullPolicy: Unsupported value: \"Often\"",
            ),
        ],
    );
}

#[test]
fn sources_of_volumes_behind_a_wire() {
    let iscsi = |more: Value| {
        let mut source = json!({"targetPortal": "p", "iqn": "iqn.2001-04.com.example:storage.disk1"});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        volume(json!({"iscsi": source}))
    };
    let flex = json!({"driver": "d/e", "options": {"a.k8s.io/b": "c"}});
    breaks(
        "pods",
        &[
            (
                iscsi(json!({"iqn": "disk"})),
                "spec.volumes[0].iscsi.iqn: Invalid value: \"disk\": must be valid format starting with iqn, eui, or naa",
            ),
            (
                iscsi(json!({"iqn": "eui.1"})),
                "spec.volumes[0].iscsi.iqn: Invalid value: \"eui.1\": must be valid format",
            ),
            (
                iscsi(json!({"initiatorName": "iqn.2001"})),
                "spec.volumes[0].iscsi.initiatorname: Invalid value: \"iqn.2001\": must be valid format",
            ),
            (iscsi(json!({"chapAuthSession": true})), "spec.volumes[0].iscsi.secretRef: Required value"),
            (
                volume(json!({"fc": {}})),
                "spec.volumes[0].fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both",
            ),
            (
                volume(json!({"fc": {"targetWWNs": ["w"]}})),
                "spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified",
            ),
            (
                volume(json!({"flexVolume": flex})),
                "spec.volumes[0].flexVolume.options[a.k8s.io/b]: Invalid value: \"a.k8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ),
            (
                volume(json!({"azureDisk": {"diskName": "n", "diskURI": "x", "kind": "Managed"}})),
                "spec.volumes[0].azureDisk.diskURI: Unsupported value: \"x\": supported values: \"/subscriptions/{sub-id}",
            ),
            (
                volume(json!({"quobyte": {"volume": "v", "registry": "host"}})),
                "spec.volumes[0].quobyte.registry: Invalid value: \"host\": must be a host:port pair or multiple pairs",
            ),
        ],
    );
}

#[test]
fn options_of_containers_on_windows() {
    let options = |options: Value| json!({"spec": {"securityContext": {"windowsOptions": options}}});
    let user = |name: &str| options(json!({"runAsUserName": name}));
    let at = "spec.securityContext.windowsOptions";
    let cases = [
        (user(""), format!("{at}.runAsUserName: Invalid value: \"\": runAsUserName cannot be an empty string")),
        (user("a\\b\\c"), "runAsUserName cannot contain more than one backslash".to_owned()),
        (user("a:b\\c"), "runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned()),
        (user("a\\"), "runAsUserName's User cannot be empty".to_owned()),
        (user(". ."), "runAsUserName's User cannot contain only periods or spaces".to_owned()),
        (user("a@b"), "runAsUserName's User cannot contain the following characters".to_owned()),
        (
            options(json!({"gmsaCredentialSpec": ""})),
            format!("{at}.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string"),
        ),
        (options(json!({"gmsaCredentialSpecName": "A"})), format!("{at}.gmsaCredentialSpecName: Invalid value: \"A\"")),
        (
            options(json!({"hostProcess": true})),
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"
                .to_owned(),
        ),
    ];
    let cases: Vec<(Value, &str)> = cases.iter().map(|(change, message)| (change.clone(), message.as_str())).collect();
    breaks("pods", &cases);
}

#[test]
fn where_a_pod_may_run() {
    let anti = |term: Value| {
        let key = "requiredDuringSchedulingIgnoredDuringExecution";
        json!({"spec": {"affinity": {"podAntiAffinity": {key: [term]}}}})
    };
    let preferred = json!([{"weight": 0, "preference": {}}]);
    let required =
        json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["A"]}]}]});
    breaks(
        "pods",
        &[
            (
                json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}}),
                "[0].weight: Invalid value: 0: must be in the range 1-100",
            ),
            (
                json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}}),
                "nodeSelectorTerms[0].matchFields[0].values[0]: Invalid value: \"A\"",
            ),
            (
                anti(json!({"topologyKey": "t", "matchLabelKeys": ["a"]})),
                "[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ),
            (
                anti(
                    json!({"topologyKey": "t", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"]}),
                ),
                "[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys",
            ),
            (
                json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "t"}]}}),
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ),
        ],
    );
}

#[test]
fn annotations_sources_and_amounts_of_pods() {
    let annotated = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let token = json!({"serviceAccountToken": {"path": "t", "expirationSeconds": 600}});
    let pages = json!({"hugepages-2Mi": "3Mi"});
    breaks(
        "pods",
        &[
            (
                annotated("kubernetes.io/config.mirror", "x"),
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            ),
            (
                annotated("controller.kubernetes.io/pod-deletion-cost", "+1"),
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            ),
            (
                annotated("container.apparmor.security.beta.kubernetes.io/gone", "unconfined"),
                "Invalid value: \"gone\": container not found",
            ),
            (
                volume(json!({"projected": {"sources": [token]}})),
                "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ),
            (
                volume(json!({"configMap": {"name": "c"}, "emptyDir": {}})),
                "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
            ),
            (
                container(json!({"envFrom": [{}]})),
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ),
            (
                container(json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.host['a']"}}}]})),
                "error converting fieldPath: field label does not support subscript: spec.host['a']",
            ),
            (
                container(json!({"resources": {"limits": pages}})),
                "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
            ),
            (
                container(json!({"resources": {"limits": pages}})),
                "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ),
            (
                container(json!({"resources": {"limits": {"requests.a.b/c": "1"}}})),
                "spec.containers[0].resources.limits[requests.a.b/c]: Invalid value: \"requests.a.b/c\": doesn't follow extended resource name standard",
            ),
            (
                json!({"spec": {"os": {"name": "plan9"}}}),
                "spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
            ),
            (
                container(json!({"image": " i"})),
                "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ),
        ],
    );
}
