//! Rules of workloads, jobs and autoscalers, one broken at a time.

use serde_json::{Value, json};

use super::{breaks, merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::status::FieldErrors;
use crate::strategy;

/// A change of an ordinary object, itself changed before, is refused with words that contain these.
pub(super) fn refuses(plural: &str, subresource: Option<&str>, cases: &[(Value, Value, &str)]) {
    let registry = Registry::builtin();
    let resource = resource(&registry, plural);
    for (before, change, want) in cases {
        let mut old = prepared(&resource, sample(plural));
        merge(&mut old, before);
        let mut new = old.clone();
        merge(&mut new, change);
        strategy::prepare_for_update(&resource, subresource, &mut new, &old);
        let errors = told(&strategy::validate_update(&resource, subresource, &new, &old));
        assert!(errors.iter().any(|e| e.contains(want)), "{plural} {change}: {errors:#?}");
    }
}

pub(super) fn told(errors: &FieldErrors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn workloads_say_what_upstream_says() {
    let unfound =
        "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`";
    for plural in ["deployments", "replicasets", "statefulsets", "daemonsets"] {
        breaks(plural, &[(json!({"spec": {"selector": null}}), unfound)]);
    }
    breaks(
        "deployments",
        &[
            (
                json!({"spec": {"strategy": {"type": "Slow", "rollingUpdate": null}}}),
                "spec.strategy: Unsupported value: {\"Type\":\"Slow\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}),
                "invalid label selector",
            ),
        ],
    );
    breaks(
        "daemonsets",
        &[
            (
                json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ),
            (
                json!({"spec": {"updateStrategy": {"type": "Slow"}}}),
                "supported values: \"RollingUpdate\", \"OnDelete\"",
            ),
        ],
    );
    breaks(
        "statefulsets",
        &[
            (
                json!({"spec": {"serviceName": "a.b"}}),
                "spec.serviceName: Invalid value: \"a.b\": must not contain dots",
            ),
            (
                json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}}]}}),
                "spec.volumeClaimTemplates[0].spec.accessModes: Required value",
            ),
            (
                json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}}}),
                "supported values: \"Retain\", \"Delete\"",
            ),
        ],
    );
    for key in ["currentNumberScheduled", "desiredNumberScheduled", "updatedNumberScheduled"] {
        let want = format!("status.{key}: Invalid value: -1: must be greater than or equal to 0");
        refuses("daemonsets", Some("status"), &[(json!({}), json!({"status": {key: -1}}), want.as_str())]);
    }
    breaks("controllerrevisions", &[(json!({"data": null}), "data: Required value: data is mandatory")]);
    refuses(
        "deployments",
        Some("status"),
        &[
            (
                json!({"status": {"collisionCount": 2}}),
                json!({"status": {"collisionCount": 1}}),
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ),
            (
                json!({"status": {"collisionCount": 0}}),
                json!({"status": {"collisionCount": null}}),
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ),
        ],
    );
}

fn policed(rule: Value) -> Value {
    json!({"spec": {"podFailurePolicy": {"rules": [rule]}}})
}

