//! DaemonSets: one pod on every node that wants it.

mod failures;
mod placement;
mod plan;
mod revisions;
mod status;
mod update;

use crate::claim::claim_all;
use crate::context::Context;
use crate::{history, pods};
use failures::Failures;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::{Plan, Seat, Terms};
use rk_client::{BoxError, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder, controller_ref};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use update::Fences;

const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_NOTE: &str = "deprecated.daemonset.template.generation";
/// Pods created or deleted in one run at most.
const BURST: usize = 250;

struct Controller {
    client: kube::Client,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    recorder: Recorder,
    failures: Mutex<Failures>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        nodes: ctx.informers.of(),
        revisions: ctx.informers.of(),
        recorder: ctx.recorders.of("daemonset-controller"),
        failures: Mutex::default(),
    });
    pods::index_by_owner(&controller.pods);
    controller.revisions.index(pods::BY_OWNER, |r| pods::owner_values(&r.metadata));
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.sets.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    pods::wake_owners(&controller.pods, &controller.sets, &queue, selector_of);
    let (q, sets) = (queue.clone(), controller.sets.clone());
    controller.revisions.on_change(move |change| {
        if !revisions::is_owned_from_the_start(change) {
            pods::wake_owner(change, &sets, &q, selector_of);
        }
    });
    let (q, sets) = (queue.clone(), controller.sets.clone());
    controller.nodes.on_change(move |change| {
        let facts = |n: &Node| (n.metadata.labels.clone(), n.spec.as_ref().and_then(|s| s.taints.clone()));
        if change.previous().is_none_or(|old| facts(old) != facts(change.object())) {
            sets.list().iter().for_each(|set| q.add(ObjectKey::of(set.as_ref())));
        }
    });
    ctx.work("daemonset", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn selector_of(set: &DaemonSet) -> LabelMatcher {
    LabelMatcher::new(set.spec.as_ref().map(|s| &s.selector)).unwrap_or_else(|_| LabelMatcher::nothing())
}

fn is_rolling(spec: &DaemonSetSpec) -> bool {
    spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete")
}

fn fences(spec: &DaemonSetSpec, nodes: usize) -> Fences {
    let rolling = spec.update_strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let of = i32::try_from(nodes).unwrap_or(i32::MAX);
    let scaled = |value: Option<&IntOrString>, default| {
        let value = value.map_or(default, |v| crate::deployment::scaled(v, of, true));
        usize::try_from(value).unwrap_or(0)
    };
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), 0);
    let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), 1);
    // Neither would mean that nothing ever moves.
    Fences { surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(set) = self.sets.get(key) else { return Ok(Outcome::AwaitChange) };
        let Some(spec) = &set.spec else { return Ok(Outcome::AwaitChange) };
        if selector_of(&set).is_everything() {
            self.recorder.warning(
                set.as_ref(),
                "SelectingAll",
                "This daemon set is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Outcome::AwaitChange);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::AwaitChange);
        }
        let mut collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let known = self.revisions_of(&set).await?;
        let current = history::ensure(
            &self.revisions,
            (set.as_ref(), history::HASH_LABEL),
            &spec.template,
            &known,
            &mut collisions,
        )
        .await?;
        let hash = history::hash_of(&current.metadata).unwrap_or_default().to_owned();
        self.merge_doubles(&set, &known, &current).await?;

        let seats = self.seats(&set).await?;
        let terms = Terms { hash: &hash, min_ready: spec.min_ready_seconds.unwrap_or(0), now: Timestamp::now() };
        let mut plan = plan::manage(&seats, terms, is_rolling(spec) && fences(spec, seats.len()).surge > 0);
        let held = self.hold_failed(&set, &mut plan, &seats);
        let nothing_to_do = plan == Plan::default();
        let mut error = self.carry_out(&set, plan, &hash, &seats).await;
        if error.is_none() && nothing_to_do && is_rolling(spec) {
            let wanted = seats.values().filter(|s| s.should_run).count();
            let update = update::roll(&seats, terms, fences(spec, wanted));
            error = self.carry_out(&set, update, &hash, &seats).await;
        }
        let seats = self.seats(&set).await?;
        let (status, recheck) = status::count(&set, &seats, &hash, collisions, Timestamp::now());
        let latest = self.sets.get(key).filter(|s| s.metadata.uid == set.metadata.uid).unwrap_or_else(|| set.clone());
        let status = status::beside(status, &latest);
        if latest.status.as_ref() != Some(&status) {
            self.sets.replace_status(&DaemonSet { status: Some(status), ..DaemonSet::clone(&latest) }).await?;
        }
        self.truncate(&set, &hash).await?;
        match error {
            Some(error) if !rk_client::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(recheck.into_iter().chain(held).min().map_or(Outcome::AwaitChange, Outcome::RequeueAfter)),
        }
    }

    /// Leaves failed pods where they are that fail too often, and tells of the others. Answers how long the first of them stays.
    fn hold_failed(&self, set: &DaemonSet, plan: &mut Plan, seats: &BTreeMap<String, Seat>) -> Option<Duration> {
        let (now, meta) = (Instant::now(), &set.metadata);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: BTreeMap<String, Duration> = BTreeMap::new();
        for name in &plan.failed {
            let sits = |seat: &Seat| seat.pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name));
            let node = seats.iter().find(|(_, seat)| sits(seat)).map(|(node, _)| node.clone()).unwrap_or_default();
            let place = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or(0), node.clone());
            if let Some(left) = failures.hold(place, now) {
                held.insert(name.clone(), left);
                continue;
            }
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let text = format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
            self.recorder.warning(set, "FailedDaemonPod", text);
        }
        plan.delete.retain(|name| !held.contains_key(name));
        plan.failed.retain(|name| !held.contains_key(name));
        held.into_values().min()
    }

    /// All nodes, and nodes that are gone but still waited for by pods.
    async fn seats(&self, set: &DaemonSet) -> kube::Result<BTreeMap<String, Seat>> {
        let candidates = pods::candidates(&self.pods, &set.metadata);
        let owned = claim_all(&self.client, set, &selector_of(set), &self.pods, candidates).await?;
        let mut seats: BTreeMap<String, Seat> = BTreeMap::new();
        for node in self.nodes.list() {
            let (should_run, may_stay) = placement::verdict(set, &node);
            seats.insert(
                node.metadata.name.clone().unwrap_or_default(),
                Seat { should_run, may_stay, pods: Vec::new() },
            );
        }
        plan::seat(&mut seats, owned);
        Ok(seats)
    }

    async fn carry_out(
        &self,
        set: &DaemonSet,
        plan: Plan,
        hash: &str,
        seats: &BTreeMap<String, Seat>,
    ) -> Option<kube::Error> {
        let victims: Vec<Arc<Pod>> = seats
            .values()
            .flat_map(|s| &s.pods)
            .filter(|p| p.metadata.name.as_ref().is_some_and(|n| plan.delete.contains(n)))
            .take(BURST)
            .cloned()
            .collect();
        let new: Vec<Pod> = plan.create.iter().take(BURST).filter_map(|node| new_pod(set, node, hash)).collect();
        let failed = crate::replicas::delete_pods(set, &self.pods, &self.recorder, &victims).await;
        let made = crate::replicas::create_in_batches(set, &self.sets, &self.pods, &self.recorder, new).await;
        made.err().or(failed)
    }
}

fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let spec = set.spec.as_ref()?;
    let name = set.metadata.name.as_deref()?;
    let mut pod = pods::from_template(
        &spec.template,
        set.metadata.namespace.as_deref()?,
        &pods::name_prefix(name),
        controller_ref(set),
    );
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(history::HASH_LABEL.to_owned(), hash.to_owned());
    let generation = set.metadata.annotations.as_ref().and_then(|a| a.get(GENERATION_NOTE));
    if let Some(generation) = generation {
        labels.insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    let pod_spec = pod.spec.as_mut()?;
    placement::add_tolerations(pod_spec);
    placement::pin(pod_spec, node);
    Some(pod)
}
