use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rk_shim_protocol::{Decoder, FailureKind, Reply, Request, encode, socket};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::error::{Error, Result};

/// How long an answer may take. Starting a container mounts file systems, which a bad disk can make slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// One connection to a shim.
pub(crate) struct Connection {
    sandbox: String,
    stream: UnixStream,
    decoder: Decoder,
    received: Vec<OwnedFd>,
}

impl Connection {
    /// Connects to the shim whose sandbox is in `dir`.
    pub async fn open(dir: &Path) -> Result<Self> {
        let sandbox = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stream = UnixStream::connect(socket(dir)).await;
        let stream =
            stream.map_err(|error| Error::Shim { sandbox: sandbox.clone(), reason: format!("connect: {error}") })?;
        Ok(Self { sandbox, stream, decoder: Decoder::default(), received: Vec::new() })
    }

    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        Error::Shim { sandbox: self.sandbox.clone(), reason: reason.to_string() }
    }

    /// Sends a request with descriptors beside it.
    pub async fn send(&mut self, request: &Request, fds: &[OwnedFd]) -> Result<()> {
        let mut frame = encode(request).map_err(|error| self.broken(error))?;
        let mut carried: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        while !frame.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !carried.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(&carried));
                }
                sendmsg(&self.stream, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::NOSIGNAL)
                    .map_err(io::Error::from)
            });
            let n = sent.await.map_err(|error| self.broken(format!("send: {error}")))?;
            frame.drain(..n);
            carried.clear();
        }
        Ok(())
    }

    /// The next message; `None` when the shim closed.
    pub async fn receive(&mut self) -> Result<Option<Reply>> {
        loop {
            if let Some(reply) = self.decoder.take().map_err(|error| self.broken(error))? {
                return Ok(Some(reply));
            }
            let mut buffer = [0u8; 8192];
            let (stream, received) = (&self.stream, &mut self.received);
            let read = stream.async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let n = recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?
                    .bytes;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        received.extend(fds);
                    }
                }
                Ok(n)
            });
            match read.await {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(self.broken(format!("receive: {error}"))),
            }
        }
    }

    /// The descriptor that came with a message.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.received.pop()
    }

    /// The answer to a request, with failures as errors.
    pub async fn answer(&mut self) -> Result<Reply> {
        match tokio::time::timeout(PATIENCE, self.receive()).await {
            Ok(Ok(Some(Reply::Failed(failure)))) => Err(match failure.kind {
                FailureKind::NotFound => Error::NotFound { kind: "container", id: failure.message },
                FailureKind::State => Error::State(failure.message),
                FailureKind::Start => Error::Start(failure.message),
                FailureKind::Internal => self.broken(failure.message),
            }),
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(self.broken("it died before it answered")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.broken(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn call(dir: &Path, request: &Request) -> Result<Reply> {
    let mut connection = Connection::open(dir).await?;
    connection.send(request, &[]).await?;
    connection.answer().await
}

/// A connection that hears every exit; its first message is the state of all containers.
pub(crate) async fn subscribe(dir: &Path) -> Result<Connection> {
    let mut connection = Connection::open(dir).await?;
    connection.send(&Request::Subscribe, &[]).await?;
    Ok(connection)
}

/// Attaches `out` (stdout, stderr) to a container; answers with its stdin or terminal.
pub(crate) async fn attach(dir: &Path, container: &str, out: [OwnedFd; 2]) -> Result<Option<OwnedFd>> {
    let mut connection = Connection::open(dir).await?;
    connection.send(&Request::Attach { container: container.to_owned() }, &out).await?;
    connection.answer().await?;
    Ok(connection.take_fd())
}
