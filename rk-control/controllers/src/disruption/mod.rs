//! PodDisruptionBudgets: keeps their status true, which the eviction API relies on.

mod plan;

use crate::context::Context;
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use plan::{Expected, Numbers};
use rk_client::{BoxError, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder, owner_key};
use rk_lenient::Lenient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// An eviction that was granted must show within this time, else its pod counts as healthy again.
const EVICTION_WAIT: SignedDuration = SignedDuration::from_secs(120);

struct Controller {
    budgets: Informer<Lenient<PodDisruptionBudget>>,
    pods: Informer<Pod>,
    replica_sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
    recorder: Recorder,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        budgets: ctx.informers.of(),
        pods: ctx.informers.of(),
        replica_sets: ctx.informers.of(),
        deployments: ctx.informers.of(),
        stateful_sets: ctx.informers.of(),
        controllers: ctx.informers.of(),
        recorder: ctx.recorders.of("controllermanager"),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.budgets.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let (q, budgets) = (queue.clone(), controller.budgets.clone());
    controller.pods.on_change(move |change| {
        let pod = change.object();
        for budget in budgets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = selector_of(&budget);
            let before = change.previous().is_some_and(|old| selector.matches(old.metadata.labels.as_ref()));
            if before || selector.matches(pod.metadata.labels.as_ref()) {
                q.add(ObjectKey::of(budget.as_ref()));
            }
        }
    });
    ctx.work("disruption", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn selector_of(budget: &PodDisruptionBudget) -> LabelMatcher {
    // In policy/v1 an empty selector covers the whole namespace and an absent one nothing.
    LabelMatcher::new(budget.spec.as_ref().and_then(|s| s.selector.as_ref()))
        .unwrap_or_else(|_| LabelMatcher::nothing())
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Outcome::AwaitChange) };
        let spec = budget.spec.clone().unwrap_or_default();
        let selector = selector_of(&budget);
        let mut covered = self.pods.in_namespace(&key.namespace);
        covered.retain(|pod| selector.matches(pod.metadata.labels.as_ref()) && !pods::is_finished(pod));
        let (min, max) = (spec.min_available.as_ref(), spec.max_unavailable.as_ref());
        let expected = match plan::needs_scale(min, max) {
            false => Ok(Expected::Pods(covered.len() as i32)),
            true => plan::scale(&covered, |pod| self.controller_scale(pod)).map(|scale| {
                if scale.unmanaged {
                    self.recorder.warning(budget.as_ref(), "UnmanagedPods", unmanaged(spec.selector.as_ref()));
                }
                Expected::Scale(scale.wanted)
            }),
        };
        let now = Timestamp::now();
        let (disrupted, recheck) = still_disrupted(&budget, &covered, now);
        let healthy = |pod: &&Arc<Pod>| {
            !pods::is_terminating(pod)
                && pods::is_ready(pod)
                && !disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default())
        };
        let status = match expected {
            Ok(expected) => {
                let numbers = plan::numbers(expected, covered.iter().filter(healthy).count() as i32, min, max);
                build(&budget, numbers, disrupted, None, now)
            }
            Err(why) => {
                self.recorder.warning(
                    budget.as_ref(),
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {why}"),
                );
                // Unknown is treated as none allowed.
                build(&budget, Numbers::default(), disrupted, Some(why), now)
            }
        };
        if budget.status.as_ref() != Some(&status) {
            self.budgets
                .replace_status(&Lenient(PodDisruptionBudget {
                    status: Some(status),
                    ..PodDisruptionBudget::clone(&budget)
                }))
                .await?;
        }
        Ok(recheck.map_or(Outcome::AwaitChange, Outcome::RequeueAfter))
    }

    /// The uid of the controller of a pod and how many pods it wants; of a ReplicaSet's pod those of its Deployment.
    fn controller_scale(&self, pod: &Pod) -> Option<(String, i32)> {
        let meta = &pod.metadata;
        if let Some(set) = owner_key::<ReplicaSet>(meta).and_then(|key| self.replica_sets.get(&key)) {
            if let Some(deployment) = owner_key::<Deployment>(&set.metadata).and_then(|key| self.deployments.get(&key))
            {
                return Some((deployment.metadata.uid.clone()?, deployment.spec.as_ref()?.replicas.unwrap_or(1)));
            }
            return Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        if let Some(set) = owner_key::<StatefulSet>(meta).and_then(|key| self.stateful_sets.get(&key)) {
            return Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        let set = owner_key::<ReplicationController>(meta).and_then(|key| self.controllers.get(&key))?;
        Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
    }
}

/// What is told of a budget that counts by controllers and covers pods without any.
fn unmanaged(selector: Option<&LabelSelector>) -> String {
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB \
         cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
         \".spec.minAvailable\" field of the PDB to an integer value.",
        rk_api::selector::printed(&serde_json::to_value(selector).unwrap_or_default())
    )
}

/// Pods whose eviction was granted and that are still there; also when to look again.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    covered: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut recheck: Option<Duration> = None;
    let noted = budget.status.as_ref().and_then(|s| s.disrupted_pods.clone()).unwrap_or_default();
    let kept = noted.into_iter().filter(|(name, since)| {
        let waiting = covered.iter().any(|p| p.metadata.name.as_ref() == Some(name) && !pods::is_terminating(p));
        let left = EVICTION_WAIT - now.duration_since(since.0);
        let keep = waiting && left > SignedDuration::ZERO;
        if keep {
            let left = left.unsigned_abs();
            recheck = Some(recheck.map_or(left, |r| r.min(left)));
        }
        keep
    });
    (kept.collect(), recheck)
}

fn build(
    budget: &PodDisruptionBudget,
    numbers: Numbers,
    disrupted: BTreeMap<String, Time>,
    failure: Option<String>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let (value, reason, message) = match failure {
        Some(why) => ("False", "SyncFailed", why),
        None if numbers.allowed > 0 => ("True", "SufficientPods", String::new()),
        None => ("False", "InsufficientPods", String::new()),
    };
    let mut conditions = before.conditions.unwrap_or_default();
    let known = conditions.iter().find(|c| c.type_ == "DisruptionAllowed");
    let since = known.filter(|c| c.status == value).map_or(Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: budget.metadata.generation,
        last_transition_time: since,
    };
    conditions.retain(|c| c.type_ != condition.type_);
    conditions.push(condition);
    PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: Some(numbers.healthy),
        desired_healthy: Some(numbers.desired),
        disruptions_allowed: Some(numbers.allowed),
        expected_pods: Some(numbers.expected),
        disrupted_pods: Some(disrupted).filter(|d| !d.is_empty()),
        observed_generation: budget.metadata.generation,
    }
}
