//! The numbers in the status of a StatefulSet.

use super::model;
use super::{Revisions, revision_name};
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

/// Counts owned pods; once all that are wanted are there, updated and ready, the update revision becomes the current one: the pods
/// of which some are missing may be at different revisions. Also says when a ready pod becomes available by time alone.
pub(super) fn count(
    set: &StatefulSet,
    owned: &[Arc<Pod>],
    revisions: &Revisions,
    now: Timestamp,
) -> (StatefulSetStatus, Option<Duration>) {
    let min_ready = model::spec_of(set).min_ready_seconds.unwrap_or(0);
    let (current, update) = (revision_name(&revisions.current), revision_name(&revisions.update));
    let (mut ready, mut available, mut of_current, mut of_update) = (0, 0, 0, 0);
    let mut recheck: Option<Duration> = None;
    for pod in owned {
        // Also while they are terminating, as upstream counts them.
        let runs = pods::phase(pod) == "Running";
        let (is_available, left) = pods::availability(pod, min_ready, now);
        ready += i32::from(runs && pods::is_ready(pod));
        available += i32::from(runs && is_available);
        recheck = recheck.into_iter().chain(left).min();
        if !pods::is_terminating(pod) {
            let revision = model::revision_of(pod);
            of_current += i32::from(revision.as_ref() == Some(&current));
            of_update += i32::from(revision.as_ref() == Some(&update));
        }
    }
    let replicas = owned.len() as i32;
    let wanted = model::spec_of(set).replicas.unwrap_or(1);
    let rolling = model::spec_of(set).update_strategy.and_then(|s| s.type_).as_deref() != Some("OnDelete");
    let complete = rolling && [of_update, ready, replicas].iter().all(|count| *count == wanted);
    let nonzero = |n: i32| Some(n).filter(|n| *n != 0);
    let status = StatefulSetStatus {
        replicas,
        ready_replicas: nonzero(ready),
        available_replicas: Some(available),
        current_replicas: nonzero(if complete { of_update } else { of_current }),
        updated_replicas: nonzero(of_update),
        current_revision: Some(if complete { update.clone() } else { current }),
        update_revision: Some(update),
        observed_generation: set.metadata.generation,
        collision_count: revisions.collisions.or(Some(0)),
        conditions: set.status.as_ref().and_then(|s| s.conditions.clone()),
    };
    (status, recheck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ControllerRevision;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    fn revision(name: &str) -> ControllerRevision {
        serde_json::from_value(json!({"metadata": {"name": name}, "revision": 1})).expect("valid")
    }

    fn pod(name: &str, revision: &str) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "labels": {"controller-revision-hash": revision}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        Arc::new(serde_json::from_value(pod).expect("valid"))
    }

    #[test]
    fn a_terminating_pod_serves_but_is_of_no_revision() {
        let set: StatefulSet =
            serde_json::from_value(json!({"spec": {"selector": {}, "template": {}}})).expect("valid");
        let revisions =
            Revisions { current: revision("new"), update: revision("new"), all: Vec::new(), collisions: None };
        let mut leaving = Pod::clone(&pod("web-0", "new"));
        leaving.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
        let (status, _) = count(&set, &[Arc::new(leaving)], &revisions, Timestamp::now());
        let counted = (status.replicas, status.ready_replicas, status.available_replicas, status.updated_replicas);
        assert_eq!(counted, (1, Some(1), Some(1), None));
    }

    #[test]
    fn an_update_is_complete_when_every_wanted_pod_is_there_and_has_it() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {}, "template": {}}}))
        .expect("valid");
        let revisions =
            Revisions { current: revision("old"), update: revision("new"), all: Vec::new(), collisions: None };
        let current = |owned: &[Arc<Pod>]| {
            let (status, _) = count(&set, owned, &revisions, Timestamp::now());
            status.current_revision.unwrap_or_default()
        };
        let cases = [
            (vec![], "old"),
            (vec![pod("web-1", "new")], "old"),
            (vec![pod("web-0", "old"), pod("web-1", "new")], "old"),
            (vec![pod("web-0", "new"), pod("web-1", "new")], "new"),
            (vec![pod("web-0", "new"), pod("web-1", "new"), pod("web-2", "new")], "old"),
        ];
        for (owned, expected) in cases {
            let names: Vec<_> = owned.iter().map(|pod| pod.metadata.name.clone()).collect();
            assert_eq!(current(&owned), expected, "{names:?}");
        }
    }
}
