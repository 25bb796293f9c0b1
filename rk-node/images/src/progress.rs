//! How far pulls are: what a person asks who waits for a pod.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use serde::Serialize;

use crate::manifest::Descriptor;

/// How far a layer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerState {
    /// For a slot, or for another pull that brings the same layer.
    #[default]
    Waiting,
    /// Its bytes come, and are unpacked as they come.
    Downloading,
    /// All of its bytes are here; the last of them are unpacked and written.
    Unpacking,
    /// It was pulled.
    Done,
    /// It was here before.
    Present,
}

/// A layer of a pull as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerProgress {
    /// Its digest, as the manifest has it.
    pub digest: String,
    /// How far it is.
    pub state: LayerState,
    /// Bytes that came, as the registry sends them.
    pub done: u64,
    /// Those that were here already from a pull that was broken off.
    pub resumed: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A pull as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The image as it was asked for, with its registry.
    pub image: String,
    /// For how long it has gone on.
    pub seconds: u64,
    /// Its layers, from the lowest up; none while the manifest is asked for.
    pub layers: Vec<LayerProgress>,
}

/// What pulls came to since this process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Pulls that brought their image.
    pub succeeded: u64,
    /// Pulls that did not, or that nobody waited for any more.
    pub failed: u64,
    /// Bytes of layers that came from registries and archives.
    pub bytes: u64,
    /// Bytes of layers that need not come again.
    pub resumed_bytes: u64,
}

/// See [`crate::Images::pulls`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pulls {
    /// Those that go on, the oldest first.
    pub ongoing: Vec<Progress>,
    /// All of before.
    pub totals: Totals,
}

/// All pulls of this process: no more than there are, each with the layers of one manifest.
#[derive(Default)]
pub(crate) struct Board {
    pulls: Mutex<BTreeMap<u64, Arc<Entry>>>,
    next: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    resumed: AtomicU64,
}

struct Entry {
    image: String,
    began: Instant,
    layers: Mutex<Vec<Arc<Tally>>>,
    succeeded: AtomicBool,
}

/// A pull for as long as it goes on.
pub(crate) struct Ongoing {
    board: Arc<Board>,
    number: u64,
    entry: Arc<Entry>,
}

/// How far one layer is.
pub(crate) struct Tally {
    board: Arc<Board>,
    digest: String,
    total: u64,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    state: LayerState,
    done: u64,
    resumed: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// A pull begins.
    pub fn begin(self: &Arc<Self>, image: &str) -> Ongoing {
        let number = self.next.fetch_add(1, Relaxed);
        let entry = Arc::new(Entry {
            image: image.to_owned(),
            began: Instant::now(),
            layers: Mutex::default(),
            succeeded: AtomicBool::new(false),
        });
        lock(&self.pulls).insert(number, entry.clone());
        Ongoing { board: self.clone(), number, entry }
    }

    /// As it is now.
    pub fn look(&self) -> Pulls {
        let entries: Vec<Arc<Entry>> = lock(&self.pulls).values().cloned().collect();
        let totals = Totals {
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            resumed_bytes: self.resumed.load(Relaxed),
        };
        Pulls { ongoing: entries.iter().map(|entry| entry.look()).collect(), totals }
    }
}

impl Entry {
    fn look(&self) -> Progress {
        let layers = lock(&self.layers).iter().map(|tally| tally.look()).collect();
        Progress { image: self.image.clone(), seconds: self.began.elapsed().as_secs(), layers }
    }
}

impl Ongoing {
    /// The layers are known: those of the endpoint that is asked now.
    pub fn layers(&self, layers: &[Descriptor]) -> Vec<Arc<Tally>> {
        let tally = |layer: &Descriptor| {
            let (digest, total) = (layer.digest.to_string(), layer.size);
            Arc::new(Tally { board: self.board.clone(), digest, total, count: Mutex::default() })
        };
        let tallies: Vec<Arc<Tally>> = layers.iter().map(tally).collect();
        *lock(&self.entry.layers) = tallies.clone();
        tallies
    }

    /// It brought its image.
    pub fn succeeded(&self) {
        self.entry.succeeded.store(true, Relaxed);
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        lock(&self.board.pulls).remove(&self.number);
        let outcome = if self.entry.succeeded.load(Relaxed) { &self.board.succeeded } else { &self.board.failed };
        outcome.fetch_add(1, Relaxed);
    }
}

impl Tally {
    /// Its bytes come, from the first on; so many of them are here.
    pub fn restart(&self, here: u64) {
        *lock(&self.count) = Count { state: LayerState::Downloading, done: 0, resumed: here };
    }

    /// Bytes came, those that are here first.
    pub fn add(&self, bytes: u64) {
        let mut count = lock(&self.count);
        let here = count.resumed.saturating_sub(count.done).min(bytes);
        count.done += bytes;
        drop(count);
        self.board.resumed.fetch_add(here, Relaxed);
        self.board.bytes.fetch_add(bytes - here, Relaxed);
    }

    /// It is farther now.
    pub fn enter(&self, state: LayerState) {
        let mut count = lock(&self.count);
        count.state = state;
        if state == LayerState::Present {
            (count.done, count.resumed) = (self.total, 0);
        }
    }

    fn look(&self) -> LayerProgress {
        let Count { state, done, resumed } = *lock(&self.count);
        LayerProgress { digest: self.digest.clone(), state, done, resumed, total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Digest;

    #[test]
    fn a_pull_is_told_while_it_goes_on_and_counted_when_it_ends() {
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("digest");
        let layer = Descriptor { media_type: String::new(), digest, size: 100, platform: None };
        let board: Arc<Board> = Arc::default();
        let (first, second) = (board.begin("r.io/a:1"), board.begin("r.io/b:1"));
        let now = || board.look().ongoing;
        assert_eq!((now().len(), now()[0].image.as_str(), now()[0].layers.len()), (2, "r.io/a:1", 0));
        let tallies = first.layers(&[layer.clone(), layer]);
        let told = || now()[0].layers.iter().map(|l| (l.state, l.done, l.resumed)).collect::<Vec<_>>();
        assert_eq!(told(), [(LayerState::Waiting, 0, 0); 2]);
        tallies[0].enter(LayerState::Present);
        tallies[1].restart(30);
        tallies[1].add(20);
        tallies[1].add(20);
        assert_eq!(told(), [(LayerState::Present, 100, 0), (LayerState::Downloading, 40, 30)]);
        // What was kept is wrong: all of it comes.
        tallies[1].restart(0);
        tallies[1].add(100);
        tallies[1].enter(LayerState::Unpacking);
        assert_eq!(told()[1], (LayerState::Unpacking, 100, 0));
        first.succeeded();
        drop((first, second));
        let totals = Totals { succeeded: 1, failed: 1, bytes: 110, resumed_bytes: 30 };
        assert_eq!(board.look(), Pulls { ongoing: Vec::new(), totals });
    }
}
