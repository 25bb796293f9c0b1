//! Programs and files of others that tests run ours with, each unpacked with all that it depends on in a folder of its own.

use super::image::SUITE;
use super::peers::Packages;
use crate::paths::Paths;
use crate::report::Step;
use anyhow::Result;
use std::path::PathBuf;

/// A package, and a file of it.
type Closure = (&'static str, &'static str);

/// Firmware for machines of tests, and what they boot beside.
const FIRMWARE: [Closure; 6] = [
    // A DHCP and TFTP server for network boot.
    ("dnsmasq-base", "usr/sbin/dnsmasq"),
    ("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd"),
    // Signing, and putting keys into a machine's variables.
    ("sbsigntool", "usr/bin/sbsign"),
    TPM,
    CRYPTSETUP,
    ("python3-virt-firmware", "usr/lib/python3/dist-packages/virt/firmware/vars.py"),
];
/// A TPM, for machines and for tests of what speaks with one.
const TPM: Closure = ("swtpm", "usr/bin/swtpm");
/// What else reads and writes LUKS2.
const CRYPTSETUP: Closure = ("cryptsetup-bin", "usr/sbin/cryptsetup");
/// Shells that complete the words of `rkctl`, besides the one that every machine of tests has.
const SHELLS: [Closure; 2] = [("zsh", "usr/bin/zsh"), ("fish", "usr/bin/fish")];

/// Fetches the programs that host tests compare encryption with, and names the environment variables that point to them.
pub fn cryptography(paths: &Paths, step: &Step) -> Result<([(&'static str, PathBuf); 2], String)> {
    let mut packages = Packages::new(&paths.cache);
    let mut get = |(package, proof)| packages.unpacked_closure(step, SUITE, package, proof);
    Ok(([("RK_SWTPM", get(TPM)?), ("RK_CRYPTSETUP", get(CRYPTSETUP)?)], "there".to_owned()))
}

/// Fetches the firmware that tests boot media with.
pub fn firmware(paths: &Paths, step: &Step) -> Result<((), String)> {
    fetch(paths, step, &FIRMWARE)
}

/// Fetches the shells that tests type in.
pub fn shells(paths: &Paths, step: &Step) -> Result<((), String)> {
    fetch(paths, step, &SHELLS)
}

/// Fetches what is not in the cache.
pub fn fetch(paths: &Paths, step: &Step, wanted: &[Closure]) -> Result<((), String)> {
    let mut packages = Packages::new(&paths.cache);
    for (package, proof) in wanted {
        packages.unpacked_closure(step, SUITE, package, proof)?;
    }
    Ok(((), "there".to_owned()))
}
