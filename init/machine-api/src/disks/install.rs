//! An installation: a raw image is written to a disk of this machine, and a config put on it.

use super::select::{choose, contents, permit, reason};
use super::signature::check_statement;
use super::{PIECES, ProgressStream, STEPS, Teller, Turn, failed, on_thread};
use crate::facts::disks;
use crate::log;
use crate::node::{Pid1, write_private};
use futures::FutureExt as _;
use rk_config::MachineConfig;
use rk_machine_proto::v1::{Disk, InstallPlan, InstallRequest};
use rk_slots::PieceSum;
use rk_supervise::control::Request;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::{self, Receiver};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

const MIB: u64 = 1 << 20;
/// Of images whose sender does not say it.
const SECTOR: u32 = 512;
/// No image comes near this; keeps sums of sizes small.
const MOST_IMAGE: u64 = 1 << 40;
/// Tells progress this often.
const TOLD_EVERY: u64 = 4 * MIB;
/// What a disk is said to hold that has neither partitions nor a file system that is known here, and is not blank.
const UNKNOWN: &str = "unknown data";

/// What the caller promises.
struct Order {
    path: String,
    disk_bytes: u64,
    data_bytes: u64,
    /// Of the pieces, when somebody vouches for it.
    sha256: Option<String>,
}

/// A part of the image and where it belongs.
struct Piece {
    offset: u64,
    data: Vec<u8>,
}

