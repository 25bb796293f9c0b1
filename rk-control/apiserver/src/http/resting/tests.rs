//! Streams that say when they rest, and a connection that counts how often it is woken.

use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;

use super::*;

/// What a test sees and does of a stream.
#[derive(Default)]
struct Stand {
    polls: AtomicUsize,
    /// The task that polled it last.
    task: Mutex<Option<tokio::task::Id>>,
    waker: Mutex<Option<Waker>>,
    done: AtomicBool,
}

impl Stand {
    fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap() {
            waker.wake_by_ref();
        }
    }
}

/// A stream that waits until it is told that it is done; it says that it rests if `resting`.
fn stream(stand: &Arc<Stand>, resting: bool) -> impl Future<Output = ()> + Send + use<> {
    let stand = Arc::clone(stand);
    poll_fn(move |cx| {
        stand.polls.fetch_add(1, Ordering::Relaxed);
        *stand.task.lock().unwrap() = tokio::task::try_id();
        *stand.waker.lock().unwrap() = Some(cx.waker().clone());
        if stand.done.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        if resting {
            rests();
        }
        Poll::Pending
    })
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the other tasks of the runtime run until they wait.
async fn others() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// A turn of the connection whose wakes `woken` counts; answers whether nobody is left who is likely to speak.
fn turn(resting: &mut Resting, woken: &Arc<Woken>) -> bool {
    resting.poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
}

#[tokio::test]
async fn who_rests_is_polled_by_its_connection_and_only_when_called() {
    let (executor, mut resting) = streams();
    let woken = Arc::new(Woken::default());
    let wakes = || woken.0.load(Ordering::Relaxed);
    assert!(turn(&mut resting, &woken), "there is nobody");
    let stands = [Arc::<Stand>::default(), Arc::default()];
    for stand in &stands {
        executor.execute(stream(stand, true));
    }
    others().await;
    assert_eq!((stands[0].polls(), stands[1].polls(), wakes()), (1, 1, 1), "one call for both");
    let own = *stands[0].task.lock().unwrap();
    assert!(own.is_some() && own != tokio::task::try_id());
    turn(&mut resting, &woken);
    assert_eq!((stands[0].polls(), stands[1].polls()), (2, 2));
    assert_eq!(*stands[0].task.lock().unwrap(), tokio::task::try_id(), "the connection's task polls it");
    turn(&mut resting, &woken);
    assert_eq!((stands[0].polls(), stands[1].polls(), wakes()), (2, 2, 1), "nobody called");

    stands[1].wake();
    stands[1].wake();
    assert_eq!(wakes(), 2);
    turn(&mut resting, &woken);
    assert_eq!((stands[0].polls(), stands[1].polls()), (2, 3));
    stands.iter().for_each(|stand| stand.wake());
    turn(&mut resting, &woken);
    assert_eq!((stands[0].polls(), stands[1].polls(), wakes()), (3, 4, 3));

    stands[0].done.store(true, Ordering::Relaxed);
    stands[0].wake();
    turn(&mut resting, &woken);
    assert!(resting.held[0].is_none(), "what is over leaves its place");
    stands[0].wake();
    turn(&mut resting, &woken);
    assert_eq!(stands[0].polls(), 4);
    let next = Arc::<Stand>::default();
    executor.execute(stream(&next, true));
    others().await;
    turn(&mut resting, &woken);
    assert!(resting.held.len() == 2 && resting.held[0].is_some(), "the next takes it");
    next.wake();
    turn(&mut resting, &woken);
    assert_eq!(next.polls(), 3);
}

#[tokio::test]
async fn a_connection_is_woken_after_all_its_streams_were_called() {
    let connections: Vec<_> = (0..2).map(|_| (streams(), Arc::new(Woken::default()))).collect();
    let mut stands = Vec::new();
    let mut turns = Vec::new();
    for ((executor, mut resting), woken) in connections {
        turn(&mut resting, &woken);
        let own = [Arc::<Stand>::default(), Arc::default()];
        own.iter().for_each(|stand| executor.execute(stream(stand, true)));
        others().await;
        turn(&mut resting, &woken);
        stands.push(own);
        turns.push((resting, woken));
    }
    let wakes = || turns.iter().map(|(_, woken)| woken.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let before = wakes();
    let call_all = || {
        call_together(|| stands.iter().flatten().for_each(|stand| stand.wake()));
        assert_eq!(wakes(), before, "an inner end is none");
    };
    call_together(call_all);
    assert_eq!(wakes(), before.iter().map(|count| count + 1).collect::<Vec<_>>());
    for (resting, woken) in &mut turns {
        assert!(turn(resting, woken), "all of them were called");
    }
    // One at a time, each wakes at once.
    let (resting, woken) = &mut turns[0];
    stands[0][0].wake();
    assert_eq!(woken.0.load(Ordering::Relaxed), before[0] + 2);
    turn(resting, woken);
    assert_eq!((stands[0][0].polls(), stands[0][1].polls()), (4, 3));
}

#[tokio::test]
async fn who_may_still_speak_is_waited_for() {
    let (executor, mut resting) = streams();
    let woken = Arc::new(Woken::default());
    let rest = [Arc::<Stand>::default(), Arc::default()];
    rest.iter().for_each(|stand| executor.execute(stream(stand, true)));
    others().await;
    turn(&mut resting, &woken);
    assert!(turn(&mut resting, &woken), "who rests and was not called has nothing to say");
    rest[0].wake();
    assert!(turn(&mut resting, &woken), "the other would have been called");
    let busy = Arc::<Stand>::default();
    executor.execute(stream(&busy, false));
    others().await;
    assert!(!turn(&mut resting, &woken), "a stream is busy");
    rest[0].wake();
    assert!(!turn(&mut resting, &woken));
    rest.iter().for_each(|stand| stand.wake());
    assert!(turn(&mut resting, &woken), "all that rest have spoken");
    rest[0].done.store(true, Ordering::Relaxed);
    rest[0].wake();
    turn(&mut resting, &woken);
    rest[1].wake();
    assert!(turn(&mut resting, &woken), "who is gone is none of them");
    busy.done.store(true, Ordering::Relaxed);
    busy.wake();
    others().await;
    assert!(turn(&mut resting, &woken), "nobody is busy any more");
}

#[tokio::test]
async fn who_does_not_rest_keeps_its_task() {
    let (executor, mut resting) = streams();
    let woken = Arc::new(Woken::default());
    turn(&mut resting, &woken);
    let stand = Arc::<Stand>::default();
    executor.execute(stream(&stand, false));
    others().await;
    stand.wake();
    others().await;
    assert_eq!((stand.polls(), woken.0.load(Ordering::Relaxed)), (2, 0));
    turn(&mut resting, &woken);
    assert!(resting.held.is_empty());
    assert_ne!(*stand.task.lock().unwrap(), tokio::task::try_id());
    // Elsewhere the word means nothing.
    rests();
}

#[tokio::test]
async fn streams_that_rest_end_with_their_connection() {
    let (executor, mut resting) = streams();
    let woken = Arc::new(Woken::default());
    let [held, arrived, late] = [Arc::<Stand>::default(), Arc::default(), Arc::default()];
    executor.execute(stream(&held, true));
    others().await;
    turn(&mut resting, &woken);
    executor.execute(stream(&arrived, true));
    others().await;
    drop(resting);
    executor.execute(stream(&late, true));
    others().await;
    for stand in [held, arrived, late] {
        // Who waits for something holds a waker; nobody holds the stream.
        assert_eq!(Arc::strong_count(&stand), 1);
        stand.wake();
    }
}
