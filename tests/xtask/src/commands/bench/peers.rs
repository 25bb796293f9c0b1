//! An image with the runtimes that ours is compared with, as Debian packages them, and the program that times them all.

use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use crate::setup::demo::{BUSYBOX, SUITE, busybox_entries, libraries};
use crate::setup::peers::Packages;
use anyhow::{Context, Result};
use rk_qemu::Artifacts;
use rk_qemu::oci::{Entry, ImageConfig, write_layout};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Package, program in it, and whether the comparison is possible without.
const PROGRAMS: [(&str, &str); 4] = [
    ("crun", "usr/bin/crun"),
    ("runc", "usr/sbin/runc"),
    ("containerd", "usr/bin/containerd"),
    ("containerd", "usr/bin/ctr"),
];
/// Where cargo puts the timing program.
const MEASURE: &str = "x86_64-unknown-linux-gnu/release/examples/measure";

/// Name of the image.
pub const NAME: &str = "rk.local/bench:demo";

/// Devices of every container: null, zero, full, random, urandom, tty, console, ptmx.
const DEVICES: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];

/// What runtimes without CRI are given: the namespaces, mounts and capabilities that ours gives a container.
pub fn bundle() -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    // Other runtimes add these by themselves, ours leaves them to who writes the bundle.
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    devices.extend(["c", "b"].map(|kind| json!({"allow": true, "type": kind, "access": "m"})));
    devices
        .extend(DEVICES.map(
            |(major, minor)| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        ));
    let caps =
        ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"];
    json!({"ociVersion": "1.0.2", "root": {"path": "/b/rootfs"}, "hostname": "bench",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}},
        "mounts": [mount("/proc", "proc", &["nosuid", "noexec", "nodev"]), mount("/dev", "tmpfs", &["nosuid", "mode=755"]),
            mount("/dev/pts", "devpts", &["newinstance", "ptmxmode=0666"]), mount("/dev/mqueue", "mqueue", &["nosuid"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"])],
        "linux": {"cgroupsPath": "/bench", "resources": {"devices": devices},
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, {"type": "cgroup"}]}})
}

/// Builds the layout of the image; answers its folder. What a mirror does not have is left out: its rows say so.
pub fn image(paths: &Paths, artifacts: &Artifacts, step: &Step) -> Result<(PathBuf, String)> {
    step.say("building the timing program");
    let mut build = run::cargo(&paths.root);
    build.args(["build", "--release", "--package", "rk-cri", "--example", "measure"]);
    run::output(&mut build)?;
    let mut packages = Packages::new(&paths.cache);
    let busybox = packages.unpacked(step, SUITE, "busybox-static", BUSYBOX)?;
    let mut entries = busybox_entries(&busybox)?;
    entries.push(file("bin/measure", &paths.target.join(MEASURE))?);
    entries.push(file("bin/rk-shim", &artifacts.binaries.join("rk-shim"))?);
    let mut missing = Vec::new();
    for (package, program) in PROGRAMS {
        match packages.unpacked_closure(step, SUITE, package, program).and_then(|home| found(&home, program)) {
            Ok(files) => add(&mut entries, files),
            Err(error) => missing.push(format!("{program}: {error}")),
        }
    }
    let home = paths.rk.join("bench-image");
    let config = ImageConfig {
        cmd: vec!["sh".into()],
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..Default::default()
    };
    write_layout(&home, &NAME.parse()?, &entries, &config)?;
    Ok((home, missing.join("; ")))
}

/// A program and the libraries that it needs.
fn found(home: &Path, program: &str) -> Result<Vec<Entry>> {
    let mut files = libraries(home, program)?;
    files.push(file(program, &home.join(program))?);
    Ok(files)
}

/// Adds files; those of several packages are the same ones.
fn add(entries: &mut Vec<Entry>, files: Vec<Entry>) {
    for file in files {
        if !entries.iter().any(|known| known.path == file.path) {
            entries.push(file);
        }
    }
}

fn file(to: &str, from: &Path) -> Result<Entry> {
    Ok(Entry::file(to, 0o755, std::fs::read(from).with_context(|| format!("read {}", from.display()))?))
}