#[test]
fn policies_of_jobs() {
    let rule = "spec.podFailurePolicy.rules[0]";
    for (given, want) in [
        (json!({"action": "Ignore"}), ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        (
            json!({"onExitCodes": {"operator": "In", "values": [1]}}),
            ".action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
        ),
        (
            json!({"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}),
            ".action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
        ),
        (
            json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [1], "containerName": "x"}}),
            ".onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
        ),
        (
            json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [2, 1]}}),
            ".onExitCodes.values: Invalid value: [2,1]: must be ordered",
        ),
        (
            json!({"action": "Count", "onPodConditions": [{"type": "Ready", "status": "Maybe"}]}),
            ".onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
        ),
    ] {
        breaks("jobs", &[(policed(given), format!("{rule}{want}").as_str())]);
    }
    let long = "a".repeat(62);
    let why =
        format!("metadata.name: Invalid value: {long:?}: will not able to create pod with invalid DNS label: {long}-0");
    breaks(
        "jobs",
        &[
            (
                json!({"metadata": {"name": long}, "spec": {"completionMode": "Indexed", "completions": 1}}),
                why.as_str(),
            ),
            (
                json!({"spec": {"completionMode": "Some"}}),
                "spec.completionMode: Unsupported value: \"Some\": supported values: \"NonIndexed\", \"Indexed\"",
            ),
            (json!({"spec": {"completionMode": ""}}), "spec.completionMode: Unsupported value: \"\""),
            (json!({"spec": {"podReplacementPolicy": ""}}), "spec.podReplacementPolicy: Unsupported value: \"\""),
        ],
    );
    breaks(
        "cronjobs",
        &[
            (
                json!({"spec": {"jobTemplate": {"spec": {"selector": {"matchLabels": {"a": "b"}}}}}}),
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
            ),
            (
                json!({"spec": {"jobTemplate": {"spec": {"manualSelector": true}}}}),
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ),
            (json!({"metadata": {"name": "a".repeat(53)}}), "must be no more than 52 bytes"),
        ],
    );
}

#[test]
fn of_a_job_only_a_little_changes_while_it_waits() {
    let suspended = json!({"spec": {"suspend": true}});
    let affinity = |kind: &str| json!({"spec": {"template": {"spec": {"affinity": {kind: {}}}}}});
    refuses(
        "jobs",
        None,
        &[
            (json!({}), affinity("nodeAffinity"), "spec.template: Invalid value:"),
            (suspended.clone(), affinity("podAffinity"), "spec.template.spec: Invalid value:"),
            (
                suspended.clone(),
                json!({"spec": {"template": {"metadata": {"labels": {"job-name": null}}}}}),
                "spec.template.metadata.labels[job-name]: Required value: must be 'a'",
            ),
            (
                json!({"spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2}}),
                json!({"spec": {"completions": 3}}),
                "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism",
            ),
            (
                json!({"spec": {"managedBy": "example.com/a"}}),
                json!({"spec": {"managedBy": null}}),
                "spec.managedBy: Invalid value: null: field is immutable",
            ),
        ],
    );
    let registry = Registry::builtin();
    let jobs = resource(&registry, "jobs");
    let mut old = prepared(&jobs, sample("jobs"));
    merge(&mut old, &suspended);
    for change in [affinity("nodeAffinity"), json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})] {
        let mut new = old.clone();
        merge(&mut new, &change);
        assert_eq!(told(&strategy::validate_update(&jobs, None, &new, &old)), Vec::<String>::new(), "{change}");
    }
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(told(&strategy::validate_update(&jobs, None, &new, &old)), Vec::<String>::new());
}

#[test]
fn a_job_ends_once_and_says_why() {
    let with = |kinds: &[&str]| {
        let conditions: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        json!({"status": {"conditions": conditions}})
    };
    refuses(
        "jobs",
        Some("status"),
        &[
            (
                json!({}),
                with(&["Failed"]),
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                json!({}),
                with(&["SuccessCriteriaMet", "Complete"]),
                "status.completionTime: Required value: completionTime is required for Complete jobs",
            ),
            (
                with(&["FailureTarget", "Failed"]),
                with(&["FailureTarget"]),
                "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
            ),
            (
                json!({"status": {"failed": 2}}),
                json!({"status": {"failed": 1}}),
                "status.failed: Invalid value: 1: cannot decrease the failed counter",
            ),
            (
                json!({}),
                json!({"status": {"completedIndexes": "0"}}),
                "cannot set non-empty completedIndexes when non-indexed completion mode",
            ),
            (
                json!({}),
                with(&["FailureTarget", "Failed"]),
                "status.startTime: Required value: startTime is required for finished job",
            ),
            (
                json!({}),
                json!({"status": {"active": 1, "ready": 2}}),
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
            ),
            (
                json!({}),
                json!({"status": {"uncountedTerminatedPods": {"succeeded": ["u"], "failed": ["", "u"]}}}),
                "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"u\"",
            ),
            (
                json!({}),
                json!({"status": {"uncountedTerminatedPods": {"failed": [""]}}}),
                "status.uncountedTerminatedPods.failed[0]: Invalid value: \"\": must not be empty",
            ),
            (
                json!({"spec": {"completionMode": "Indexed", "completions": 9, "backoffLimitPerIndex": 1}}),
                json!({"status": {"completedIndexes": "0,2-4", "failedIndexes": "1,4-5"}}),
                "status.failedIndexes: Invalid value: \"1,4-5\": failedIndexes and completedIndexes overlap at index: 4",
            ),
        ],
    );
}

