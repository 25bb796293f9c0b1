//! Which pod is decided next.
//!
//! A waiting pod is in one of three places: *active* (decided in order of priority, then age), *back-off* (failed a moment ago) or
//! *waiting* (fits nowhere until something changes). Time is a parameter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rk_client::ObjectKey;

use crate::model::PodInfo;

/// The first wait after a failure; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);
/// A pod that waits for a change is tried again after this long, whatever was missed.
const STALE: Duration = Duration::from_secs(300);

/// What brings pods into a part of the queue: upstream's name of what it happened to, and of what happened.
pub type Event = (&'static str, &'static str);

const ADDED: Event = ("UnschedulablePod", "Add");
const UPDATED: Event = ("UnschedulablePod", "Update");
const FAILED: Event = ("ScheduleAttemptFailure", "");
const BACKED_OFF: Event = ("BackoffComplete", "");
const FORGOTTEN: Event = ("UnschedulableTimeout", "");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    BackingOff(Instant),
    Waiting(Instant),
    /// Held back by its scheduling gates (KEP-3521), or by claims that are still to be made for it.
    Gated,
    /// Being decided or bound.
    Out,
}

/// Upstream's names of the parts of the queue.
const PARTS: [&str; 4] = ["active", "backoff", "unschedulable", "gated"];

impl Place {
    /// Which of [`PARTS`] it belongs to.
    fn part(self) -> Option<usize> {
        match self {
            Place::Active => Some(0),
            Place::BackingOff(_) => Some(1),
            Place::Waiting(_) => Some(2),
            Place::Gated => Some(3),
            Place::Out => None,
        }
    }

    /// The part that who comes here is told to come into: upstream's queue of pods that fit nowhere holds those with gates, too.
    fn told(self) -> Option<&'static str> {
        self.part().and_then(|part| PARTS.get(part.min(2)).copied())
    }
}

