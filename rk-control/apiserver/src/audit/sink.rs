//! From requests to the file: a bounded queue that nobody waits for, and one thread that empties it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::figures::{Figures, Loss};
use super::log::{Log, LogConfig, Lost};

/// Events that may wait: what a busy server makes in the time that a slow disk takes for one write.
const MOST_EVENTS: usize = 4096;
/// Bytes of them: events with bodies are large.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How long somebody waits for the file to have everything.
const PATIENCE: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    /// Asks for everything before it to be written.
    Flush(oneshot::Sender<()>),
}

/// Takes events for the log. The thread behind it ends with it.
pub(super) struct Sink {
    sender: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    figures: Arc<Figures>,
}

impl Sink {
    /// Opens the log and starts the thread that writes it.
    ///
    /// # Errors
    /// The log cannot be opened, or there is no thread left.
    pub(super) fn start(config: LogConfig, figures: Arc<Figures>) -> io::Result<Self> {
        let log = Log::open(config)?;
        let (sender, receiver) = sync_channel(MOST_EVENTS);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer { log, waiting: Arc::clone(&waiting), figures: Arc::clone(&figures), healthy: true };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, waiting, figures })
    }

    /// Takes an event, or counts it as lost when too many wait. Never blocks.
    pub(super) fn send(&self, line: Vec<u8>) {
        let size = line.len();
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        let fits = before.saturating_add(size) <= MOST_BYTES;
        if !fits || self.sender.try_send(Message::Line(line)).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.figures.lost(Loss::Buffered, 1);
        }
    }

    /// Waits, for a bounded time, until what was sent so far is written; tells whether it came to that.
    pub(super) async fn flush(&self) -> bool {
        let (told, written) = oneshot::channel();
        let sender = self.sender.clone();
        // There may be no room just now, and a thread of the runtime must not wait for it.
        tokio::task::spawn_blocking(move || sender.send(Message::Flush(told)));
        let done = tokio::time::timeout(PATIENCE, written).await;
        if done.is_err() {
            tracing::warn!("the audit log takes too long to write");
        }
        matches!(done, Ok(Ok(())))
    }

    /// Flushes for a test: on a machine that has other work the thread may be late for once.
    #[cfg(test)]
    pub(super) async fn flushed(&self) {
        for _ in 0..30 {
            if self.flush().await {
                break;
            }
        }
    }
}

struct Writer {
    log: Log,
    waiting: Arc<AtomicUsize>,
    figures: Arc<Figures>,
    /// Whether the last write worked: trouble and its end are told once.
    healthy: bool,
}

impl Writer {
    /// Writes until nobody can send any more. What came together is written together.
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            self.take(message);
            while let Ok(message) = receiver.try_recv() {
                self.take(message);
            }
            self.flush();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                if let Err(lost) = self.log.append(&line) {
                    self.failed(&lost);
                }
            }
            Message::Flush(told) => {
                self.flush();
                // Whoever asked may have gone.
                let _ = told.send(());
            }
        }
    }

    fn flush(&mut self) {
        match self.log.flush() {
            Ok(true) if !self.healthy => {
                tracing::info!("the audit log is written again");
                self.healthy = true;
            }
            Ok(_) => {}
            Err(lost) => self.failed(&lost),
        }
    }

    fn failed(&mut self, Lost { events, error }: &Lost) {
        self.figures.lost(Loss::Log, *events);
        if self.healthy {
            tracing::error!(%error, events, "audit events are lost: the log cannot be written");
        }
        self.healthy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &std::path::Path) -> LogConfig {
        LogConfig { path: dir.join("audit.log"), max_bytes: 1 << 30, max_backups: 1, max_age: None }
    }

    #[tokio::test]
    async fn what_was_sent_is_in_the_file_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start(config(dir.path()), Arc::default()).unwrap();
        for number in 0..100 {
            sink.send(format!("{number}\n").into_bytes());
        }
        sink.flushed().await;
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert_eq!(
            text.lines().map(str::to_owned).collect::<Vec<_>>(),
            (0..100).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(sink.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (sender, receiver) = sync_channel(2);
        let figures = Arc::new(Figures::default());
        let sink = Sink { sender, waiting: Arc::default(), figures: Arc::clone(&figures) };
        for _ in 0..5 {
            sink.send(b"line\n".to_vec());
        }
        drop(receiver);
        sink.send(vec![0; MOST_BYTES + 1]);
        let mut text = String::new();
        figures.render(&mut text);
        assert!(text.contains("apiserver_audit_error_total{plugin=\"buffered\"} 4\n"), "{text}");
        assert_eq!(sink.waiting.load(Ordering::Relaxed), 10, "what waits is what is in the queue");
    }
}
