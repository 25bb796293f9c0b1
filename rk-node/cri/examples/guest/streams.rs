//! Streaming sessions as kubectl has them: WebSocket, one binary message per chunk, its first byte the channel.

use std::path::PathBuf;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rk_cri_api::v1::*;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::client::{Cri, Pod};
use crate::{Result, must};

struct Session {
    socket: WebSocketStream<TcpStream>,
    /// What came so far on channels 0 to 3.
    got: [String; 4],
}

impl Session {
    async fn open(url: &str, protocol: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").and_then(|u| u.split('/').next()).ok_or("not a URL")?;
        let stream = TcpStream::connect(address).await?;
        let mut request = url.replacen("http://", "ws://", 1).into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse()?);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { socket, got: Default::default() })
    }

    async fn send(&mut self, channel: u8, text: &[u8]) -> Result<()> {
        let message = [&[channel], text].concat();
        Ok(self.socket.send(Message::Binary(Bytes::from(message))).await?)
    }

    /// Reads until `done` says so or the server closes.
    async fn read_until(&mut self, done: impl Fn(&[String; 4]) -> bool) -> Result<()> {
        while !done(&self.got) {
            let next = tokio::time::timeout(Duration::from_secs(20), self.socket.next()).await;
            match next.map_err(|_| format!("nothing more came after {:?}", self.got))? {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some((channel, text)) = bytes.split_first()
                        && let Some(got) = self.got.get_mut(usize::from(*channel))
                    {
                        got.push_str(&String::from_utf8_lossy(text));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            }
        }
        Ok(())
    }
}

const V5: &str = "v5.channel.k8s.io";

/// Files and sockets where an exec in a container makes some.
fn files(pod: &Pod, container: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from("/run/rk/sandboxes").join(&pod.id);
    let places = [dir.join("containers").join(container), dir.join("execs"), dir];
    let entries = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    paths
}

pub async fn run(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "streams", "while read line; do echo \"said $line\"; done; echo bye; sleep 1", |c| {
        c.stdin = true;
        c.stdin_once = true;
    });
    let id = id.await?;
    let exec = |cmd: &str, tty: bool| ExecRequest {
        container_id: id.clone(),
        cmd: ["/bin/sh", "-c", cmd].map(str::to_owned).to_vec(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
        ..Default::default()
    };
    let before = files(&pod, &id);
    let url = cri.runtime.exec(exec("cat; echo done >&2; exit 6", false)).await?.into_inner().url;
    let mut session = Session::open(&url, V5).await?;
    session.send(0, b"hello").await?;
    session.send(255, &[0]).await?;
    session.read_until(|got| !got[3].is_empty()).await?;
    must!(session.got[1] == "hello" && session.got[2] == "done\n", "{:?}", session.got);
    must!(session.got[3].contains("NonZeroExitCode") && session.got[3].contains("\"6\""), "{:?}", session.got);
    must!(Session::open(&url, V5).await.is_err(), "a URL worked twice");

    let url = cri.runtime.exec(exec("tty; read a; stty size; echo \"got $a\"", true)).await?.into_inner().url;
    let mut session = Session::open(&url, V5).await?;
    session.send(4, br#"{"Width":100,"Height":30}"#).await?;
    session.read_until(|got| got[1].contains("/dev/pts/")).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.send(0, b"typed\n").await?;
    session.read_until(|got| !got[3].is_empty()).await?;
    must!(session.got[1].contains("30 100") && session.got[1].contains("got typed"), "{:?}", session.got);
    must!(session.got[3].contains("Success"), "{:?}", session.got);
    must!(files(&pod, &id) == before, "execs left {:?} where {before:?} was", files(&pod, &id));

    let attach =
        AttachRequest { container_id: id.clone(), stdin: true, stdout: true, stderr: true, ..Default::default() };
    let url = cri.runtime.attach(attach).await?.into_inner().url;
    let mut session = Session::open(&url, V5).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.send(0, b"line\n").await?;
    session.read_until(|got| got[1].contains("said line")).await?;
    session.send(255, &[0]).await?;
    session.read_until(|got| !got[3].is_empty()).await?;
    must!(session.got[1].ends_with("bye\n"), "{:?}", session.got);
    let status = cri.ended(&id).await?;
    must!(status.exit_code == 0 && std::fs::read_to_string(&status.log_path)?.contains("said line"), "{status:?}");

    let tty = cri.run(&pod, "tty", "tty; while read line; do echo \"said $line\"; done", |c| {
        c.tty = true;
        c.stdin = true;
    });
    let tty = tty.await?;
    let attach =
        AttachRequest { container_id: tty.clone(), stdin: true, stdout: true, tty: true, ..Default::default() };
    let url = cri.runtime.attach(attach).await?.into_inner().url;
    let mut session = Session::open(&url, V5).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.send(0, b"word\n").await?;
    session.read_until(|got| got[1].contains("said word")).await?;
    session.send(255, &[0]).await?;
    session.read_until(|got| !got[3].is_empty()).await?;
    must!(session.got[3].contains("Success"), "{:?}", session.got);
    let log = std::fs::read_to_string(cri.status(&tty).await?.log_path)?;
    must!(log.contains("/dev/console") || log.contains("/dev/pts/0"), "{log}");
    Ok(())
}

pub async fn forward(mut cri: Cri, pod: Pod) -> Result<()> {
    cri.run(&pod, "listener", "nc -l -p 8080 -e sh -c 'echo served'; sleep 1000", |_| ()).await?;
    let request = PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: vec![8080] };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let url = cri.runtime.port_forward(request.clone()).await?.into_inner().url;
        let mut session = Session::open(&url, "v4.channel.k8s.io").await?;
        session.read_until(|got| got[0].contains("served") || got[1].contains("failed")).await?;
        if session.got[0].contains("served") {
            return Ok(());
        }
        // Until the listener listens.
        must!(tokio::time::Instant::now() < deadline, "{:?}", session.got);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
