//! CronJobs and disruption budgets, as the community's suite asks of them; stand-ins play the nodes.
//!
//! Nobody waits for a clock here: a time that has passed since the time that the status names is due at once.

use crate::cluster::rest::{Rest, has, name, workload};
use crate::cluster::start;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A moment so many minutes ago.
fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

/// The schedule whose latest time is the minute of a moment, today's or, around midnight, yesterday's.
fn at(moment: Timestamp) -> String {
    moment.to_zoned(TimeZone::UTC).strftime("%M %H * * *").to_string()
}

/// Suspended, so that the time of its last run can be set.
fn cron(name: &str, policy: &str) -> Value {
    let pod = workload("batch/v1", "Job", name, json!({}), json!({"restartPolicy": "Never"}));
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": {
        "suspend": true, "concurrencyPolicy": policy, "schedule": "0 0 30 2 *",
        "jobTemplate": {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]}}})
}

/// Lets the time of `minutes` ago be the latest one that was missed.
async fn miss(rest: &Rest, name: &str, minutes: i64) {
    let place = format!("cronjobs/{name}");
    let last = json!({"status": {"lastScheduleTime": ago(minutes + 1).strftime("%Y-%m-%dT%H:%M:00Z").to_string()}});
    rest.patch(&format!("{place}/status"), &last).await;
    rest.patch(&place, &json!({"spec": {"suspend": false, "schedule": at(ago(minutes))}})).await;
}

fn active(cron: &Value) -> Vec<&str> {
    cron["status"]["active"].as_array().into_iter().flatten().filter_map(|own| own["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_by_the_clock_run_beside_instead_or_after_each_other_and_not_while_suspended() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "clock").await;
    for (name, policy) in [("allow", "Allow"), ("forbid", "Forbid"), ("replace", "Replace"), ("asleep", "Allow")] {
        rest.create("cronjobs", &cron(name, policy)).await;
    }
    // Suspended ones miss their times.
    let last = json!({"status": {"lastScheduleTime": ago(10).strftime("%Y-%m-%dT%H:%M:00Z").to_string()}});
    rest.patch("cronjobs/asleep/status", &last).await;
    rest.patch("cronjobs/asleep", &json!({"spec": {"schedule": at(ago(9))}})).await;
    for name in ["allow", "forbid", "replace"] {
        miss(&rest, name, 8).await;
        rest.until(&format!("cronjobs/{name}"), |own| active(own).len() == 1).await;
    }
    let first = rest.get("cronjobs/replace").await;
    for name in ["allow", "forbid", "replace"] {
        miss(&rest, name, 6).await;
    }
    let both = rest.until("cronjobs/allow", |own| active(own).len() == 2).await;
    let replaced = rest.until("cronjobs/replace", |own| active(own).len() == 1 && active(own) != active(&first)).await;
    let jobs = rest.count("jobs?labelSelector=app=replace", 1).await;
    assert_eq!(active(&replaced), [name(&jobs[0])]);
    assert_eq!(rest.items("jobs?labelSelector=app=allow").await.len(), active(&both).len());
    // The event says that the time was seen and let pass.
    rest.until("events?fieldSelector=reason=JobAlreadyActive", |list| {
        list["items"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    assert_eq!(rest.items("jobs?labelSelector=app=forbid").await.len(), 1);
    assert_eq!(active(&rest.get("cronjobs/forbid").await).len(), 1);
    assert!(rest.items("jobs?labelSelector=app=asleep").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_time_never_comes_is_told_of() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "never").await;
    let mut pi = cron("pi", "Allow");
    pi["spec"]["suspend"] = json!(false);
    rest.create("cronjobs", &pi).await;
    let why = "time difference between two schedules is less than 1 second";
    rest.hears("pi", "InvalidSchedule", |told| told == format!("invalid schedule: 0 0 30 2 * : {why}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_tells_how_many_pods_may_be_disrupted() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "budget").await;
    rest.create("replicasets", &workload("apps/v1", "ReplicaSet", "web", json!({"replicas": 3}), json!({}))).await;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    rest.create("poddisruptionbudgets", &budget).await;
    let shows = |allowed: u64, healthy: u64, desired: u64| {
        move |own: &Value| {
            let status = &own["status"];
            status["disruptionsAllowed"] == allowed
                && status["currentHealthy"] == healthy
                && status["desiredHealthy"] == desired
                && status["expectedPods"] == 3
                && status["observedGeneration"] == own["metadata"]["generation"]
        }
    };
    let seen = rest.until("poddisruptionbudgets/web", shows(1, 3, 2)).await;
    assert!(has(&seen, "DisruptionAllowed"));
    rest.patch("poddisruptionbudgets/web", &json!({"spec": {"minAvailable": "100%"}})).await;
    let seen = rest.until("poddisruptionbudgets/web", shows(0, 3, 3)).await;
    assert!(!has(&seen, "DisruptionAllowed"));
    let pods = rest.items("pods?labelSelector=app=web").await;
    rest.set_ready(name(&pods[0]), false).await;
    rest.patch("poddisruptionbudgets/web", &json!({"spec": {"minAvailable": null, "maxUnavailable": 2}})).await;
    rest.until("poddisruptionbudgets/web", shows(1, 2, 1)).await;
}
