//! Answers that are streams: logs, files, packets, snapshots.

use super::{known, on_each};
use crate::args::{Capture, Global};
use crate::connect::{Client, Trust, connect};
use crate::exit::{Class, class_of_error, words};
use crate::output;
use anyhow::{Context, Result};
use rk_machine_proto::CHUNK;
use rk_machine_proto::v1::{CaptureRequest, Chunk, DmesgRequest, Empty, EventsRequest, LogsRequest, PathRequest};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use tonic::Streaming;

/// Lines to read.
#[derive(Debug, Clone)]
pub enum Text {
    /// Of a service or container.
    Logs(LogsRequest),
    /// Of the kernel.
    Dmesg(DmesgRequest),
    /// Of PID 1; followed.
    Events(bool),
}

/// Prints lines of all nodes as they come; of several, each with its node's name.
///
/// # Errors
/// No node is named.
pub async fn lines(global: &Global, text: Text) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let several = nodes.len() > 1;
    let results = on_each(nodes, move |node| {
        let (trust, text) = (trust.clone(), text.clone());
        async move {
            let prefix = if several { format!("{node}: ") } else { String::new() };
            let mut client = connect(&node, &trust).await?;
            match text {
                Text::Logs(request) => print_lines(client.logs(request).await?.into_inner(), &prefix).await,
                Text::Dmesg(request) => print_lines(client.dmesg(request).await?.into_inner(), &prefix).await,
                Text::Events(follow) => {
                    print_events(client.events(EventsRequest { follow }).await?.into_inner(), &prefix).await
                }
            }
        }
    })
    .await;
    let mut class = Class::Good;
    for (node, result) in results {
        if let Err(err) = result {
            eprintln!("rkctl: {node}: {}", words(&err));
            class = class.max(class_of_error(&err));
        }
    }
    Ok(class)
}

/// Whole lines only, so that those of several nodes do not mix.
async fn print_lines(mut stream: Streaming<Chunk>, prefix: &str) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(chunk) = stream.message().await? {
        if prefix.is_empty() {
            output::write(&chunk.data)?;
            continue;
        }
        rest.extend_from_slice(&chunk.data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            output::write(&[prefix.as_bytes(), &line].concat())?;
        }
    }
    if !rest.is_empty() {
        output::write(&[prefix.as_bytes(), &rest, b"\n"].concat())?;
    }
    Ok(())
}

/// A line for each event, with the time since the machine's start.
async fn print_events(mut stream: Streaming<rk_machine_proto::v1::Event>, prefix: &str) -> Result<()> {
    while let Some(event) = stream.message().await? {
        let (seconds, millis) = (event.boot_millis / 1000, event.boot_millis % 1000);
        output::write(format!("{prefix}[{seconds:>6}.{millis:03}] {}\n", event.message).as_bytes())?;
    }
    Ok(())
}

/// Prints configs: of one node as it is, of several as documents.
///
/// # Errors
/// A node's refusal.
pub async fn config(global: &Global, nodes: &[String], trust: &Trust) -> Result<Class> {
    let _ = global;
    for node in nodes {
        let reply = connect(node, trust).await?.get_config(Empty {}).await?.into_inner();
        let head = if nodes.len() > 1 { format!("---\n# {node}, from {}\n", reply.source) } else { String::new() };
        output::write(format!("{head}{}", reply.config).as_bytes())?;
    }
    Ok(Class::Good)
}

/// Prints a file.
///
/// # Errors
/// The node's refusal.
pub async fn to_stdout(client: &mut Client, path: String) -> Result<Class> {
    let mut stream = client.read_file(PathRequest { path }).await?.into_inner();
    while let Some(chunk) = stream.message().await? {
        output::write(&chunk.data)?;
    }
    Ok(Class::Good)
}

/// Writes packets to a file, or to standard output.
///
/// # Errors
/// The node's refusal, or the file cannot be written.
pub async fn capture(client: &mut Client, wanted: Capture) -> Result<Class> {
    let request = CaptureRequest {
        interface: wanted.interface,
        snap_length: wanted.snap,
        packets: wanted.packets,
        seconds: wanted.seconds,
        promiscuous: wanted.promiscuous,
        protocol: wanted.protocol,
        host: wanted.host,
        port: u32::from(wanted.port),
    };
    let stream = client.capture(request).await?.into_inner();
    if wanted.file == Path::new("-") {
        let mut stream = stream;
        while let Some(chunk) = stream.message().await? {
            output::write(&chunk.data)?;
        }
        return Ok(Class::Good);
    }
    save(stream, &wanted.file).await
}

/// Takes a snapshot of the store.
///
/// # Errors
/// The node's refusal, or the file cannot be written.
pub async fn snapshot(client: &mut Client, file: &Path) -> Result<Class> {
    let stream = client.snapshot_store(Empty {}).await?.into_inner();
    save(stream, file).await
}

/// Whole under its name or not at all.
async fn save(mut stream: Streaming<Chunk>, path: &Path) -> Result<Class> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut size = 0;
    while let Some(chunk) = stream.message().await? {
        size += chunk.data.len() as u64;
        file.write_all(&chunk.data)?;
    }
    file.sync_all()?;
    std::fs::rename(&partial, path).with_context(|| format!("placing {}", path.display()))?;
    eprintln!("wrote {} ({})", path.display(), output::bytes(size));
    Ok(Class::Good)
}

/// Puts a snapshot in place of the store.
///
/// # Errors
/// The file cannot be read, or the node's refusal.
pub async fn restore(client: &mut Client, path: &Path) -> Result<Class> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let reading = tokio::spawn(async move {
        loop {
            let mut data = vec![0; CHUNK];
            let size = file.read(&mut data)?;
            data.truncate(size);
            if size == 0 || sender.send(Chunk { data }).await.is_err() {
                return std::io::Result::Ok(());
            }
        }
    });
    client.restore_store(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?;
    reading.await?.with_context(|| format!("reading {}", path.display()))?;
    Ok(Class::Good)
}
