//! ClusterRoles that are the sum of others.

use crate::context::Context;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::Patch;
use rk_client::{BoxError, Informer, LabelMatcher, ObjectKey, Outcome, Queue};
use serde_json::json;

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let roles = ctx.informers.of::<ClusterRole>();
    let queue: Queue<ObjectKey> = Queue::default();
    let (q, all) = (queue.clone(), roles.clone());
    // Any role may be part of any sum; there are few sums.
    roles.on_change(move |change| {
        if change.previous().is_some_and(|old| {
            old.rules == change.object().rules
                && old.metadata.labels == change.object().metadata.labels
                && old.aggregation_rule == change.object().aggregation_rule
        }) {
            return;
        }
        q.add(ObjectKey::of(change.object().as_ref()));
        all.list().iter().filter(|r| r.aggregation_rule.is_some()).for_each(|r| q.add(ObjectKey::of(r.as_ref())));
    });
    ctx.work("ClusterRoleAggregator", queue, 1, move |key| {
        let roles = roles.clone();
        async move { sync(&roles, &key).await }
    });
}

async fn sync(roles: &Informer<ClusterRole>, key: &ObjectKey) -> Result<Outcome, BoxError> {
    let Some(role) = roles.get(key) else { return Ok(Outcome::AwaitChange) };
    let Some(wanted) = sum(&role, roles.list().iter().map(AsRef::as_ref)) else { return Ok(Outcome::AwaitChange) };
    if role.rules.clone().unwrap_or_default() != wanted {
        roles
            .patch(
                key,
                &Patch::Merge(
                    json!({"rules": wanted, "metadata": {"resourceVersion": role.metadata.resource_version}}),
                ),
            )
            .await?;
    }
    Ok(Outcome::AwaitChange)
}

/// Rules of all selected roles, in order of their names, each once. `None` for roles that are no sum.
fn sum<'a>(role: &ClusterRole, all: impl Iterator<Item = &'a ClusterRole> + Clone) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let Ok(matcher) = LabelMatcher::new(Some(selector)) else { continue };
        let others = all
            .clone()
            .filter(|r| r.metadata.name != role.metadata.name && matcher.matches(r.metadata.labels.as_ref()));
        for rule in others.flat_map(|r| r.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_holds_each_rule_of_its_parts_once_and_not_its_own() {
        let role = |name: &str, label: &str, verb: &str, aggregate: bool| -> ClusterRole {
            let rule = aggregate.then(|| json!({"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]}));
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"part": label}}, "rules": [{"verbs": [verb], "resources": ["pods"], "apiGroups": [""]}], "aggregationRule": rule})).expect("valid")
        };
        let all = [
            role("sum", "yes", "own", true),
            role("a", "yes", "get", false),
            role("b", "yes", "get", false),
            role("c", "no", "list", false),
        ];
        let verbs: Vec<Vec<String>> = sum(&all[0], all.iter()).expect("a sum").into_iter().map(|r| r.verbs).collect();
        assert_eq!(verbs, [vec!["get".to_owned()]]);
        assert!(sum(&all[1], all.iter()).is_none());
    }
}
