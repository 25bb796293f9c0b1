//! Images sent to a node: an upgrade of its other slot, an installation on one of its disks.

use crate::args::Install;
use crate::connect::Client;
use crate::exit::Class;
use crate::{generate, output};
use anyhow::{Context, Result};
use rk_image::media::Installed;
use rk_machine_proto::CHUNK;
use rk_machine_proto::v1::{InstallRequest, Progress, UpgradeRequest};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Messages read ahead.
const AHEAD: usize = 8;

/// Sends an image's first slot to be the node's other one.
///
/// # Errors
/// The file is no image, or the node's refusal.
pub async fn upgrade(client: &mut Client, image: &Path, no_reboot: bool) -> Result<Class> {
    let image = Installed::open(image)?;
    eprintln!("rk {}, root {}", image.version, image.root.hash.get(..12).unwrap_or_default());
    let mut hasher = Sha256::new();
    hasher.update(&image.program);
    std::io::copy(&mut image.slot()?, &mut hasher).context("reading the image")?;
    let first = UpgradeRequest {
        total_bytes: image.program.len() as u64 + image.slot_bytes,
        program_bytes: image.program.len() as u64,
        sha256: hex::encode(hasher.finalize()),
        data: Vec::new(),
        no_reboot,
    };
    let (sender, receiver) = channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || -> Result<()> {
        let slot = image.slot()?;
        let mut source = std::io::Cursor::new(image.program).chain(slot);
        let piece = |data| UpgradeRequest { data, ..UpgradeRequest::default() };
        if sender.blocking_send(first).is_err() {
            return Ok(());
        }
        pieces(&mut source, Holes::Sent, |_, data| send(&sender, piece(data)))
    });
    let answer = client.upgrade(ReceiverStream::new(receiver)).await?.into_inner();
    show(answer).await?;
    reading.await?.context("reading the image")?;
    Ok(Class::Good)
}

/// Sends an image to a disk of the node.
///
/// # Errors
/// The file is no image, or the node's refusal.
pub async fn install(client: &mut Client, wanted: &Install) -> Result<Class> {
    // Told here before any disk is touched.
    let version = Installed::open(&wanted.image)?.version;
    let config = wanted.config.as_deref().map(generate::read).transpose()?.unwrap_or_default();
    if !config.is_empty() {
        generate::check(&config)?;
    }
    let open = || File::open(&wanted.image).with_context(|| format!("opening {}", wanted.image.display()));
    let mut data_bytes = 0;
    pieces(&mut open()?, Holes::LeftOut, |_, data| {
        data_bytes += data.len() as u64;
        true
    })?;
    let mut file = open()?;
    let disk_bytes = file.metadata()?.len();
    eprintln!("rk {version}, {} of a disk of {}", output::bytes(data_bytes), output::bytes(disk_bytes));
    let Install { wipe, reboot, .. } = *wanted;
    let (disk, first) = (wanted.disk.clone(), InstallRequest::default());
    let first = InstallRequest { disk, wipe, config, disk_bytes, data_bytes, reboot, ..first };
    let (sender, receiver): (Sender<InstallRequest>, Receiver<_>) = channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || -> Result<()> {
        if sender.blocking_send(first).is_err() {
            return Ok(());
        }
        let piece = |offset, data| InstallRequest { offset, data, ..InstallRequest::default() };
        pieces(&mut file, Holes::LeftOut, |offset, data| send(&sender, piece(offset, data)))
    });
    let answer = client.install(ReceiverStream::new(receiver)).await?.into_inner();
    show(answer).await?;
    reading.await?.context("reading the image")?;
    Ok(Class::Good)
}

/// A node that hung up has said why.
fn send<T>(sender: &Sender<T>, message: T) -> bool {
    sender.blocking_send(message).is_ok()
}

/// What becomes of pieces that are all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    Sent,
    LeftOut,
}

/// Hands out a source in pieces, each with its offset, until `take` has enough.
fn pieces(source: &mut impl Read, holes: Holes, mut take: impl FnMut(u64, Vec<u8>) -> bool) -> Result<()> {
    let mut offset = 0;
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        source.take(CHUNK as u64).read_to_end(&mut data)?;
        let length = data.len() as u64;
        let wanted = holes == Holes::Sent || data.iter().any(|byte| *byte != 0);
        if length == 0 || (wanted && !take(offset, data)) {
            return Ok(());
        }
        offset += length;
    }
}

async fn show(mut answer: Streaming<Progress>) -> Result<()> {
    let mut last = String::new();
    while let Some(Progress { step, total, .. }) = answer.message().await? {
        if step != last {
            let size = if total > 0 { format!(" ({})", output::bytes(total)) } else { String::new() };
            eprintln!("{step}{size}");
            last = step;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_left_out_and_the_rest_keeps_its_place() {
        let mut image = vec![0; 3 * CHUNK + 10];
        image[2 * CHUNK] = 7;
        image[3 * CHUNK + 9] = 8;
        let mut seen = Vec::new();
        pieces(&mut image.as_slice(), Holes::LeftOut, |offset, data| {
            seen.push((offset, data.len()));
            true
        })
        .unwrap();
        assert_eq!(seen, [(2 * CHUNK as u64, CHUNK), (3 * CHUNK as u64, 10)]);
    }
}
