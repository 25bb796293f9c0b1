//! Answers that are streams of bytes. Each is fed by a task through a short channel: a caller who reads slowly slows the task,
//! and one who leaves ends it.

pub mod capture;
pub mod kmsg;
pub mod logs;
mod tail;

pub use tail::last_lines;

use futures::FutureExt as _;
use rk_machine_proto::CHUNK;
use rk_machine_proto::v1::Chunk;
use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A stream of an answer.
pub type Bytes = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

/// Messages between a task and the wire: with [`CHUNK`], a quarter of a megabyte for each stream.
const QUEUE: usize = 4;

/// The task's end of a stream.
#[derive(Debug, Clone)]
pub struct Sink(mpsc::Sender<Result<Chunk, Status>>);

/// Nobody listens any more.
#[derive(Debug)]
pub struct Gone;

impl Sink {
    /// Makes both ends.
    pub fn pair() -> (Sink, Bytes) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Sink(sender), Box::pin(ReceiverStream::new(receiver)))
    }

    /// Sends bytes, in pieces.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Gone> {
        for piece in bytes.chunks(CHUNK) {
            self.0.send(Ok(Chunk { data: piece.to_vec() })).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends the stream with an error.
    pub async fn fail(&self, status: Status) {
        let _ = self.0.send(Err(status)).await;
    }

    /// Waits until nobody listens.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Streams a file up to `most` bytes; a larger one ends in an error, so that nobody mistakes a part for the whole.
pub fn whole_file(mut file: File, most: u64) -> Bytes {
    let (sink, stream) = Sink::pair();
    let task = async move {
        if let Err(status) = send_file(&sink, &mut file, most).await {
            sink.fail(status).await;
        }
    };
    tokio::spawn(task.boxed());
    stream
}

/// Sends a file to its end, or until nobody listens any more.
async fn send_file(sink: &Sink, file: &mut File, most: u64) -> Result<(), Status> {
    let mut buffer = vec![0; CHUNK];
    let mut sent = 0;
    loop {
        let size = match file.read(&mut buffer) {
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(|err| Status::internal(format!("reading: {err}")))?,
        };
        sent += size as u64;
        if sent > most {
            return Err(Status::out_of_range(format!("the file is larger than {most} bytes")));
        }
        if size == 0 || sink.send(buffer.get(..size).unwrap_or_default()).await.is_err() {
            return Ok(());
        }
    }
}
