//! Deployments: roll a pod template out over ReplicaSets.

mod conditions;
mod proportional;
mod revision;
mod rollback;
mod rolling;
mod scale;
mod status;
mod strategy;
mod template;

pub(crate) use rolling::scaled;

use crate::claim::claim_all;
use crate::context::Context;
use crate::pods;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use rk_client::{
    BoxError, Change, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder, controller_of, owner_key,
};
use std::sync::Arc;

struct Controller {
    client: kube::Client,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: Recorder,
}

/// A Deployment and its ReplicaSets, as one run sees them.
struct Rollout {
    deployment: Deployment,
    /// All ReplicaSets that it owns, oldest first.
    sets: Vec<ReplicaSet>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        deployments: ctx.informers.of(),
        sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("deployment-controller"),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    pods::index_by_owner(&controller.pods);
    controller.sets.index(pods::BY_OWNER, |set| pods::owner_values(&set.metadata));
    let q = queue.clone();
    controller.deployments.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let (q, deployments) = (queue.clone(), controller.deployments.clone());
    controller.sets.on_change(move |change| enqueue_owners(change, &deployments, &q));
    let (q, sets) = (queue.clone(), controller.sets.clone());
    controller.pods.on_change(move |change| {
        // Only the Recreate strategy waits for pods to be gone.
        if let Change::Deleted(pod) = change
            && let Some(set) = owner_key::<ReplicaSet>(&pod.metadata).and_then(|key| sets.get(&key))
            && let Some(owner) = owner_key::<Deployment>(&set.metadata)
        {
            q.add(owner);
        }
    });
    ctx.work("deployment", queue, 4, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn enqueue_owners(change: &Change<ReplicaSet>, deployments: &Informer<Deployment>, queue: &Queue<ObjectKey>) {
    let set = change.object();
    for owner in change.previous().into_iter().chain([set]).filter_map(|s| owner_key::<Deployment>(&s.metadata)) {
        queue.add(owner);
    }
    if controller_of(&set.metadata).is_none() {
        for deployment in deployments.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default()) {
            if selector_of(&deployment).matches(set.metadata.labels.as_ref()) {
                queue.add(ObjectKey::of(deployment.as_ref()));
            }
        }
    }
}

fn selector_of(deployment: &Deployment) -> LabelMatcher {
    let selector = deployment.spec.as_ref().map(|s| &s.selector);
    LabelMatcher::new(selector).unwrap_or_else(|_| LabelMatcher::nothing())
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(cached) = self.deployments.get(key) else { return Ok(Outcome::AwaitChange) };
        let Some(spec) = &cached.spec else { return Ok(Outcome::AwaitChange) };
        let selector = selector_of(&cached);
        if selector.is_everything() {
            self.recorder.warning(
                cached.as_ref(),
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return self.only_observe(&cached).await;
        }
        let candidates = pods::candidates(&self.sets, &cached.metadata);
        let owned = claim_all(&self.client, cached.as_ref(), &selector, &self.sets, candidates).await?;
        let mut sets: Vec<ReplicaSet> = owned.iter().map(|set| ReplicaSet::clone(set)).collect();
        sets.sort_by(|a, b| template::age_order(&a.metadata, &b.metadata));
        let mut rollout = Rollout { deployment: Deployment::clone(&cached), sets };

        if cached.metadata.deletion_timestamp.is_some() {
            return self.sync_status(&mut rollout).await;
        }
        self.note_pause(&mut rollout).await?;
        if spec.paused == Some(true) {
            self.ensure_new_set(&mut rollout, false).await?;
            self.scale_proportionally(&mut rollout).await?;
            // The set that a rollback waits for may be the oldest.
            if revision::number::<i64>(&cached.metadata, revision::ROLLBACK_TO).is_none() {
                self.clean_up(&rollout).await?;
            }
            return self.sync_status(&mut rollout).await;
        }
        if self.roll_back(&mut rollout).await? {
            return Ok(Outcome::AwaitChange);
        }
        if rollout.was_scaled() {
            self.ensure_new_set(&mut rollout, false).await?;
            self.scale_proportionally(&mut rollout).await?;
            return self.sync_status(&mut rollout).await;
        }
        match rollout.is_rolling() {
            true => self.rolling_update(&mut rollout).await,
            false => self.recreate(&mut rollout).await,
        }
    }

    async fn only_observe(&self, cached: &Deployment) -> Result<Outcome, BoxError> {
        let mut deployment = cached.clone();
        let status = deployment.status.get_or_insert_default();
        if status.observed_generation != deployment.metadata.generation {
            status.observed_generation = deployment.metadata.generation;
            self.deployments.replace_status(&deployment).await?;
        }
        Ok(Outcome::AwaitChange)
    }
}

impl Rollout {
    fn spec(&self) -> &DeploymentSpec {
        static EMPTY: std::sync::OnceLock<DeploymentSpec> = std::sync::OnceLock::new();
        self.deployment.spec.as_ref().unwrap_or_else(|| EMPTY.get_or_init(DeploymentSpec::default))
    }

    fn wanted(&self) -> i32 {
        self.spec().replicas.unwrap_or(1).max(0)
    }

    fn is_rolling(&self) -> bool {
        self.spec().strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("Recreate")
    }

    fn fences(&self) -> rolling::Fences {
        let strategy = self.spec().strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        let (surge, unavailable) =
            (strategy.and_then(|s| s.max_surge.as_ref()), strategy.and_then(|s| s.max_unavailable.as_ref()));
        rolling::Fences::resolve(self.is_rolling(), self.wanted(), surge, unavailable)
    }

    /// Position of the ReplicaSet that has the current template; the oldest if there are several.
    fn new_set(&self) -> Option<usize> {
        self.sets.iter().position(|set| template::equal(set, &self.spec().template))
    }

    fn old_sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        let new = self.new_set();
        self.sets.iter().enumerate().filter(move |(at, _)| Some(*at) != new).map(|(_, set)| set)
    }

    /// What the pure functions need to know of each set.
    fn sizes(&self) -> Vec<rolling::SetSize> {
        let new = self.new_set();
        self.sets
            .iter()
            .enumerate()
            .map(|(at, set)| rolling::SetSize {
                is_new: Some(at) == new,
                replicas: template::replicas(set),
                available: set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0),
                desired_before: revision::number(&set.metadata, revision::DESIRED),
                max_before: revision::number(&set.metadata, revision::MAX),
            })
            .collect()
    }

    /// Whether `spec.replicas` changed since the sets were last scaled.
    fn was_scaled(&self) -> bool {
        self.sizes()
            .iter()
            .any(|set| set.replicas > 0 && set.desired_before.is_some_and(|before| before != self.wanted()))
    }
}
