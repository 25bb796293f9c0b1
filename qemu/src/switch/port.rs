//! One port: its listening socket, the machine that is connected, and the bounded queue towards it.

use super::fault::Pattern;
use super::{Fault, PortId, Shared, read_frame, write_frame};
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Frames that wait for a machine; with 1500-byte frames 1.5 MB. What comes beyond is dropped, and TCP slows down.
const QUEUE: usize = 1024;

/// A frame and when it may leave.
type Queued = (Instant, Arc<[u8]>);

#[derive(Clone)]
pub(super) struct Port {
    id: PortId,
    socket: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    peer: Option<Peer>,
    pattern: Pattern,
}

struct Peer {
    queue: SyncSender<Queued>,
    stream: UnixStream,
}

impl Port {
    pub(super) fn new(id: PortId, socket: PathBuf) -> Port {
        Port { id, socket, inner: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.inner().pattern = Pattern::new(fault);
    }

    /// The delay of the next frame from this port; `None` when it is to be lost.
    pub(super) fn admit(&self) -> Option<Duration> {
        self.inner().pattern.next()
    }

    /// Queues a frame towards the machine; `false` when there is none or it does not keep up.
    pub(super) fn send(&self, frame: Arc<[u8]>, delay: Duration) -> bool {
        let inner = self.inner();
        let Some(peer) = &inner.peer else { return false };
        match peer.queue.try_send((Instant::now() + delay, frame)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Ends the connection and wakes the accepting thread.
    pub(super) fn close(&self) {
        if let Some(peer) = self.inner().peer.take() {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Serves `port` until the switch closes: one machine at a time, a new one takes the place of the old.
pub(super) fn serve(shared: Arc<Shared>, port: Port, listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.closed() {
                return;
            }
            let connected = stream.and_then(|stream| connect(&shared, &port, stream));
            if let Err(error) = connected {
                tracing::warn!(port = port.id.0, %error, "a machine could not be connected to the switch");
            }
        }
    });
}

fn connect(shared: &Arc<Shared>, port: &Port, stream: UnixStream) -> std::io::Result<()> {
    let (queue, frames) = sync_channel(QUEUE);
    let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
    let before = port.inner().peer.replace(Peer { queue, stream });
    if let Some(before) = before {
        let _ = before.stream.shutdown(Shutdown::Both);
    }
    std::thread::spawn(move || write_frames(writer, frames));
    let (shared, id) = (shared.clone(), port.id);
    std::thread::spawn(move || read_frames(&shared, id, reader));
    Ok(())
}

fn read_frames(shared: &Shared, port: PortId, stream: UnixStream) {
    let mut reader = BufReader::with_capacity(128 * 1024, stream);
    let mut frame = Vec::new();
    loop {
        match read_frame(&mut reader, &mut frame) {
            Ok(true) => shared.forward(port, &frame),
            Ok(false) => return,
            Err(error) => return tracing::debug!(port = port.0, %error, "the machine's side of the port ended"),
        }
    }
}

fn write_frames(mut stream: UnixStream, frames: Receiver<Queued>) {
    while let Ok((due, frame)) = frames.recv() {
        let now = Instant::now();
        if due > now {
            std::thread::sleep(due - now);
        }
        if write_frame(&mut stream, &frame).is_err() {
            return;
        }
    }
}
