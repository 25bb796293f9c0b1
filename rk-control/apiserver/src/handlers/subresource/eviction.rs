//! Evicting a pod: a deletion that disruption budgets may refuse.

use http::Response;
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::selector::LabelSelector;
use rk_api::status::{Reason, Status};
use rk_store::{Expect, StoreError};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::options::DeleteOptions;
use super::super::remove::{check_preconditions, remove};
use crate::http::{Body, Query};

/// How times are written (RFC 3339, whole seconds, UTC).
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";
/// Most pods that a budget remembers as disrupted; upstream's bound.
const DISRUPTED: usize = 2000;

pub(super) async fn evict(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("policy", "v1", "Eviction");
    let (options, eviction) = super::decode(call, body, &gvk).await?;
    let name = call.path.name.clone();
    if meta::name(&eviction) != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let wanted = eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let mut deletion = DeleteOptions::parse(&Default::default(), &Query::default(), &delete_body(wanted))?;
    deletion.dry_run |= options.dry_run;
    let Some((pod, _)) = call.core.storage.read(&call.hub, &call.path.namespace, &name).await? else {
        return Err(call.not_found());
    };
    super::admit(call, (&name, Some(&pod)), "eviction", &eviction, deletion.dry_run).await?;
    // What will be refused must not use up the budget.
    check_preconditions(call, &name, &deletion, &pod)?;
    if !is_exempt(&pod)
        && let Some(budget) = budget_of(call, &pod).await?
    {
        take_from(call, &budget, &pod, deletion.dry_run).await?;
    }
    if deletion.uid.is_none() {
        deletion.uid = Some(meta::uid(&pod).to_owned());
    }
    if !deletion.dry_run {
        let marked = super::amend(call, &call.path.namespace, &name, |pod| {
            check_preconditions(call, &name, &deletion, pod)?;
            mark_disrupted(pod);
            Ok(())
        });
        let marked = marked.await?;
        if let Some(version) = &mut deletion.resource_version {
            meta::resource_version(&marked).clone_into(version);
        }
    }
    remove(call, &name, &deletion).await?;
    super::success(call)
}

/// Sets the pod's `DisruptionTarget` condition, by which Jobs distinguish an eviction from a failure (KEP-3329).
fn mark_disrupted(pod: &mut Value) {
    let is_mark = |condition: &Value| meta::text(condition, &["type"]) == "DisruptionTarget";
    let mut conditions = meta::at(pod, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| !is_mark(condition));
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": jiff::Timestamp::now().strftime(TIME).to_string(),
        "observedGeneration": meta::at(pod, &["metadata", "generation"]),
    }));
    pod["status"]["conditions"] = Value::Array(conditions);
}

fn delete_body(mut options: Value) -> bytes::Bytes {
    if let Some(members) = options.as_object_mut() {
        members.insert("kind".to_owned(), json!("DeleteOptions"));
        members.insert("apiVersion".to_owned(), json!("v1"));
    }
    options.to_string().into()
}

/// Pods that serve nobody need no budget.
fn is_exempt(pod: &Value) -> bool {
    let phase = meta::text(pod, &["status", "phase"]);
    matches!(phase, "Succeeded" | "Failed" | "Pending") || meta::is_deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    meta::at(pod, &["status", "conditions"])
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| meta::text(condition, &["type"]) == "Ready" && meta::text(condition, &["status"]) == "True")
}

