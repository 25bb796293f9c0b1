//! Answers that mostly wait are driven by the task of their connection.
//!
//! HTTP/2 gives each request a task, which is right for what computes: requests of one connection are served beside each other. A watch
//! waits. With a task of its own, each event wakes that task and then the connection's, as often as not on another processor, where both
//! want the locks of the connection. So an answer that says that it [`rests`] leaves its task: from then on the connection polls
//! it, before itself, when it is called.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use hyper::rt::Executor;
use tokio::task::coop::unconstrained;

/// A request and its answer.
type Stream = BoxFuture<'static, ()>;

tokio::task_local! {
    /// Whether the stream that is polled said that it rests.
    static RESTS: Cell<bool>;
}

/// Says that the answer that is being polled mostly waits from now on.
pub fn rests() {
    // Where streams have no tasks, as in HTTP/1 or within the process, nobody asks.
    let _ = RESTS.try_with(|rests| rests.set(true));
}

thread_local! {
    /// The connections that are to be woken at the end of [`call_together`].
    static CALLED: RefCell<Option<Vec<Waker>>> = const { RefCell::new(None) };
}

/// Wakes those who wait, by `wake`, and connections only after that: each then meets all of its streams that are called, in one turn,
/// instead of some of them while others are still being called.
pub fn call_together(wake: impl FnOnce()) {
    // Within another one, whose end it is that counts.
    if CALLED.with_borrow(Option::is_some) {
        return wake();
    }
    CALLED.set(Some(Vec::new()));
    let _end = EndOfCalls;
    wake();
}

/// The end of [`call_together`], however it comes.
struct EndOfCalls;

impl Drop for EndOfCalls {
    fn drop(&mut self) {
        CALLED.take().into_iter().flatten().for_each(Waker::wake);
    }
}

/// Wakes a connection, now or at the end of what calls many.
fn wake_connection(connection: Waker) {
    let mut connection = Some(connection);
    // A thread that ends has no such place any more, and calls nobody together.
    let _ = CALLED.try_with(|called| {
        if let Some(called) = &mut *called.borrow_mut() {
            called.extend(connection.take());
        }
    });
    if let Some(connection) = connection {
        connection.wake();
    }
}

/// What starts the streams of a connection, and those of them that rest, which the connection's task must poll.
pub(super) fn streams() -> (Streams, Resting) {
    let calls = Arc::new(Mutex::new(Calls::default()));
    let busy = Arc::<AtomicUsize>::default();
    let streams = Streams { connection: Arc::downgrade(&calls), busy: Arc::clone(&busy) };
    (streams, Resting { calls, busy, held: Vec::new(), turn: Vec::new() })
}

/// Starts each stream of a connection as a task.
#[derive(Clone)]
pub(super) struct Streams {
    // Weak, since streams hold it and may lie among the calls.
    connection: Weak<Mutex<Calls>>,
    busy: Arc<AtomicUsize>,
}

/// The streams of a connection that rest. They end with it.
pub(super) struct Resting {
    calls: Arc<Mutex<Calls>>,
    /// How many streams have tasks of their own.
    busy: Arc<AtomicUsize>,
    /// By place.
    held: Vec<Option<Held>>,
    /// Places of those that are polled in this turn; kept for its room.
    turn: Vec<usize>,
}

/// What the task of the connection is told by others.
#[derive(Default)]
struct Calls {
    /// Streams that left their tasks.
    arrived: Vec<Stream>,
    /// Places of those that have something to do.
    called: Vec<usize>,
    /// Wakes the connection; the first call after a turn takes it.
    connection: Option<Waker>,
}

/// A stream that rests.
struct Held {
    stream: Stream,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Calls the connection for one of its streams.
struct Bell {
    place: usize,
    /// It was rung since the stream was polled.
    rung: AtomicBool,
    // Weak, since bells may hang where the connection is long gone.
    calls: Weak<Mutex<Calls>>,
}

/// A stream in a task of its own, until it rests.
struct Busy {
    stream: Option<Stream>,
    connection: Weak<Mutex<Calls>>,
    _counted: Counted,
}

/// Counts one until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(of: &Arc<AtomicUsize>) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(of))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the connection something and wakes it, once for all that it is told before its next turn.
fn call(calls: &Mutex<Calls>, tell: impl FnOnce(&mut Calls)) {
    let connection = {
        let mut calls = lock(calls);
        tell(&mut calls);
        calls.connection.take()
    };
    if let Some(connection) = connection {
        wake_connection(connection);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let connection = self.connection.clone();
        tokio::spawn(Busy { stream: Some(Box::pin(stream)), connection, _counted: Counted::one(&self.busy) });
    }
}

impl Future for Busy {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(()) };
        let (outcome, rests) = RESTS.sync_scope(Cell::new(false), || (stream.as_mut().poll(cx), RESTS.with(Cell::get)));
        if outcome.is_ready() || !rests {
            return outcome;
        }
        // Where the connection is gone, the stream is dropped: outside of the lock, since it may ring for others.
        if let (Some(stream), Some(connection)) = (self.stream.take(), self.connection.upgrade()) {
            call(&connection, |calls| calls.arrived.push(stream));
        }
        Poll::Ready(())
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(calls) = self.calls.upgrade()
        {
            call(&calls, |calls| calls.called.push(self.place));
        }
    }
}

impl Held {
    fn poll(&mut self) -> Poll<()> {
        // Before the poll, so that what happens meanwhile calls again; what happened before is seen by it.
        self.bell.rung.swap(false, Ordering::AcqRel);
        // What a task may do in a turn is counted, which is too little for many streams; each is bounded by what HTTP/2 keeps of it.
        pin!(unconstrained(self.stream.as_mut())).poll(&mut Context::from_waker(&self.waker))
    }
}

impl Resting {
    /// Polls those that were called, once each; answers whether nobody is left who is likely to speak now: these were all that rest, or no
    /// other stream is busy, since those who hear of the same are called together.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let arrived = {
            let mut calls = lock(&self.calls);
            calls.connection = Some(cx.waker().clone());
            std::mem::swap(&mut calls.called, &mut self.turn);
            std::mem::take(&mut calls.arrived)
        };
        for stream in arrived {
            self.hold(stream);
        }
        let all = !self.turn.is_empty() && self.turn.len() >= self.held.iter().flatten().count();
        let mut turn = std::mem::take(&mut self.turn);
        for place in turn.drain(..) {
            // A bell that outlived its stream calls for nobody, or for the next at its place.
            let Some(slot) = self.held.get_mut(place) else { continue };
            if slot.as_mut().is_some_and(|held| held.poll().is_ready()) {
                *slot = None;
            }
        }
        self.turn = turn;
        all || self.busy.load(Ordering::Relaxed) == 0
    }

    /// Gives a stream a place; it is polled in this turn, so that whoever it waits for learns whom to call.
    fn hold(&mut self, stream: Stream) {
        let place = self.held.iter().position(Option::is_none).unwrap_or(self.held.len());
        let bell = Arc::new(Bell { place, rung: AtomicBool::new(true), calls: Arc::downgrade(&self.calls) });
        let held = Some(Held { stream, waker: Waker::from(Arc::clone(&bell)), bell });
        match self.held.get_mut(place) {
            Some(slot) => *slot = held,
            None => self.held.push(held),
        }
        self.turn.push(place);
    }
}

#[cfg(test)]
mod tests;
