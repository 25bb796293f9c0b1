//! WebSocket messages as channels: the first byte (or, in the base64 forms, digit) of each message names its channel.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::inlet::{ByteReader, Inlet, Room};
use crate::pipe::{ByteWriter, CHUNKS, Output, beating, see_off};

/// Largest message that is accepted; kubectl sends at most 32 KiB of stdin at a time.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;
/// In version 5, a message on this channel names a channel that the client has closed.
const CLOSE_CHANNEL: u8 = 255;

/// How messages carry bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Binary,
    Base64,
}

impl Encoding {
    /// The encoding that a protocol's name implies.
    pub(crate) fn of(protocol: &str) -> Self {
        if protocol.contains("base64") { Self::Base64 } else { Self::Binary }
    }

    fn decode(self, message: &Message) -> Option<(u8, Cow<'_, [u8]>)> {
        let raw: &[u8] = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.as_bytes(),
            _ => return None,
        };
        let (channel, data) = raw.split_first()?;
        match self {
            Self::Binary => Some((*channel, Cow::Borrowed(data))),
            Self::Base64 => Some((channel.checked_sub(b'0')?, Cow::Owned(STANDARD.decode(data).ok()?))),
        }
    }

    fn encode(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = BytesMut::with_capacity(1 + data.len());
                message.put_u8(channel);
                message.put_slice(data);
                Message::Binary(message.freeze())
            }
            Self::Base64 => Message::Text(format!("{channel}{}", STANDARD.encode(data)).into()),
        }
    }
}

/// A running connection with a fixed set of channels.
pub(crate) struct Connection {
    outputs: mpsc::Sender<Output>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// Turns an upgraded connection into a message stream.
pub(crate) async fn accept<I>(io: I) -> WebSocketStream<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

impl Connection {
    /// Starts the tasks. `inputs` are the channels that the client may write to.
    pub(crate) async fn start<I>(io: I, encoding: Encoding, inputs: &[u8]) -> (Self, HashMap<u8, ByteReader>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sink, source) = accept(io).await.split();
        let room = Room::new();
        let mut inlets = HashMap::new();
        let mut readers = HashMap::new();
        for channel in inputs {
            let (inlet, reader) = room.stream();
            inlets.insert(*channel, inlet);
            readers.insert(*channel, reader);
        }
        let (outputs, queue) = mpsc::channel(2 * CHUNKS);
        let reader = tokio::spawn(read_loop(source, encoding, inlets, outputs.downgrade()).boxed());
        let connection = Self { outputs, reader, writer: tokio::spawn(write_loop(sink, encoding, queue).boxed()) };
        (connection, readers)
    }

    /// The client's end of `channel`.
    pub(crate) fn writer(&self, channel: u8) -> ByteWriter {
        ByteWriter::new(u32::from(channel), self.outputs.clone())
    }

    /// Sends one message that may be empty, which a [`ByteWriter`] cannot.
    pub(crate) async fn announce(&self, channel: u8, data: Bytes) {
        // The writer is gone only if the client is.
        let _ = self.outputs.send(Output::Data(u32::from(channel), data)).await;
    }

    /// Resolves when the client has hung up or broke the protocol.
    pub(crate) async fn closed(&mut self) {
        let _ = (&mut self.reader).await;
    }

    /// Sends what is queued and the close message, then waits a little for the client to hang up.
    pub(crate) async fn finish(self) {
        let Self { outputs, reader, mut writer } = self;
        drop(outputs);
        see_off(async { drop((&mut writer).await) }, reader).await;
        writer.abort();
    }
}

async fn read_loop<I>(
    mut source: SplitStream<WebSocketStream<I>>,
    encoding: Encoding,
    mut channels: HashMap<u8, Inlet>,
    outputs: mpsc::WeakSender<Output>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(Ok(message)) = source.next().await {
        let Some((channel, data)) = encoding.decode(&message) else { continue };
        if channel == CLOSE_CHANNEL {
            if let Some(closed) = data.first() {
                channels.remove(closed);
            }
            continue;
        }
        let Some(inlet) = channels.get(&channel) else { continue };
        let read = beating(inlet.put(&data), &outputs).await;
        match read {
            Some(true) => {}
            // The handler stopped reading; what still comes is discarded.
            Some(false) => drop(channels.remove(&channel)),
            None => return,
        }
    }
}

