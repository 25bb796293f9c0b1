//! Bounds that kinds of old have, one passed at a time: metadata, workloads, autoscalers, limits, services, volumes and nodes.

use serde_json::{Value, json};

use super::apps::refuses;
use super::breaks;

fn spec(more: Value) -> Value {
    json!({"spec": more})
}

#[test]
fn an_object_says_whose_it_is_and_what_holds_it() {
    let owner = |more: Value| {
        let mut owner = json!({"apiVersion": "v1", "kind": "A", "name": "a", "uid": "u"});
        super::merge(&mut owner, &more);
        owner
    };
    let owners = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
    let controller = |kind: &str| owner(json!({"kind": kind, "controller": true}));
    breaks(
        "configmaps",
        &[
            (
                owners(json!([owner(json!({"apiVersion": ""}))])),
                "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
            ),
            (
                owners(json!([owner(json!({"uid": ""}))])),
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ),
            (owners(json!([owner(json!({"kind": "Event"}))])), "/v1, Kind=Event is disallowed from being an owner"),
            (
                owners(json!([controller("A"), controller("B")])),
                "Only one reference can have Controller set to true. Found \"true\" in references for A/a and B/a",
            ),
            (
                json!({"metadata": {"finalizers": ["orphan", "foregroundDeletion"]}}),
                "finalizer orphan and foregroundDeletion cannot be both set",
            ),
            (
                json!({"binaryData": {"k": "AAAA"}}),
                "data[k]: Invalid value: \"k\": duplicate of key present in binaryData",
            ),
        ],
    );
    let deleted = |finalizers: Value| json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": finalizers}});
    let want = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
                finalizers []string{\"a/c\"}";
    refuses("configmaps", None, &[(deleted(json!(["a/b"])), deleted(json!(["a/b", "a/c"])), want)]);
    let mut ending = deleted(json!([]));
    ending["status"] = json!({"phase": "Terminating"});
    let want = "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty";
    refuses("namespaces", Some("status"), &[(ending, json!({"status": {"phase": "Active"}}), want)]);
}

#[test]
fn workloads_and_their_counts_are_bounded() {
    for (plural, kind) in [
        ("deployments", "deployment"),
        ("replicasets", "deployment"),
        ("statefulsets", "statefulset"),
        ("daemonsets", "daemonset"),
    ] {
        let want = format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {kind}");
        breaks(plural, &[(spec(json!({"selector": {"matchLabels": null}})), want.as_str())]);
    }
    breaks(
        "deployments",
        &[
            (
                spec(json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5})),
                "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
            ),
            (
                spec(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}})),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
        ],
    );
    let update = |update: Value| spec(json!({"updateStrategy": update}));
    breaks(
        "daemonsets",
        &[(
            update(json!({"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}})),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        )],
    );
    breaks(
        "statefulsets",
        &[
            (
                update(json!({"type": "OnDelete", "rollingUpdate": {"partition": 1}})),
                "only allowed for updateStrategy 'RollingUpdate'",
            ),
            (update(json!({"type": "Slow"})), "must be 'RollingUpdate' or 'OnDelete'"),
        ],
    );
    for (plural, of) in [("deployments", "readyReplicas"), ("statefulsets", "status.readyReplicas")] {
        let want = format!("status.availableReplicas: Invalid value: 2: cannot be greater than {of}");
        let more = json!({"status": {"replicas": 1, "readyReplicas": 2}});
        let ready = "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas";
        let fewer = json!({"status": {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}});
        refuses(plural, Some("status"), &[(json!({}), more, ready), (json!({}), fewer, want.as_str())]);
    }
}

#[test]
fn autoscalers_say_of_what_they_measure_how_much() {
    let metric = |metric: Value| spec(json!({"metrics": [metric]}));
    let percent = json!({"type": "Utilization", "averageUtilization": 50});
    let of_cpu = |target: Value| metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    let whose = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let at = "spec.metrics[0]";
    for (change, want) in [
        (
            metric(json!({"resource": {"name": "cpu", "target": percent}})),
            ".type: Required value: must specify a metric source type",
        ),
        (
            metric(json!({"type": "Resource", "resource": {"target": percent}})),
            ".resource.name: Required value: must specify a resource name",
        ),
        (
            metric(json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "target": percent}})),
            ".containerResource.container: Required value: must specify a container",
        ),
        (
            metric(json!({"type": "External", "external": {"target": {"type": "Value", "value": "1"}}})),
            ".external.metric.name: Required value: must specify a metric name",
        ),
        (
            metric(json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value"}}})),
            ".external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
        ),
        (
            metric(
                json!({"type": "Object", "object": {"describedObject": whose, "metric": {"name": "m"}, "target": {"type": "Value"}}}),
            ),
            ".object.target.averageValue: Required value: must set either a target value or averageValue",
        ),
        (
            of_cpu(json!({"averageUtilization": 50})),
            ".resource.target.type: Required value: must specify a metric target type",
        ),
        (
            of_cpu(json!({"type": "Utilization"})),
            ".resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ),
        (
            of_cpu(json!({"type": "Utilization", "averageUtilization": 50, "averageValue": "1"})),
            ".resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
        ),
    ] {
        breaks("horizontalpodautoscalers", &[(change, format!("{at}{want}").as_str())]);
    }
    let want = "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`";
    breaks("horizontalpodautoscalers", &[(spec(json!({"minReplicas": 5})), want)]);
}

#[test]
fn limits_roles_and_selectors_are_whole() {
    let limit = |limit: Value| spec(json!({"limits": [limit]}));
    breaks(
        "limitranges",
        &[
            (
                limit(json!({"type": "PersistentVolumeClaim", "max": {"a.b/c": "1"}})),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ),
            (
                limit(json!({"type": "Pod", "max": {"cpu": "1"}, "default": {"cpu": "1"}})),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                limit(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}})),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
            ),
            (
                limit(
                    json!({"type": "Container", "default": {"hugepages-2Mi": "4Mi"}, "defaultRequest": {"hugepages-2Mi": "2Mi"}}),
                ),
                "default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi",
            ),
        ],
    );
    let want =
        "rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules cannot apply to non-resource URLs";
    breaks("roles", &[(json!({"rules": [{"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]}), want)]);
    let want = "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
                aggregationRule is non-nil";
    breaks("clusterroles", &[(json!({"aggregationRule": {}}), want)]);
    let chosen = |expression: Value| spec(json!({"selector": {"matchExpressions": [expression]}}));
    let at = "spec.selector.matchExpressions[0]";
    for (expression, want) in [
        (
            json!({"key": "a", "operator": "In"}),
            ".values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            json!({"key": "a", "operator": "Exists", "values": ["b"]}),
            ".values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
    ] {
        breaks("poddisruptionbudgets", &[(chosen(expression), format!("{at}{want}").as_str())]);
    }
}

#[test]
fn services_have_what_their_type_has() {
    let headless = |kind: &str| spec(json!({"type": kind, "clusterIP": "None"}));
    let elsewhere = |more: Value| {
        let mut given = spec(json!({"type": "ExternalName", "externalName": "a.b"}));
        super::merge(&mut given, &spec(more));
        given
    };
    breaks(
        "services",
        &[
            (
                headless("LoadBalancer"),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
            ),
            (
                headless("NodePort"),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
            (
                elsewhere(json!({"clusterIP": "10.0.0.1"})),
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            ),
            (
                elsewhere(json!({"ipFamilyPolicy": "SingleStack"})),
                "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            ),
            (
                spec(
                    json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
                ),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            ),
            (
                spec(json!({"clusterIP": "None", "clusterIPs": ["None", "10.0.0.1"]})),
                "'None' must be the first and only value",
            ),
            (
                spec(json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"], "ipFamilies": ["IPv4"]})),
                "spec.clusterIPs[0]: Invalid value: \"fd00::1\": expected an IPv4 value as indicated by `ipFamilies[0]`",
            ),
            (
                spec(json!({"externalTrafficPolicy": "Local"})),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ),
            (
                spec(json!({"healthCheckNodePort": 30_000})),
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and \
                 `externalTrafficPolicy` is 'Local'",
            ),
        ],
    );
    for (reached, want) in [
        (json!({"ip": "10.0.0.1"}), "Required value: must be specified when `ip` is set"),
        (json!({"hostname": "a.b", "ipMode": "VIP"}), "Forbidden: may not be specified when `ip` is not set"),
    ] {
        let want = format!("status.loadBalancer.ingress[0].ipMode: {want}");
        let told = json!({"status": {"loadBalancer": {"ingress": [reached]}}});
        refuses("services", Some("status"), &[(spec(json!({"type": "LoadBalancer"})), told, want.as_str())]);
    }
}

#[test]
fn volumes_and_nodes_keep_what_they_are() {
    let source = |more: Value| {
        let mut given = spec(json!({"hostPath": null}));
        super::merge(&mut given, &spec(more));
        given
    };
    breaks(
        "persistentvolumes",
        &[
            (
                spec(json!({"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]})),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ),
            (
                spec(json!({"nodeAffinity": {}})),
                "spec.nodeAffinity.required: Required value: must specify required node constraints",
            ),
            (
                spec(json!({"volumeAttributesClassName": ""})),
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            ),
            (source(json!({})), "spec: Required value: must specify a volume type"),
            (
                source(json!({"local": {"path": "/x"}})),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (
                source(json!({"glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}})),
                "if the endpointnamespace is set, it must be a valid namespace name",
            ),
        ],
    );
    let place = |key: &str| {
        let terms = json!([{"matchExpressions": [{"key": key, "operator": "Exists"}]}]);
        spec(json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}))
    };
    let moved = "field is immutable, except for updating from beta label to GA";
    let other = "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation";
    let path = spec(json!({"hostPath": {"path": "/y"}}));
    refuses("persistentvolumes", None, &[(place("a"), place("b"), moved), (json!({}), path, other)]);
    let want = "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup";
    breaks("persistentvolumeclaims", &[(spec(json!({"dataSourceRef": {"kind": "Pod", "name": "p"}})), want)]);
    let asks = |amount: &str| json!({"resources": {"requests": {"storage": amount}}});
    let mut grown = json!({"spec": asks("3Gi"), "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}});
    grown["spec"]["volumeName"] = json!("v");
    let gold = spec(json!({"volumeAttributesClassName": "gold"}));
    refuses(
        "persistentvolumeclaims",
        None,
        &[
            (
                grown,
                spec(asks("1Gi")),
                "spec.resources.requests[storage]: Forbidden: field can not be less than status.capacity",
            ),
            (
                gold,
                spec(json!({"volumeAttributesClassName": ""})),
                "spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden",
            ),
        ],
    );
    let ranges = |ranges: Value| spec(json!({"podCIDRs": ranges}));
    let want = "may specify no more than one CIDR for each IP family";
    breaks("nodes", &[(ranges(json!(["10.244.0.0/24", "10.245.0.0/24"])), want)]);
    let named = |id: &str| spec(json!({"providerID": id}));
    let words = |field: &str| format!("Forbidden: node updates may not change {field} except from \"\" to valid");
    let (range, id) = (words("podCIDR"), words("providerID"));
    let cases = [(json!({}), ranges(json!(["10.245.0.0/24"])), range.as_str()), (named("a"), named("b"), id.as_str())];
    refuses("nodes", None, &cases);
}

#[test]
fn amounts_scopes_and_trust_agree() {
    let scoped =
        |expression: Value| spec(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}}));
    breaks(
        "resourcequotas",
        &[
            (spec(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]})), "conflicting scopes"),
            (
                scoped(json!({"scopeName": "Terminating", "operator": "In", "values": ["a"]})),
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating",
            ),
        ],
    );
    let asks = |resources: Value| super::pods::container(json!({"resources": resources}));
    let at = "spec.containers[0].resources";
    for (resources, want) in [
        (
            json!({"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}),
            ".requests: Invalid value: \"2Mi\": must be equal to hugepages-2Mi limit of 4Mi",
        ),
        (
            json!({"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}}),
            ".limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            json!({"limits": {"gold": "1"}}),
            ".limits[gold]: Invalid value: \"gold\": must be a standard resource type or fully qualified",
        ),
    ] {
        breaks("pods", &[(asks(resources), format!("{at}{want}").as_str())]);
    }
    breaks(
        "apiservices",
        &[
            (
                spec(json!({"insecureSkipTLSVerify": true, "caBundle": "QQ=="})),
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ),
            (spec(json!({"service": null, "caBundle": "QQ=="})), "local APIServices may not have a caBundle"),
            (
                spec(json!({"group": null, "version": "v2"})),
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
            ),
        ],
    );
}
