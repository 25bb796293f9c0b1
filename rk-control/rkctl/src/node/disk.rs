//! Images sent to a node: an upgrade of its other slot, an installation on one of its disks.

use crate::args::{Install, Upgrade};
use crate::connect::Client;
use crate::exit::Class;
use crate::{generate, image, output, release};
use anyhow::{Context, Result};
use rk_image::media::{IMAGE_SECTOR, Resectored};
use rk_machine_proto::v1::{InstallRequest, Progress, UpgradeRequest};
use rk_machine_proto::{CHUNK, SECTOR_KEY};
use rk_slots::PieceSum;
use std::io::Read;
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Messages read ahead.
const AHEAD: usize = 8;

/// Sends an image's first slot to be the node's other one.
///
/// # Errors
/// The file is no image, or the node's refusal.
pub async fn upgrade(client: &mut Client, wanted: &Upgrade) -> Result<Class> {
    let image = image::open(&wanted.image)?;
    eprintln!("rk {}, root {}", image.version, image.root.hash.get(..12).unwrap_or_default());
    let first = UpgradeRequest {
        total_bytes: image.program.len() as u64 + image.slot_bytes,
        program_bytes: image.program.len() as u64,
        sha256: release::sha256(&image)?,
        signature: release::signature(&wanted.image)?,
        data: Vec::new(),
        no_reboot: wanted.no_reboot,
        drain_seconds: wanted.drain.seconds(),
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
    let version = image::open(&wanted.image)?.version;
    let config = config_of(wanted)?;
    let Err(refused) = send_image(client, wanted, &version, &config, IMAGE_SECTOR).await else {
        return Ok(Class::Good);
    };
    let Some(sector) = sector_of(&refused) else { return Err(refused) };
    eprintln!("the disk has sectors of {sector} bytes: laying the image out for them");
    send_image(client, wanted, &version, &config, sector).await?;
    Ok(Class::Good)
}

/// The config of the machine-to-be; empty when it gets none.
///
/// # Errors
/// It is unreadable or wrong.
pub fn config_of(wanted: &Install) -> Result<String> {
    let config = wanted.config.as_deref().map(generate::read).transpose()?.unwrap_or_default();
    if !config.is_empty() {
        generate::check(&config)?;
    }
    Ok(config)
}

/// The sectors of the disk that was meant, when the node refuses an image for others.
pub fn sector_of(err: &anyhow::Error) -> Option<u64> {
    let status = err.chain().find_map(|cause| cause.downcast_ref::<Status>())?;
    status.metadata().get(SECTOR_KEY)?.to_str().ok()?.parse().ok()
}

async fn send_image(client: &mut Client, wanted: &Install, version: &str, config: &str, sector: u64) -> Result<()> {
    let first = first_message(wanted, config, sector)?;
    let mut image = Resectored::open(&wanted.image, sector)?;
    eprintln!("rk {version}, {} of a disk of {}", output::bytes(first.data_bytes), output::bytes(first.disk_bytes));
    let (sender, receiver): (Sender<InstallRequest>, Receiver<_>) = channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || -> Result<()> {
        if sender.blocking_send(first).is_err() {
            return Ok(());
        }
        let piece = |offset, data| InstallRequest { offset, data, ..InstallRequest::default() };
        pieces(&mut image, Holes::LeftOut, |offset, data| send(&sender, piece(offset, data)))
    });
    let answer = client.install(ReceiverStream::new(receiver)).await?.into_inner();
    show(answer).await?;
    reading.await?.context("reading the image")
}

/// What tells a node of an installation before the image comes.
///
/// # Errors
/// The file is no image.
pub fn first_message(wanted: &Install, config: &str, sector: u64) -> Result<InstallRequest> {
    let Sums { disk_bytes, data_bytes, sha256 } = sums(&wanted.image, sector)?;
    let signature = release::install_signature(&wanted.image, sector)?;
    let Install { wipe, reboot, unsigned, .. } = *wanted;
    let (disk, config, sector_bytes) = (wanted.disk.clone(), config.to_owned(), sector.try_into()?);
    let first = InstallRequest::default();
    let first = InstallRequest { disk, wipe, config, disk_bytes, data_bytes, reboot, sector_bytes, ..first };
    Ok(InstallRequest { sha256, signature, unsigned, ..first })
}

/// What an installation sends.
pub struct Sums {
    disk_bytes: u64,
    data_bytes: u64,
    sha256: String,
}

impl Sums {
    /// The text that is signed.
    pub fn statement(&self, sector: u32) -> String {
        rk_slots::install_statement(self.disk_bytes, self.data_bytes, sector, &self.sha256)
    }
}

/// Adds up what an installation on a disk with such sectors sends.
///
/// # Errors
/// The file is no image.
pub fn sums(image: &Path, sector: u64) -> Result<Sums> {
    let (mut data_bytes, mut sum) = (0, PieceSum::default());
    let mut source = Resectored::open(image, sector)?;
    let disk_bytes = source.size();
    pieces(&mut source, Holes::LeftOut, |offset, data| {
        data_bytes += data.len() as u64;
        sum.add(offset, &data);
        true
    })?;
    Ok(Sums { disk_bytes, data_bytes, sha256: sum.finish() })
}

/// A node that hung up has answered why.
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

/// Tells the steps of a node's work as they come.
///
/// # Errors
/// The node gave up, and why.
pub async fn show(mut answer: Streaming<Progress>) -> Result<()> {
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
