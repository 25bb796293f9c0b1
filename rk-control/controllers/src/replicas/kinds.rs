//! What ReplicaSets and ReplicationControllers have in common.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rk_client::{LabelMatcher, Object};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) terminating: i32,
}

/// Reason and text of the `ReplicaFailure` condition.
pub(crate) type FailureText = Option<(&'static str, String)>;

/// A kind that keeps a number of pods from one template.
pub(crate) trait Replicated: Object {
    /// The name that its events are signed with.
    const COMPONENT: &'static str;
    /// The name that its queue's figures are told by.
    const QUEUE: &'static str;
    fn selector(&self) -> LabelMatcher;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn replicas(&self) -> i32;
    fn min_ready(&self) -> i32;
    /// The object with its new status, or `None` when nothing changed.
    fn with_status(&self, counts: &Counts, failure: FailureText) -> Option<Self>;
}

macro_rules! replicated {
    ($kind:ty, $condition:ident, $component:literal, $queue:literal, $selector:expr, $finish:expr) => {
        impl Replicated for $kind {
            const COMPONENT: &'static str = $component;
            const QUEUE: &'static str = $queue;

            fn selector(&self) -> LabelMatcher {
                self.spec.as_ref().map_or_else(LabelMatcher::nothing, $selector)
            }

            fn template(&self) -> Option<&PodTemplateSpec> {
                self.spec.as_ref()?.template.as_ref()
            }

            fn replicas(&self) -> i32 {
                self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
            }

            fn min_ready(&self) -> i32 {
                self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
            }

            fn with_status(&self, counts: &Counts, failure: FailureText) -> Option<Self> {
                let mut status = self.status.clone().unwrap_or_default();
                status.replicas = counts.replicas;
                status.fully_labeled_replicas = Some(counts.fully_labeled).filter(|n| *n != 0);
                status.ready_replicas = Some(counts.ready).filter(|n| *n != 0);
                status.available_replicas = Some(counts.available).filter(|n| *n != 0);
                status.observed_generation = self.metadata.generation;
                ($finish)(&mut status, counts);
                let known = status.conditions.iter().flatten().any(|c| c.type_ == "ReplicaFailure");
                match failure {
                    Some((reason, message)) if !known => status.conditions.get_or_insert_default().push($condition {
                        type_: "ReplicaFailure".to_owned(),
                        status: "True".to_owned(),
                        reason: Some(reason.to_owned()),
                        message: Some(message),
                        last_transition_time: Some(Time(Timestamp::now())),
                    }),
                    None if known => {
                        status.conditions.iter_mut().for_each(|all| all.retain(|c| c.type_ != "ReplicaFailure"))
                    }
                    _ => {}
                }
                status.conditions = status.conditions.filter(|all| !all.is_empty());
                (self.status.as_ref() != Some(&status)).then(|| Self { status: Some(status), ..self.clone() })
            }
        }
    };
}

replicated!(
    ReplicaSet,
    ReplicaSetCondition,
    "replicaset-controller",
    "replicaset",
    |spec| LabelMatcher::new(Some(&spec.selector)).unwrap_or_else(|_| LabelMatcher::nothing()),
    |status: &mut k8s_openapi::api::apps::v1::ReplicaSetStatus, counts: &Counts| status.terminating_replicas =
        Some(counts.terminating)
);
replicated!(
    ReplicationController,
    ReplicationControllerCondition,
    "replication-controller",
    "replicationmanager",
    |spec| if spec.selector.as_ref().is_none_or(|s| s.is_empty()) {
        LabelMatcher::nothing()
    } else {
        LabelMatcher::of_map(spec.selector.as_ref())
    },
    |_: &mut k8s_openapi::api::core::v1::ReplicationControllerStatus, _: &Counts| {}
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_status_is_not_written_again() {
        let set: ReplicaSet =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "s", "generation": 2}})).expect("valid");
        let counts = Counts { replicas: 1, ..Counts::default() };
        let failed = set.with_status(&counts, Some(("FailedCreate", "no".to_owned()))).expect("changed");
        assert!(failed.with_status(&counts, Some(("FailedCreate", "no".to_owned()))).is_none());
        let healed = failed.with_status(&counts, None).expect("condition goes away");
        assert_eq!(healed.status.as_ref().and_then(|s| s.observed_generation), Some(2));
        assert!(healed.status.as_ref().is_some_and(|s| s.conditions.is_none()));
        assert!(healed.with_status(&counts, None).is_none());
    }
}
