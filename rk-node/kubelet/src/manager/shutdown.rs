//! The end of all pods, when the machine goes down: turn by turn, and told to the API.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Handle, Manager};
use crate::context::Shared;
use crate::events::PodRef;
use crate::eviction::Order;
use crate::pod::spec;
use crate::pod::worker::Stage;
use crate::shutdown::{Fate, NODE_SHUTDOWN, ShutdownGrace, Turn};

/// After the last turn: for pods that were just killed, and for what the API is still to hear. PID 1 waits for longer.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Resolves when the machine is told to go down.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody can tell any more: the process ends by other means.
        std::future::pending::<()>().await;
    }
}

/// Resolves when all pods have ended, or had their time.
pub(super) async fn done(leaving: &mut Option<AbortOnDropHandle<()>>) {
    match leaving {
        Some(task) => {
            if let Err(error) = task.await {
                tracing::error!("ending the pods: {error}");
            }
        }
        None => std::future::pending::<()>().await,
    }
}

/// A pod that is to end with the machine.
struct Doomed {
    pod: Arc<Pod>,
    fate: Fate,
    wake: Arc<Notify>,
    stage: watch::Receiver<Stage>,
}

impl Doomed {
    fn of(handle: &Handle, grace: &ShutdownGrace) -> Self {
        let desired = handle.desired.borrow();
        // One that ends anyway only has to hurry.
        let fate = if grace.again && desired.ending() { Fate::Rests } else { grace.fate(desired.pod()) };
        Self { pod: desired.pod().clone(), fate, wake: handle.wake.clone(), stage: handle.stage.clone() }
    }

    fn order(&self, seconds: i64) -> Order {
        match self.fate {
            Fate::Rests | Fate::Stays => Order::to_rest(seconds),
            Fate::Fails => Order::of_shutdown(seconds),
        }
    }

    fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }

    /// Resolves when nothing of the pod runs any more and, unless it rests, its volumes are gone, or when its worker is.
    async fn ended(&mut self) {
        let ended = self.stage.wait_for(|stage| has_ended(*stage)).await.is_ok();
        tracing::debug!(pod = %spec::describe(&self.pod), ended, "the pod ends with the machine");
    }
}

fn has_ended(stage: Stage) -> bool {
    matches!(stage, Stage::Terminated | Stage::Resting | Stage::Removed)
}

async fn all_ended(pods: &mut [Doomed]) {
    // One after the other: the last of them is waited for anyway.
    for doomed in pods {
        doomed.ended().await;
    }
}

/// Ends pods turn by turn; each turn waits for the one before it, as long as that has time.
async fn end_in_turn(context: Shared, mut turns: Vec<Turn<Doomed>>) {
    for turn in &mut turns {
        tracing::info!(pods = turn.pods.len(), seconds = turn.seconds, "ending pods with the machine");
        for doomed in &turn.pods {
            context.evictions.give(spec::uid(&doomed.pod), doomed.order(turn.seconds));
            doomed.wake.notify_one();
        }
        let limit = Duration::from_secs(turn.seconds.unsigned_abs());
        if tokio::time::timeout(limit, all_ended(&mut turn.pods)).await.is_err() {
            tracing::warn!("some pods did not end in time");
        }
    }
    let told = async {
        for turn in &mut turns {
            all_ended(&mut turn.pods).await;
        }
        context.status.written().await;
    };
    if tokio::time::timeout(LAST_WORDS, told).await.is_err() {
        tracing::warn!("the API has not heard of the end of all pods");
    }
    // Some have ended for good: with the API away they would run again.
    for doomed in turns.iter().flat_map(|turn| &turn.pods).filter(|doomed| doomed.fate == Fate::Fails) {
        if let Err(error) = context.known.forget(spec::uid(&doomed.pod)) {
            tracing::debug!(pod = %spec::describe(&doomed.pod), "{error}");
        }
    }
}

impl Manager {
    /// Whether what comes now waits for the machine to be back.
    pub(super) fn waits(&self) -> bool {
        self.leaving.is_some() && self.context.options.shutdown.again
    }

    /// Begins to end all pods, because the machine goes down. Their objects stay, and say so.
    pub(super) fn leave(&self) -> AbortOnDropHandle<()> {
        let active = self.workers.values().filter(|handle| {
            !handle.task.is_finished()
                && !has_ended(*handle.stage.borrow())
                && !self.has_ended(handle.desired.borrow().pod())
        });
        let grace = &self.context.options.shutdown;
        let doomed = active.map(|handle| Doomed::of(handle, grace)).filter(|doomed| doomed.fate != Fate::Stays);
        let turns = grace.turns(doomed.collect(), Doomed::priority);
        tracing::info!(pods = self.workers.len(), turns = turns.len(), "the machine goes down");
        let node = PodRef::node(&self.context.options.node_name);
        self.context.recorder.normal(&node, NODE_SHUTDOWN, "Shutdown manager detected shutdown event");
        AbortOnDropHandle::new(tokio::spawn(end_in_turn(self.context.clone(), turns).boxed()))
    }
}
