//! Figures that are asked for often and looked up seldom.
//!
//! Whoever asks gets what is known while it is young enough. Else one look begins, however many ask: they wait for it together, for as long
//! as they have patience. A look that hangs goes on alone: it keeps nobody, holds no other figure up, is not begun a second time, and
//! leaves what was known before, or what it has found so far. Few look at the same time: looks share disks and threads.

mod fresh;
mod tree;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use fresh::is_fresh;
pub use tree::{Taken, count_tree};

/// A figure that nobody asked for during this time is forgotten.
const KEPT: Duration = Duration::from_secs(600);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// So many looks of one kind go on at the same time.
const LOOKS: usize = 3;
/// A look that takes longer may hang, and gives its place to another.
const HANGS: Duration = Duration::from_secs(10);

/// How figures are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// An older one is looked up again.
    pub max_age: Duration,
    /// When the caller gives up waiting, for this figure and for all that it asks for together.
    pub until: Instant,
}

impl Ask {
    /// For figures of this age at most, by a caller that has `patience` from now on.
    pub fn new(max_age: Duration, patience: Duration) -> Self {
        Self { max_age, until: Instant::now() + patience }
    }
}

struct Known<V> {
    value: Option<V>,
    at: Instant,
    took: Duration,
}

struct Flight {
    since: Instant,
    /// Ends with the look, whatever becomes of it.
    ended: watch::Receiver<()>,
}

struct Slot<V> {
    known: Option<Known<V>>,
    /// What the look that goes on has told until now.
    so_far: Option<V>,
    flight: Option<Flight>,
    asked: Instant,
}

impl<V> Slot<V> {
    fn last(&self) -> Option<&V> {
        self.known.as_ref().and_then(|known| known.value.as_ref())
    }

    /// Nothing of a look that ended, or broke off.
    fn so_far(&self) -> Option<&V> {
        self.flying().and(self.so_far.as_ref())
    }

    fn flying(&self) -> Option<&Flight> {
        self.flight.as_ref().filter(|flight| flight.ended.has_changed().is_ok())
    }
}

struct Table<K, V> {
    slots: HashMap<K, Slot<V>>,
    swept: Instant,
}

impl<K: Eq + Hash, V> Table<K, V> {
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.slots.retain(|_, slot| now.saturating_duration_since(slot.asked) < KEPT || slot.flying().is_some());
    }
}

/// What is to be done about a question.
enum Turn<V> {
    /// Nothing: it is known.
    Answer(Option<V>),
    /// Somebody looks already, since then.
    Wait(watch::Receiver<()>, Instant),
    /// It is this caller's turn to look.
    Look(watch::Sender<()>),
}

/// By this a look that goes on tells what it has found.
pub struct SoFar<K, V> {
    table: Arc<Mutex<Table<K, V>>>,
    key: K,
}

impl<K: Eq + Hash, V> SoFar<K, V> {
    /// Tells it to those who lose patience, as `told` makes it of the last figure: a count that has only begun may be below that.
    pub fn tell(&self, told: impl FnOnce(Option<&V>) -> V) {
        if let Some(slot) = locked(&self.table).slots.get_mut(&self.key) {
            slot.so_far = Some(told(slot.last()));
        }
    }
}

/// Figures by key; what could not be told is a figure too, and is not looked for again at once.
pub struct Figures<K, V> {
    table: Arc<Mutex<Table<K, V>>>,
    patience: Duration,
    places: Arc<Semaphore>,
    hangs: Duration,
}

fn locked<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + 'static> Figures<K, V> {
    /// None yet. `patience`: how long a look may keep those who ask.
    pub fn new(patience: Duration) -> Self {
        let table = Table { slots: HashMap::new(), swept: Instant::now() };
        Self { table: Arc::new(Mutex::new(table)), patience, places: Arc::new(Semaphore::new(LOOKS)), hangs: HANGS }
    }

    /// The figure of `key`: what is known of it, or what `look` finds, or what was known before when that takes too long.
    pub async fn get<F>(&self, key: &K, ask: Ask, look: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = Option<V>> + Send + 'static,
    {
        self.get_growing(key, ask, |_| look()).await
    }

    /// As [`Figures::get`]; a look that takes too long can tell what it has found so far.
    pub async fn get_growing<F>(&self, key: &K, ask: Ask, look: impl FnOnce(SoFar<K, V>) -> F) -> Option<V>
    where
        F: Future<Output = Option<V>> + Send + 'static,
    {
        let (mut ended, since) = match self.turn(key, ask.max_age) {
            Turn::Answer(value) => return value,
            Turn::Wait(ended, since) => (ended, since),
            Turn::Look(done) => {
                let ended = done.subscribe();
                let so_far = SoFar { table: Arc::clone(&self.table), key: key.clone() };
                self.begin(key.clone(), done, look(so_far));
                (ended, Instant::now())
            }
        };
        // Nothing is ever sent: the channel ends with the look.
        let _ = timeout_at(ask.until.min(since + self.patience), ended.changed()).await;
        self.known(key)
    }

    fn turn(&self, key: &K, max_age: Duration) -> Turn<V> {
        let now = Instant::now();
        let mut table = locked(&self.table);
        table.sweep(now);
        let slot = table.slots.entry(key.clone()).or_insert_with(|| Slot {
            known: None,
            so_far: None,
            flight: None,
            asked: now,
        });
        slot.asked = now;
        if let Some(known) = &slot.known
            && is_fresh(now.saturating_duration_since(known.at), known.took, max_age)
        {
            return Turn::Answer(known.value.clone());
        }
        if let Some(flight) = slot.flying() {
            return Turn::Wait(flight.ended.clone(), flight.since);
        }
        let (done, ended) = watch::channel(());
        slot.flight = Some(Flight { since: now, ended });
        // One that broke may have left some.
        slot.so_far = None;
        Turn::Look(done)
    }

    /// Looks in a task of its own, so that it goes on when those who asked are gone.
    fn begin<F>(&self, key: K, done: watch::Sender<()>, look: F)
    where
        F: Future<Output = Option<V>> + Send + 'static,
    {
        let (table, places, hangs) = (Arc::clone(&self.table), Arc::clone(&self.places), self.hangs);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let place = places.acquire().await;
            let begun = Instant::now();
            let mut look = pin!(look);
            let found = timeout(hangs, look.as_mut()).await;
            drop(place);
            let value = match found {
                Ok(value) => value,
                Err(_) => look.await,
            };
            let known = Known { value, at: Instant::now(), took: begun.elapsed() };
            if let Some(slot) = locked(&table).slots.get_mut(&key) {
                slot.known = Some(known);
                slot.so_far = None;
            }
            drop(done);
        });
    }

    fn known(&self, key: &K) -> Option<V> {
        let table = locked(&self.table);
        table.slots.get(key).and_then(|slot| slot.so_far().or(slot.last())).cloned()
    }
}

#[cfg(test)]
mod tests;
