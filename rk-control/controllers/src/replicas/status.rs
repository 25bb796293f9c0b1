//! The numbers in the status of a set.

use super::kinds::{Counts, Replicated};
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rk_client::LabelMatcher;
use std::sync::Arc;
use std::time::Duration;

/// Counts owned pods; also says when a ready pod becomes available by time alone.
pub(crate) fn count<K: Replicated>(set: &K, owned: &[Arc<Pod>], now: Timestamp) -> (Counts, Option<Duration>) {
    let labels = set.template().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
    let template = LabelMatcher::of_map(labels);
    let mut counts = Counts::default();
    let mut recheck: Option<Duration> = None;
    for pod in owned.iter().filter(|p| !pods::is_finished(p)) {
        if pods::is_terminating(pod) {
            counts.terminating += 1;
            continue;
        }
        counts.replicas += 1;
        counts.fully_labeled += i32::from(template.matches(pod.metadata.labels.as_ref()));
        counts.ready += i32::from(pods::is_ready(pod));
        let (available, left) = pods::availability(pod, set.min_ready(), now);
        counts.available += i32::from(available);
        recheck = recheck.into_iter().chain(left).min();
    }
    (counts, recheck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    #[test]
    fn terminating_pods_are_counted_apart_and_ready_ones_wait_to_be_available() {
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "spec": {"selector": {}, "minReadySeconds": 10, "template": {"metadata": {"labels": {"app": "web", "v": "2"}}}}
        }))
        .expect("valid");
        let pod = |version: &str, ready_at: Option<&str>, ends: bool| -> Arc<Pod> {
            let conditions = ready_at.map(|at| json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]));
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"labels": {"app": "web", "v": version}, "deletionTimestamp": ends.then_some("2026-01-01T00:00:00Z")},
                    "status": {"phase": "Running", "conditions": conditions}
                }))
                .expect("valid"),
            )
        };
        let owned = [
            pod("2", Some("2026-01-01T00:00:00Z"), false),
            pod("2", Some("2026-01-01T00:00:55Z"), false),
            pod("1", None, false),
            pod("2", Some("2026-01-01T00:00:00Z"), true),
        ];
        let (counts, recheck) = count(&set, &owned, "2026-01-01T00:01:00Z".parse().expect("time"));
        assert_eq!(counts, Counts { replicas: 3, fully_labeled: 2, ready: 2, available: 1, terminating: 1 });
        assert_eq!(recheck, Some(Duration::from_secs(5)));
    }
}