#[test]
fn autoscalers_name_what_they_measure() {
    let metric = |metric: Value| json!({"spec": {"metrics": [metric]}});
    let percent = json!({"type": "Utilization", "averageUtilization": 50});
    let target = |target: Value| json!({"spec": {"scaleTargetRef": target}});
    let groupless = |shown: &str| {
        format!("spec.scaleTargetRef.apiVersion: Invalid value: {shown:?}: apiVersion must specify API group")
    };
    breaks(
        "horizontalpodautoscalers",
        &[
            (
                json!({"spec": {"maxReplicas": -1}}),
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
            ),
            (target(json!({"apiVersion": null})), groupless("").as_str()),
            (target(json!({"apiVersion": "v1"})), groupless("v1").as_str()),
            (
                target(json!({"apiVersion": "a/b/c", "kind": "ReplicationController"})),
                "spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            ),
            (
                metric(json!({"type": "Pods", "pods": {"metric": {"name": "m"},
                    "target": {"type": "AverageValue", "averageValue": "0"}}})),
                "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            ),
            (
                json!({"spec": {"behavior": {"scaleUp": {"selectPolicy": ""}}}}),
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"\": supported values: \"Disabled\", \"Max\", \"Min\"",
            ),
            (metric(json!({"type": "Pods"})), "spec.metrics[0].pods: Required value: must populate information"),
            (
                metric(
                    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Half", "averageUtilization": 1}}}),
                ),
                "spec.metrics[0].resource.target.type: Invalid value: \"Half\": must be either Utilization, Value, or AverageValue",
            ),
            (
                metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": percent}, "pods":
                    {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}})),
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ),
            (
                metric(json!({"type": "Object", "object": {"describedObject": {"name": "d"}, "metric": {"name": "m"},
                    "target": {"type": "Value", "value": "1"}}})),
                "spec.metrics[0].object.describedObject.kind: Required value",
            ),
            (
                metric(json!({"type": "External", "external": {"metric": {"name": "m"},
                    "target": {"type": "Value", "value": "1", "averageValue": "1"}}})),
                "target.value: Forbidden: may not set both a target value for metric and a per-pod target",
            ),
        ],
    );
    let registry = Registry::builtin();
    let scalers = resource(&registry, "horizontalpodautoscalers");
    let judged = |change: &Value| {
        let mut given = sample("horizontalpodautoscalers");
        merge(&mut given, change);
        told(&strategy::validate_create(&scalers, &prepared(&scalers, given)))
    };
    let core = target(json!({"apiVersion": "v1", "kind": "ReplicationController"}));
    assert_eq!(judged(&core), Vec::<String>::new());
    let unknown = judged(&metric(json!({"type": "Some"})));
    assert_eq!(unknown.iter().filter(|e| e.starts_with("spec.metrics[0].type: Unsupported value")).count(), 2);
    refuses(
        "poddisruptionbudgets",
        Some("status"),
        &[(
            json!({}),
            json!({"status": {"conditions": [{"type": "DisruptionAllowed", "status": "True"}]}}),
            "status.conditions[0].lastTransitionTime: Required value: must be set",
        )],
    );
    refuses(
        "horizontalpodautoscalers",
        Some("status"),
        &[(json!({}), json!({"status": {"desiredReplicas": -1}}), "status.desiredReplicas: Invalid value: -1")],
    );
}
