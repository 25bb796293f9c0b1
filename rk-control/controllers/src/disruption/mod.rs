//! PodDisruptionBudgets: keeps their status true, which the eviction API relies on, and takes back marks of
//! disruptions that did not come.

mod plan;
mod stale;

use crate::context::Context;
use crate::discovery::Discovery;
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1 as autoscaling;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::DynamicObject;
use plan::{Expected, Numbers, Scale};
use rk_client::{
    BoxError, Informer, LabelMatcher, Object, ObjectKey, Outcome, Queue, Recorder, controller_of, is_not_found,
    message, owner_key,
};
use rk_lenient::Lenient;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// An eviction that was granted must show within this time, else its pod counts as healthy again.
const EVICTION_WAIT: SignedDuration = SignedDuration::from_secs(120);

struct Controller {
    client: kube::Client,
    discovery: Discovery,
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
        client: ctx.client.clone(),
        discovery: Discovery::new(ctx.client.clone()),
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
    stale::register(ctx, &controller.pods);
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
        covered.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        if covered.is_empty() {
            self.recorder.normal(budget.as_ref(), "NoPods", "No matching pods found");
        }
        let (min, max) = (spec.min_available.as_ref(), spec.max_unavailable.as_ref());
        let expected = match plan::needs_scale(min, max) {
            false => Ok(Expected::Pods(covered.len() as i32)),
            true => self.scale(&key.namespace, &covered).await.map(|scale| {
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
                build(&budget, numbers, disrupted, now)
            }
            Err(why) => {
                self.recorder.warning(
                    budget.as_ref(),
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {why}"),
                );
                unknown(&budget, why, now)
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

    /// What the controllers of these pods want together; fails with the words of the budget's condition.
    async fn scale(&self, namespace: &str, covered: &[Arc<Pod>]) -> Result<Scale, String> {
        let mut asked: HashMap<&str, i32> = HashMap::new();
        for pod in covered {
            let Some(owner) = controller_of(&pod.metadata) else { continue };
            if asked.contains_key(owner.uid.as_str()) || self.controller_scale(pod).is_some() {
                continue;
            }
            let Some(size) = self.told_scale(namespace, owner).await? else { break };
            asked.insert(&owner.uid, size);
        }
        plan::scale(covered, |pod| {
            let told = || {
                let uid = &controller_of(&pod.metadata)?.uid;
                asked.get(uid.as_str()).map(|size| (uid.clone(), *size))
            };
            self.controller_scale(pod).or_else(told)
        })
    }

    /// The uid of the controller of a pod and how many pods it wants; of a ReplicaSet's pod those of its Deployment.
    fn controller_scale(&self, pod: &Pod) -> Option<(String, i32)> {
        let meta = &pod.metadata;
        if let Some(set) = controller(&self.replica_sets, meta) {
            if let Some(deployment) = controller(&self.deployments, &set.metadata) {
                return Some((deployment.metadata.uid.clone()?, deployment.spec.as_ref()?.replicas.unwrap_or(1)));
            }
            return Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        if let Some(set) = controller(&self.stateful_sets, meta) {
            return Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        let set = controller(&self.controllers, meta)?;
        Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
    }

    /// How many pods a controller of any other kind wants, by its `scale`; `None` where it is gone.
    async fn told_scale(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<i32>, String> {
        let served = self.discovery.served().await.map_err(|error| message(&error))?;
        let resource = served
            .of_kind(&owner.api_version, &owner.kind)
            .ok_or_else(|| format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version))?;
        if !resource.has_scale {
            return Err(format!("{} does not implement the scale subresource", resource.name()));
        }
        let path = format!("{}/{}/scale", DynamicObject::url_path(&resource.api, Some(namespace)), owner.name);
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        match self.client.request::<autoscaling::Scale>(request).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                Ok(Some(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)))
            }
            Ok(_) => Ok(None),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(message(&error)),
        }
    }
}

/// The managing controller of an object, if it is of kind `K` and here: not another that took its name.
fn controller<K: Object>(informer: &Informer<K>, meta: &ObjectMeta) -> Option<Arc<K>> {
    let owner = controller_of(meta)?;
    owner_key::<K>(meta)
        .and_then(|key| informer.get(&key))
        .filter(|found| found.meta().uid.as_ref() == Some(&owner.uid))
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
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let (value, reason) = if numbers.allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(numbers.healthy),
        desired_healthy: Some(numbers.desired),
        disruptions_allowed: Some(numbers.allowed),
        expected_pods: Some(numbers.expected),
        disrupted_pods: Some(disrupted).filter(|d| !d.is_empty()),
        observed_generation: budget.metadata.generation,
        ..budget.status.clone().unwrap_or_default()
    };
    told(status, value, reason, String::new(), now)
}

/// The status of a budget of which nobody can tell how many pods there should be: as it was, and none may go.
fn unknown(budget: &PodDisruptionBudget, why: String, now: Timestamp) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let status = PodDisruptionBudgetStatus {
        current_healthy: before.current_healthy.or(Some(0)),
        desired_healthy: before.desired_healthy.or(Some(0)),
        disruptions_allowed: Some(0),
        expected_pods: before.expected_pods.or(Some(0)),
        ..before
    };
    told(status, "False", "SyncFailed", why, now)
}

/// The status with its condition.
fn told(
    mut status: PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let observed_generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|c| c.type_ == "DisruptionAllowed");
    let since = known.filter(|c| c.status == value).map_or(Time(now), |c| c.last_transition_time.clone());
    conditions.retain(|c| c.type_ != "DisruptionAllowed");
    conditions.push(Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation,
        last_transition_time: since,
    });
    status
}

#[cfg(test)]
mod tests;
