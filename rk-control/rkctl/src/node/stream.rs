//! Answers that are streams: logs, files, packets, snapshots.

use super::{known, on_each};
use crate::args::{Capture, Format, Global};
use crate::connect::{Client, connect};
use crate::exit::{Class, class_of_error, words};
use crate::output;
use anyhow::{Context, Result};
use rk_machine_proto::CHUNK;
use rk_machine_proto::v1::{
    CaptureRequest, Chunk, DmesgRequest, Empty, Event, EventsRequest, LayerPull, LogsRequest, PathRequest, PullsRequest,
};
use serde_json::json;
use std::collections::BTreeSet;
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
    /// Of pulls of images as they go on.
    Pulls,
}

/// Prints lines of all nodes as they come; of several, each with its node's name.
///
/// # Errors
/// No node is named.
pub async fn lines(global: &Global, text: Text) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let (several, format) = (nodes.len() > 1, global.print);
    let results = on_each(nodes, move |node| {
        let (trust, text) = (trust.clone(), text.clone());
        async move {
            let prefix = if several { format!("{node}: ") } else { String::new() };
            let mut client = connect(&node, &trust).await?;
            match text {
                Text::Logs(request) => print_lines(client.logs(request).await?.into_inner(), &prefix).await,
                Text::Dmesg(request) => print_lines(client.dmesg(request).await?.into_inner(), &prefix).await,
                Text::Events(follow) => {
                    let events = client.events(EventsRequest { follow }).await?.into_inner();
                    print_events(events, &node, &prefix, format).await
                }
                Text::Pulls => print_pulls(&mut client, &prefix).await,
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

/// A line for each layer that is farther than when it was told last, and one for each pull that has ended.
async fn print_pulls(client: &mut Client, prefix: &str) -> Result<()> {
    let mut answers = client.pulls(PullsRequest { follow: true }).await?.into_inner();
    let mut told = Vec::new();
    while let Some(now) = answers.message().await? {
        for line in news(&told, &now.layers) {
            output::write(format!("{prefix}{line}\n").as_bytes())?;
        }
        told = now.layers;
    }
    Ok(())
}

/// What is to be said of pulls that were so and are so now.
fn news(before: &[LayerPull], now: &[LayerPull]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in now {
        let same = |other: &&LayerPull| (&other.image, &other.layer) == (&row.image, &row.layer);
        let farther = |other: &LayerPull| (&other.state, other.done_bytes) != (&row.state, row.done_bytes);
        if before.iter().find(same).is_none_or(farther) {
            let (done, total) = (output::bytes(row.done_bytes), output::bytes(row.total_bytes));
            let layer = row.layer.get(..19).unwrap_or(&row.layer);
            lines.push(format!("{} {layer} {} {done} of {total}", row.image, row.state));
        }
    }
    let images = |rows: &[LayerPull]| rows.iter().map(|row| row.image.clone()).collect::<BTreeSet<String>>();
    lines.extend(images(before).difference(&images(now)).map(|image| format!("{image} ended")));
    lines
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

/// Each event as it comes.
async fn print_events(mut stream: Streaming<Event>, node: &str, prefix: &str, format: Format) -> Result<()> {
    while let Some(event) = stream.message().await? {
        output::write(told(&event, node, prefix, format)?.as_bytes())?;
    }
    Ok(())
}

/// A line with the time since the machine's start; for programs an object of JSON in a line, or a document of YAML.
fn told(event: &Event, node: &str, prefix: &str, format: Format) -> Result<String> {
    let (seconds, millis) = (event.boot_millis / 1000, event.boot_millis % 1000);
    let Event { sequence, boot_millis, message } = event;
    let whole = || json!({"node": node, "sequence": sequence, "boot_millis": boot_millis, "message": message});
    Ok(match format {
        Format::Table => format!("{prefix}[{seconds:>6}.{millis:03}] {}\n", event.message),
        Format::Json => format!("{}\n", whole()),
        Format::Yaml => format!("---\n{}", serde_yaml_ng::to_string(&whole())?),
    })
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
    save(stream, &wanted.file, Early::Kept).await
}

/// Takes a snapshot of the store.
///
/// # Errors
/// The node's refusal, or the file cannot be written.
pub async fn snapshot(client: &mut Client, file: &Path) -> Result<Class> {
    let stream = client.snapshot_store(Empty {}).await?.into_inner();
    save(stream, file, Early::Lost).await
}

/// What becomes of a file that somebody ends by Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    /// What came so far is what was wanted.
    Kept,
    /// A part is worth nothing.
    Lost,
}

/// Whole under its name or not at all.
async fn save(mut stream: Streaming<Chunk>, path: &Path, early: Early) -> Result<Class> {
    let stop = async {
        if early == Early::Lost || tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(stop);
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut size = 0;
    loop {
        let next = tokio::select! {
            next = stream.message() => next?,
            () = &mut stop => None,
        };
        let Some(chunk) = next else { break };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_for_people_and_objects_for_programs() {
        let event = Event { sequence: 7, boot_millis: 12_034, message: "machine started".to_owned() };
        let said = |format| told(&event, "n1", "n1: ", format).unwrap();
        assert_eq!(said(Format::Table), "n1: [    12.034] machine started\n");
        let object = json!({"node": "n1", "sequence": 7, "boot_millis": 12_034, "message": "machine started"});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&said(Format::Json)).unwrap(), object);
        assert!(said(Format::Json).lines().count() == 1 && said(Format::Yaml).starts_with("---\n"));
    }

    #[test]
    fn layers_are_told_when_they_are_farther_and_pulls_when_they_end() {
        let row = |image: &str, layer: &str, state: &str, done_bytes| LayerPull {
            image: image.to_owned(),
            layer: layer.to_owned(),
            state: state.to_owned(),
            done_bytes,
            total_bytes: 2048,
            ..LayerPull::default()
        };
        let resolving = row("a", "", "resolving", 0);
        let (one, two) = (row("a", "sha256:1", "downloading", 1024), row("a", "sha256:2", "waiting", 0));
        assert_eq!(news(&[], std::slice::from_ref(&resolving)), ["a  resolving 0 B of 2.0 KiB"]);
        let both = [one.clone(), two.clone()];
        assert_eq!(
            news(&[resolving], &both),
            ["a sha256:1 downloading 1.0 KiB of 2.0 KiB", "a sha256:2 waiting 0 B of 2.0 KiB"]
        );
        let later = LayerPull { seconds: 9, ..one };
        assert!(news(&both, &[later, two.clone()]).is_empty(), "time alone is no news");
        let done = row("a", "sha256:1", "done", 2048);
        assert_eq!(news(&both, &[done, two]), ["a sha256:1 done 2.0 KiB of 2.0 KiB"]);
        assert_eq!(news(&both, &[]), ["a ended"]);
    }
}
