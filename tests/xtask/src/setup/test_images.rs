//! Images of servers that tests talk to from inside of a cluster, made on the spot from Debian's packages. No cluster offers them by
//! itself: a test pushes the one that it needs.

use super::demo::{SUITE, base, libraries, name, read};
use super::peers::Packages;
use crate::report::Step;
use anyhow::Result;
use rk_qemu::oci::{Entry, ImageConfig, write_layout};
use std::path::Path;

pub const NAMES: [&str; 2] = ["dnsmasq", "ganesha"];
const DNSMASQ: &str = "usr/sbin/dnsmasq";
const GANESHA: &str = "usr/bin/ganesha.nfsd";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Writes the layouts below `home`.
pub fn write(packages: &mut Packages, step: &Step, home: &Path) -> Result<()> {
    let dnsmasq = packages.unpacked_closure(step, SUITE, "dnsmasq-base", DNSMASQ)?;
    layout(home, "dnsmasq", &[DNSMASQ], server(&dnsmasq, DNSMASQ)?)?;
    let ganesha = packages.unpacked_closure(step, SUITE, "nfs-ganesha-mem", GANESHA)?;
    layout(home, "ganesha", &[GANESHA, "-F", "-L", "/dev/stdout", "-p", "/tmp/pid"], nfs_server(&ganesha)?)
}

fn layout(home: &Path, image: &str, entrypoint: &[&str], entries: Vec<Entry>) -> Result<()> {
    let mut entrypoint: Vec<String> = entrypoint.iter().map(|word| (*word).to_owned()).collect();
    if let Some(program) = entrypoint.first_mut() {
        program.insert(0, '/');
    }
    let config = ImageConfig { entrypoint, env: vec!["PATH=/usr/sbin:/usr/bin".into()], ..ImageConfig::default() };
    Ok(write_layout(&home.join(image), &name(image)?, &entries, &config)?)
}

/// A program with the libraries that it names.
fn server(unpacked: &Path, program: &str) -> Result<Vec<Entry>> {
    let mut entries = base();
    entries.push(Entry::file(program, 0o755, read(&unpacked.join(program))?));
    entries.extend(libraries(unpacked, program)?);
    Ok(entries)
}

fn nfs_server(unpacked: &Path) -> Result<Vec<Entry>> {
    let mut entries = server(unpacked, GANESHA)?;
    // What it loads by name while it runs.
    for plugin in ["ganesha/libfsalmem.so", "libnfsidmap/nsswitch.so"] {
        let path = format!("{LIBRARIES}/{plugin}");
        entries.push(Entry::file(&path, 0o755, read(&unpacked.join(&path))?));
    }
    entries.push(Entry::file("etc/netconfig", 0o644, read(&unpacked.join("etc/netconfig"))?));
    entries.push(Entry::file(
        "etc/idmapd.conf",
        0o644,
        "[General]\nDomain = localdomain\n[Translation]\nMethod = nsswitch\n",
    ));
    Ok(entries)
}