/// Begins an installation; its steps are the answer's stream.
///
/// # Errors
/// The disk is not meant clearly, is in use, holds something; the config is wrong.
pub async fn install(
    pid1: Arc<Pid1>,
    turn: Turn,
    offered: PathBuf,
    running: Option<MachineConfig>,
    mut requests: Streaming<InstallRequest>,
) -> Result<ProgressStream, Status> {
    let first = requests.message().await?.ok_or_else(|| Status::invalid_argument("nothing was sent"))?;
    let (config, sha256) = understood(&first, running.as_ref())?;
    let found = look(&first.disk)?;
    let target = choose(&found, &first.disk)?;
    permit(&found, target, first.disk_bytes, sector_of(&first), first.wipe)?;
    let InstallRequest { disk_bytes, data_bytes, reboot, .. } = first;
    let path = target.path.clone();
    log::warn(format_args!("installing on {path}"));
    let order = Order { path: path.clone(), disk_bytes, data_bytes, sha256 };
    let (pieces, taken) = mpsc::channel(PIECES);
    let (sender, receiver) = mpsc::channel(STEPS);
    let teller = Teller::new(sender);
    let ours = teller.clone();
    let work = tokio::spawn(on_thread(move || run(&order, taken, &ours)).boxed());
    let task = async move {
        while let Ok(Some(InstallRequest { offset, data, .. })) = requests.message().await {
            if pieces.send(Piece { offset, data }).await.is_err() {
                break;
            }
        }
        drop(pieces);
        let done = work.await.unwrap_or_else(|err| Err(Status::internal(err.to_string())));
        let done = match (done, config) {
            (Ok(()), Some(yaml)) => seed(&pid1, &offered, &path, &yaml).await,
            (done, _) => done,
        };
        drop(turn);
        match done {
            Ok(()) => {
                teller.say(Ok("installed; take the medium away that the machine was started from")).await;
                if reboot && let Err(err) = pid1.ask(&Request::Reboot).await {
                    teller.say(Err(err.into())).await;
                }
            }
            Err(status) => {
                log::warn(format_args!("installing on {path} failed: {}", status.message()));
                teller.say(Err(status)).await;
            }
        }
    };
    tokio::spawn(task.boxed());
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// What [`install`] would do by the same first message.
///
/// # Errors
/// As there, except that a disk that holds something is reported, not refused.
pub fn plan(request: &InstallRequest, running: Option<&MachineConfig>) -> Result<InstallPlan, Status> {
    understood(request, running)?;
    planned(&look(&request.disk)?, request)
}

/// The machine's disks. One that is meant and on which nothing is known is looked at for anything else: what nobody knows here may still
/// be somebody's.
fn look(wanted: &str) -> Result<Vec<Disk>, Status> {
    let mut found = disks::read();
    let target = choose(&found, wanted)?;
    let (seems_empty, path) = (contents(&found, target).is_empty(), target.path.clone());
    let blank = || rk_sys::is_blank(Path::new(&path)).map_err(|err| Status::internal(log::chain(&err)));
    if seems_empty && !blank()? {
        found.iter_mut().filter(|disk| disk.path == path).for_each(|disk| UNKNOWN.clone_into(&mut disk.filesystem));
    }
    Ok(found)
}

fn planned(found: &[Disk], request: &InstallRequest) -> Result<InstallPlan, Status> {
    let disk = choose(found, &request.disk)?;
    permit(found, disk, request.disk_bytes, sector_of(request), true)?;
    let holds: Vec<Disk> = contents(found, disk).into_iter().cloned().collect();
    let needs_wipe = !holds.is_empty();
    Ok(InstallPlan { disk: Some(disk.clone()), reason: reason(found, &request.disk), holds, needs_wipe })
}

/// The config of the machine-to-be as it is written, and the sum that the pieces must have.
fn understood(
    first: &InstallRequest,
    running: Option<&MachineConfig>,
) -> Result<(Option<String>, Option<String>), Status> {
    if !(2 * MIB..=MOST_IMAGE).contains(&first.disk_bytes) || first.data_bytes > first.disk_bytes {
        return Err(Status::invalid_argument("the first message must tell the size of a disk image"));
    }
    let config = match first.config.as_str() {
        "" => None,
        text => Some(rk_config::parse(text).map_err(|err| Status::invalid_argument(log::chain(&err)))?.config),
    };
    let sha256 = vouched(first, running, config.as_ref())?;
    let config = config.map(|config| rk_config::to_yaml(&config).map_err(|err| Status::internal(err.to_string())));
    Ok((config.transpose()?, sha256))
}

fn sector_of(request: &InstallRequest) -> u32 {
    if request.sector_bytes == 0 { SECTOR } else { request.sector_bytes }
}

/// The sum that the pieces must have, when a key vouches for it: one of the machine that writes, and one of the machine-to-be
/// unless the caller leaves that out on purpose.
fn vouched(
    first: &InstallRequest,
    running: Option<&MachineConfig>,
    config: Option<&MachineConfig>,
) -> Result<Option<String>, Status> {
    let InstallRequest { disk_bytes, data_bytes, sha256, signature, unsigned, .. } = first;
    let statement = rk_slots::install_statement(*disk_bytes, *data_bytes, sector_of(first), sha256);
    let keys = |config: Option<&MachineConfig>| config.map(|c| c.upgrade.keys.clone()).unwrap_or_default();
    let theirs = if *unsigned { Vec::new() } else { keys(config) };
    let all = [keys(running), theirs];
    for keys in &all {
        check_statement(keys, &statement, signature).map_err(|status| {
            let remedy = if running.is_some() { "" } else { "; --unsigned installs it all the same" };
            Status::new(status.code(), format!("{}{remedy}; nothing was changed", status.message()))
        })?;
    }
    Ok((!sha256.is_empty() || all.iter().any(|keys| !keys.is_empty())).then(|| sha256.clone()))
}

async fn seed(pid1: &Pid1, offered: &Path, disk: &str, yaml: &str) -> Result<(), Status> {
    write_private(offered, yaml.as_bytes()).map_err(failed(&offered.display().to_string()))?;
    pid1.ask(&Request::Seed(disk.to_owned())).await?;
    Ok(())
}

fn run(order: &Order, pieces: Receiver<Piece>, teller: &Teller) -> Result<(), Status> {
    let path = &order.path;
    // The kernel refuses this while anything of the disk is in use.
    let file = OpenOptions::new().write(true).custom_flags(libc_o_excl()).open(path).map_err(failed(path))?;
    let bytes = rk_sys::device_bytes(Path::new(path)).map_err(|err| Status::internal(log::chain(&err)))?;
    teller.tell("erasing", 0, order.disk_bytes);
    // What the image leaves out is zeros; the last MiB may hold the other copy of an older partition table.
    for (start, length) in [(0, order.disk_bytes), (bytes.saturating_sub(MIB) / MIB * MIB, MIB.min(bytes % MIB + MIB))]
    {
        let length = length.min(bytes.saturating_sub(start));
        rk_sys::zero_out(&file, path, start, length).map_err(|err| Status::internal(log::chain(&err)))?;
    }
    write(order, &file, pieces, teller)
}

/// Writes the pieces; those of the first MiB, which make the disk bootable, when all others are on the disk.
fn write(order: &Order, file: &File, mut pieces: Receiver<Piece>, teller: &Teller) -> Result<(), Status> {
    let path = &order.path;
    let (mut done, mut told) = (0, 0);
    let mut first = Vec::new();
    let mut sum = PieceSum::default();
    while let Some(Piece { offset, data }) = pieces.blocking_recv() {
        let length = data.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > order.disk_bytes) {
            return Err(Status::invalid_argument("a piece lies beyond the image's end"));
        }
        done += length;
        sum.add(offset, &data);
        if offset < MIB {
            if done > order.data_bytes || first.len() > 64 {
                return Err(Status::invalid_argument("more came than was promised"));
            }
            first.push(Piece { offset, data });
        } else {
            file.write_all_at(&data, offset).map_err(failed(path))?;
        }
        if done - told >= TOLD_EVERY {
            teller.tell("writing", done, order.data_bytes);
            told = done;
        }
    }
    if done != order.data_bytes {
        let text = format!("{done} of {} bytes came; the disk is left empty", order.data_bytes);
        return Err(Status::data_loss(text));
    }
    let sum = sum.finish();
    if let Some(wanted) = order.sha256.as_ref().filter(|wanted| **wanted != sum) {
        let text = format!("the image arrived with SHA-256 {sum}, not {wanted}; the disk is left without boot sectors");
        return Err(Status::data_loss(text));
    }
    file.sync_all().map_err(failed(path))?;
    for piece in first {
        file.write_all_at(&piece.data, piece.offset).map_err(failed(path))?;
    }
    file.sync_all().map_err(failed(path))
}

