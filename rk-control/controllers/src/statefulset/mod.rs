//! StatefulSets: pods with lasting names and claims.

mod figures;
mod model;
mod plan;
mod pod;
mod status;
mod work;

use crate::claim::claim_all;
use crate::context::Context;
use crate::{history, pods};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use model::Health;
use plan::Rules;
use rk_client::{BoxError, Change, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder};
use std::sync::Arc;

struct Controller {
    client: kube::Client,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    recorder: Recorder,
}

/// The two templates that pods may be made from.
struct Revisions {
    current: ControllerRevision,
    update: ControllerRevision,
    all: Vec<ControllerRevision>,
    collisions: Option<i32>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        revisions: ctx.informers.of(),
        recorder: ctx.recorders.of("statefulset-controller"),
    });
    pods::index_by_owner(&controller.pods);
    controller.revisions.index(pods::BY_OWNER, |r| pods::owner_values(&r.metadata));
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.sets.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    pods::wake_owners(&controller.pods, &controller.sets, &queue, selector_of);
    let (q, sets) = (queue.clone(), controller.sets.clone());
    controller.claims.on_change(move |change| {
        if matches!(change, Change::Added(_)) {
            return;
        }
        // A pod may wait for its predecessor's claim to go.
        let claim = &change.object().metadata;
        let all = sets.in_namespace(claim.namespace.as_deref().unwrap_or_default());
        let theirs = all.iter().filter(|set| pod::has_claim(set, claim.name.as_deref().unwrap_or_default()));
        theirs.for_each(|set| q.add(ObjectKey::of(set.as_ref())));
    });
    ctx.work("statefulset", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn selector_of(set: &StatefulSet) -> LabelMatcher {
    LabelMatcher::new(set.spec.as_ref().map(|s| &s.selector)).unwrap_or_else(|_| LabelMatcher::nothing())
}

fn revision_name(revision: &ControllerRevision) -> String {
    revision.metadata.name.clone().unwrap_or_default()
}

impl Revisions {
    fn template(&self, updated: bool, set: &StatefulSet) -> PodTemplateSpec {
        let revision = if updated { &self.update } else { &self.current };
        history::template_of(revision).unwrap_or_else(|| model::spec_of(set).template)
    }

    fn name(&self, updated: bool) -> String {
        revision_name(if updated { &self.update } else { &self.current })
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(set) = self.sets.get(key) else {
            figures::forget(key);
            return Ok(Outcome::AwaitChange);
        };
        let owned = self.owned(&set).await?;
        let revisions = self.revisions(&set).await?;
        let (wanted, condemned) = model::slots(&set, &owned, Timestamp::now());
        let rules = rules(&set, &revisions);
        let actions = plan::plan(&wanted, &condemned, &rules);
        let result = self.carry_out(&set, &revisions, &wanted, &condemned, actions).await;

        let owned = self.owned(&set).await?;
        let (status, recheck) = status::count(&set, &owned, &revisions, Timestamp::now());
        if !rules.on_delete {
            let (wanted, _) = model::slots(&set, &owned, Timestamp::now());
            figures::tell(key, &rules, wanted.iter().filter(|slot| slot.health != Health::Available).count());
        }
        if set.status.as_ref() != Some(&status) {
            self.sets.replace_status(&StatefulSet { status: Some(status.clone()), ..StatefulSet::clone(&set) }).await?;
        }
        let mut live: Vec<String> = owned.iter().filter_map(|p| model::revision_of(p)).collect();
        live.extend([revision_name(&revisions.current), revision_name(&revisions.update)]);
        live.extend(status.current_revision);
        history::truncate(&self.revisions, revisions.all, &live, model::spec_of(&set).revision_history_limit).await?;
        match result {
            Err(error) if !rk_client::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(recheck.map_or(Outcome::AwaitChange, Outcome::RequeueAfter)),
        }
    }

    /// Owned pods; only those whose name fits are adopted.
    async fn owned(&self, set: &StatefulSet) -> kube::Result<Vec<Arc<Pod>>> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let mut candidates = pods::candidates(&self.pods, &set.metadata);
        candidates.retain(|pod| pod.metadata.name.as_deref().is_some_and(|n| model::ordinal_of(name, n).is_some()));
        claim_all(&self.client, set, &selector_of(set), &self.pods, candidates).await
    }

    async fn revisions(&self, set: &StatefulSet) -> kube::Result<Revisions> {
        let candidates = pods::candidates(&self.revisions, &set.metadata);
        let owned = claim_all(&self.client, set, &selector_of(set), &self.revisions, candidates).await?;
        let all: Vec<ControllerRevision> = owned.iter().map(|r| ControllerRevision::clone(r)).collect();
        let mut collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let update = history::ensure(
            &self.revisions,
            (set, history::REVISION_HASH),
            &model::spec_of(set).template,
            &all,
            &mut collisions,
        )
        .await?;
        let current_name = set.status.as_ref().and_then(|s| s.current_revision.clone());
        let current = all.iter().find(|r| r.metadata.name == current_name).cloned().unwrap_or_else(|| update.clone());
        Ok(Revisions { current, update, all, collisions })
    }
}

fn rules(set: &StatefulSet, revisions: &Revisions) -> Rules {
    let spec = model::spec_of(set);
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let rolling = strategy.rolling_update.as_ref();
    let replicas = spec.replicas.unwrap_or(1);
    let max_unavailable =
        rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(1, |v| crate::deployment::scaled(v, replicas, false));
    Rules {
        parallel: spec.pod_management_policy.as_deref() == Some("Parallel"),
        on_delete: strategy.type_.as_deref() == Some("OnDelete"),
        partition: rolling.and_then(|r| r.partition).unwrap_or(0),
        has_partition: rolling.is_some(),
        max_unavailable: usize::try_from(max_unavailable).unwrap_or(1).max(1),
        first: model::first_ordinal(&spec),
        current_replicas: set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
        update_revision: revision_name(&revisions.update),
        is_deleting: set.metadata.deletion_timestamp.is_some(),
    }
}