async fn budget_of(call: &Call, pod: &Value) -> Result<Option<Value>, Status> {
    let budgets = call.core.objects("policy", "v1", "poddisruptionbudgets", &call.path.namespace).await?;
    let mut matching = budgets.into_iter().filter(|budget| {
        LabelSelector::from_object(meta::at(budget, &["spec", "selector"]))
            .is_ok_and(|selector| selector.matches(meta::labels(pod)))
    });
    let first = matching.next();
    if matching.next().is_some() {
        return Err(Status::new(
            Reason::Unknown,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    Ok(first)
}

async fn take_from(call: &Call, budget: &Value, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let resource = call.core.resource("policy", "v1", "poddisruptionbudgets")?;
    let name = meta::name(budget).to_owned();
    loop {
        let Some((mut budget, revision)) = call.core.storage.read(&resource, &call.path.namespace, &name).await? else {
            return Ok(());
        };
        if !judge(&mut budget, pod)? || dry_run {
            return Ok(());
        }
        match call.core.storage.put(&resource, budget, Expect::At(revision)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(crate::storage::store_status(&error)),
        }
    }
}

/// Whether the budget allows the eviction; counts it in `budget.status`. `false`: allowed without being counted.
fn judge(budget: &mut Value, pod: &Value) -> Result<bool, Status> {
    let number = |path: &[&str]| meta::at(budget, path).as_i64().unwrap_or(0);
    let name = meta::name(budget).to_owned();
    let healthy = number(&["status", "currentHealthy"]);
    let desired = number(&["status", "desiredHealthy"]);
    let allowed = number(&["status", "disruptionsAllowed"]);
    if !is_ready(pod) {
        let policy = meta::text(budget, &["spec", "unhealthyPodEvictionPolicy"]);
        if policy == "AlwaysAllow" || (healthy >= desired && desired > 0) {
            return Ok(false);
        }
    }
    if number(&["status", "observedGeneration"]) < number(&["metadata", "generation"]) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::disruption_budget(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            &cause,
        )
        .retry_after(10));
    }
    let forbidden = |why: &str| Err(Status::forbidden_on(("policy", "poddisruptionbudget"), &name, why));
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let mut disrupted = meta::at(budget, &["status", "disruptedPods"]).as_object().cloned().unwrap_or_default();
    if disrupted.len() > DISRUPTED {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(Status::disruption_budget(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            &used_up(budget, healthy, desired),
        ));
    }
    let now = jiff::Timestamp::now().strftime(TIME).to_string();
    disrupted.insert(meta::name(pod).to_owned(), json!(now));
    budget["status"]["disruptedPods"] = Value::Object(disrupted);
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    Ok(true)
}

/// Why a budget allows nothing. What its controller could not judge has no numbers to be trusted.
fn used_up(budget: &Value, healthy: i64, desired: i64) -> String {
    let name = meta::name(budget);
    let conditions = meta::at(budget, &["status", "conditions"]).as_array().into_iter().flatten();
    let told =
        conditions.filter(|condition| meta::text(condition, &["type"]) == "DisruptionAllowed").find(|condition| {
            meta::text(condition, &["status"]) == "False" && !meta::text(condition, &["message"]).is_empty()
        });
    let told = told.map(|condition| (meta::text(condition, &["reason"]), meta::text(condition, &["message"])));
    match told {
        Some(("SyncFailed", message)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        Some((reason, message)) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "status": {
            "observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2,
        }})
    }

    #[test]
    fn a_budget_is_used_up_and_then_refuses() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let mut one = budget(1);
        assert!(judge(&mut one, &pod).unwrap());
        assert_eq!(one["status"]["disruptionsAllowed"], 0);
        assert!(one["status"]["disruptedPods"]["p"].is_string());
        assert_eq!(judge(&mut one, &pod).unwrap_err().code, 429);
    }

    #[test]
    fn a_refusal_tells_why_in_upstream_s_words() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let condition = |reason: &str| json!([{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "why"}]);
        let head = "The disruption budget b";
        for (status, want) in [
            (json!({}), format!("{head} needs 2 healthy pods and has 2 currently")),
            (json!({"conditions": condition("Other")}), format!("{head} needs 2 healthy pods and has 2 currently")),
            (
                json!({"conditions": condition("SyncFailed")}),
                format!("{head} does not allow evicting pods currently because it failed sync: why"),
            ),
            (
                json!({"currentHealthy": 3, "conditions": condition("Other")}),
                format!("{head} does not allow evicting pods currently (Other): why"),
            ),
            (json!({"currentHealthy": 3}), format!("{head} does not allow evicting pods currently")),
        ] {
            let mut budget = budget(0);
            for (key, value) in status.as_object().unwrap() {
                budget["status"][key.as_str()] = value.clone();
            }
            let refused = judge(&mut budget, &pod).unwrap_err();
            assert_eq!((refused.code, &refused.details.unwrap().causes[0].message), (429, &want));
        }
        let refused = judge(&mut budget(-1), &pod).unwrap_err();
        let why = "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative";
        assert_eq!((refused.code, refused.message.as_str()), (403, why));
    }

    #[test]
    fn an_unready_pod_of_a_healthy_application_may_go() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
        assert!(!judge(&mut budget(0), &pod).unwrap());
    }
}
