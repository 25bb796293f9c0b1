//! An upgrade: the other slot is written, read back and checked, and tried at the next start.

use super::esp::Esp;
use super::signature;
use super::source::Source;
use super::{PIECES, ProgressStream, STEPS, Teller, Turn, failed, on_thread};
use crate::drain::{Drained, MOST_DRAIN, drain};
use crate::log;
use crate::node::Pid1;
use futures::FutureExt as _;
use rk_config::{MachineConfig, STATE_DIR};
use rk_machine_proto::v1::UpgradeRequest;
use rk_slots::verity::{BLOCK, Leaves};
use rk_slots::version::{self, MINIMUM_FILE};
use rk_slots::{Layout, Root, Version, program, slot_bytes};
use rk_supervise::control::Request;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Kernel and initramfs in one; larger ones do not fit the EFI partition anyway.
const MOST_PROGRAM: u64 = 40 << 20;
/// Bytes read back at once; a multiple of a block.
const STEP: usize = 256 * BLOCK;

/// What the caller promises.
struct Order {
    program: usize,
    total: u64,
    sha256: String,
    reboot: bool,
    drain: Option<Duration>,
    minimum: Option<Version>,
}

/// Begins an upgrade; its steps are the answer's stream.
///
/// # Errors
/// The machine has no two slots, the running one is on trial itself, or the promise cannot be kept.
pub async fn upgrade(
    pid1: Arc<Pid1>,
    turn: Turn,
    config: MachineConfig,
    mut requests: Streaming<UpgradeRequest>,
) -> Result<ProgressStream, Status> {
    let first = requests.message().await?.ok_or_else(|| Status::invalid_argument("nothing was sent"))?;
    let order = order(&first, minimum(&config))?;
    let sizes = (first.total_bytes, first.program_bytes);
    signature::check(&config.upgrade.keys, sizes, &first.sha256, &first.signature)?;
    let told = pid1.ask(&Request::Slots).await?;
    let layout = Layout::decode(&told).ok_or_else(|| Status::internal("PID 1 tells its slots in another way"))?;
    if layout.trial {
        let text = "the running slot is on trial, and the other one is what the machine would fall back to; \
                    wait until the node is Ready";
        return Err(Status::failed_precondition(text));
    }
    let told = pid1.ask(&Request::OpenSlots).await?;
    let layout = Layout::decode(&told).unwrap_or(layout);
    let (pieces, taken) = mpsc::channel(PIECES);
    let (sender, receiver) = mpsc::channel(STEPS);
    let teller = Teller::new(sender);
    let (reboot, patience, ours) = (order.reboot, order.drain, teller.clone());
    let esp = Esp::new(Path::new(&layout.esp), layout.booted);
    let work = tokio::spawn(on_thread(move || run(&order, &layout, taken, &ours)).boxed());
    let task = async move {
        // A caller who goes away ends the stream; the work notices.
        while let Ok(Some(message)) = requests.message().await {
            if pieces.send(message.data).await.is_err() {
                break;
            }
        }
        drop(pieces);
        let done = work.await.unwrap_or_else(|err| Err(Status::internal(err.to_string())));
        let done = match done {
            Ok(program) => finish(&config, patience.filter(|_| reboot), esp, program, &teller).await,
            Err(status) => Err(status),
        };
        let closed = pid1.ask(&Request::CloseSlots).await;
        drop(turn);
        match done.and(closed.map(drop).map_err(Status::from)) {
            Ok(()) if reboot => {
                teller.say(Ok("the machine restarts with the other slot")).await;
                if let Err(err) = pid1.ask(&Request::Reboot).await {
                    teller.say(Err(err.into())).await;
                }
            }
            Ok(()) => teller.say(Ok("the other slot is tried at the next start")).await,
            Err(status) => {
                log::warn(format_args!("an upgrade failed: {}", status.message()));
                teller.say(Err(status)).await;
            }
        }
    };
    tokio::spawn(task.boxed());
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// What comes after the slot was written and checked: the pods leave, the boot loader hears of it.
async fn finish(
    config: &MachineConfig,
    patience: Option<Duration>,
    esp: Esp,
    program: Vec<u8>,
    teller: &Teller,
) -> Result<(), Status> {
    let drained = match patience {
        Some(patience) => Some(drain(config, patience, teller).await?),
        None => None,
    };
    teller.say(Ok("telling the boot loader")).await;
    let place = move || esp.place_other(&program).map_err(failed("giving the boot loader the other slot"));
    let placed = on_thread(place).await;
    if let (Err(_), Some(drained)) = (&placed, drained) {
        Drained::undo(drained).await;
    }
    placed
}

/// The oldest version that may come: what the state disk remembers, or the config asks for.
fn minimum(config: &MachineConfig) -> Option<Version> {
    let recorded = std::fs::read_to_string(Path::new(STATE_DIR).join(MINIMUM_FILE)).unwrap_or_default();
    version::highest([recorded.as_str(), config.upgrade.minimum_version.as_deref().unwrap_or_default()])
}

fn order(first: &UpgradeRequest, minimum: Option<Version>) -> Result<Order, Status> {
    let UpgradeRequest { total_bytes, program_bytes, sha256, data, no_reboot, drain_seconds, .. } = first;
    let program = usize::try_from(*program_bytes).ok().filter(|_| (1..=MOST_PROGRAM).contains(program_bytes));
    let Some(program) = program.filter(|_| program_bytes < total_bytes && data.is_empty()) else {
        return Err(Status::invalid_argument(
            "the first message must tell the sizes of an EFI program and a root behind it",
        ));
    };
    let seconds = u64::from((*drain_seconds).min(MOST_DRAIN));
    let drain = (seconds > 0).then(|| Duration::from_secs(seconds));
    Ok(Order { program, total: *total_bytes, sha256: sha256.clone(), reboot: !no_reboot, drain, minimum })
}

/// Fills the other slot, on a thread that may wait for disks; answers the EFI program that starts it.
fn run(order: &Order, layout: &Layout, pieces: Receiver<Vec<u8>>, teller: &Teller) -> Result<Vec<u8>, Status> {
    let other = Path::new(&layout.other);
    let mut source = Source::new(pieces, order.total);
    teller.tell("receiving the EFI program", 0, order.total);
    let program = source.exactly(order.program)?;
    let room = rk_sys::device_bytes(other).map_err(|err| Status::internal(log::chain(&err)))?;
    let root = judge(&program, order.total - order.program as u64, room, &layout.hash)?;
    let osrel = program::text(&program, ".osrel").unwrap_or_default();
    if let Some(why) = version::too_old(osrel, order.minimum) {
        return Err(Status::failed_precondition(format!("{why}; nothing was changed")));
    }
    let esp = Esp::new(Path::new(&layout.esp), layout.booted);
    esp.forget_other().map_err(failed("taking the other slot away from the boot loader"))?;
    let mut file = OpenOptions::new().write(true).open(other).map_err(failed(&layout.other))?;
    let mut done = 0;
    let total = slot_bytes(&root);
    while done < total {
        let piece = source.next(STEP)?;
        file.write_all(&piece).map_err(failed(&layout.other))?;
        let before = done / STEP as u64;
        done += piece.len() as u64;
        if done / STEP as u64 != before {
            teller.tell("writing the other slot", done, total);
        }
    }
    source.finish(&order.sha256)?;
    file.sync_all().map_err(failed(&layout.other))?;
    drop(file);
    teller.tell("reading the other slot back", 0, total);
    verify(other, &root)?;
    Ok(program)
}

/// Which root the program starts, if the slot that follows can hold it.
fn judge(program: &[u8], slot: u64, room: u64, running: &str) -> Result<Root, Status> {
    let wrong = |text: String| Status::invalid_argument(format!("{text}; nothing was changed"));
    let cmdline = program::text(program, ".cmdline").map_err(|err| wrong(err.to_string()))?;
    for name in [".linux", ".initrd", ".osrel"] {
        program::section(program, name).map_err(|err| wrong(err.to_string()))?;
    }
    let root = Root::of_cmdline(cmdline).ok_or_else(|| wrong("the EFI program starts no root on a disk".to_owned()))?;
    if root.hash == running {
        return Err(Status::failed_precondition("the machine runs just this already; nothing was changed"));
    }
    if slot != slot_bytes(&root) {
        return Err(wrong(format!("the root has {slot} bytes where the EFI program wants {}", slot_bytes(&root))));
    }
    if slot > room {
        return Err(wrong(format!("the root has {slot} bytes, and the slot has room for {room}")));
    }
    Ok(root)
}

/// Reads what the disk holds now, not what is in memory, and computes its hash tree.
fn verify(slot: &Path, root: &Root) -> Result<(), Status> {
    let told = slot.display().to_string();
    let mut file = File::open(slot).map_err(failed(&told))?;
    // Only whole clean pages are forgotten, and all of them are clean after the fsync.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut leaves = Leaves::new(&root.salt_bytes());
    let mut left = root.tree_at();
    let mut buffer = vec![0; STEP];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(STEP).min(STEP);
        let piece = buffer.get_mut(..size).unwrap_or_default();
        file.read_exact(piece).map_err(failed(&told))?;
        leaves.add(piece);
        left -= size as u64;
    }
    let tree = leaves.tree();
    let mut stored = vec![0; tree.bytes.len()];
    file.read_exact(&mut stored).map_err(failed(&told))?;
    if hex::encode(tree.root) == root.hash && stored == tree.bytes {
        return Ok(());
    }
    let text = format!(
        "{told} does not hold what was written to it, or the image's hash is wrong; the machine runs on as it was"
    );
    Err(Status::data_loss(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_checked_down_to_the_last_bit_of_data_and_tree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slot");
        let data = vec![5; 300 * BLOCK];
        let tree = rk_slots::verity::tree(&data, &[3]);
        let root = Root { hash: hex::encode(tree.root), blocks: tree.blocks, salt: "03".to_owned() };
        let whole = [data, tree.bytes].concat();
        std::fs::write(&path, &whole).unwrap();
        verify(&path, &root).unwrap();
        for at in [0, 300 * BLOCK - 1, whole.len() - 5] {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, torn).unwrap();
            assert_eq!(verify(&path, &root).unwrap_err().code(), tonic::Code::DataLoss, "{at}");
        }
    }

    #[test]
    fn what_comes_must_be_promised_in_full() {
        let first = UpgradeRequest { total_bytes: 9, program_bytes: 4, ..UpgradeRequest::default() };
        assert!(order(&first, None).is_ok());
        for wrong in [
            UpgradeRequest { program_bytes: 0, ..first.clone() },
            UpgradeRequest { program_bytes: 9, ..first.clone() },
            UpgradeRequest { program_bytes: 1 << 40, total_bytes: 1 << 41, ..first.clone() },
            UpgradeRequest { data: vec![1], ..first },
        ] {
            assert!(order(&wrong, None).is_err());
        }
        assert!(judge(b"no program", 1, 1, "").is_err());
    }
}