fn libc_o_excl() -> i32 {
    i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: Vec<Piece>, promised: u64, sha256: Option<String>) -> (Result<(), Status>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::options().write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(3 * MIB).unwrap();
        let path_text = path.display().to_string();
        let order = Order { path: path_text, disk_bytes: 3 * MIB, data_bytes: promised, sha256 };
        let (sender, receiver) = mpsc::channel(8);
        for piece in pieces {
            sender.try_send(piece).ok().unwrap();
        }
        drop(sender);
        let (steps, _shown) = mpsc::channel(8);
        let result = write(&order, &file, receiver, &Teller(steps));
        (result, std::fs::read(&path).unwrap())
    }

    #[test]
    fn pieces_land_where_they_belong_and_an_early_end_leaves_no_bootable_disk() {
        let piece = |offset: u64, byte: u8| Piece { offset, data: vec![byte; 8] };
        let (result, disk) = written(vec![piece(0, 1), piece(2 * MIB, 2)], 16, None);
        result.unwrap();
        assert_eq!((disk[7], disk[8], disk[2 * MIB as usize]), (1, 0, 2));
        let (result, disk) = written(vec![piece(0, 1), piece(2 * MIB, 2)], 24, None);
        assert_eq!(result.unwrap_err().code(), tonic::Code::DataLoss);
        assert_eq!(disk[0], 0);
        let (result, _) = written(vec![piece(3 * MIB - 4, 1)], 8, None);
        assert_eq!(result.unwrap_err().code(), tonic::Code::InvalidArgument);
        let mut sum = PieceSum::default();
        sum.add(0, &[1; 8]);
        let sum = sum.finish();
        let (result, disk) = written(vec![piece(0, 1)], 8, Some(sum.clone()));
        result.unwrap();
        assert_eq!(disk[0], 1);
        let (result, disk) = written(vec![piece(0, 2)], 8, Some(sum));
        assert_eq!((result.unwrap_err().code(), disk[0]), (tonic::Code::DataLoss, 0));
    }

    #[test]
    fn a_plan_tells_what_would_be_lost_and_is_refused_where_the_installation_would_be() {
        let disk = |name: &str, parent: &str, mounted_on: &str| Disk {
            name: name.to_owned(),
            path: format!("/dev/{name}"),
            parent: parent.to_owned(),
            mounted_on: mounted_on.to_owned(),
            size_bytes: 8 * MIB,
            sector_bytes: SECTOR,
            ..Disk::default()
        };
        let found = [
            disk("vda", "", ""),
            disk("vda1", "vda", ""),
            disk("vdb", "", ""),
            disk("vdc", "", ""),
            disk("vdc1", "vdc", "/var"),
        ];
        let wanted = |path: &str, disk_bytes: u64, sector_bytes: u32| {
            let request = InstallRequest { disk: path.to_owned(), disk_bytes, sector_bytes, ..Default::default() };
            planned(&found, &request)
        };
        let full = wanted("/dev/vda", 4 * MIB, 0).unwrap();
        assert!(full.needs_wipe && full.holds.iter().map(|part| part.name.as_str()).eq(["vda1"]), "{full:?}");
        let empty = wanted("/dev/vdb", 4 * MIB, 0).unwrap();
        assert!(!empty.needs_wipe && empty.disk.is_some_and(|disk| disk.name == "vdb"));
        for (path, bytes, sector) in [("/dev/vdc", 4 * MIB, 0), ("/dev/vdb", 9 * MIB, 0), ("/dev/vdb", 4 * MIB, 4096)] {
            let refused = wanted(path, bytes, sector).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{path} {refused:?}");
        }
        assert_eq!(plan(&InstallRequest::default(), None).unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn an_image_is_vouched_for_by_a_key_of_the_machine_that_writes_and_of_the_one_to_be() {
        use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut trusting = MachineConfig::default();
        trusting.upgrade.keys = vec![key.public_key_pem()];
        let request = InstallRequest { disk_bytes: 9, data_bytes: 8, sha256: "ab".to_owned(), ..Default::default() };
        let statement = rk_slots::install_statement(9, 8, 512, "ab");
        let signed = InstallRequest { signature: key.sign(statement.as_bytes()).unwrap().to_vec(), ..request.clone() };
        let unsigned = InstallRequest { unsigned: true, ..request.clone() };
        let denied =
            |result: Result<Option<String>, Status>| result.unwrap_err().code() == tonic::Code::PermissionDenied;
        assert_eq!(vouched(&request, None, None).unwrap().as_deref(), Some("ab"));
        assert_eq!(vouched(&InstallRequest::default(), None, None).unwrap(), None);
        assert!(denied(vouched(&request, None, Some(&trusting))));
        assert!(denied(vouched(&request, Some(&trusting), None)));
        assert!(denied(vouched(&unsigned, Some(&trusting), None)), "a machine's own key cannot be left out");
        assert!(vouched(&unsigned, None, Some(&trusting)).is_ok());
        assert!(vouched(&signed, Some(&trusting), Some(&trusting)).is_ok());
        assert!(denied(vouched(&InstallRequest { sha256: "ac".to_owned(), ..signed }, None, Some(&trusting))));
    }
}
