//! What happens in a session.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rk_shim_protocol::{Process, Request};
use rk_streaming::{ByteReader, Connect, Duplex, ExecOptions, ExecOutcome, ExecStreams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::terminal::Stream;
use crate::error::{Error, IoContext, Result};
use crate::record::Phase;
use crate::runtime::Runtime;
use crate::{container, exec as stdio, shim};

/// How long output may follow the end of its command, when something it left in the background holds the streams.
const LINGER: Duration = Duration::from_secs(2);
/// What a pipe holds at most of what a command wrote before it ended; more is not the command's own.
const MOST_LEFT: usize = 1024 * 1024;
/// How much of a container's output waits in a pipe for an attached client; as much as kernels grant to anybody.
const ROOM: usize = 1024 * 1024;
/// Bytes of output that are held on their way.
const CHUNK: usize = 8 * 1024;

/// Runs a command with the client's streams.
pub(super) async fn exec(
    runtime: Arc<Runtime>,
    id: String,
    cmd: Vec<String>,
    options: ExecOptions,
    streams: ExecStreams,
) -> ExecOutcome {
    match run(&runtime, &id, &cmd, options, streams).await {
        Ok(code) => ExecOutcome::Exited(code),
        Err(error) => ExecOutcome::Failed(error.to_string()),
    }
}

async fn run(runtime: &Runtime, id: &str, cmd: &[String], options: ExecOptions, streams: ExecStreams) -> Result<i32> {
    let record = stdio::running(runtime, id)?;
    let process = Process {
        container: record.id.clone(),
        process: container::process(runtime, &record, cmd, options.tty)?,
        tty: options.tty,
        size: None,
    };
    let dir = runtime.run_dir(&record.sandbox);
    let over = CancellationToken::new();
    if options.tty {
        let mut exec = shim::exec(&dir, process, Vec::new()).await?;
        let terminal = exec.terminal.take().ok_or_else(|| Error::Internal("the shim sent no terminal".into()))?;
        let terminal = stream(terminal)?;
        let _resizing = resize(&terminal, streams.resize);
        let _input = streams.stdin.map(|from| pour(from, terminal.clone(), || ()));
        let output = copy_out(terminal, streams.stdout, &over);
        let exit = exec.wait().await?;
        end_within(LINGER, [output], &over).await;
        return Ok(exit.code);
    }
    let (stdin, input) = match options.stdin {
        true => stdio::pipe().map(|(read, write)| (read, Some(write)))?,
        false => (stdio::null()?, None),
    };
    let ((out, out_write), (err, err_write)) = (stdio::pipe()?, stdio::pipe()?);
    let mut exec = shim::exec(&dir, process, vec![stdin, out_write, err_write]).await?;
    let _input = match (streams.stdin, input) {
        (Some(from), Some(to)) => Some(pour(from, stream(to)?, || ())),
        _ => None,
    };
    let output = copy_out(stream(out)?, streams.stdout, &over);
    let errors = copy_out(stream(err)?, streams.stderr, &over);
    let exit = exec.wait().await?;
    end_within(LINGER, [output, errors], &over).await;
    Ok(exit.code)
}

/// Joins a running container's stdio until that ends or the client leaves; one that gives input, until it has no more, unless the
/// container's ends with it.
pub(super) async fn attach(
    runtime: Arc<Runtime>,
    id: String,
    options: ExecOptions,
    streams: ExecStreams,
) -> ExecOutcome {
    match join(&runtime, &id, options, streams).await {
        Ok(()) => ExecOutcome::Exited(0),
        Err(error) => ExecOutcome::Failed(error.to_string()),
    }
}

async fn join(runtime: &Arc<Runtime>, id: &str, options: ExecOptions, streams: ExecStreams) -> Result<()> {
    let record = stdio::running(runtime, id)?;
    let dir = runtime.run_dir(&record.sandbox);
    let ((out, out_write), (err, err_write)) = (roomy()?, roomy()?);
    let input = shim::attach(&dir, &record.id, [out_write, err_write]).await?.map(stream).transpose()?;
    let _resizing = input.as_ref().filter(|_| options.tty).map(|terminal| resize(terminal, streams.resize));
    let ended = Request::StdinEnded { container: record.id.clone() };
    let over = CancellationToken::new();
    // Input that goes on for others says nothing of an end: the session is over once its client has no more.
    let (goes_on, left) = (!record.config.stdin_once || options.tty, over.clone());
    let _input = match (streams.stdin, input) {
        (Some(from), Some(to)) => Some(pour(from, to, move || {
            if goes_on {
                left.cancel();
            } else {
                tokio::spawn(async move { shim::call(&dir, &ended).await }.boxed());
            }
        })),
        _ => None,
    };
    let (out, err) = (stream(out)?, stream(err)?);
    tokio::join!(drain(out, streams.stdout, over.clone()), drain(err, streams.stderr, over));
    Ok(())
}

/// A pipe that holds much. A shim waits for no client: what does not fit into the pipe is lost when the container ends.
fn roomy() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = stdio::pipe()?;
    // One that stays small serves, too.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, ROOM);
    Ok((read, write))
}

fn stream(fd: OwnedFd) -> Result<Stream> {
    Stream::new(fd).at("watch", "a stream")
}

/// Copies the client's input and, at its end, closes the other side and says so.
fn pour(mut from: ByteReader, mut to: Stream, ended: impl FnOnce() + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(
        async move {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            drop(to);
            ended();
        }
        .boxed(),
    ))
}

