//! ReplicaSets and ReplicationControllers: keep a number of pods.

mod kinds;
mod plan;
mod pod_batch;
mod status;

pub(crate) use kinds::Replicated;
pub(crate) use pod_batch::{create_in_batches, delete_pods};

use crate::claim::claim_all;
use crate::context::Context;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, Recorder, controller_of};
use std::sync::Arc;

/// Pods created or deleted in one run at most; the rest follows in the next.
const BURST: usize = 500;

struct Controller<K: Replicated> {
    client: kube::Client,
    sets: Informer<K>,
    pods: Informer<Pod>,
    recorder: Recorder,
}

/// Starts the loop of kind `K`.
pub(crate) fn register<K: Replicated>(ctx: &Context) {
    let controller = Arc::new(Controller::<K> {
        client: ctx.client.clone(),
        sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of(K::COMPONENT),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    pods::index_by_owner(&controller.pods);
    let q = queue.clone();
    controller.sets.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    pods::wake_owners(&controller.pods, &controller.sets, &queue, K::selector);
    ctx.work(K::QUEUE, queue, 4, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

impl<K: Replicated> Controller<K> {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(set) = self.sets.get(key) else { return Ok(Outcome::AwaitChange) };
        let uid = set.meta().uid.clone().unwrap_or_default();
        let mut candidates = pods::candidates(&self.pods, set.meta());
        candidates.retain(|pod| !pods::is_finished(pod));
        let owned = claim_all(&self.client, set.as_ref(), &set.selector(), &self.pods, candidates).await?;
        let failure = if set.meta().deletion_timestamp.is_none() { self.manage(&set, &owned).await } else { None };

        // Writes above are in the cache already, so the status counts them.
        let owned: Vec<Arc<Pod>> = self.pods.by_index(pods::BY_OWNER, &uid);
        let (counts, recheck) = status::count(set.as_ref(), &owned, Timestamp::now());
        let error_text = failure.as_ref().map(|f| (f.reason, rk_client::message(&f.error)));
        if let Some(updated) = set.with_status(&counts, error_text) {
            self.sets.replace_status(&updated).await?;
        }
        match failure {
            Some(failure) if !rk_client::is_namespace_terminating(&failure.error) => Err(failure.error.into()),
            _ => Ok(recheck.map_or(Outcome::AwaitChange, Outcome::RequeueAfter)),
        }
    }

    async fn manage(&self, set: &Arc<K>, owned: &[Arc<Pod>]) -> Option<Failure> {
        let active: Vec<Arc<Pod>> = owned.iter().filter(|p| pods::is_active(p)).cloned().collect();
        match plan::plan(active.len(), set.replicas()) {
            plan::Step::Nothing => None,
            plan::Step::Create(count) => {
                let pod = pods::from_template(
                    set.template()?,
                    set.meta().namespace.as_deref().unwrap_or_default(),
                    &pods::name_prefix(set.meta().name.as_deref().unwrap_or_default()),
                    rk_client::controller_ref(set.as_ref()),
                );
                let pods = vec![pod; count.min(BURST)];
                let made = create_in_batches(set.as_ref(), &self.sets, &self.pods, &self.recorder, pods).await;
                let error = made.err()?;
                Some(Failure { reason: "FailedCreate", error })
            }
            plan::Step::Delete(count) => {
                let victims = plan::victims(active, &self.related(set), count.min(BURST), Timestamp::now());
                let error = delete_pods(set.as_ref(), &self.pods, &self.recorder, &victims).await?;
                Some(Failure { reason: "FailedDelete", error })
            }
        }
    }

    /// Pods of all sets with the same owner (the Deployment), to spread deletions over nodes.
    fn related(&self, set: &Arc<K>) -> Vec<Arc<Pod>> {
        let mine = set.meta().uid.clone();
        let deployment = controller_of(set.meta()).map(|o| o.uid.clone());
        let is_related = |other: &Arc<K>| {
            other.meta().uid == mine
                || (deployment.is_some() && controller_of(other.meta()).map(|o| &o.uid) == deployment.as_ref())
        };
        let sets = self.sets.in_namespace(set.meta().namespace.as_deref().unwrap_or_default());
        let uids = sets.iter().filter(|s| is_related(s)).filter_map(|s| s.meta().uid.clone());
        uids.flat_map(|uid| self.pods.by_index(pods::BY_OWNER, &uid)).collect()
    }
}

struct Failure {
    reason: &'static str,
    error: kube::Error,
}
