//! Which pod is decided next.
//!
//! A waiting pod is in one of three places: *active* (decided in order of priority, then age), *back-off* (failed a moment ago) or
//! *waiting* (fits nowhere until something changes). Time is a parameter.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
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
}

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
            return self.put(&key, place);
        };
        let place = match known.place {
            _ if gated => Place::Gated,
            Place::Gated | Place::Waiting(_) => self.after_backoff(known, now),
            other => other,
        };
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
        self.put(&key, place);
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
        self.put(key, place);
    }

    /// Something changed that may let waiting pods fit.
    pub fn cluster_changed(&mut self, now: Instant) {
        self.changes += 1;
        let waiting: Vec<ObjectKey> = self
            .pods
            .iter()
            .filter(|(_, q)| matches!(q.place, Place::Waiting(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            let Some(place) = self.pods.get(&key).map(|queued| self.after_backoff(queued, now)) else { continue };
            self.put(&key, place);
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
            self.put(&key, Place::Active);
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
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, priority: i32, gated: bool) -> Arc<PodInfo> {
        let gates = if gated { json!([{"name": "hold"}]) } else { json!([]) };
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"priority": priority, "schedulingGates": gates, "containers": []}});
        Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()).unwrap())
    }

    fn pop(queue: &mut SchedulingQueue, now: Instant) -> Option<String> {
        queue.pop(now).map(|pod| pod.key.name.clone())
    }

    #[test]
    fn importance_comes_first_then_age() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        for (name, priority) in [("old", 0), ("new", 0), ("important", 10)] {
            queue.add(pod(name, priority, false), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["important", "old", "new"]);
    }

    #[test]
    fn a_pod_that_fits_nowhere_waits_for_a_change_and_its_backoff() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, false), now);
        let key = queue.pop(now).unwrap().key.clone();
        queue.failed(&key, now);
        assert_eq!(pop(&mut queue, now + Duration::from_secs(60)), None, "nothing changed");
        queue.cluster_changed(now + Duration::from_millis(100));
        assert_eq!(pop(&mut queue, now + Duration::from_millis(200)), None, "still backing off");
        assert_eq!(pop(&mut queue, now + BACKOFF), Some("p".into()));
    }

    #[test]
    fn attempts_are_counted_from_when_nothing_holds_the_pod_back() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        let (later, latest) = (now + BACKOFF, now + BACKOFF * 2);
        queue.add(pod("p", 0, true), now);
        assert_eq!(queue.tried(&pod("p", 0, true)), None);
        queue.add(pod("p", 0, false), later);
        let held = queue.pop(later).unwrap();
        queue.errored(&held.key, later);
        queue.pop(latest).unwrap();
        assert_eq!(queue.tried(&held), Some((later, 2)));
        assert_eq!(queue.tried(&PodInfo { uid: "other".into(), ..(*held).clone() }), None);
    }

    #[test]
    fn a_newer_status_is_known_without_another_turn() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, false), now);
        let key = queue.pop(now).unwrap().key.clone();
        queue.refresh(Arc::new(PodInfo { nominated: Some("n1".into()), ..(*pod("p", 0, false)).clone() }));
        queue.refresh(Arc::new(PodInfo { uid: "other".into(), ..(*pod("p", 0, false)).clone() }));
        queue.failed(&key, now);
        queue.cluster_changed(now);
        assert!(queue.pop(now).is_none(), "still backing off");
        assert_eq!(queue.pop(now + BACKOFF).unwrap().nominated.as_deref(), Some("n1"));
    }

    #[test]
    fn a_change_during_the_attempt_is_not_missed() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, false), now);
        let key = queue.pop(now).unwrap().key.clone();
        queue.cluster_changed(now);
        queue.failed(&key, now);
        assert_eq!(pop(&mut queue, now + BACKOFF), Some("p".into()));
    }

    #[test]
    fn a_pod_that_changes_during_its_attempt_is_tried_again() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, false), now);
        let key = queue.pop(now).unwrap().key.clone();
        queue.add(pod("p", 5, false), now);
        assert_eq!(pop(&mut queue, now), None, "one attempt at a time");
        queue.failed(&key, now);
        assert_eq!(queue.pop(now + BACKOFF).map(|pod| pod.priority), Some(5));
    }

    #[test]
    fn a_later_pod_of_the_name_is_another_one() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        let (old, new) = (pod("p", 0, false), PodInfo { uid: "later".into(), ..(*pod("p", 0, false)).clone() });
        queue.add(Arc::clone(&old), now);
        assert!(queue.holds(&old) && !queue.holds(&new));
        queue.add(Arc::new(new.clone()), now);
        assert!(!queue.holds(&old) && queue.holds(&new));
        queue.remove(&old.key);
        assert!(!queue.holds(&new));
    }

    #[test]
    fn a_forgotten_pod_is_tried_after_five_minutes() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, false), now);
        let key = queue.pop(now).unwrap().key.clone();
        queue.failed(&key, now);
        assert_eq!(queue.next_due(), Some(now + STALE));
        assert_eq!(pop(&mut queue, now + STALE), Some("p".into()));
    }

    #[test]
    fn gates_hold_a_pod_back_until_they_are_gone() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        queue.add(pod("p", 0, true), now);
        queue.cluster_changed(now);
        assert_eq!(pop(&mut queue, now + STALE), None);
        queue.add(pod("p", 0, false), now);
        assert_eq!(pop(&mut queue, now), Some("p".into()));
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let waits: Vec<u64> = (1..=6).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn what_is_counted_is_what_is_there_whatever_happens() {
        let (mut queue, begin) = (SchedulingQueue::default(), Instant::now());
        let mut random = 1u64;
        for step in 0..4000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = |shift: u32, of: u64| i32::try_from((random >> shift) % of).unwrap();
            let deed = pick(50, 10);
            let own = pod(&format!("p{}", pick(33, 12)), pick(40, 3), deed == 0);
            let now = begin + Duration::from_millis(step * 700);
            match deed {
                0 | 1 => queue.add(own, now),
                2 => queue.add(Arc::new(PodInfo { uid: "later".into(), ..(*own).clone() }), now),
                3 => drop(queue.remove(&own.key)),
                4 | 5 => queue.failed(&own.key, now),
                6 => queue.errored(&own.key, now),
                7 => queue.cluster_changed(now),
                _ => drop(queue.pop(now)),
            }
            let mut counted = [0; PARTS.len()];
            queue.pods.values().filter_map(|queued| queued.place.part()).for_each(|part| counted[part] += 1);
            assert_eq!(queue.counts, counted, "after step {step}");
            assert_eq!(
                (queue.active.len(), queue.due.len()),
                (counted[0], counted[1] + counted[2]),
                "after step {step}"
            );
        }
        assert_eq!(queue.waiting().map(|(name, _)| name), PARTS);
    }
}
