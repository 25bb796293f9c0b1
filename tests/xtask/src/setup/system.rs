//! System packages.

use crate::report::Step;
use crate::run;
use anyhow::{Result, bail};
use std::process::Command;

/// What this repository needs beside the kernel's own build: machines, disks, images, `protoc` for the etcd client, `dig` to ask the
/// cluster's DNS, and Python for the client of the API that its own community keeps.
const PACKAGES: &[&str] = &[
    "bind9-dnsutils",
    "ca-certificates",
    "e2fsprogs",
    "libprotobuf-dev",
    "protobuf-compiler",
    "python3-venv",
    "qemu-system-x86",
    "util-linux",
];

/// Whether missing packages are installed or only named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// With apt, as root or by sudo.
    Yes,
    /// Print the line and stop.
    No,
}

/// Sees to it that all packages are there.
pub fn ensure(step: &Step, install: Install) -> Result<((), String)> {
    let mut wanted: Vec<&str> = [PACKAGES, rk_kernel::PACKAGES, rk_image::PACKAGES].concat();
    wanted.sort_unstable();
    wanted.dedup();
    let missing = missing(&wanted)?;
    if missing.is_empty() {
        return Ok(((), format!("{} present", wanted.len())));
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let Some(mut apt) = privileged().filter(|_| install == Install::Yes) else {
        bail!("packages are missing; install them by\n\n    sudo {line}\n");
    };
    step.say(format!("installing {}", missing.join(" ")));
    if run::output(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing)).is_err() {
        // The lists may be older than the mirror, or absent as in a fresh container.
        run::output(apt().arg("update"))?;
        run::output(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))?;
    }
    Ok(((), format!("installed {}", missing.join(" "))))
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Abbrev} ${Package}\n"]).args(wanted);
    // It fails when a package is unknown, and still tells the others.
    let Ok(out) = query.output() else {
        bail!("dpkg-query is missing: this needs Debian 12 or 13, or something like it")
    };
    Ok(not_installed(&String::from_utf8_lossy(&out.stdout), wanted))
}

fn not_installed<'a>(listing: &str, wanted: &[&'a str]) -> Vec<&'a str> {
    let installed: Vec<&str> = listing.lines().filter_map(|line| line.strip_prefix("ii ")).map(str::trim).collect();
    wanted.iter().copied().filter(|package| !installed.contains(package)).collect()
}

/// How apt-get is run with rights, when there is a way that asks nobody.
fn privileged() -> Option<impl FnMut() -> Command> {
    let root = nix::unistd::geteuid().is_root();
    let sudo = || Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|o| o.status.success());
    (root || sudo()).then_some(move || {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_and_unknown_packages_count_as_missing() {
        let listing = "ii  bc\nrc  flex\n";
        assert_eq!(not_installed(listing, &["bc", "flex", "qemu"]), ["flex", "qemu"]);
    }
}
