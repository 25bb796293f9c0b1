//! A work queue of keys: merged while waiting, single-flight while processed.

use crate::figures;
use crate::limiter::RateLimiter;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A cloneable handle on a work queue. Its size is bounded by the number of distinct keys: equal keys merge, also those that wait for a
/// time.
#[derive(Debug)]
pub struct Queue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    /// Keys that wait in `ready`, or became dirty while in `running`.
    dirty: HashSet<T>,
    running: HashSet<T>,
    delayed: BTreeSet<(Instant, T)>,
    /// When each key of `delayed` is due.
    due: HashMap<T, Instant>,
    limiter: RateLimiter<T>,
    closed: bool,
    /// The label of the queue's metrics; without it there are none.
    name: Option<&'static str>,
    /// Since when keys wait.
    since: HashMap<T, Instant>,
}

impl<T: Hash + Eq + Ord + Clone> State<T> {
    fn add(&mut self, key: T) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        self.note_added(&key);
        if self.running.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        self.note_depth();
        true
    }

    fn note_added(&mut self, key: &T) {
        if let Some(name) = self.name {
            self.since.insert(key.clone(), Instant::now());
            figures::count("workqueue_adds_total", &[("name", name)]);
        }
    }

    fn note_taken(&mut self, key: &T) {
        if let Some(name) = self.name {
            if let Some(since) = self.since.remove(key) {
                figures::observe("workqueue_queue_duration_seconds", &[("name", name)], since.elapsed());
            }
            self.note_depth();
        }
    }

    fn note_depth(&self) {
        if let Some(name) = self.name {
            figures::set("workqueue_depth", &[("name", name)], self.ready.len());
        }
    }

    /// Moves due keys to `ready`; answers when the next one is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some((due, _)) = self.delayed.first() {
            if *due > now {
                return Some(*due);
            }
            if let Some((_, key)) = self.delayed.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
        None
    }

    /// Has `key` added at this time, and not when it was to be added before.
    fn delay(&mut self, key: T, due: Instant) {
        if self.closed {
            return;
        }
        if let Some(before) = self.due.insert(key.clone(), due) {
            self.delayed.remove(&(before, key.clone()));
        }
        self.delayed.insert((due, key));
    }
}

impl<T: Hash + Eq + Ord + Clone> Default for Queue<T> {
    fn default() -> Self {
        Self::new(RateLimiter::default())
    }
}

impl<T: Hash + Eq + Ord + Clone> Queue<T> {
    /// A queue with its own retry limits.
    pub fn new(limiter: RateLimiter<T>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            running: HashSet::new(),
            delayed: BTreeSet::new(),
            due: HashMap::new(),
            limiter,
            closed: false,
            name: None,
            since: HashMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells figures of the queue by this name from now on.
    pub fn tell_as(&self, name: &'static str) {
        let mut state = self.state();
        state.name = Some(name);
        let waiting: Vec<T> = state.ready.iter().cloned().collect();
        waiting.iter().for_each(|key| state.note_added(key));
        state.note_depth();
    }

    /// Asks for `key` to be worked on. Merges with an equal key that waits.
    pub fn add(&self, key: T) {
        if self.state().add(key) {
            self.shared.wake.notify_one();
        }
    }

    /// Asks for `key` after `delay`, and not at the time that was asked for before: who has just worked on it knows best.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.state().delay(key, Instant::now() + delay);
        self.shared.wake.notify_one();
    }

    /// Asks for `key` after a wait that grows with each call until [`Queue::forget`], or at the time that was asked for before if that is
    /// earlier.
    pub fn retry(&self, key: T) {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(name) = state.name {
            figures::count("workqueue_retries_total", &[("name", name)]);
        }
        let due = now + state.limiter.next(&key, now);
        if state.due.get(&key).is_none_or(|known| *known > due) {
            state.delay(key, due);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// How often the key was retried in a row.
    pub fn retries(&self, key: &T) -> u32 {
        self.state().limiter.failures(key)
    }

    /// Clears the retry history of `key`.
    pub fn forget(&self, key: &T) {
        self.state().limiter.forget(key);
    }

    /// Takes the next key; it must be given back with [`Queue::done`]. `None` once the queue is closed.
    pub async fn take(&self) -> Option<T> {
        loop {
            let notified = self.shared.wake.notified();
            let next_due = {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                let next_due = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.running.insert(key.clone());
                    state.note_taken(&key);
                    if !state.ready.is_empty() {
                        self.shared.wake.notify_one();
                    }
                    return Some(key);
                }
                next_due
            };
            match next_due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due.into(), notified).await;
                }
                None => notified.await,
            }
        }
    }

    /// Ends the work on `key`; if it was added meanwhile it becomes ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.state();
        state.running.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            state.note_depth();
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Wakes all workers with `None` and refuses new keys.
    pub fn close(&self) {
        self.state().closed = true;
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }

    /// Keys that are ready now.
    pub fn len(&self) -> usize {
        self.state().ready.len()
    }

    /// Whether no key is ready now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn equal_keys_merge_and_a_running_key_waits_for_its_end() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.len(), 2);
        let first = queue.take().await.expect("open");
        queue.add("a");
        assert_eq!(queue.take().await, Some("b"));
        assert!(queue.is_empty(), "a runs, so its second turn is held back");
        queue.done(&first);
        assert_eq!(queue.take().await, Some("a"));
    }

    #[tokio::test]
    async fn a_delayed_key_comes_when_due_even_if_the_worker_slept_first() {
        let queue: Queue<&str> = Queue::default();
        let other = queue.clone();
        let worker = tokio::spawn(async move { other.take().await });
        tokio::task::yield_now().await;
        queue.add_after("late", Duration::from_millis(20));
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(60), worker).await.expect("in time").expect("ran"),
            Some("late")
        );
    }

    #[test]
    fn a_key_waits_for_the_time_that_was_named_last_and_a_failure_does_not_put_it_off() {
        let (queue, now) = (Queue::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        for seconds in [90, 30, 60] {
            queue.add_after("a", Duration::from_secs(seconds));
        }
        assert_eq!(queue.state().delayed.len(), 1);
        assert_eq!(queue.state().due.len(), 1);
        assert!(queue.state().promote(after(59)).is_some_and(|due| due >= after(60)));
        for _ in 0..20 {
            queue.retry("a");
        }
        assert!(queue.state().promote(now).is_some_and(|due| due < after(30)), "the first retry comes soon");
        assert_eq!(queue.state().promote(after(30)), None);
        assert_eq!(queue.state().ready, ["a"]);
        assert!(queue.state().due.is_empty());
    }

    #[tokio::test]
    async fn closing_ends_every_worker() {
        let queue: Queue<u8> = Queue::default();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.take().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(
                tokio::time::timeout(Duration::from_secs(60), worker).await.expect("in time").expect("ran"),
                None
            );
        }
    }
}
