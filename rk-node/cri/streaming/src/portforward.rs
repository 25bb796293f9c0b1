//! Port-forward: pairs of data and error streams, one pair for each forwarded connection.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::Body;
use crate::inlet::ByteReader;
use crate::negotiate::{Negotiated, Transport, upgraded};
use crate::pipe::ByteWriter;
use crate::{spdy, websocket};

const SPDY_VERSIONS: &[&str] = &["portforward.k8s.io"];
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const WEBSOCKET_VERSIONS: &[&str] = &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// Connections that one client may forward at a time.
const CONNECTIONS: usize = 1024;
/// How long half of a pair may wait for the other half.
const PAIR_DEADLINE: Duration = Duration::from_secs(30);
/// How long a pod that has ended its side is still sent what its client says.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection into the pod.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Opens a connection to a port inside the pod. The error's text reaches the user.
pub type Connect = Arc<dyn Fn(u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> + Send + Sync>;

/// Answers a port-forward request. `ports` matter only to the old WebSocket protocol, whose channels they number.
pub fn serve_port_forward<B>(request: Request<B>, ports: Vec<u16>, connect: Connect) -> Response<Body> {
    upgraded(request, (SPDY_VERSIONS, WEBSOCKET_VERSIONS), move |io, agreed| async move {
        run(io, &agreed, &ports, connect).await;
    })
}

async fn run(io: TokioIo<Upgraded>, agreed: &Negotiated, ports: &[u16], connect: Connect) {
    match agreed.transport {
        Transport::Spdy => over_spdy(spdy::Connection::start(io), connect).await,
        Transport::WebSocket if agreed.protocol == TUNNEL => {
            let inner = websocket::tunnel(io).await;
            over_spdy(spdy::Connection::start(inner), connect).await;
        }
        Transport::WebSocket => over_channels(io, &agreed.protocol, ports, connect).await,
    }
}

/// The half of a pair that came first.
struct Half {
    opened: spdy::Opened,
    since: tokio::time::Instant,
}

async fn over_spdy(mut connection: spdy::Connection, connect: Connect) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let opened = tokio::select! {
            opened = connection.next() => opened,
            // Reaps what has ended, so that the set stays as small as what is open.
            Some(_) = forwards.join_next() => continue,
        };
        let Some(opened) = opened else { break };
        halves.retain(|_, half| half.since.elapsed() < PAIR_DEADLINE);
        let key = pair_key(&opened);
        match halves.remove(&key) {
            None if halves.len() < CONNECTIONS => {
                halves.insert(key, Half { opened, since: tokio::time::Instant::now() });
            }
            Some(half) if forwards.len() < CONNECTIONS => {
                forwards.spawn(forward_pair(half.opened, opened, Arc::clone(&connect)).boxed());
            }
            _ => tracing::warn!("a port-forward client has too many connections; one was refused"),
        }
    }
    // Dropping the set ends what is still open: the client is gone.
}

/// What names the pair that a stream belongs to: the request id, or in old clients the order of streams.
fn pair_key(opened: &spdy::Opened) -> String {
    match opened.header("requestid") {
        Some(id) => id.to_owned(),
        None if opened.header("streamtype") == Some("error") => opened.id.to_string(),
        None => opened.id.saturating_sub(2).to_string(),
    }
}

async fn forward_pair(first: spdy::Opened, second: spdy::Opened, connect: Connect) {
    let (data, error) = match first.header("streamtype") {
        Some("data") => (first, second),
        _ => (second, first),
    };
    let port = data.header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let mut error_writer = error.writer;
    // Errors go one way.
    drop(error.reader);
    let outcome = match port {
        Some(port) => tokio::select! {
            outcome = forward(data.reader, data.writer, port, connect) => outcome,
            // Who resets the stream waits for nothing of it.
            Ok(()) = data.reset => Ok(()),
        },
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the port header is missing or not a port")),
    };
    report(&mut error_writer, outcome).await;
}

