//! Which pods have a worker: the API's list for this node and what the runtime holds, brought together.

mod alone;
mod holdings;
mod newcomers;
mod newest;
mod orphans;
mod shutdown;
mod statics;
mod weight;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use rk_watch::{Event, ObjectKey, Selection, follow};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::Refusal;
use crate::cleanup;
use crate::context::Shared;
use crate::known;
use crate::pod::spec;
use crate::pod::worker::{Desired, Heard, Stage, Told, Worker};
use crate::runtime::{CONFIG_SOURCE, Change, States};
use crate::static_pods::{Asked, Shown, is_mirror, is_static};
use crate::views::{View, Work};
use alone::at;
use newest::Newest;

/// Look for leftovers of pods that nobody knows.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// A list of the node's pods that is not complete yet.
#[derive(Default)]
struct Fresh {
    pods: Vec<Pod>,
    /// Pods that are there and cannot be read: they go on as they were.
    unread: BTreeSet<ObjectKey>,
}

struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
    /// What the runtime told of the pod last.
    states: watch::Sender<States>,
    task: AbortHandle,
    stage: watch::Receiver<Stage>,
    /// The pod that the worker began with.
    began: watch::Receiver<Arc<Pod>>,
    /// Refused pods use nothing.
    refused: bool,
    /// It goes in favour of another, and counts for nothing while it ends.
    preempted: bool,
    /// Only the runtime told of the pod.
    adopted: bool,
}

impl Handle {
    fn key(&self) -> ObjectKey {
        ObjectKey::of(self.desired.borrow().pod().as_ref())
    }

    fn work(&self) -> Work {
        Work::new(self.desired.subscribe(), self.stage.clone(), self.adopted)
    }

    /// Whether the API has nothing of its pod any more, which may still be ending: the scheduler has given its room to others.
    fn is_forgotten(&self) -> bool {
        let desired = self.desired.borrow();
        desired.gone() && !is_static(desired.pod())
    }

    /// Whether its pod ends only to run again, since its manifest was taken away and put back.
    fn returns(&self) -> bool {
        self.desired.borrow().put_back(&self.began.borrow())
    }
}

/// The manager of all workers.
pub struct Manager {
    context: Shared,
    workers: HashMap<String, Handle>,
    tasks: JoinSet<()>,
    /// UIDs that the runtime told of before the API's list was here.
    unknown: BTreeSet<String>,
    synced: bool,
    newest: Newest,
    /// Whether any list of the pods is here.
    known: bool,
    /// When to go on with what was known before, unless the API is heard until then.
    alone: Option<Instant>,
    /// Pods that the node's own manifests ask for.
    statics: watch::Receiver<Asked>,
    /// Which of them the API shows.
    shown: watch::Sender<Shown>,
    views: watch::Sender<View>,
    /// Ends all pods, once the machine goes down.
    leaving: Option<AbortOnDropHandle<()>>,
    /// Takes back what pods claimed that are gone.
    releasing: Option<AbortOnDropHandle<()>>,
}

impl Manager {
    /// A manager that shows its pods in `views` and runs `statics` besides those of the API; `shown` hears which of these to show.
    pub fn new(
        context: Shared,
        statics: watch::Receiver<Asked>,
        shown: watch::Sender<Shown>,
        views: watch::Sender<View>,
    ) -> Self {
        let (workers, tasks, unknown) = (HashMap::new(), JoinSet::new(), BTreeSet::new());
        let alone = Some(Instant::now() + known::ALONE);
        Self {
            context,
            workers,
            tasks,
            unknown,
            synced: false,
            newest: Newest::default(),
            known: false,
            alone,
            statics,
            shown,
            views,
            leaving: None,
            releasing: None,
        }
    }

