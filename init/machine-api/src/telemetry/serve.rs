//! The port on which figures are served: `GET /metrics`, one answer per connection, to anyone who reaches it.

use super::figures::{Sources, file_systems, page, pulls};
use crate::log;
use crate::node::Pid1;
use futures::FutureExt as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Scrapers come one by one; the rest waits in the listener's queue.
const AT_ONCE: usize = 8;
/// A request's line and headers.
const MOST_REQUEST: u64 = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
const BIND_AGAIN: Duration = Duration::from_secs(10);

/// Serves for ever. An address that is not there yet is waited for.
pub async fn serve(bind: SocketAddr, pid1: Arc<Pid1>) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(bind).await {
            Ok(listener) => break listener,
            Err(err) if !told => log::warn(format_args!("metrics: listening on {bind}: {err}; trying again")),
            Err(_) => {}
        }
        told = true;
        tokio::time::sleep(BIND_AGAIN).await;
    };
    log::info(format_args!("metrics on {bind}"));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: some will be given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let pid1 = Arc::clone(&pid1);
        let task = async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &pid1)).await;
            drop(turn);
        };
        tokio::spawn(task.boxed());
    }
}

async fn answer(mut stream: TcpStream, pid1: &Pid1) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let path = asked(reader).await?;
    let (status, body) = match path.as_deref() {
        Some("/metrics") => {
            // Figures of the kernel are worth telling without PID 1's.
            let status = pid1.status().await.unwrap_or_default();
            // So they are without the node agent's.
            let of_pulls = crate::pulls::look(Path::new(rk_config::PULLS_SOCKET)).await;
            let of_pulls = of_pulls.map(|now| pulls(&now)).unwrap_or_default();
            ("200 OK", page(&Sources::read(), &status) + &file_systems() + &of_pulls)
        }
        Some(_) => ("404 Not Found", "figures are at /metrics\n".to_owned()),
        None => ("400 Bad Request", "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes()).await?;
    writer.write_all(body.as_bytes()).await?;
    writer.shutdown().await
}

/// The path of a GET, after all of its headers; `None` when it is something else.
async fn asked(reader: impl tokio::io::AsyncRead + Unpin) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(reader.take(MOST_REQUEST));
    let (mut first, mut row) = (Vec::new(), Vec::new());
    reader.read_until(b'\n', &mut first).await?;
    loop {
        row.clear();
        if reader.read_until(b'\n', &mut row).await? == 0 || row == b"\r\n" || row == b"\n" {
            break;
        }
    }
    let first = String::from_utf8_lossy(&first);
    let mut words = first.split_whitespace();
    let path = words.next().filter(|word| *word == "GET").and_then(|_| words.next());
    Ok(path.map(|path| path.split('?').next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn only_a_get_has_a_path_and_a_flood_of_headers_ends() {
        let table: [(&[u8], Option<&str>); 4] = [
            (b"GET /metrics?x HTTP/1.1\r\nhost: a\r\n\r\n", Some("/metrics")),
            (b"GET / HTTP/1.0\n\n", Some("/")),
            (b"POST /metrics HTTP/1.1\r\n\r\n", None),
            (b"\xff\xff\r\n", None),
        ];
        for (request, path) in table {
            assert_eq!(runtime().block_on(asked(request)).unwrap().as_deref(), path);
        }
        let flood = "GET / HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(100_000);
        assert_eq!(runtime().block_on(asked(flood.as_bytes())).unwrap().as_deref(), Some("/"));
    }

    #[test]
    fn figures_are_served_without_pid_1_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let pid1 = Arc::new(Pid1::at(&dir.path().join("none")));
        runtime().block_on(async {
            let held = super::super::hold("127.0.0.1:0".parse().unwrap());
            let free = held.local_addr().unwrap();
            tokio::spawn(serve(free, pid1));
            let connected = async {
                loop {
                    match TcpStream::connect(free).await {
                        Ok(stream) => break stream,
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            };
            let mut stream = tokio::time::timeout(Duration::from_secs(60), connected).await.expect("it listens");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\nnode_load1 "), "{text}");
        });
    }
}