/// Tells the client of a failure on the error stream, and ends that stream either way.
async fn report(error: &mut ByteWriter, outcome: io::Result<()>) {
    // A client that left cannot be told.
    if let Err(failure) = outcome {
        let _ = error.write_all(failure.to_string().as_bytes()).await;
    }
    let _ = error.shutdown().await;
}

/// Copies both ways until the pod has ended its side: a client need not end its own for the stream to be over.
async fn forward(reader: ByteReader, mut writer: ByteWriter, port: u16, connect: Connect) -> io::Result<()> {
    let outcome = match connect(port).await {
        Ok(connection) => {
            let (mut from_pod, to_pod) = tokio::io::split(connection);
            let upload = upload(reader, to_pod);
            let download = async {
                tokio::io::copy(&mut from_pod, &mut writer).await?;
                writer.shutdown().await
            };
            tokio::pin!(upload, download);
            let downloaded = tokio::select! {
                downloaded = &mut download => {
                    let _ = tokio::time::timeout(LAST_WORDS, upload).await;
                    downloaded
                }
                _ = &mut upload => download.await,
            };
            // A pod that resets its connection has ended it: the client sees the stream end, as with a plain socket.
            downloaded.or(Ok(()))
        }
        Err(error) => Err(error),
    };
    let _ = writer.shutdown().await;
    outcome
}

/// Passes on what the client says. What cannot be passed on is not held, either: other connections have the same room.
async fn upload(mut reader: ByteReader, mut to_pod: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut reader, &mut to_pod).await?;
    to_pod.shutdown().await
}

