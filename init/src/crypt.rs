//! Encrypted partitions, as PID 1 sees them: which there are, which are open, and the process that does the rest ([`crate::volume`]).

use crate::binding;
use crate::console::{Journal, chain};
use crate::datadisk;
use crate::root::PROGRAM;
use crate::slots::DEVICE;
use crate::volume::{Order, Verb};
use rk_config::{Encryption, Unlock};
use rk_sys::PartitionNode;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CLASS: &str = "/sys/class/block";

/// A partition that can be encrypted.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// In texts for people.
    pub word: &'static str,
    /// Label of the header, and of the file system in it.
    pub label: &'static str,
    /// Name in the partition table.
    pub partition: &'static str,
    /// Name of the decrypted device.
    pub name: &'static str,
}

/// Config and identity.
pub const STATE: Volume = Volume { word: "STATE", label: "RK-STATE", partition: rk_slots::STATE, name: "rk-state" };
/// Images, pods, logs.
pub const DATA: Volume = Volume { word: "DATA", label: "RK-DATA", partition: "rk-data", name: "rk-data" };

impl Volume {
    /// Whether a config asks for its encryption.
    pub fn wanted(&self, plan: &Encryption) -> Option<Unlock> {
        if self.word == STATE.word { plan.state } else { plan.data }
    }

    fn order(&self, verb: Verb, device: &Path) -> Order {
        let (label, name) = (self.label.to_owned(), self.name.to_owned());
        let (pcrs, passphrases) = (Vec::new(), Vec::new());
        Order { verb, device: device.to_owned(), label, name, pcrs, passphrases, binding: None }
    }
}

/// The encrypted partition of this kind.
pub fn find(journal: &mut Journal, volume: &Volume) -> Option<PathBuf> {
    let ours = |found: &rk_sys::Superblock| found.fstype == "crypto_LUKS" && found.label == volume.label;
    datadisk::find(journal, ours).into_iter().next().map(|device| device.path)
}

/// Its decrypted device, when it is open.
pub fn opened(volume: &Volume) -> Option<PathBuf> {
    let named = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("dm/name")).is_ok_and(|name| name.trim() == volume.name)
    };
    let found = fs::read_dir(CLASS).ok()?.flatten().find(named)?;
    Some(Path::new("/dev").join(found.file_name()))
}

/// The partition of this kind on the disk that the machine runs from; no other is ever formatted.
pub fn own_partition(volume: &Volume) -> Option<PathBuf> {
    let root = PathBuf::from(std::env::var_os(DEVICE)?);
    let partitions = rk_sys::partitions().ok()?;
    let disk = partitions.iter().find(|partition| partition.path == root).map(|partition| partition.disk.clone())?;
    of_disk(&partitions, &disk, volume)
}

/// The partition of this kind on a disk.
pub fn of_disk(partitions: &[PartitionNode], disk: &Path, volume: &Volume) -> Option<PathBuf> {
    let ours = |partition: &&PartitionNode| partition.disk == disk && partition.name == volume.partition;
    partitions.iter().find(ours).map(|partition| partition.path.clone())
}

/// Opens it; answers by what.
pub fn open(volume: &Volume, device: &Path, passphrases: Vec<String>) -> Result<String, String> {
    let binding = binding::here().filter(|_| volume.word == DATA.word);
    carry_out(&Order { passphrases, binding, ..volume.order(Verb::Open, device) })
}

/// Encrypts it as the plan says and opens it, empty; answers what opens it from now on.
pub fn format(volume: &Volume, device: &Path, plan: &Encryption) -> Result<String, String> {
    let pcrs = match volume.wanted(plan) {
        None => return Err("nobody asks for it".to_owned()),
        Some(Unlock::Tpm) => plan.pcrs.clone(),
        Some(Unlock::Passphrase) => Vec::new(),
    };
    // Beside a TPM, the passphrase is for the day on which that does not open it.
    let passphrases = plan.passphrase.iter().cloned().collect();
    // STATE has its part before the volume asks for it: a machine that is cut off in between has no volume yet.
    let binding = if volume.word == DATA.word { binding::make()? } else { None };
    carry_out(&Order { pcrs, passphrases, binding, ..volume.order(Verb::Format, device) })
}

/// Takes the decrypted device away, which must not be mounted.
pub fn close(volume: &Volume) -> Result<(), String> {
    rk_sys::close_mapped(volume.name).map_err(|err| chain(&err))
}

/// Forgets its keys and makes an empty file system without encryption.
pub fn blank(volume: &Volume, device: &Path) -> Result<(), String> {
    carry_out(&volume.order(Verb::Blank, device)).map(drop)
}

/// Forgets its keys: nobody can read it any more.
pub fn wipe(volume: &Volume, device: &Path) -> Result<(), String> {
    carry_out(&volume.order(Verb::Wipe, device)).map(drop)
}

fn carry_out(order: &Order) -> Result<String, String> {
    let failed = |err: std::io::Error| format!("{PROGRAM} volume: {err}");
    let text = serde_json::to_vec(order).map_err(|err| err.to_string())?;
    let mut command = Command::new(PROGRAM);
    command.arg("volume").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // Secrets go through the pipe: arguments can be read by everyone.
    let sent = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(&text));
    let output = child.wait_with_output().map_err(failed)?;
    sent.map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(if said.is_empty() { format!("{PROGRAM} volume ended with {}", output.status) } else { said })
}
