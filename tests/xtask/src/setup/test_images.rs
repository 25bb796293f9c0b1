//! Images of servers that tests talk to from inside of a cluster, and of a language whose programs are many small files, made on the spot
//! from Debian's packages. No cluster offers them by itself: a test pushes the one that it needs.

use super::demo::{SUITE, base, libraries, name, read};
use super::peers::Packages;
use crate::report::Step;
use anyhow::{Context, Result};
use rk_qemu::oci::{Entry, ImageConfig, write_layout};
use std::path::Path;

pub const NAMES: [&str; 3] = ["dnsmasq", "ganesha", "python"];
const DNSMASQ: &str = "usr/sbin/dnsmasq";
const GANESHA: &str = "usr/bin/ganesha.nfsd";
const PYTHON: &str = "usr/bin/python3.13";
/// What Python's own modules lie in, and parts of it that no program needs.
const MODULES: &str = "usr/lib/python3.13";
const NEEDLESS: [&str; 4] = ["__pycache__", "ensurepip", "pydoc_data", "test"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Writes the layouts below `home`.
pub fn write(packages: &mut Packages, step: &Step, home: &Path) -> Result<()> {
    let dnsmasq = packages.unpacked_closure(step, SUITE, "dnsmasq-base", DNSMASQ)?;
    layout(home, "dnsmasq", &[DNSMASQ], server(&dnsmasq, DNSMASQ)?)?;
    let ganesha = packages.unpacked_closure(step, SUITE, "nfs-ganesha-mem", GANESHA)?;
    layout(home, "ganesha", &[GANESHA, "-F", "-L", "/dev/stdout", "-p", "/tmp/pid"], nfs_server(&ganesha)?)?;
    let python = packages.unpacked_closure(step, SUITE, "python3.13", PYTHON)?;
    let mut entries = server(&python, PYTHON)?;
    // Loaded by name when a thread ends.
    let threads = python.join(LIBRARIES).join("libgcc_s.so.1");
    entries.push(Entry::file("lib/x86_64-linux-gnu/libgcc_s.so.1", 0o644, read(&threads)?));
    tree(&python, MODULES, &mut entries)?;
    layout(home, "python", &[PYTHON], entries)
}

/// All regular files below a folder of a package, but for those that are [`NEEDLESS`].
fn tree(unpacked: &Path, folder: &str, entries: &mut Vec<Entry>) -> Result<()> {
    let place = unpacked.join(folder);
    let listing = std::fs::read_dir(&place).with_context(|| format!("list {}", place.display()))?;
    let mut there = listing.collect::<std::io::Result<Vec<_>>>()?;
    // The same files make the same image.
    there.sort_by_key(std::fs::DirEntry::file_name);
    for entry in there {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, kind) = (format!("{folder}/{name}"), entry.file_type()?);
        if kind.is_dir() && !NEEDLESS.contains(&name.as_str()) {
            tree(unpacked, &path, entries)?;
        } else if kind.is_file() {
            entries.push(Entry::file(&path, 0o644, read(&entry.path())?));
        }
    }
    Ok(())
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
