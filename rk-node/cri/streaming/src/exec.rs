//! Exec and attach: one command's stdio and its outcome.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::Body;
use crate::inlet::ByteReader;
use crate::negotiate::{Negotiated, Transport, upgraded};
use crate::pipe::ByteWriter;
use crate::status::ExecOutcome;
use crate::{spdy, websocket};

const SPDY_VERSIONS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""];
const WEBSOCKET_VERSIONS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
/// How long a client may take to open all the streams that it announced; upstream's default.
const STREAMS_DEADLINE: Duration = Duration::from_secs(30);
/// Largest terminal-size message that is kept while it is incomplete.
const RESIZE_LIMIT: usize = 1024;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Which streams the session has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants error output; never together with `tty`.
    pub stderr: bool,
    /// The process has a terminal.
    pub tty: bool,
}

/// The streams of a session, as the handler sees them.
#[derive(Debug)]
pub struct ExecStreams {
    /// Input from the client.
    pub stdin: Option<ByteReader>,
    /// Output to the client.
    pub stdout: Option<ByteWriter>,
    /// Error output to the client.
    pub stderr: Option<ByteWriter>,
    /// Terminal sizes, the latest last.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Answers an exec or attach request. After the upgrade `handler` runs with the streams; it is dropped when the client leaves.
pub fn serve_exec<B, F, R>(request: Request<B>, options: ExecOptions, handler: F) -> Response<Body>
where
    F: FnOnce(ExecStreams) -> R + Send + 'static,
    R: Future<Output = ExecOutcome> + Send + 'static,
{
    upgraded(request, (SPDY_VERSIONS, WEBSOCKET_VERSIONS), move |io, agreed| async move {
        run(io, &agreed, options, handler).await;
    })
}

async fn run<F, R>(io: TokioIo<Upgraded>, agreed: &Negotiated, options: ExecOptions, handler: F)
where
    F: FnOnce(ExecStreams) -> R + Send + 'static,
    R: Future<Output = ExecOutcome> + Send + 'static,
{
    match agreed.transport {
        Transport::Spdy => over_spdy(io, &agreed.protocol, options, handler).await,
        Transport::WebSocket => over_websocket(io, &agreed.protocol, options, handler).await,
    }
}

async fn over_spdy<F, R>(io: TokioIo<Upgraded>, protocol: &str, options: ExecOptions, handler: F)
where
    F: FnOnce(ExecStreams) -> R,
    R: Future<Output = ExecOutcome>,
{
    let mut connection = spdy::Connection::start(io);
    let resize = options.tty && matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let wanted = [
        ("error", true),
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr && !options.tty),
        ("resize", resize),
    ];
    let expected = wanted.iter().filter(|(_, wanted)| *wanted).count();
    let mut streams: HashMap<String, spdy::Opened> = HashMap::new();
    let collected = tokio::time::timeout(STREAMS_DEADLINE, async {
        while streams.len() < expected {
            let Some(opened) = connection.next().await else { return };
            match opened.header("streamtype").filter(|name| wanted.contains(&(*name, true))) {
                Some(name) => drop(streams.insert(name.to_owned(), opened)),
                None => tracing::debug!(stream = opened.id, "a client opened a stream that it did not announce"),
            }
        }
    });
    if collected.await.is_err() || streams.len() < expected {
        tracing::debug!(expected, got = streams.len(), "a client did not open all its streams");
        drop(streams);
        return connection.finish([]).await;
    }
    let ids: Vec<u32> = streams.values().map(|opened| opened.id).collect();
    let mut take = |name: &str| streams.remove(name);
    let error = take("error").map(|opened| opened.writer);
    let streams = ExecStreams {
        stdin: take("stdin").map(|opened| opened.reader),
        stdout: take("stdout").map(|opened| opened.writer),
        stderr: take("stderr").map(|opened| opened.writer),
        resize: take("resize").map(|opened| sizes(opened.reader)),
    };
    let outcome = tokio::select! {
        outcome = handler(streams) => outcome,
        () = connection.closed() => return,
    };
    if let Some(error) = error {
        tokio::select! {
            biased;
            () = tell(error, &outcome, protocol) => {}
            () = connection.closed() => {}
        }
    }
    connection.finish(ids).await;
}

async fn over_websocket<F, R>(io: TokioIo<Upgraded>, protocol: &str, options: ExecOptions, handler: F)
where
    F: FnOnce(ExecStreams) -> R,
    R: Future<Output = ExecOutcome>,
{
    let encoding = websocket::Encoding::of(protocol);
    let (mut connection, mut readers) = websocket::Connection::start(io, encoding, &[STDIN, RESIZE]).await;
    // Upstream tells a waiting client so that the session is up, on the lowest channel that the client reads.
    connection.announce(if options.stdout { STDOUT } else { STDERR }, Bytes::new()).await;
    let streams = ExecStreams {
        stdin: readers.remove(&STDIN).filter(|_| options.stdin),
        stdout: options.stdout.then(|| connection.writer(STDOUT)),
        stderr: (options.stderr && !options.tty).then(|| connection.writer(STDERR)),
        resize: readers.remove(&RESIZE).filter(|_| options.tty).map(sizes),
    };
    let error = connection.writer(ERROR);
    let outcome = tokio::select! {
        outcome = handler(streams) => outcome,
        () = connection.closed() => return,
    };
    tokio::select! {
        biased;
        () = tell(error, &outcome, protocol) => {}
        () = connection.closed() => {}
    }
    connection.finish().await;
}

/// Tells a client how its command ended, once it has taken the output before that.
async fn tell(mut error: ByteWriter, outcome: &ExecOutcome, protocol: &str) {
    // A client that left cannot be told.
    let _ = error.write_all(&outcome.encode(protocol)).await;
}

/// Turns the resize stream's JSON values into sizes.
fn sizes(mut reader: ByteReader) -> mpsc::Receiver<TerminalSize> {
    let (sender, receiver) = mpsc::channel(4);
    let task = async move {
        let mut text = Vec::new();
        while matches!(reader.read_buf(&mut text).await, Ok(1..)) {
            let (parsed, used) = parse_sizes(&text);
            text.drain(..used);
            for size in parsed {
                if sender.send(size).await.is_err() {
                    return;
                }
            }
            if text.len() > RESIZE_LIMIT {
                return;
            }
        }
    };
    tokio::spawn(task.boxed());
    receiver
}

/// All complete sizes at the start of `text`, and how many bytes they took.
fn parse_sizes(text: &[u8]) -> (Vec<TerminalSize>, usize) {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde_json::Value>();
    let mut sizes = Vec::new();
    let mut used = 0;
    while let Some(Ok(value)) = values.next() {
        used = values.byte_offset();
        let side =
            |name: &str| value.get(name).and_then(serde_json::Value::as_u64).and_then(|side| u16::try_from(side).ok());
        if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
            sizes.push(TerminalSize { width, height });
        }
    }
    (sizes, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_arrive_in_pieces() {
        let size = TerminalSize { width: 80, height: 24 };
        assert_eq!(parse_sizes(br#"{"Width":80,"Height":24}"#), (vec![size], 24));
        let (parsed, used) = parse_sizes(b"{\"Width\":80,\"Height\":24}\n{\"Wid");
        assert_eq!((parsed, used), (vec![size], 24));
        assert_eq!(parse_sizes(br#"{"Width":-1,"Height":24}"#).0, []);
    }
}
