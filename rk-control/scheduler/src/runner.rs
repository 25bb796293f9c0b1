//! The loop: take a pod, decide, assume, bind in the background.

use futures::FutureExt as _;
use rk_lenient::Lenient;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use kube::Client;
use rk_client::{Informer, Informers, Recorders, TokenBucket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bind::Binder;
use crate::decide::{Decision, Placement};
use crate::diagnosis::{Diagnosis, Remedy};
use crate::figures::{self, Attempt};
use crate::follow::devices;
use crate::model::PodInfo;
use crate::preempt::{Budget, ineligible};
use crate::reports::{BURST, RATE, Report};
use crate::sync::{LEFT, Shared, connect};
use crate::turn::Turn;

/// Calls to the API under way at once; decisions wait beyond that, since unbound assumptions only pile up.
const CALLS: usize = 128;

/// The scheduler's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods name the scheduler that is to place them; this one takes those that name it.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

/// Schedules until dropped. The informers may be shared with controllers; they are started here if they are not yet.
pub async fn run(client: Client, informers: &Informers, recorders: &Recorders, config: Config) {
    let shared = Arc::new(Shared::default());
    let budgets = informers.of::<Lenient<PodDisruptionBudget>>();
    let pods = informers.of::<Pod>();
    connect(&shared, informers, &config.scheduler_name);
    informers.start();
    pods.synced().await;
    budgets.synced().await;
    informers.of::<Node>().synced().await;
    informers.of::<Namespace>().synced().await;
    informers.of::<PersistentVolumeClaim>().synced().await;
    informers.of::<PersistentVolume>().synced().await;
    informers.of::<StorageClass>().synced().await;
    informers.of::<CSINode>().synced().await;
    informers.of::<CSIDriver>().synced().await;
    informers.of::<VolumeAttachment>().synced().await;
    informers.of::<CSIStorageCapacity>().synced().await;
    tracing::info!(scheduler = config.scheduler_name, "scheduling");
    let recorder = recorders.of("default-scheduler");
    let (profile, own) = (config.scheduler_name.clone(), Arc::clone(&shared));
    let named = Arc::from(profile.as_str());
    let binder = Binder { client, pods, informers: informers.clone(), recorder, shared: own, profile: named };
    let devices = devices(Arc::clone(&shared), informers, &config.scheduler_name);
    let runner = Runner { shared, binder, budgets, calls: Arc::new(Semaphore::new(CALLS)), profile };
    tokio::join!(runner.run(), runner.tell(), devices);
}

struct Runner {
    shared: Arc<Shared>,
    binder: Binder,
    budgets: Informer<Lenient<PodDisruptionBudget>>,
    calls: Arc<Semaphore>,
    profile: String,
}

impl Runner {
    async fn run(&self) {
        loop {
            let woken = self.shared.wake.notified();
            match self.next() {
                (Some(pod), _) => self.schedule(pod).await,
                // A wake-up before the deadline and the deadline mean the same: look again.
                (None, Some(due)) => drop(tokio::time::timeout_at(due.into(), woken).await),
                (None, None) => woken.await,
            }
        }
    }

    /// Tells the API of pods that fit nowhere, at a pace of its own: reports never take the room of bindings.
    async fn tell(&self) {
        let mut pace = TokenBucket::new(RATE, BURST);
        loop {
            let woken = self.shared.reported.notified();
            if self.shared.reports().is_empty() {
                woken.await;
                continue;
            }
            tokio::time::sleep(pace.reserve(Instant::now())).await;
            let Some(report) = self.next_report() else { continue };
            let nominated = report.gives_up.then_some("");
            if !self.binder.unschedulable(&report.pod, &report.message, nominated).await {
                self.shared.reports().put_back(report);
            }
        }
    }

    /// The report whose turn it is. Of a pod that a later attempt placed there is nothing to tell any more.
    fn next_report(&self) -> Option<Report> {
        std::iter::from_fn(|| self.shared.reports().pop())
            .find(|report| !self.shared.cluster().is_placed(&report.pod.key))
    }

    /// The pod whose turn it is, and when the next one is due that waits for a time.
    fn next(&self) -> (Option<Arc<PodInfo>>, Option<Instant>) {
        let mut queue = self.shared.queue();
        let next = queue.pop(Instant::now());
        if next.is_none() {
            for (name, count) in queue.waiting() {
                rk_client::set("scheduler_pending_pods", &[("queue", name)], count);
            }
            for (((what, how), queue), count) in queue.take_incoming() {
                let event = format!("{what}{how}");
                let labels = [("event", event.as_str()), ("queue", queue)];
                rk_client::add("scheduler_queue_incoming_pods_total", &labels, count);
            }
        }
        (next, queue.next_due())
    }

    async fn schedule(&self, pod: Arc<PodInfo>) {
        // Closed never: the semaphore lives as long as the runner.
        let Ok(permit) = Arc::clone(&self.calls).acquire_owned().await else { return };
        let tried = self.shared.queue().tried(&pod);
        let attempt = Attempt { profile: self.profile.clone(), begun: Instant::now(), tried };
        let Some(decision) = self.shared.decide(&pod).await else { return };
        match decision {
            Decision::Node(placement) => {
                attempt.decided();
                let (binder, shared) = (self.binder.clone(), Arc::clone(&self.shared));
                let mut turn = Turn::new(&self.calls, permit);
                let task = async move {
                    let is_bound = bind(&binder, &shared, &pod, &placement, &mut turn).await;
                    attempt.ended(if is_bound { "scheduled" } else { "error" });
                };
                tokio::spawn(task.boxed());
            }
            Decision::Unschedulable(diagnosis) => {
                attempt.ended("unschedulable");
                self.make_room(&pod, &diagnosis, permit).await;
            }
        }
    }

    /// Looks for victims, tells the API what came of it, and gives the pod back to the queue.
    async fn make_room(&self, pod: &Arc<PodInfo>, diagnosis: &Diagnosis, permit: OwnedSemaphorePermit) {
        let budgets: Vec<Budget> = self.budgets.list().iter().filter_map(|budget| Budget::new(budget).ok()).collect();
        rk_client::count("scheduler_preemption_attempts_total", &[]);
        let begun = Instant::now();
        let why_not = ineligible(&self.shared.cluster(), pod, diagnosis);
        let eviction = self.shared.choose_victims(pod, diagnosis, &budgets).await;
        let status = if eviction.is_some() { "Success" } else { "Unschedulable" };
        figures::extension_point("PostFilter", &self.profile, status, begun);
        if let Some(eviction) = &eviction {
            figures::victims(eviction.victims.len());
        }
        let outcome = match &eviction {
            Some(_) => String::new(),
            None => why_not.map_or_else(|| diagnosis.no_victims(), str::to_owned),
        };
        // What was kept free for it is of no use to it, and may be to others.
        let gives_up = eviction.is_none() && why_not.is_none();
        if gives_up && self.shared.cluster().withdraw(&pod.key) {
            self.shared.cluster_changed(LEFT);
        }
        let message = diagnosis.message(&outcome);
        let remedy = diagnosis.remedy().cloned();
        if eviction.is_none() {
            self.shared.reports().put(Report { pod: Arc::clone(pod), message: message.clone(), gives_up });
            self.shared.reported.notify_one();
        } else {
            self.shared.reports().forget(&pod.key);
        }
        if eviction.is_none() && remedy.is_none() {
            return self.shared.queue().failed(&pod.key, Instant::now());
        }
        let (binder, shared, pod) = (self.binder.clone(), Arc::clone(&self.shared), Arc::clone(pod));
        let task = async move {
            let _permit = permit;
            match remedy {
                Some(Remedy::Free(claim)) => binder.free(&pod, &claim).await,
                Some(Remedy::Delete(claim)) => binder.discard(&pod, &claim).await,
                None => {}
            }
            let Some(eviction) = eviction else { return shared.give_back(&pod, true) };
            binder.unschedulable(&pod, &message, Some(&eviction.node)).await;
            let mut all = true;
            for victim in &eviction.victims {
                all &= binder.evict(victim, &pod, &eviction.node).await;
            }
            let behind = shared.cluster().behind(&pod, &eviction.node);
            for other in &behind {
                binder.displace(other).await;
            }
            // Not before: another attempt would choose other victims while these are not seen to leave.
            shared.give_back(&pod, all);
        };
        tokio::spawn(task.boxed());
    }
}

/// Tells the API where a pod is to run; answers whether it is known to be there.
async fn bind(binder: &Binder, shared: &Shared, pod: &PodInfo, placement: &Placement, turn: &mut Turn) -> bool {
    let outcome = binder.bind(pod, placement, turn).await;
    shared.end_devices(&placement.allocations, outcome.is_ok());
    let Err(error) = outcome else { return true };
    let node = placement.node.as_str();
    tracing::warn!(pod = %pod.key, node, %error, source = ?std::error::Error::source(&error), "a pod was not bound; it is tried again");
    // The binding may have happened although its answer was lost: then the informer has the pod on its node.
    let bound = binder.pods.get(&pod.key).is_some_and(|p| p.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
    if !bound {
        binder.unreserve(pod, placement).await;
        if shared.cluster().unassume(pod) {
            shared.cluster_changed(LEFT);
        }
        shared.give_back(pod, false);
    }
    bound
}