async fn over_channels<I>(io: I, protocol: &str, ports: &[u16], connect: Connect)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Channel numbers are bytes and each port takes two.
    let ports = &ports[..ports.len().min(100)];
    let channels: Vec<u8> = (0..ports.len() as u8 * 2).collect();
    let encoding = websocket::Encoding::of(protocol);
    // Errors go one way.
    let inputs: Vec<u8> = channels.iter().copied().step_by(2).collect();
    let (mut connection, mut readers) = websocket::Connection::start(io, encoding, &inputs).await;
    let mut forwards = JoinSet::new();
    for (port, pair) in ports.iter().zip(channels.chunks_exact(2)) {
        let &[data, error] = pair else { continue };
        let announcement = Bytes::copy_from_slice(&port.to_le_bytes());
        connection.announce(data, announcement.clone()).await;
        connection.announce(error, announcement).await;
        let Some(reader) = readers.remove(&data) else { continue };
        let (writer, mut error_writer) = (connection.writer(data), connection.writer(error));
        let (port, connect) = (*port, Arc::clone(&connect));
        let task = async move {
            let outcome = forward(reader, writer, port, connect).await;
            report(&mut error_writer, outcome).await;
        };
        forwards.spawn(task.boxed());
    }
    tokio::select! {
        () = connection.closed() => {}
        () = async { while forwards.join_next().await.is_some() {} } => {}
    }
    drop(forwards);
    connection.finish().await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use futures::SinkExt as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::mpsc;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::inlet::{READ_AHEAD, Room};

    /// Connects once, to this.
    fn to(pod: impl Duplex + 'static) -> Connect {
        let pod = Mutex::new(Some(Box::new(pod) as Box<dyn Duplex>));
        Arc::new(move |_: u16| {
            let pod = pod.lock().unwrap().take().ok_or_else(|| io::Error::other("only once"));
            async move { pod }.boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pod_does_not_take_is_not_held_while_it_sends() {
        let (inlet, reader) = Room::new().stream();
        let (outputs, _queue) = mpsc::channel(1);
        let ((from_pod, _silent), (to_pod, closed)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        drop(closed);
        let pod = to(tokio::io::join(from_pod, to_pod));
        tokio::spawn(forward(reader, ByteWriter::new(0, outputs), 80, pod));
        let sending = async { while inlet.put(&[7; 1024]).await {} };
        tokio::time::timeout(Duration::from_secs(60), sending).await.expect("it is held");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_ends_its_side_ends_both_streams_though_its_client_says_no_word() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (near, pod) = tokio::io::duplex(64);
        drop(pod);
        tokio::spawn(over_spdy(spdy::Connection::start(server), to(near)));
        let error = [("streamtype", "error"), ("port", "80"), ("requestid", "0")];
        let data = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        client.write_all(&spdy::tests::sent(&[(1, &error), (3, &data)], [])).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), spdy::tests::ended(&mut client, 2)).await;
        assert_eq!(ended.expect("it goes on"), BTreeSet::from([1, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_goes_on_is_left_once_its_client_resets_the_stream() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (near, mut pod) = tokio::io::duplex(64);
        tokio::spawn(over_spdy(spdy::Connection::start(server), to(near)));
        let error = [("streamtype", "error"), ("port", "80"), ("requestid", "0")];
        let data = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        let wire = spdy::tests::sent(&[(1, &error), (3, &data)], [(3, Bytes::from_static(b"hi"))]);
        client.write_all(&wire).await.unwrap();
        pod.read_exact(&mut [0; 2]).await.unwrap();
        client.write_all(&spdy::tests::ended_and_reset(3)).await.unwrap();
        let left = async { while pod.write_all(&[7; 1024]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), left).await.expect("it is listened to");
        let ended = tokio::time::timeout(Duration::from_secs(60), spdy::tests::ended(&mut client, 1)).await;
        assert_eq!(ended.expect("nothing tells of errors"), BTreeSet::from([1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_has_ended_its_side_hears_what_its_client_says_soon() {
        let (client, reader) = Room::new().stream();
        let (outputs, _queue) = mpsc::channel(8);
        let (near, mut pod) = tokio::io::duplex(64);
        pod.shutdown().await.unwrap();
        let forwarding = tokio::spawn(forward(reader, ByteWriter::new(0, outputs), 80, to(near)));
        // Of a clock that stands still until nobody has anything to do.
        tokio::time::sleep(LAST_WORDS / 2).await;
        assert!(client.put(b"bye").await, "it is over already");
        drop(client);
        let mut heard = Vec::new();
        pod.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"bye");
        assert!(forwarding.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_on_a_stream_of_errors_keeps_no_other_waiting() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (near, mut pod) = tokio::io::duplex(64);
        tokio::spawn(over_spdy(spdy::Connection::start(server), to(near)));
        let error = [("streamtype", "error"), ("port", "80"), ("requestid", "0")];
        let data = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        let vain = std::iter::repeat_n((1, Bytes::from(vec![1; 32 * 1024])), 2 * READ_AHEAD / (32 * 1024));
        let wire = spdy::tests::sent(&[(1, &error), (3, &data)], vain.chain([(3, Bytes::from_static(b"hi"))]));
        let asking = async {
            client.write_all(&wire).await.unwrap();
            let mut heard = [0; 2];
            pod.read_exact(&mut heard).await.unwrap();
            heard
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), asking).await;
        assert_eq!(heard.expect("nothing is read any more"), *b"hi");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_on_a_channel_of_errors_keeps_no_other_waiting() {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (near, mut pod) = tokio::io::duplex(64);
        tokio::spawn(over_channels(server, "v4.channel.k8s.io", &[80], to(near)));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let asking = async {
            for _ in 0..2 * READ_AHEAD / (32 * 1024) {
                client.send(Message::Binary(vec![1; 32 * 1024].into())).await.unwrap();
            }
            client.send(Message::Binary(Bytes::from_static(b"\0hi"))).await.unwrap();
            let mut heard = [0; 2];
            pod.read_exact(&mut heard).await.unwrap();
            heard
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), asking).await;
        assert_eq!(heard.expect("nothing is read any more"), *b"hi");
    }
}
