//! A stream that is told how much it takes, and a connection with many streams.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;

use super::*;
use crate::http::resting::{rests, streams};

/// Takes `room` bytes, then waits.
#[derive(Default)]
struct Mock {
    writes: Vec<Vec<u8>>,
    room: usize,
    /// Writes fail, or take nothing.
    broken: bool,
    stuck: bool,
    /// How often a flush is answered with patience.
    slow_flushes: usize,
    flushes: usize,
    /// How many bytes were there when it was closed.
    closed: Option<usize>,
}

impl Mock {
    fn text(&self) -> Vec<u8> {
        self.writes.concat()
    }
}

impl AsyncWrite for Mock {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.stuck {
            return Poll::Ready(Ok(0));
        }
        let taken = buf.len().min(self.room);
        if taken == 0 {
            return Poll::Pending;
        }
        self.room -= taken;
        self.writes.push(buf[..taken].to_vec());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.slow_flushes > 0 {
            self.slow_flushes -= 1;
            return Poll::Pending;
        }
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed = Some(self.text().len());
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A gathering stream with a task that counts how often it is woken.
struct Bench {
    io: Coalesced<Mock>,
    turns: Turns<Mock>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl Bench {
    fn new(mock: Mock) -> Self {
        let (io, turns) = coalesced(mock, true);
        let woken = Arc::new(Woken::default());
        Self { io, turns, waker: Waker::from(Arc::clone(&woken)), woken }
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(&mut Context::from_waker(&self.waker), bytes)
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(&self.waker))
    }

    fn shutdown(&mut self) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(&self.waker))
    }

    fn end_turn(&self) {
        self.end_turn_of(false);
    }

    fn end_turn_of(&self, all: bool) {
        lock(&self.turns.0).end_turn(all, &mut Context::from_waker(&self.waker));
    }

    fn mock<T>(&self, look: impl FnOnce(&mut Mock) -> T) -> T {
        look(&mut lock(&self.turns.0).stream)
    }

    fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