async fn write_loop<I>(
    mut sink: SplitSink<WebSocketStream<I>, Message>,
    encoding: Encoding,
    mut outputs: mpsc::Receiver<Output>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(output) = outputs.recv().await {
        let message = match output {
            Output::Data(stream, data) => encoding.encode(u8::try_from(stream).unwrap_or(CLOSE_CHANNEL), &data),
            // A pong that nobody asked for (RFC 6455, 5.5.3).
            Output::Alive => Message::Pong(Bytes::new()),
            // Channels have no end of their own towards the client: the close message ends them all.
            Output::End(_) => continue,
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // The client may have hung up first.
    let _ = sink.send(goodbye()).await;
    let _ = sink.close().await;
}

/// A client takes an end without this code for a failure, and loses the session's status over it.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// Carries a raw byte stream (SPDY) inside binary messages, as port-forward tunnels do (KEP-4006).
pub(crate) async fn tunnel<I>(io: I) -> DuplexStream
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inner, outer) = tokio::io::duplex(64 * 1024);
    let (mut sink, mut source) = accept(io).await.split();
    let (mut from_inner, mut to_inner) = tokio::io::split(outer);
    let input = async move {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(data) = message else { continue };
            if to_inner.write_all(&data).await.is_err() {
                return Ok(());
            }
        }
        let _ = to_inner.shutdown().await;
        Ok::<_, Error>(())
    };
    let output = async move {
        let mut data = BytesMut::with_capacity(32 * 1024);
        while let Ok(1..) = from_inner.read_buf(&mut data).await {
            sink.send(Message::Binary(data.split().freeze())).await?;
            data.reserve(32 * 1024);
        }
        let _ = sink.send(goodbye()).await;
        let _ = sink.close().await;
        Ok::<_, Error>(())
    };
    // A client that has gone ends both ways: nobody may read what it said last.
    tokio::spawn(async move { tokio::try_join!(input, output) }.boxed());
    inner
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inlet::READ_AHEAD;
    use crate::pipe::STANDSTILL;

    #[test]
    fn messages_name_their_channel_in_both_encodings() {
        for (encoding, wire) in [
            (Encoding::Binary, Message::Binary(Bytes::from_static(b"\x01hi"))),
            (Encoding::Base64, Message::Text("1aGk=".into())),
        ] {
            assert_eq!(encoding.encode(1, b"hi"), wire);
            assert_eq!(encoding.decode(&wire), Some((1, Cow::Borrowed(&b"hi"[..]))));
        }
        assert_eq!(Encoding::Base64.decode(&Message::Text("1***".into())), None);
        assert_eq!(Encoding::Binary.decode(&Message::Binary(Bytes::new())), None);
    }

    /// A client with a session of which nobody reads the input.
    async fn stalled() -> (WebSocketStream<DuplexStream>, Connection, ByteReader) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (connection, mut readers) = Connection::start(server, Encoding::Binary, &[0]).await;
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, connection, readers.remove(&0).unwrap())
    }

    /// One message on channel 0.
    fn input() -> Message {
        Message::Binary(Bytes::from(vec![0; 32 * 1024]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_is_answered_while_input_waits_for_its_reader() {
        let (mut client, _connection, _unread) = stalled().await;
        let asked = Message::Ping(Bytes::from_static(b"there?"));
        let asking = async {
            for message in std::iter::repeat_with(input).take(READ_AHEAD / (34 * 1024)).chain([asked]) {
                client.send(message).await.unwrap();
            }
            client.next().await.unwrap().unwrap()
        };
        let answer = tokio::time::timeout(STANDSTILL, asking).await.expect("nothing is read any more");
        assert_eq!(answer, Message::Pong(Bytes::from_static(b"there?")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_hears_that_it_is_not_forgotten_while_nothing_is_read_from_it() {
        let (client, _connection, mut reader) = stalled().await;
        let (mut sink, mut source) = client.split();
        let messages = 2 * READ_AHEAD / (32 * 1024);
        let sending = tokio::spawn(async move {
            for message in std::iter::repeat_with(input).take(messages) {
                sink.send(message).await.unwrap();
            }
            sink
        });
        for _ in 0..3 {
            assert_eq!(source.next().await.unwrap().unwrap(), Message::Pong(Bytes::new()));
        }
        assert!(!sending.is_finished());
        let mut all = vec![0; messages * (32 * 1024 - 1)];
        reader.read_exact(&mut all).await.unwrap();
        drop(sending.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_while_nothing_is_read_from_it_is_missed() {
        let (mut client, mut connection, _unread) = stalled().await;
        let filling = async { while client.send(input()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(1), filling).await.expect_err("there is always room");
        drop(client);
        tokio::time::timeout(4 * STANDSTILL, connection.closed()).await.expect("it is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_its_client_though_nobody_reads_what_that_said_last() {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let mut inner = tunnel(server).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let filling = async { while client.send(input()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(1), filling).await.expect_err("there is always room");
        drop(client);
        let telling = async { while inner.write_all(&[7; 32 * 1024]).await.is_ok() {} };
        tokio::time::timeout(STANDSTILL, telling).await.expect("it is waited for");
    }
}
