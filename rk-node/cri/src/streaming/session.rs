//! What happens in a session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rk_shim_protocol::{Process, Request};
use rk_streaming::{ByteReader, ByteWriter, Connect, Duplex, ExecOptions, ExecOutcome, ExecStreams};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::terminal::Stream;
use crate::error::{Error, IoContext, Result};
use crate::record::Phase;
use crate::runtime::Runtime;
use crate::{container, exec as stdio, shim};

/// How long output may follow the end of its command, when something it left in the background holds the streams.
const LINGER: Duration = Duration::from_secs(2);

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
    if options.tty {
        let mut exec = shim::exec(&dir, process, Vec::new()).await?;
        let terminal = exec.terminal.take().ok_or_else(|| Error::Internal("the shim sent no terminal".into()))?;
        let terminal = stream(terminal)?;
        let _resizing = resize(&terminal, streams.resize);
        let _input = streams.stdin.map(|from| pour(from, terminal.clone(), || ()));
        let output = copy_out(terminal, streams.stdout);
        let exit = exec.wait().await?;
        end_within(LINGER, [output]).await;
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
    let output = copy_out(stream(out)?, streams.stdout);
    let errors = copy_out(stream(err)?, streams.stderr);
    let exit = exec.wait().await?;
    end_within(LINGER, [output, errors]).await;
    Ok(exit.code)
}

/// Joins a running container's stdio until it ends or the client leaves.
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
    let ((out, out_write), (err, err_write)) = (stdio::pipe()?, stdio::pipe()?);
    let input = shim::attach(&dir, &record.id, [out_write, err_write]).await?.map(stream).transpose()?;
    let _resizing = input.as_ref().filter(|_| options.tty).map(|terminal| resize(terminal, streams.resize));
    let ended = Request::StdinEnded { container: record.id.clone() };
    let _input = match (streams.stdin, input) {
        (Some(from), Some(to)) => Some(pour(from, to, move || {
            tokio::spawn(async move { shim::call(&dir, &ended).await });
        })),
        _ => None,
    };
    let (out, err) = (stream(out)?, stream(err)?);
    tokio::join!(drain(out, streams.stdout), drain(err, streams.stderr));
    Ok(())
}

fn stream(fd: std::os::fd::OwnedFd) -> Result<Stream> {
    Stream::new(fd).at("watch", "a stream")
}

/// Copies the client's input and, at its end, closes the other side and says so.
fn pour(mut from: ByteReader, mut to: Stream, ended: impl FnOnce() + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from, &mut to).await;
        drop(to);
        ended();
    }))
}

/// [`drain`] as a task of its own.
fn copy_out(from: Stream, to: Option<ByteWriter>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(drain(from, to)))
}

/// Waits for tasks to end; those that do not in time are ended, so that the streams which they hold are closed.
async fn end_within<const N: usize>(patience: Duration, tasks: [AbortOnDropHandle<()>; N]) {
    let _ = tokio::time::timeout(patience, futures::future::join_all(tasks)).await;
}

/// Copies output to the client; without one it is read and dropped, so that the program can go on.
async fn drain(mut from: impl AsyncRead + Unpin, to: Option<ByteWriter>) {
    match to {
        Some(mut to) => {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
        None => drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await),
    }
}

fn resize(
    terminal: &Stream,
    sizes: Option<tokio::sync::mpsc::Receiver<rk_streaming::TerminalSize>>,
) -> AbortOnDropHandle<()> {
    let terminal = terminal.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let Some(mut sizes) = sizes else { return };
        while let Some(size) = sizes.recv().await {
            terminal.resize(size);
        }
    }))
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
    use super::*;

    #[tokio::test]
    async fn what_a_command_left_in_the_background_holds_no_stream_of_a_session_that_is_over() {
        let (read, held) = stdio::pipe().unwrap();
        rustix::io::write(&held, b"said").unwrap();
        let output = copy_out(stream(read).unwrap(), None);
        end_within(Duration::from_millis(100), [output]).await;
        // The other end is closed as soon as the task is dropped, which its runtime does a moment later.
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while rustix::io::write(&held, b"late") != Err(rustix::io::Errno::PIPE) {
            assert!(tokio::time::Instant::now() < until, "it is still taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
