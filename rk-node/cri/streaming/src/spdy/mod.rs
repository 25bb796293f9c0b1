//! A SPDY/3.1 server connection, as far as Kubernetes' streaming needs it: streams that the client opens, data both ways.
//!
//! Two tasks own the connection. The reader turns frames into stream events and waits when too much was not taken yet; the writer
//! takes replies and output and is the only one that touches the header compressor. Flow-control windows are not used: no client
//! of these protocols sends or expects window updates for its data.

mod dictionary;
mod frame;
mod headers;

use std::collections::{HashMap, HashSet};
use std::io;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::inlet::{ByteReader, Inlet, Room};
use crate::pipe::{ByteWriter, CHUNKS, Output, beating, see_off};
use frame::Frame;
use headers::{Decoder, Encoder};

/// Most streams that one connection may hold open: port-forward uses two for each forwarded connection.
const STREAMS: usize = 2048;
/// Output chunks that wait for the writer, over all streams.
const OUTPUTS: usize = 32;
/// Replies that wait for the writer.
const REPLIES: usize = 64;

/// A stream that the client opened; already acknowledged.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The stream's id.
    pub(crate) id: u32,
    headers: headers::Headers,
    /// What the client sends.
    pub(crate) reader: ByteReader,
    /// What the client receives.
    pub(crate) writer: ByteWriter,
    /// Comes when the client wants no more of the stream, in either direction.
    pub(crate) reset: oneshot::Receiver<()>,
}

impl Opened {
    /// The value of a header; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A running connection.
pub(crate) struct Connection {
    opened: mpsc::Receiver<Opened>,
    outputs: mpsc::Sender<Output>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Connection {
    /// Starts the tasks on an upgraded connection.
    pub(crate) fn start<I>(io: I) -> Self
    where
        I: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(io);
        let (opened_sender, opened) = mpsc::channel(CHUNKS);
        let (outputs, output_queue) = mpsc::channel(OUTPUTS);
        let (replies, reply_queue) = mpsc::channel(REPLIES);
        let reader = Reader {
            opened: opened_sender,
            outputs: outputs.downgrade(),
            replies,
            room: Room::new(),
            streams: HashMap::new(),
            resets: HashMap::new(),
            decoder: Decoder::new(),
        };
        Self {
            opened,
            outputs,
            reader: tokio::spawn(reader.run(read).boxed()),
            writer: tokio::spawn(write_loop(write, output_queue, reply_queue).boxed()),
        }
    }

    /// The next stream that the client opens, or nothing once it is gone.
    pub(crate) async fn next(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }

    /// Resolves when the client has hung up or broke the protocol.
    pub(crate) async fn closed(&mut self) {
        while self.opened.recv().await.is_some() {}
    }

    /// The client's end of `stream`.
    #[cfg(test)]
    pub(crate) fn writer(&self, stream: u32) -> ByteWriter {
        ByteWriter::new(stream, self.outputs.clone())
    }

