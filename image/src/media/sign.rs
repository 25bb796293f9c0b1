//! Signatures for Secure Boot, by `sbsign`: over whatever firmware starts.

use super::tools::Tools;
use super::undated::undate;
use crate::program::run;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;

/// Who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    /// A private key (PEM, RSA with 2048 bits or more: other kinds are unknown to most firmware).
    pub key: PathBuf,
    /// Its certificate (PEM), which the firmware's `db` holds.
    pub certificate: PathBuf,
}

impl Signer {
    /// The program with a signature at its end, the same every time; its sections stay where they are.
    ///
    /// # Errors
    /// The tool is missing or refuses key, certificate or program.
    pub fn sign(&self, tools: &Tools, program: &[u8]) -> Result<Vec<u8>> {
        let work = tempfile::tempdir().context("making a work directory")?;
        let (from, to) = (work.path().join("program.efi"), work.path().join("signed.efi"));
        fs::write(&from, program).context("writing the program to sign")?;
        let mut command = tools.sbsign.command()?;
        command.arg("--key").arg(&self.key).arg("--cert").arg(&self.certificate).arg("--output").arg(&to).arg(&from);
        run("sbsign (package sbsigntool)", &mut command)?;
        let mut signed = fs::read(&to).context("reading the signed program")?;
        ensure!(signed.len() > program.len(), "sbsign added no signature");
        undate(&mut signed, &self.key)?;
        Ok(signed)
    }
}
