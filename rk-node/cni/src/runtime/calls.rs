//! Calls of plugins on threads. A thread cannot be ended from outside: one that was given up keeps its place until it ends by itself, and
//! nothing else is done for its container before.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What is called.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub plugin: String,
    pub command: &'static str,
    /// Empty where the call is about no container.
    pub container: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of plugin type={:?}", self.command, self.plugin)
    }
}

struct Known {
    id: u64,
    call: Call,
    given_up: bool,
}

struct State {
    next: u64,
    /// One for each place that is taken.
    known: Vec<Known>,
}

/// The calls of a process, of which so many run at a time.
pub(super) struct Calls {
    most: usize,
    places: Semaphore,
    state: Mutex<State>,
}

impl Calls {
    /// Calls of which `most` run at a time.
    pub const fn new(most: usize) -> Self {
        let state = State { next: 0, known: Vec::new() };
        Self { most, places: Semaphore::const_new(most), state: Mutex::new(state) }
    }

    /// A call for this container that was given up and goes on.
    pub fn unended(&self, container: &str) -> Option<Call> {
        let state = self.lock();
        let of_container = |known: &&Known| known.given_up && known.call.container == container;
        state.known.iter().find(of_container).map(|known| known.call.clone())
    }

    /// A place for a call, which its thread keeps, and the wait for its answer. `None` when no place becomes free within `patience`, and at
    /// once when all are kept by calls that were given up: these may never end.
    pub async fn enter(&'static self, call: Call, patience: Duration) -> Option<(Place, Wait)> {
        if self.stuck() {
            return None;
        }
        // The semaphore is never closed.
        let permit = tokio::time::timeout(patience, self.places.acquire()).await.ok()?.ok()?;
        let id = self.note(call);
        Some((Place { calls: self, id, _permit: permit }, Wait { calls: self, id, heard: false }))
    }

    fn stuck(&self) -> bool {
        self.lock().known.iter().filter(|known| known.given_up).count() >= self.most
    }

    fn note(&self, call: Call) -> u64 {
        let mut state = self.lock();
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.known.push(Known { id, call, given_up: false });
        id
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a call, for as long as its thread does anything.
pub(super) struct Place {
    calls: &'static Calls,
    id: u64,
    _permit: SemaphorePermit<'static>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.lock().known.retain(|known| known.id != self.id);
    }
}

/// The wait for the answer of a call; dropped before [`Wait::heard`], it gives the call up.
pub(super) struct Wait {
    calls: &'static Calls,
    id: u64,
    heard: bool,
}

impl Wait {
    /// The answer is here: the thread has but to end.
    pub fn heard(mut self) {
        self.heard = true;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.heard {
            return;
        }
        let mut state = self.calls.lock();
        if let Some(known) = state.known.iter_mut().find(|known| known.id == self.id) {
            known.given_up = true;
            tracing::warn!(container = %known.call.container, "the {} was given up and goes on", known.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(container: &str) -> Call {
        Call { plugin: "bridge".to_owned(), command: "ADD", container: container.to_owned() }
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_keeps_its_place_and_its_container_until_it_ends() {
        static CALLS: Calls = Calls::new(2);
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(3600));
        let (first, wait) = CALLS.enter(call("a"), soon).await.expect("a place");
        assert_eq!(CALLS.unended("a"), None, "it is waited for");
        drop(wait);
        assert_eq!((CALLS.unended("a"), CALLS.unended("b")), (Some(call("a")), None));

        let (second, wait) = CALLS.enter(call("b"), soon).await.expect("another place");
        assert!(CALLS.enter(call("c"), soon).await.is_none(), "one is given up and one works");
        wait.heard();
        assert_eq!(CALLS.unended("b"), None, "its thread ends after its answer");
        drop(second);

        let (second, wait) = CALLS.enter(call("b"), soon).await.expect("the place of the one that ended");
        drop(wait);
        assert!(CALLS.enter(call("c"), late).await.is_none(), "what may never come is not waited for");
        drop(first);
        assert_eq!(CALLS.unended("a"), None);
        assert!(CALLS.enter(call("a"), soon).await.is_some());
        drop(second);
        assert_eq!(CALLS.unended("b"), None);
    }
}
