//! One virtual machine: its specification ([`VmSpec`]) and the running thing ([`Vm`]).

mod args;
mod drive;
mod firmware;
mod spec;
mod tpm;

pub use drive::{Bus, Drive};
pub use firmware::Firmware;
pub use spec::{Forward, Machine, Nic, VmSpec};
pub use tpm::Swtpm;

use crate::console::Console;
use crate::process::Bound;
use crate::qmp::Qmp;
use crate::{Error, Result, wait};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// QEMU opens its monitor within milliseconds, even on a busy host within this.
const MONITOR_LIMIT: Duration = Duration::from_secs(60);

/// A running machine. Dropping it kills it.
#[derive(Debug)]
pub struct Vm {
    name: String,
    process: Bound,
    console: Console,
    qmp: PathBuf,
}

impl Vm {
    /// Starts QEMU. What QEMU itself says goes to `<name>.qemu.log`, the console to `<name>.console.log`, both in the folder of the spec.
    pub fn start(spec: &VmSpec) -> Result<Vm> {
        let console = Console::new(&spec.name, &spec.console_log());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(console.path());
        log.map_err(Error::file("open", console.path()))?;
        for socket in [spec.qmp_socket(), spec.console_socket()] {
            let _ = std::fs::remove_file(socket);
        }
        let words = [spec.starter.as_slice(), &["qemu-system-x86_64".to_owned()]].concat();
        let (program, rest) = words.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
        let mut command = Command::new(program);
        command.args(rest).args(spec.args());
        let process = Bound::spawn_logged(&spec.name, &command, &spec.qemu_log())?;
        Ok(Vm { name: spec.name.clone(), process, console, qmp: spec.qmp_socket() })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory of QEMU in KiB, as `/proc` tells.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
    }

    /// A connection to its monitor.
    pub fn qmp(&self) -> Result<Qmp> {
        connect(&self.qmp)
    }

    /// QEMU's exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for `text` on the console; a machine that ended is told at once.
    pub fn wait_console(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait_console_from(0, text, limit)
    }

    /// As [`Vm::wait_console`], for what is logged after `mark` (see [`Console::mark`]).
    pub fn wait_console_from(&mut self, mark: u64, text: &str, limit: Duration) -> Result<String> {
        let process = &mut self.process;
        self.console.wait_from(mark, text, limit, || process.ended().is_none())
    }

    /// Presses the power button and waits for the end; kills the machine when `limit` passes, and says so with `false`.
    pub fn shutdown(&mut self, limit: Duration) -> bool {
        let pressed = self.qmp().and_then(|mut qmp| qmp.powerdown());
        if pressed.is_err() {
            self.process.kill();
            return false;
        }
        self.end_within(limit)
    }

    /// Waits for the end; kills the machine when `limit` passes, and says so with `false`.
    pub fn end_within(&mut self, limit: Duration) -> bool {
        let clean = self.process.wait(limit);
        if !clean {
            self.process.kill();
        }
        clean
    }

    /// Waits until the guest ends by itself.
    pub fn wait_end(&mut self, limit: Duration) -> bool {
        self.process.wait(limit)
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Connects to the monitor at `socket`, waiting while QEMU starts or serves somebody else.
pub fn connect(socket: &Path) -> Result<Qmp> {
    wait::until(&format!("QEMU's monitor {}", socket.display()), MONITOR_LIMIT, || {
        Qmp::connect(socket).map_err(|e| e.to_string())
    })
}
