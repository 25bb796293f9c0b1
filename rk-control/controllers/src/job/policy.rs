//! Rules of a Job about failures and success.

use crate::pods;
use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::BTreeSet;

/// What a failed pod means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One more failure.
    Count,
    /// As if it had not happened.
    Ignore,
    /// This index will not be tried again.
    FailIndex,
    /// The whole Job failed, for this reason.
    FailJob(String),
}

/// Applies the pod failure policy (KEP-3329): the first rule that matches decides.
pub(super) fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|p| &p.rules);
    for (at, rule) in rules.enumerate() {
        if let Some(why) = matches(rule, pod) {
            return match rule.action.as_str() {
                "Ignore" => Verdict::Ignore,
                "FailIndex" => Verdict::FailIndex,
                "FailJob" => Verdict::FailJob(format!("{why} matching FailJob rule at index {at}")),
                _ => Verdict::Count,
            };
        }
    }
    Verdict::Count
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (namespace, name) =
        (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
    if let Some(codes) = &rule.on_exit_codes {
        let status = pod.status.as_ref()?;
        let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        let (container, code) = all.filter_map(|c| exit_code(c, codes)).next()?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let hit = patterns
        .iter()
        .find(|p| pods::condition(pod, &p.type_).is_some_and(|c| c.status == p.status.as_deref().unwrap_or("True")))?;
    Some(format!("Pod {namespace}/{name} has condition {}", hit.type_))
}

fn exit_code<'a>(
    container: &'a ContainerStatus,
    rule: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = rule.container_name.as_ref().is_none_or(|n| *n == container.name);
    let listed = rule.values.contains(&code);
    let hit = if rule.operator == "In" { listed } else { !listed };
    (code != 0 && named && hit).then_some((container.name.as_str(), code))
}

/// Whether the finished indexes satisfy the success policy (KEP-3998); answers the text of the condition.
pub(super) fn success(spec: &JobSpec, succeeded: &BTreeSet<i32>) -> Option<String> {
    let completions = spec.completions.unwrap_or(0);
    for (at, rule) in spec.success_policy.iter().flat_map(|p| &p.rules).enumerate() {
        let counted: BTreeSet<i32> = match &rule.succeeded_indexes {
            Some(text) => super::indexes::parse(text, completions).intersection(succeeded).copied().collect(),
            None => succeeded.clone(),
        };
        let wanted = match (&rule.succeeded_indexes, rule.succeeded_count) {
            (_, Some(count)) => usize::try_from(count).unwrap_or(0),
            (Some(text), None) => super::indexes::parse(text, completions).len(),
            (None, None) => continue,
        };
        if counted.len() >= wanted {
            return Some(format!("Matched rules at index {at}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> JobSpec {
        let mut base = json!({"template": {}, "completions": 5, "completionMode": "Indexed"});
        json_patch::merge(&mut base, &value);
        serde_json::from_value(base).expect("valid")
    }

    #[test]
    fn the_first_matching_rule_decides_about_a_failure() {
        let spec = spec(json!({"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"containerName": "c", "operator": "NotIn", "values": [1]}}]}}));
        let pod = |code: i32, disrupted: bool| -> Pod {
            let conditions =
                if disrupted { json!([{"type": "DisruptionTarget", "status": "True"}]) } else { json!([]) };
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Failed", "conditions": conditions,
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]}}))
            .expect("valid")
        };
        assert_eq!(judge(&spec, &pod(42, true)), Verdict::Ignore);
        assert_eq!(
            judge(&spec, &pod(42, false)),
            Verdict::FailJob(
                "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 1".to_owned()
            )
        );
        assert_eq!(judge(&spec, &pod(2, false)), Verdict::FailIndex);
        assert_eq!(judge(&spec, &pod(1, false)), Verdict::Count);
    }

    #[test]
    fn a_success_policy_needs_its_indexes_or_their_number() {
        let with = |rule: Value| spec(json!({"successPolicy": {"rules": [rule]}}));
        let done = BTreeSet::from([0, 3]);
        assert!(success(&with(json!({"succeededIndexes": "0,3"})), &done).is_some());
        assert!(success(&with(json!({"succeededIndexes": "0-3"})), &done).is_none());
        assert!(success(&with(json!({"succeededIndexes": "0-3", "succeededCount": 2})), &done).is_some());
        assert!(success(&with(json!({"succeededCount": 3})), &done).is_none());
        assert!(success(&spec(json!({})), &done).is_none());
    }
}