/// [`drain`] as a task of its own.
fn copy_out(
    from: Stream,
    to: Option<impl AsyncWrite + Unpin + Send + 'static>,
    over: &CancellationToken,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(drain(from, to, over.clone()).boxed()))
}

/// Waits for tasks to end. Those that do not in time are told that it is `over`: they take nothing more, but the client has all the time
/// it needs for what they have.
async fn end_within<const N: usize>(patience: Duration, tasks: [AbortOnDropHandle<()>; N], over: &CancellationToken) {
    let mut ended = std::pin::pin!(futures::future::join_all(tasks));
    if tokio::time::timeout(patience, ended.as_mut()).await.is_err() {
        over.cancel();
        let _ = ended.await;
    }
}

/// Copies output to the client, as fast as that takes it, to its end; once it is `over`, only what is there already. Without a client it is
/// read and dropped, so that the program can go on.
async fn drain(mut from: impl AsyncRead + Unpin, mut to: Option<impl AsyncWrite + Unpin>, over: CancellationToken) {
    let mut chunk = vec![0; CHUNK];
    let mut left = MOST_LEFT;
    while left > 0 {
        let read = tokio::select! {
            biased;
            read = from.read(&mut chunk) => read,
            () = over.cancelled() => break,
        };
        let Some(said) = read.ok().and_then(|n| chunk.get(..n)).filter(|said| !said.is_empty()) else { break };
        if over.is_cancelled() {
            left = left.saturating_sub(said.len());
        }
        if let Some(to) = &mut to
            && to.write_all(said).await.is_err()
        {
            break;
        }
    }
    // Who still writes is told that nobody reads, however long the client takes.
    drop(from);
    if let Some(mut to) = to {
        let _ = to.shutdown().await;
    }
}

fn resize(
    terminal: &Stream,
    sizes: Option<tokio::sync::mpsc::Receiver<rk_streaming::TerminalSize>>,
) -> AbortOnDropHandle<()> {
    let terminal = terminal.clone();
    AbortOnDropHandle::new(tokio::spawn(
        async move {
            let Some(mut sizes) = sizes else { return };
            while let Some(size) = sizes.recv().await {
                terminal.resize(size);
            }
        }
        .boxed(),
    ))
}

/// Opens connections to ports of a pod, from inside its network namespace.
pub(super) fn connector(runtime: Arc<Runtime>, sandbox: String) -> Connect {
    Arc::new(move |port| {
        let (runtime, sandbox) = (runtime.clone(), sandbox.clone());
        async move {
            let record = runtime.tables.sandbox(&sandbox).map_err(io::Error::other)?.get();
            if record.phase != Phase::Ready {
                return Err(io::Error::other(format!("sandbox {sandbox:?} is not running")));
            }
            let connected = match record.netns {
                Some(netns) => tokio::task::spawn_blocking(move || {
                    rk_cni::in_netns(&netns, move || async move { connect(port).await.and_then(TcpStream::into_std) })?
                })
                .await
                .map_err(io::Error::other)?
                .and_then(TcpStream::from_std),
                None => connect(port).await,
            };
            let refused = |error: io::Error| {
                io::Error::new(error.kind(), format!("failed to connect to localhost:{port} inside the pod: {error}"))
            };
            connected.map(|stream| Box::new(stream) as Box<dyn Duplex>).map_err(refused)
        }
        .boxed()
    })
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => Ok(stream),
        Err(error) => TcpStream::connect(("::1", port)).await.map_err(|_| error),
    }
}

#[cfg(test)]
mod tests {
    use rk_streaming::ByteWriter;

    use super::*;

    /// Waits until who writes into the pipe is told that nobody reads. The reader is dropped a moment after its task is, and a program that
    /// another test is starting has it until it is executed.
    async fn nobody_reads(held: &OwnedFd) {
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while rustix::io::write(held, b"late") != Err(rustix::io::Errno::PIPE) {
            assert!(tokio::time::Instant::now() < until, "it is still taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_a_command_left_in_the_background_holds_no_stream_of_a_session_that_is_over() {
        let (read, held) = stdio::pipe().unwrap();
        rustix::io::write(&held, b"said").unwrap();
        let over = CancellationToken::new();
        let output = copy_out(stream(read).unwrap(), None::<ByteWriter>, &over);
        end_within(Duration::from_millis(100), [output], &over).await;
        nobody_reads(&held).await;
    }

    #[test]
    fn a_container_may_say_much_and_end_before_an_attached_client_takes_any() {
        let (_client, shim) = roomy().unwrap();
        rustix::io::ioctl_fionbio(&shim, true).unwrap();
        assert_eq!(rustix::io::write(&shim, &vec![b'x'; ROOM]), Ok(ROOM));
    }

    #[tokio::test]
    async fn a_client_takes_its_time_with_what_a_command_said_before_it_ended() {
        let said = vec![b'x'; 4 * CHUNK];
        let (read, held) = stdio::pipe().unwrap();
        assert_eq!(rustix::io::write(&held, &said), Ok(said.len()));
        let (to, mut client) = tokio::io::duplex(16);
        let over = CancellationToken::new();
        let output = copy_out(stream(read).unwrap(), Some(to), &over);
        let reading = async {
            over.cancelled().await;
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let all = async { tokio::join!(end_within(Duration::from_millis(100), [output], &over), reading).1 };
        let heard = tokio::time::timeout(Duration::from_secs(30), all).await.expect("it ends");
        assert_eq!(heard.len(), said.len());
        nobody_reads(&held).await;
    }
}
