//! What an operator waits for: an installation from a CD, an upgrade; and what a machine's own processes keep in memory.

use super::super::host::{mb, ms};
use super::super::table::Row;
use super::Bench;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result, bail};
use rk_qemu::registry::free_port;
use rk_qemu::vm::{Bus, Firmware, Forward, Nic, Vm, VmSpec};
use rk_qemu::{cidata, wait};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Port of the machine API in the guest.
const PORT: u16 = 50_000;
/// A disk to install on.
const DISK_BYTES: u64 = 2 << 30;
/// Under KVM; scaled for TCG.
const LIMIT: u64 = 180;

/// Well beyond the time after which the machine API rests.
const QUIET: Duration = Duration::from_secs(30);

/// Rows of installation, upgrade and memory.
pub fn measure(bench: &Bench, step: &Step) -> Result<Vec<Row>> {
    step.say("installation");
    let dir = bench.folder("install")?;
    let mut operator = Operator::new(bench, &dir)?;
    operator.run(&["config", "gen", "bench", "https://10.0.2.2:1"])?;
    let disk = dir.join("disk.raw");
    std::fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)).context("make a disk")?;
    let bare = operator.machine();
    let cd = bare.clone().drive_on(Bus::Cd, &bench.media.join("rk.iso"), true).drive(&disk, false);
    let mut vm = Vm::start(&cd)?;
    let line = vm.wait_console("--fingerprint sha256:", bench.limit(LIMIT))?;
    let print = line.split("--fingerprint ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let raw = bench.media.join("rk.raw").display().to_string();
    let begin = Instant::now();
    let install = ["node", "install", &raw, "--disk", "/dev/vda", "--insecure", "--fingerprint", print];
    operator.node(&[install.as_slice(), &["--config", "worker.yaml"]].concat())?;
    let mut rows = vec![Row::new("installation from the CD, image sent by rkctl", ms(begin.elapsed()), "—")];
    vm.kill();
    step.say("memory");
    // A config drive, since only then no start of the machine differs from the next.
    let seed = dir.join("cidata.img");
    let config = std::fs::read_to_string(dir.join("worker.yaml")).context("read worker.yaml")?;
    cidata::create(&seed, &config, "instance-id: bench\n")?;
    let installed = bare.drive(&disk, false).drive(&seed, true);
    let mut vm = Vm::start(&installed)?;
    operator.answers(bench)?;
    rows.extend(operator.memory()?);
    step.say("upgrade");
    let next = bench.media.join("next/rk.raw").display().to_string();
    let begin = Instant::now();
    operator.node(&["node", "upgrade", &next, "--no-reboot"])?;
    rows.push(Row::new("upgrade: sent, written, read back, boot loader told", ms(begin.elapsed()), "—"));
    let begin = Instant::now();
    operator.node(&["node", "reboot"])?;
    if !vm.wait_end(bench.limit(LIMIT)) {
        bail!("the machine did not go down:\n{}", vm.console().tail());
    }
    let mark = vm.console().mark();
    drop(vm);
    let mut vm = Vm::start(&installed)?;
    vm.wait_console_from(mark, "is on trial", bench.limit(LIMIT))?;
    rows.push(Row::new("reboot into it, until the new slot runs", ms(begin.elapsed()), "—"));
    vm.kill();
    Ok(rows)
}

/// `rkctl` in a folder, and the machine that it manages.
struct Operator {
    rkctl: PathBuf,
    dir: PathBuf,
    node: SocketAddr,
    spec: VmSpec,
}

impl Operator {
    fn new(bench: &Bench, dir: &Path) -> Result<Operator> {
        let node = free_port()?;
        let forwards = vec![Forward { host: node, guest: PORT }];
        let spec = VmSpec::firmware("m", dir, bench.artifacts.accel, Firmware::Bios);
        let spec = spec.nic(Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards });
        Ok(Operator { rkctl: bench.rkctl.clone(), dir: dir.to_owned(), node, spec })
    }

    /// The machine without drives.
    fn machine(&self) -> VmSpec {
        self.spec.clone()
    }

    fn run(&mut self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.rkctl);
        command.args(args).current_dir(&self.dir).env("HOME", &self.dir).env_remove("RKCTL_CONFIG");
        run::output(&mut command)
    }

    fn node(&mut self, args: &[&str]) -> Result<String> {
        let node = self.node.to_string();
        self.run(&[&["--timeout", "300", "-n", &node], args].concat())
    }

    fn answers(&mut self, bench: &Bench) -> Result<()> {
        Ok(wait::until("the machine API to answer", bench.limit(LIMIT), || {
            self.node(&["node", "version"]).map(drop).map_err(|err| err.to_string())
        })?)
    }

    /// What PID 1, netd and the machine API keep: after some calls, and when nobody called for a while but whoever asks.
    fn memory(&mut self) -> Result<Vec<Row>> {
        for verb in ["services", "memory", "disks", "interfaces"] {
            self.node(&["node", verb])?;
        }
        let busy = self.resident("after five calls in a row", "—")?;
        std::thread::sleep(QUIET);
        Ok(vec![busy, self.resident("as one call sees it after a rest", "—")?])
    }

    fn resident(&mut self, when: &str, budget: &str) -> Result<Row> {
        let text = self.node(&["node", "ps", "-o", "json"])?;
        let told: Value = serde_json::from_str(&text).context("rkctl node ps -o json")?;
        let mut all = 0;
        let mut parts = Vec::new();
        for (name, words) in
            [("PID 1", "/sbin/rk-init"), ("netd", "/sbin/rk-init netd"), ("machine API", "/bin/rk-machine-api")]
        {
            let bytes =
                resident(&told, words).with_context(|| format!("{name} is not among the processes:\n{text}"))?;
            all += bytes;
            parts.push(format!("{name} {}", mb(bytes)));
        }
        let what = format!("PID 1, netd and machine API resident, {when}; pages that two of them share count in each");
        Ok(Row::new(what, format!("{}: {}", mb(all), parts.join(", ")), budget))
    }
}

/// Resident bytes of the process of this command line, wherever in the answer the list of processes stands.
fn resident(told: &Value, command: &str) -> Option<u64> {
    match told {
        Value::Array(items) => items.iter().find_map(|item| resident(item, command)),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            if text("command") == Some(command) {
                let bytes = fields.get("residentBytes").or_else(|| fields.get("resident_bytes"))?;
                return bytes.as_u64().or_else(|| bytes.as_str()?.parse().ok());
            }
            fields.values().find_map(|value| resident(value, command))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_is_found_by_its_whole_command_line() {
        let told = json!([{"node": "a", "processes": [
            {"command": "/sbin/rk-init netd", "residentBytes": 5}, {"command": "/sbin/rk-init", "residentBytes": "7"}]}]);
        assert_eq!((resident(&told, "/sbin/rk-init"), resident(&told, "/sbin/rk-init netd")), (Some(7), Some(5)));
        assert_eq!(resident(&told, "/bin/rk-machine-api"), None);
    }
}
