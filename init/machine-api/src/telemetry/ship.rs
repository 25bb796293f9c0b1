//! Sending the machine's logs to a receiver. Nothing waits for it: the files and the kernel's buffer keep what it has not taken,
//! within their own bounds, and it is tried again with growing pauses.

use super::record::{Origin, encode};
use super::source::Sources;
use crate::facts::line;
use crate::log;
use crate::node::http::resolve;
use jiff::Timestamp;
use rk_config::{LogFormat, LogTarget};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

const FOLDER: &str = "/var/log/rk";
/// Bytes of lines that are on their way at once.
const BATCH: usize = 64 << 10;
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Sends for ever.
pub async fn ship(target: LogTarget) {
    let mut sources = Sources::new(Path::new(FOLDER));
    run(&target, &mut sources, PAUSE).await;
}

enum Wire {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

async fn run(target: &LogTarget, sources: &mut Sources, pauses: (Duration, Duration)) {
    let (mut pause, mut waiting, mut healthy) = (pauses.0, Vec::new(), true);
    loop {
        let failure = match connect(&target.url).await {
            Ok(mut wire) => {
                if !healthy {
                    log::info(format_args!("logs go to {} again", target.url));
                }
                (pause, healthy) = (pauses.0, true);
                pump(target.format, &mut wire, sources, &mut waiting).await
            }
            Err(err) => err,
        };
        if healthy {
            log::warn(format_args!("sending logs to {}: {failure}; trying again", target.url));
            healthy = false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pauses.1);
    }
}

async fn connect(url: &str) -> io::Result<Wire> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "no tcp:// or udp:// with host and port");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = resolve(host).await.map_err(io::Error::other)?;
    let address = SocketAddr::new(address, port.parse().map_err(|_| wrong())?);
    match scheme {
        "tcp" => {
            let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
            Ok(Wire::Stream(connected.map_err(|_| io::ErrorKind::TimedOut)??))
        }
        _ => {
            let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(Wire::Datagrams(socket))
        }
    }
}

/// Sends until something fails. What was not sent for sure stays in `waiting` and goes first over the next connection, so that a
/// receiver may see a line twice.
async fn pump(format: LogFormat, wire: &mut Wire, sources: &mut Sources, waiting: &mut Vec<Vec<u8>>) -> io::Error {
    let framed = matches!(wire, Wire::Stream(_));
    loop {
        if waiting.is_empty() {
            let host = line("/proc/sys/kernel/hostname");
            let now = Timestamp::now();
            waiting.extend(
                sources
                    .read(BATCH)
                    .into_iter()
                    .map(|(service, line)| encode(format, framed, now, &Origin { host: host.clone(), service }, &line)),
            );
        }
        let sent = match tokio::time::timeout(PATIENCE, send(wire, waiting)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(err) = sent {
            return err;
        }
        if waiting.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        waiting.clear();
    }
}

async fn send(wire: &mut Wire, messages: &[Vec<u8>]) -> io::Result<()> {
    match wire {
        Wire::Stream(stream) => {
            // A receiver that hung up is noticed before lines are given to it.
            let mut byte = [0; 64];
            match stream.try_read(&mut byte) {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(err) if err.kind() != io::ErrorKind::WouldBlock => return Err(err),
                _ => {}
            }
            stream.write_all(&messages.concat()).await?;
            stream.flush().await
        }
        Wire::Datagrams(socket) => {
            for message in messages {
                // Nobody knows whether a datagram arrives; that nobody listens is told now and then.
                let _ = socket.send(message).await;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::super::record::MOST_DATAGRAM;
    use super::*;
    use tokio::io::AsyncReadExt;

    const QUICK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bounded = async { tokio::time::timeout(Duration::from_secs(120), work).await };
        runtime.block_on(bounded).expect("nothing came in two minutes")
    }

    #[test]
    fn lines_wait_for_a_receiver_that_is_away_and_go_on_with_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node.log"), "first\n").unwrap();
        block_on(async {
            let held = hold("127.0.0.1:0".parse().unwrap());
            let address = held.local_addr().unwrap();
            let next = hold(address);
            let target = LogTarget { url: format!("tcp://{address}"), format: LogFormat::Json };
            let folder = dir.path().to_owned();
            tokio::spawn(async move {
                let mut sources = Sources::only(&folder);
                run(&target, &mut sources, QUICK).await;
            });
            // Nobody listens for some tries.
            tokio::time::sleep(Duration::from_millis(30)).await;
            for (held, wanted) in [(held, "\"first\""), (next, "\"second\"")] {
                let listener = held.listen(8).unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                while !text.contains(wanted) {
                    let mut buffer = [0; 4096];
                    let size = stream.read(&mut buffer).await.unwrap();
                    assert_ne!(size, 0, "it hung up after {text}");
                    text.push_str(&String::from_utf8_lossy(&buffer[..size]));
                }
                drop((stream, listener));
                std::fs::write(dir.path().join("netd.log"), "second\n").unwrap();
            }
        });
    }

    #[test]
    fn datagrams_are_messages_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node.log"), "WARN one\ntwo\n").unwrap();
        block_on(async {
            let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let url = format!("udp://{}", receiver.local_addr().unwrap());
            let target = LogTarget { url, format: LogFormat::Syslog };
            let folder = dir.path().to_owned();
            tokio::spawn(async move {
                let mut sources = Sources::only(&folder);
                run(&target, &mut sources, QUICK).await;
            });
            for (start, end) in [("<28>1 ", " node - - - WARN one"), ("<30>1 ", " node - - - two")] {
                let mut buffer = [0; MOST_DATAGRAM];
                let size = receiver.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8_lossy(&buffer[..size]);
                assert!(text.starts_with(start) && text.ends_with(end), "{text}");
            }
        });
    }
}
