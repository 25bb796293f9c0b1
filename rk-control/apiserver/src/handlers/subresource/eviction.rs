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
/// The condition of a budget that says whether it allows disruptions.
const ALLOWED: &str = "DisruptionAllowed";

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
    if allowed < 0 {
        return Err(forbidden(&name, "pdb disruptions allowed is negative"));
    }
    let mut disrupted = meta::at(budget, &["status", "disruptedPods"]).as_object().cloned().unwrap_or_default();
    if disrupted.len() > DISRUPTED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(&name, why));
    }
    if allowed == 0 {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        return Err(Status::disruption_budget(message, &why_none(budget, &name, healthy, desired)));
    }
    let now = jiff::Timestamp::now().strftime(TIME).to_string();
    disrupted.insert(meta::name(pod).to_owned(), json!(now));
    budget["status"]["disruptedPods"] = Value::Object(disrupted);
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if allowed == 1 {
        mark_used_up(budget);
    }
    Ok(true)
}

/// 403 for a budget that cannot be right.
fn forbidden(name: &str, why: &str) -> Status {
    Status::forbidden_on(("policy", "poddisruptionbudget"), name, why)
}

/// Why a budget allows no disruption.
fn why_none(budget: &Value, name: &str, healthy: i64, desired: i64) -> String {
    let denied = meta::at(budget, &["status", "conditions"]).as_array().into_iter().flatten().find(|condition| {
        meta::text(condition, &["type"]) == ALLOWED
            && meta::text(condition, &["status"]) == "False"
            && !meta::text(condition, &["message"]).is_empty()
    });
    let told = denied.map(|condition| (meta::text(condition, &["reason"]), meta::text(condition, &["message"])));
    match told {
        Some(("SyncFailed", why)) => {
            format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}")
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        Some((reason, why)) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {why}")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// Tells in the budget's conditions that it allows no more; its controller will say the same later.
fn mark_used_up(budget: &mut Value) {
    let mut conditions = meta::at(budget, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let place = conditions.iter().position(|condition| meta::text(condition, &["type"]) == ALLOWED);
    let since = place.filter(|&place| meta::text(&conditions[place], &["status"]) == "False").map_or_else(
        || json!(jiff::Timestamp::now().strftime(TIME).to_string()),
        |place| meta::at(&conditions[place], &["lastTransitionTime"]).clone(),
    );
    let condition = json!({
        "type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "", "lastTransitionTime": since,
        "observedGeneration": meta::at(budget, &["status", "observedGeneration"]),
    });
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
    budget["status"]["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "status": {
            "observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2,
        }})
    }

    fn ready() -> Value {
        json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn a_budget_is_used_up_and_then_refuses() {
        let mut one = budget(1);
        one["status"]["conditions"] = json!([
            {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        ]);
        assert!(judge(&mut one, &ready()).unwrap());
        assert_eq!(one["status"]["disruptionsAllowed"], 0);
        assert!(one["status"]["disruptedPods"]["p"].is_string());
        let told = &one["status"]["conditions"];
        assert_eq!((told.as_array().unwrap().len(), &told[0]["status"]), (1, &json!("False")));
        assert_eq!((&told[0]["reason"], &told[0]["observedGeneration"]), (&json!("InsufficientPods"), &json!(1)));
        assert_ne!(told[0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(judge(&mut one, &ready()).unwrap_err().code, 429);
    }

    #[test]
    fn why_nothing_may_be_evicted_is_told_as_well_as_it_is_known() {
        let cause = |budget: &mut Value| {
            let refused = judge(budget, &ready()).unwrap_err();
            (refused.code, refused.details.unwrap().causes[0].message.clone())
        };
        let with = |healthy: i64, reason: &str, message: &str| {
            let mut budget = budget(0);
            budget["status"]["currentHealthy"] = json!(healthy);
            let condition =
                json!({"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message});
            budget["status"]["conditions"] = json!([condition]);
            budget
        };
        let needs = "The disruption budget b needs 2 healthy pods and has 2 currently";
        assert_eq!(cause(&mut with(2, "InsufficientPods", "")), (429, needs.to_owned()));
        let failed = "The disruption budget b does not allow evicting pods currently because it failed sync: no scale";
        assert_eq!(cause(&mut with(2, "SyncFailed", "no scale")), (429, failed.to_owned()));
        let other = "The disruption budget b does not allow evicting pods currently (Quiet): not at night";
        assert_eq!(cause(&mut with(3, "Quiet", "not at night")), (429, other.to_owned()));
        let none = "The disruption budget b does not allow evicting pods currently";
        assert_eq!(cause(&mut with(3, "Quiet", "")), (429, none.to_owned()));
    }

    #[test]
    fn budgets_that_cannot_be_right_forbid() {
        let refused = judge(&mut budget(-1), &ready()).unwrap_err();
        let negative = "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative";
        assert_eq!((refused.code, refused.message.as_str()), (403, negative));
        let mut full = budget(1);
        for at in 0..DISRUPTED {
            full["status"]["disruptedPods"][format!("p{at}")] = json!("2020-01-01T00:00:00Z");
        }
        assert!(judge(&mut full.clone(), &ready()).unwrap());
        full["status"]["disruptedPods"]["one-more"] = json!("2020-01-01T00:00:00Z");
        let refused = judge(&mut full, &ready()).unwrap_err();
        assert!(refused.code == 403 && refused.message.contains("DisruptedPods map too big"), "{}", refused.message);
    }

    #[test]
    fn an_unready_pod_of_a_healthy_application_may_go() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
        assert!(!judge(&mut budget(0), &pod).unwrap());
    }
}
