//! `rk-init volume`: what PID 1 has done to encrypted volumes, by a process of its own.
//!
//! Headers, keys and TPMs are read here and not in PID 1: whatever goes wrong with them, and however much memory a key derivation
//! takes, ends with this process. An [`Order`] comes as JSON on standard input, secrets among it; one line of text goes back.

mod blank;
mod format;
mod open;
mod tpm;

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest order.
const MOST_ORDER: u64 = 64 << 10;
/// Before the data of our volumes; wiping it makes them unreadable for good.
const HEADER: u64 = 4 << 20;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Make the decrypted device of an encrypted one.
    Open,
    /// Encrypt a device, open it and make a file system; all that it held is lost.
    Format,
    /// Forget its keys, and make a file system without encryption.
    Blank,
    /// Forget its keys.
    Wipe,
}

/// An order.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub verb: Verb,
    /// To which partition.
    pub device: PathBuf,
    /// Of the file system and the header: `RK-STATE`, `RK-DATA`.
    pub label: String,
    /// The decrypted device's, for device mapper.
    pub name: String,
    /// PCRs to seal to; no TPM without them.
    pub pcrs: Vec<u8>,
    /// Passphrases to open with, or to be opened by from now on.
    pub passphrases: Vec<String>,
    /// What the TPM's secret is joined with.
    #[serde(default)]
    pub binding: Option<String>,
}

/// Carries out the order on standard input.
pub fn run() -> ExitCode {
    let mut text = String::new();
    let read = std::io::stdin().take(MOST_ORDER).read_to_string(&mut text).map_err(|err| err.to_string());
    let order = read.and_then(|_| serde_json::from_str::<Order>(&text).map_err(|err| err.to_string()));
    let done = order.and_then(|order| match order.verb {
        Verb::Open => open::open(&order),
        Verb::Format => format::format(&order),
        Verb::Blank => wipe(&order.device).and_then(|_| blank::write(&order.device, &order.label)),
        Verb::Wipe => wipe(&order.device),
    });
    let (text, code) = match done {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(reason) => (reason, ExitCode::FAILURE),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn at<T, E: std::fmt::Display>(what: impl std::fmt::Display, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|err| format!("{what}: {err}"))
}

fn wipe(device: &Path) -> Result<String, String> {
    let file = at(device.display(), File::options().write(true).open(device))?;
    let zeros = vec![0; HEADER as usize];
    at(device.display(), file.write_all_at(&zeros, 0).and_then(|()| file.sync_all()))?;
    Ok(String::new())
}

fn noise(bytes: &mut [u8]) -> std::io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