/// How many pods came into each part, and by what.
pub type Incoming = BTreeMap<(Event, &'static str), usize>;

#[derive(Debug)]
struct Queued {
    pod: Arc<PodInfo>,
    place: Place,
    failures: u32,
    /// When it could be decided for the first time.
    since: Option<Instant>,
    attempts: u32,
    /// Order of arrival.
    turn: u64,
    /// How many changes of the cluster were known when its last attempt began.
    seen_changes: u64,
}

type Rank = (Reverse<i32>, u64, ObjectKey);

/// The queue; see the module's documentation.
#[derive(Debug, Default)]
pub struct SchedulingQueue {
    pods: HashMap<ObjectKey, Queued>,
    active: BTreeSet<Rank>,
    /// When something must move by itself.
    due: BTreeSet<(Instant, ObjectKey)>,
    /// How many pods are in each of [`PARTS`].
    counts: [usize; PARTS.len()],
    incoming: Incoming,
    turns: u64,
    changes: u64,
}

impl SchedulingQueue {
    /// Takes in a pod, or its newer version. A changed pod that waited gets another try.
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let key = pod.key.clone();
        let gated = !pod.gates.is_empty();
        let Some(known) = self.pods.get(&key).filter(|known| known.pod.uid == pod.uid) else {
            self.remove(&key);
            self.turns += 1;
            let place = if gated { Place::Gated } else { Place::Active };
            let queued = Queued {
                pod,
                place: Place::Out,
                failures: 0,
                since: (!gated).then_some(now),
                attempts: 0,
                turn: self.turns,
                seen_changes: self.changes,
            };
            self.pods.insert(key.clone(), queued);
            return self.enter(&key, place, ADDED);
        };
        let place = match known.place {
            _ if gated => Place::Gated,
            Place::Gated | Place::Waiting(_) => self.after_backoff(known, now),
            other => other,
        };
        let moves = known.place.part() != place.part();
        if place == Place::Out {
            // What is under way began with the pod as it was before.
            self.changes += 1;
        }
        // Its rank may be another one from now on.
        self.put(&key, Place::Out);
        if let Some(queued) = self.pods.get_mut(&key) {
            queued.pod = pod;
            queued.since = queued.since.or((!gated).then_some(now));
        }
        if moves { self.enter(&key, place, UPDATED) } else { self.put(&key, place) }
    }

    /// Takes in a newer version of a pod whose place it does not change: its next attempt must know where the pod was nominated.
    pub fn refresh(&mut self, pod: Arc<PodInfo>) {
        if let Some(queued) = self.pods.get_mut(&pod.key).filter(|queued| queued.pod.uid == pod.uid) {
            queued.pod = pod;
        }
    }

    /// Forgets a pod: it is gone, or bound. Answers whether it was known.
    pub fn remove(&mut self, key: &ObjectKey) -> bool {
        self.put(key, Place::Out);
        self.pods.remove(key).is_some()
    }

    /// The next pod to decide. It stays out of the queue until [`failed`](Self::failed), [`errored`](Self::errored) or `remove`.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.promote(now);
        let (_, _, key) = self.active.first().cloned()?;
        self.put(&key, Place::Out);
        let changes = self.changes;
        let queued = self.pods.get_mut(&key)?;
        queued.seen_changes = changes;
        queued.attempts += 1;
        Some(Arc::clone(&queued.pod))
    }

    /// Since when this very pod could be decided, and how often that was begun.
    pub fn tried(&self, pod: &PodInfo) -> Option<(Instant, u32)> {
        let queued = self.pods.get(&pod.key).filter(|queued| queued.pod.uid == pod.uid)?;
        Some((queued.since?, queued.attempts))
    }

    /// Whether the queue speaks of this very pod, and not of a later one of its name.
    pub fn holds(&self, pod: &PodInfo) -> bool {
        self.pods.get(&pod.key).is_some_and(|queued| queued.pod.uid == pod.uid)
    }

    /// The pod fits nowhere: it waits for a change, or only backs off if the cluster changed while it was decided.
    pub fn failed(&mut self, key: &ObjectKey, now: Instant) {
        self.give_back(key, now, true);
    }

    /// Something went wrong that has nothing to do with the pod: it backs off.
    pub fn errored(&mut self, key: &ObjectKey, now: Instant) {
        self.give_back(key, now, false);
    }

    /// How many pods are in each part of the queue, under upstream's names of the parts.
    pub fn waiting(&self) -> [(&'static str, usize); PARTS.len()] {
        std::array::from_fn(|part| (PARTS[part], self.counts[part]))
    }

    fn give_back(&mut self, key: &ObjectKey, now: Instant, wait: bool) {
        let changes = self.changes;
        let Some(queued) = self.pods.get_mut(key).filter(|queued| queued.place == Place::Out) else { return };
        queued.failures = queued.failures.saturating_add(1);
        let unchanged = queued.seen_changes == changes;
        let place = if wait && unchanged {
            Place::Waiting(now + STALE)
        } else {
            Place::BackingOff(now + backoff(queued.failures))
        };
        self.enter(key, place, FAILED);
    }

    /// Something changed that may let waiting pods fit.
    pub fn cluster_changed(&mut self, event: Event, now: Instant) {
        self.changes += 1;
        let waiting: Vec<ObjectKey> = self
            .pods
            .iter()
            .filter(|(_, q)| matches!(q.place, Place::Waiting(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            let Some(place) = self.pods.get(&key).map(|queued| self.after_backoff(queued, now)) else { continue };
            self.enter(&key, place, event);
        }
    }

    /// When a pod will become active by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A pod that fails now and had failed before is not tried at once again, however often the cluster changes.
    fn after_backoff(&self, queued: &Queued, now: Instant) -> Place {
        let Place::Waiting(stale) = queued.place else { return Place::Active };
        let failed_at = stale.checked_sub(STALE).unwrap_or(now);
        let until = failed_at + backoff(queued.failures);
        if until <= now { Place::Active } else { Place::BackingOff(until) }
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.due.first().cloned() {
            if at > now {
                return;
            }
            let waited = self.pods.get(&key).is_some_and(|queued| matches!(queued.place, Place::Waiting(_)));
            self.enter(&key, Place::Active, if waited { FORGOTTEN } else { BACKED_OFF });
        }
    }

    /// How many pods came into each part of the queue since this was asked last, by what brought them there.
    pub fn take_incoming(&mut self) -> Incoming {
        std::mem::take(&mut self.incoming)
    }

    /// Moves a pod to another place, and tells by what.
    fn enter(&mut self, key: &ObjectKey, place: Place, event: Event) {
        self.put(key, place);
        if let Some(part) = place.told() {
            *self.incoming.entry((event, part)).or_default() += 1;
        }
    }

    /// Moves a pod to another place. Nothing else does, so that what is in each place and how many those are never drift apart.
    fn put(&mut self, key: &ObjectKey, place: Place) {
        let Some(queued) = self.pods.get_mut(key) else { return };
        let left = std::mem::replace(&mut queued.place, place);
        let rank = || (Reverse(queued.pod.priority), queued.turn, key.clone());
        match left {
            Place::Active => drop(self.active.remove(&rank())),
            Place::BackingOff(at) | Place::Waiting(at) => drop(self.due.remove(&(at, key.clone()))),
            Place::Gated | Place::Out => {}
        }
        match place {
            Place::Active => drop(self.active.insert(rank())),
            Place::BackingOff(at) | Place::Waiting(at) => drop(self.due.insert((at, key.clone()))),
            Place::Gated | Place::Out => {}
        }
        left.part().into_iter().for_each(|part| self.counts[part] -= 1);
        place.part().into_iter().for_each(|part| self.counts[part] += 1);
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(4)).min(BACKOFF_LIMIT)
}

#[cfg(test)]
mod tests;