    /// Ends the session: closes `streams`, sends what is queued, then waits a little for the client to hang up.
    pub(crate) async fn finish(self, streams: impl IntoIterator<Item = u32>) {
        let Self { opened, outputs, reader, mut writer } = self;
        drop(opened);
        let sending = async {
            for stream in streams {
                // The writer is gone only if the client is.
                let _ = outputs.send(Output::End(stream)).await;
            }
            drop(outputs);
            let _ = (&mut writer).await;
        };
        see_off(sending, reader).await;
        writer.abort();
    }
}

struct Reader {
    opened: mpsc::Sender<Opened>,
    outputs: mpsc::WeakSender<Output>,
    replies: mpsc::Sender<Frame>,
    room: Room,
    streams: HashMap<u32, Inlet>,
    /// Who is told of resets, also of streams whose input has ended.
    resets: HashMap<u32, oneshot::Sender<()>>,
    decoder: Decoder,
}

impl Reader {
    async fn run<I>(mut self, mut io: ReadHalf<I>)
    where
        I: AsyncRead + Send,
    {
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        loop {
            let frame = match frame::parse(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => match io.read_buf(&mut buffer).await {
                    Ok(1..) => continue,
                    Ok(0) | Err(_) => return,
                },
                Err(error) => {
                    tracing::debug!(%error, "a streaming client broke the protocol");
                    return;
                }
            };
            if let Err(error) = self.take(frame).await {
                tracing::debug!(%error, "a streaming connection ends");
                return;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::SynStream { stream, fin, block } => self.open(stream, fin, &block).await,
            Frame::Data { stream, fin, data } => {
                self.data(stream, data).await?;
                if fin {
                    self.streams.remove(&stream);
                }
                Ok(())
            }
            Frame::RstStream { stream } => {
                self.streams.remove(&stream);
                if let Some(reset) = self.resets.remove(&stream) {
                    // Whoever is done with the stream need not be told.
                    let _ = reset.send(());
                }
                Ok(())
            }
            // Even ones are answers to those of this side.
            Frame::Ping { id } if id % 2 == 1 => self.reply(Frame::Ping { id }).await,
            // Skipping a block would lose the shared zlib state.
            Frame::Headers { block } | Frame::SynReply { block, .. } => {
                self.decoder.decode(&block).map(drop).map_err(io::Error::other)
            }
            Frame::Ping { .. } | Frame::GoAway { .. } | Frame::Ignored => Ok(()),
        }
    }

    async fn data(&mut self, stream: u32, data: Bytes) -> io::Result<()> {
        let Some(inlet) = self.streams.get(&stream) else { return Ok(()) };
        let read = beating(inlet.put(&data), &self.outputs).await;
        match read {
            Some(true) => {}
            // The handler stopped reading; what still comes is discarded.
            Some(false) => drop(self.streams.remove(&stream)),
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(())
    }

    async fn open(&mut self, stream: u32, fin: bool, block: &[u8]) -> io::Result<()> {
        let headers = self.decoder.decode(block).map_err(io::Error::other)?;
        let Some(outputs) = self.outputs.upgrade() else { return Ok(()) };
        if self.streams.len().max(self.resets.len()) >= STREAMS {
            // A client need not end what its handler is done with.
            self.streams.retain(|_, inlet| !inlet.is_unread());
            self.resets.retain(|_, reset| !reset.is_closed());
        }
        if self.streams.len() >= STREAMS || self.streams.contains_key(&stream) {
            return self.reply(Frame::RstStream { stream }).await;
        }
        let (inlet, reader) = self.room.stream();
        if !fin {
            self.streams.insert(stream, inlet);
        }
        let (sender, reset) = oneshot::channel();
        self.resets.insert(stream, sender);
        self.reply(Frame::SynReply { stream, block: Bytes::new() }).await?;
        let opened = Opened { id: stream, headers, reader, writer: ByteWriter::new(stream, outputs), reset };
        // A session that has all its streams does not ask for more; they stay open and unused.
        let _ = self.opened.send(opened).await;
        Ok(())
    }

    async fn reply(&self, frame: Frame) -> io::Result<()> {
        self.replies.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Sends replies and output until every output sender is gone, or the connection is.
async fn write_loop<I>(mut io: WriteHalf<I>, mut outputs: mpsc::Receiver<Output>, mut replies: mpsc::Receiver<Frame>)
where
    I: AsyncWrite + Send,
{
    let mut encoder = Encoder::new();
    let mut ended = HashSet::new();
    let mut ping = 0_u32;
    let mut wire = BytesMut::new();
    loop {
        let frame = tokio::select! {
            biased;
            Some(reply) = replies.recv() => match reply {
                Frame::SynReply { stream, .. } => Frame::SynReply { stream, block: encoder.encode(&[]) },
                other => other,
            },
            output = outputs.recv() => match output {
                Some(Output::Data(stream, data)) if !ended.contains(&stream) => Frame::Data { stream, fin: false, data },
                Some(Output::End(stream)) if ended.insert(stream) => Frame::Data { stream, fin: true, data: Bytes::new() },
                Some(Output::Alive) => {
                    ping = ping.wrapping_add(2);
                    Frame::Ping { id: ping }
                }
                Some(_) => continue,
                None => break,
            },
        };
        wire.clear();
        frame::encode(&frame, &mut wire);
        if io.write_all(&wire).await.is_err() || io.flush().await.is_err() {
            return;
        }
    }
    // The client may have hung up first.
    let _ = io.shutdown().await;
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::inlet::READ_AHEAD;
    use crate::pipe::STANDSTILL;

    /// What a client sends that opens streams with these headers, and then says this on them.
    pub(crate) fn sent(streams: &[(u32, &[(&str, &str)])], said: impl IntoIterator<Item = (u32, Bytes)>) -> BytesMut {
        let (mut wire, mut encoder) = (BytesMut::new(), Encoder::new());
        for (stream, headers) in streams {
            let block = encoder.encode(headers);
            frame::encode(&Frame::SynStream { stream: *stream, fin: false, block }, &mut wire);
        }
        for (stream, data) in said {
            frame::encode(&Frame::Data { stream, fin: false, data }, &mut wire);
        }
        wire
    }

    /// What a client sends that ends a stream and then resets it.
    pub(crate) fn ended_and_reset(stream: u32) -> BytesMut {
        let mut wire = BytesMut::new();
        frame::encode(&Frame::Data { stream, fin: true, data: Bytes::new() }, &mut wire);
        frame::encode(&Frame::RstStream { stream }, &mut wire);
        wire
    }

    /// Reads until so many streams have ended, and tells which.
    pub(crate) async fn ended(client: &mut (impl AsyncRead + Unpin), count: usize) -> BTreeSet<u32> {
        let (mut heard, mut ended) = (BytesMut::new(), BTreeSet::new());
        while ended.len() < count {
            match frame::parse(&mut heard).unwrap() {
                Some(Frame::Data { stream, fin: true, .. }) => ended.extend([stream]),
                Some(_) => {}
                None => assert!(client.read_buf(&mut heard).await.unwrap() > 0, "only {ended:?}"),
            }
        }
        ended
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_nobody_reads_any_more_keep_no_place() {
        let (mut client, server) = tokio::io::duplex(1024 * 1024);
        let mut connection = Connection::start(server);
        let headers = [("streamtype", "data")];
        let streams: Vec<_> = (0..=STREAMS as u32).map(|at| (2 * at + 1, headers.as_slice())).collect();
        client.write_all(&sent(&streams, [])).await.unwrap();
        for (stream, _) in streams {
            let opened = tokio::time::timeout(Duration::from_secs(60), connection.next()).await;
            assert_eq!(opened.expect("it is refused").map(|opened| opened.id), Some(stream));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_is_answered_while_input_waits_for_its_reader() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut connection = Connection::start(server);
        let input = std::iter::repeat_n((1, Bytes::from(vec![7; 32 * 1024])), READ_AHEAD / (34 * 1024));
        let mut wire = sent(&[(1, &[("streamtype", "stdin")])], input);
        frame::encode(&Frame::Ping { id: 3 }, &mut wire);
        let asking = async {
            client.write_all(&wire).await.unwrap();
            pinged(&mut client).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), asking).await;
        assert_eq!(answer.expect("nothing is read any more"), 3);
        let unread = connection.next().await.unwrap();
        assert_eq!(unread.header("streamtype"), Some("stdin"));
    }

    /// Waits for the next ping that the client of a connection gets.
    async fn pinged(client: &mut tokio::io::DuplexStream) -> u32 {
        let mut heard = BytesMut::new();
        loop {
            match frame::parse(&mut heard).unwrap() {
                Some(Frame::Ping { id }) => return id,
                Some(_) => {}
                None => assert!(client.read_buf(&mut heard).await.unwrap() > 0),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_while_nothing_is_read_from_it_is_missed() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut connection = Connection::start(server);
        let input = std::iter::repeat_n((1, Bytes::from(vec![7; 32 * 1024])), 2 * READ_AHEAD / (32 * 1024));
        let wire = sent(&[(1, &[("streamtype", "stdin")])], input);
        let filling = client.write_all(&wire);
        tokio::time::timeout(Duration::from_secs(1), filling).await.expect_err("there is always room");
        let _unread = connection.next().await.unwrap();
        assert_eq!(pinged(&mut client).await, 2, "it hears that it is not forgotten");
        drop(client);
        tokio::time::timeout(4 * STANDSTILL, connection.closed()).await.expect("it is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_ping_is_not_answered() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let _connection = Connection::start(server);
        let mut wire = BytesMut::new();
        for id in [2, 5] {
            frame::encode(&Frame::Ping { id }, &mut wire);
        }
        client.write_all(&wire).await.unwrap();
        assert_eq!(pinged(&mut client).await, 5);
    }
}