fn taken(outcome: Poll<io::Result<usize>>) -> usize {
    match outcome {
        Poll::Ready(Ok(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

fn failure<T: std::fmt::Debug>(outcome: Poll<io::Result<T>>) -> io::ErrorKind {
    match outcome {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_two_turns_say_is_one_write() {
    let mut bench = Bench::new(Mock { room: usize::MAX, ..Mock::default() });
    assert!(!bench.io.is_write_vectored());
    assert_eq!(taken(bench.write(b"one ")), 4);
    assert!(bench.flush().is_ready());
    bench.end_turn();
    assert_eq!((bench.wakes(), bench.mock(|mock| mock.writes.len())), (1, 0), "the others come first");
    assert_eq!(taken(bench.write(b"two")), 3);
    assert!(bench.flush().is_ready());
    bench.end_turn();
    assert_eq!(bench.mock(|mock| (mock.writes.clone(), mock.flushes)), (vec![b"one two".to_vec()], 1));
    bench.end_turn();
    bench.end_turn();
    assert_eq!((bench.wakes(), bench.mock(|mock| mock.flushes)), (1, 1), "what owes nothing rests");
}

#[test]
fn what_all_have_said_waits_for_nobody() {
    let mut bench = Bench::new(Mock { room: usize::MAX, ..Mock::default() });
    assert_eq!(taken(bench.write(b"all")), 3);
    assert!(bench.flush().is_ready());
    bench.end_turn_of(true);
    assert_eq!(bench.mock(|mock| (mock.writes.clone(), mock.flushes)), (vec![b"all".to_vec()], 1));
    assert_eq!(bench.wakes(), 0);
    bench.end_turn_of(true);
    assert_eq!(bench.mock(|mock| mock.flushes), 1, "what owes nothing rests");
}

#[test]
fn a_full_buffer_is_written_at_once() {
    let mut bench = Bench::new(Mock { room: usize::MAX, ..Mock::default() });
    let large: Vec<u8> = (0..LIMIT * 2 + 500).map(|number| (number % 251) as u8).collect();
    let mut rest = &large[..];
    while !rest.is_empty() {
        rest = &rest[taken(bench.write(rest))..];
    }
    assert_eq!(bench.mock(|mock| mock.writes.iter().map(Vec::len).collect::<Vec<_>>()), [LIMIT, LIMIT]);
    bench.end_turn();
    bench.end_turn();
    assert_eq!(bench.mock(|mock| mock.text()), large);
    assert_eq!(lock(&bench.turns.0).buffer.capacity(), 0, "an idle connection holds none");
}

#[test]
fn a_turn_begins_with_the_room_that_the_last_one_took() {
    let mut bench = Bench::new(Mock { room: usize::MAX, ..Mock::default() });
    let room = |bench: &Bench| lock(&bench.turns.0).buffer.capacity();
    for (piece, before) in [(20_000, 0), (500, 60_000), (20_000, 1500)] {
        assert_eq!(taken(bench.write(&vec![7; piece])), piece);
        let (found, least) = (room(&bench), piece.max(before));
        assert!((least..2 * least).contains(&found), "{found} after {before}");
        for _ in 0..2 {
            assert_eq!(taken(bench.write(&vec![7; piece])), piece);
        }
        bench.end_turn_of(true);
        assert_eq!(room(&bench), 0);
    }
}

#[test]
fn a_slow_peer_holds_the_writer_up_and_loses_nothing() {
    let mut bench = Bench::new(Mock { room: 10, slow_flushes: 1, ..Mock::default() });
    assert_eq!(taken(bench.write(&[7; LIMIT])), LIMIT);
    assert!(bench.write(b"more").is_pending(), "no more than the limit waits");
    assert_eq!(bench.mock(|mock| mock.text().len()), 10);
    assert!(bench.flush().is_ready());
    bench.end_turn();
    assert_eq!(bench.wakes(), 0, "the stream wakes the task");
    bench.mock(|mock| mock.room = usize::MAX);
    assert_eq!(taken(bench.write(b"more")), 4);
    bench.end_turn();
    assert_eq!(bench.mock(|mock| (mock.text().len(), mock.flushes)), (LIMIT + 4, 0), "the flush is not done");
    bench.end_turn();
    assert_eq!(bench.mock(|mock| mock.flushes), 1);
    assert_eq!(bench.wakes(), 0);
}

#[test]
fn data_goes_before_the_end_of_the_stream() {
    let mut bench = Bench::new(Mock { room: 4, ..Mock::default() });
    assert_eq!(taken(bench.write(b"farewell")), 8);
    assert!(bench.shutdown().is_pending());
    assert_eq!(bench.mock(|mock| mock.closed), None);
    bench.mock(|mock| mock.room = 4);
    assert!(bench.shutdown().is_ready());
    assert_eq!(bench.mock(|mock| mock.closed), Some(8));
}

#[test]
fn what_fails_after_the_flush_was_answered_is_told() {
    for (mock, kind) in [
        (Mock { broken: true, ..Mock::default() }, io::ErrorKind::BrokenPipe),
        (Mock { stuck: true, ..Mock::default() }, io::ErrorKind::WriteZero),
    ] {
        let mut bench = Bench::new(mock);
        assert_eq!(taken(bench.write(b"lost")), 4);
        assert!(bench.flush().is_ready());
        bench.end_turn();
        bench.end_turn();
        assert_eq!(bench.wakes(), 2, "once for its turn, once for the error");
        assert_eq!(failure(bench.flush()), kind);
        bench.end_turn();
        assert_eq!(bench.wakes(), 2, "an end is no loop");
    }
    let mut bench = Bench::new(Mock { broken: true, ..Mock::default() });
    assert_eq!(taken(bench.write(b"lost")), 4);
    assert_eq!(failure(bench.shutdown()), io::ErrorKind::BrokenPipe);
}

#[test]
fn who_takes_the_stream_over_writes_after_what_was_kept() {
    let mut bench = Bench::new(Mock { room: 3, ..Mock::default() });
    assert_eq!(taken(bench.write(b"switching")), 9);
    lock(&bench.turns.0).end(&mut Context::from_waker(&bench.waker));
    assert_eq!(bench.mock(|mock| mock.text()), b"swi");
    bench.mock(|mock| mock.room = usize::MAX);
    assert_eq!(taken(bench.write(b" now")), 4);
    assert_eq!(bench.mock(|mock| mock.text()), b"switching now");
    assert!(bench.flush().is_ready());
    assert_eq!(bench.mock(|mock| mock.flushes), 1);
}

#[test]
fn without_gathering_everything_goes_straight_through() {
    let (mut io, turns) = coalesced(Mock { room: usize::MAX, ..Mock::default() }, false);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(taken(Pin::new(&mut io).poll_write(&mut cx, b"now")), 3);
    assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
    let state = lock(&turns.0);
    assert_eq!((state.stream.writes.len(), state.stream.flushes), (1, 1));
}

/// Counts the writes of a stream.
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const WATCHERS: usize = 100;
/// Of an event: HTTP/2 flushes after each frame of this size.
const SIZE: usize = 1500;

/// Serves endless bodies that rest: a frame with each change of `events`.
async fn serve(near: tokio::io::DuplexStream, writes: Arc<AtomicUsize>, events: Arc<watch::Sender<u32>>) {
    let (io, turns) = coalesced(Counted(near, writes), true);
    let service = service_fn(move |_: Request<Incoming>| {
        let changed = events.subscribe();
        async move {
            let frames = futures::stream::unfold(changed, |mut changed| async move {
                rests();
                changed.changed().await.ok()?;
                Some((Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; SIZE]))), changed))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }
    });
    let (executor, mut resting) = streams();
    let connection = hyper::server::conn::http2::Builder::new(executor);
    let connection = connection.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let turn = |cx: &mut Context<'_>| {
        let all = resting.poll(cx);
        turns.poll(connection.as_mut(), all, cx)
    };
    let _ = std::future::poll_fn(turn).await;
}

#[tokio::test]
async fn events_of_many_watchers_share_few_writes() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let events = Arc::new(watch::Sender::new(0));
    tokio::spawn(serve(near, Arc::clone(&writes), Arc::clone(&events)));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..WATCHERS {
        sender.ready().await.unwrap();
        let request = Request::get("http://server/").body(Empty::<Bytes>::new()).unwrap();
        bodies.push(sender.send_request(request).await.unwrap().into_body());
    }
    let before = writes.load(Ordering::Relaxed);
    events.send_replace(1);
    for body in &mut bodies {
        let mut got = 0;
        while got < SIZE {
            got += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert_eq!(got, SIZE);
    }
    let made = writes.load(Ordering::Relaxed) - before;
    assert!(made <= WATCHERS / 4, "{made} writes for {WATCHERS} events");
}