    /// Follows the API and the runtime until `stop` says that the machine goes down; then ends every pod and returns.
    pub async fn run(mut self, mut changes: mpsc::Receiver<Change>, mut stop: watch::Receiver<bool>) {
        let own = Selection::fields(format!("spec.nodeName={}", self.context.options.node_name));
        let mut events = follow::<Pod>(self.context.client.clone(), own);
        let (devices, claims) = (self.context.devices.turned(), self.context.claims.turned());
        let mut fresh = Fresh::default();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        self.on_statics();
        loop {
            self.context.sync_loop.beat();
            tokio::select! {
                biased;
                () = shutdown::told(&mut stop), if self.leaving.is_none() => self.leaving = Some(self.leave()),
                () = shutdown::done(&mut self.leaving) => return,
                Some(event) = events.next() => {
                    self.look_anew(&event, &fresh).await;
                    let listed = matches!(event, Event::Complete);
                    self.on_event(event, &mut fresh);
                    self.newest.forget();
                    if listed {
                        // What the runtime told of before may be nobody's, and ends.
                        housekeeping.reset_immediately();
                    }
                }
                Some(change) = changes.recv() => self.on_change(change).await,
                Ok(()) = self.statics.changed() => self.on_statics(),
                () = devices.notified() => self.wake_holders(),
                () = self.context.withheld.given() => self.wake_waiting(),
                () = claims.notified() => {
                    self.wake_holders();
                    self.release_claims();
                }
                // What waited for the end of a pod has its turn.
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a pod's worker ended early: {error}");
                    }
                    self.on_statics();
                }
                _ = housekeeping.tick() => self.housekeep().await,
                () = at(self.alone) => self.recall(),
            }
        }
    }

    fn on_event(&mut self, event: Event<Pod>, fresh: &mut Fresh) {
        let event = match event {
            Event::Listed(pod) => Event::Listed(of_api(pod)),
            Event::Applied(pod) => Event::Applied(of_api(pod)),
            Event::Deleted(pod) => Event::Deleted(of_api(pod)),
            other => other,
        };
        let begins = matches!(event, Event::Begin | Event::Listed(_) | Event::Unread(_));
        let frees = holdings::frees(&event);
        match event {
            Event::Begin => *fresh = Fresh::default(),
            // Mirrors only show what runs here anyway.
            Event::Listed(pod) | Event::Applied(pod) | Event::Deleted(pod) if is_mirror(&pod) => {}
            Event::Listed(pod) => return fresh.pods.push(pod),
            Event::Unread(key) => drop(fresh.unread.insert(key)),
            Event::Complete => self.on_list(std::mem::take(fresh)),
            Event::Applied(pod) => self.present(pod),
            Event::Deleted(pod) => {
                let uid = spec::uid(&pod).to_owned();
                self.gone(&uid, Some(pod));
            }
            Event::Vanished(key) => {
                let of_key = self.workers.iter().find(|(_, h)| h.key() == key);
                if let Some(uid) = of_key.map(|(uid, _)| uid.clone()) {
                    self.gone(&uid, None);
                }
            }
        }
        self.show();
        if frees {
            self.wake_waiting();
        }
        // Before the first list is complete, pods that run have no worker yet.
        if !begins {
            self.weigh();
        }
    }

    /// Takes over a list that is complete: what it does not name is gone.
    fn on_list(&mut self, Fresh { mut pods, unread }: Fresh) {
        self.alone = None;
        self.context.services.doubt();
        // Older pods were admitted first, and are so again.
        pods.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
        let mut listed: BTreeSet<String> = pods.iter().map(|p| spec::uid(p).to_owned()).collect();
        let known = self.workers.iter().filter(|(_, h)| unread.contains(&h.key()));
        listed.extend(known.map(|(uid, _)| uid.clone()));
        let all_known = listed.len() == pods.len() + unread.len();
        // What pods had that went while nobody watched is free for those that came.
        if self.statics.borrow().whole {
            self.keep(&listed.iter().chain(self.workers.keys()).cloned().collect());
        }
        let of_api = self.workers.iter().filter(|(_, h)| !is_static(h.desired.borrow().pod()));
        let unlisted = of_api.map(|(uid, _)| uid).filter(|uid| !listed.contains(*uid));
        for uid in unlisted.cloned().collect::<Vec<_>>() {
            self.gone(&uid, None);
        }
        self.recall_waiting(&pods);
        for pod in pods {
            self.present(pod);
        }
        // What runs here and cannot be read may not pass for what nobody knows.
        self.synced = all_known;
        self.known = true;
        // What the runtime told before the list, and the list does not name, is nobody's.
        self.unknown.retain(|uid| !self.workers.contains_key(uid));
    }

    fn show(&mut self) {
        self.workers.retain(|_, h| !h.task.is_finished());
        let pods = self.workers.values().filter(|h| !matches!(*h.desired.borrow(), Desired::Gone(_)));
        let pods = pods.map(|h| h.desired.borrow().pod().clone()).collect();
        let works = self.workers.values().map(Handle::work).collect();
        self.views.send_replace(View { pods, works, listed: self.synced, known: self.known });
    }

    fn present(&mut self, pod: Pod) {
        let uid = spec::uid(&pod).to_owned();
        if self.workers.get(&uid).is_some_and(|h| !h.task.is_finished()) {
            return self.change(&uid, pod);
        }
        if self.waits() {
            return;
        }
        let refusal = self.admission(&pod).err().map(|refusal| self.context.refuse(&pod, refusal));
        self.spawn(uid, Desired::Present(Arc::new(pod)), refusal);
    }

    fn spawn(&mut self, uid: String, desired: Desired, refused: Option<Refusal>) {
        let (sender, receiver) = watch::channel(desired);
        let wake = Arc::new(Notify::new());
        let (states, of_states) = watch::channel(States::default());
        let is_refused = refused.is_some();
        let adopted = matches!(*sender.borrow(), Desired::Gone(_));
        let (of_stage, stage) = watch::channel(Stage::Syncing);
        let (of_began, began) = watch::channel(sender.borrow().pod().clone());
        let told = Told { stage: of_stage, began: of_began };
        let heard = Heard { wake: wake.clone(), states: of_states };
        let worker = Worker::new(self.context.clone(), receiver, heard, told, refused);
        let task = self.tasks.spawn(worker.run().boxed());
        let handle = Handle {
            desired: sender,
            wake,
            states,
            task,
            stage,
            began,
            refused: is_refused,
            preempted: false,
            adopted,
        };
        self.workers.insert(uid, handle);
    }

    fn gone(&mut self, uid: &str, last: Option<Pod>) {
        let Some(handle) = self.workers.get(uid) else { return };
        let pod = last.map_or_else(|| handle.desired.borrow().pod().clone(), Arc::new);
        handle.desired.send_replace(Desired::Gone(pod));
    }

    async fn on_change(&mut self, Change { uid, states }: Change) {
        if let Some(handle) = self.workers.get(&uid).filter(|handle| !handle.task.is_finished()) {
            match states {
                // The worker judges whether that is news.
                Some(states) => drop(handle.states.send_replace(states)),
                None => handle.wake.notify_one(),
            }
        } else if self.knows_all() {
            self.adopt_orphan(&uid).await;
        } else {
            self.unknown.insert(uid);
        }
    }

    async fn housekeep(&mut self) {
        self.show();
        self.context.withheld.keep(|uid| self.workers.contains_key(uid));
        if !self.knows_all() {
            return;
        }
        for uid in std::mem::take(&mut self.unknown) {
            self.on_change(Change { uid, states: None }).await;
        }
        self.take_back();
        self.release_claims();
        self.weigh();
        for uid in self.context.volumes.known_pods() {
            if !self.workers.contains_key(&uid) {
                remove_leftover(&self.context, &uid).await;
            }
        }
        for (uid, logs) in cleanup::log_directories(&self.context.options.dirs) {
            if !self.workers.contains_key(&uid) && is_forgotten(&self.context, &uid).await {
                cleanup::remove_directory(&logs);
            }
        }
        cleanup::remove_dangling_links(&self.context.options.dirs);
    }
}

/// Whether the runtime has nothing of a pod.
async fn is_forgotten(context: &Shared, uid: &str) -> bool {
    context.runtime.pod(uid).await.is_ok_and(|pod| pod.sandboxes.is_empty() && pod.containers.is_empty())
}

/// Removes the directory of a pod without a worker, unless the runtime still has something of it.
async fn remove_leftover(context: &Shared, uid: &str) {
    if !is_forgotten(context, uid).await {
        return;
    }
    match context.volumes.remove_pod_dir(uid).await {
        Ok(()) => context.users.forget(uid),
        Err(error) => tracing::warn!(uid, "removing a leftover pod directory: {error}"),
    }
}

/// A pod as the API has it: whoever may create pods must not pass one off as the node's own.
fn of_api(mut pod: Pod) -> Pod {
    let annotations = pod.metadata.annotations.as_mut();
    if let Some(source) = annotations.and_then(|annotations| annotations.get_mut(CONFIG_SOURCE)) {
        *source = "api".to_owned();
    }
    pod
}
