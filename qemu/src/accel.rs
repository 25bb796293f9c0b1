//! Which accelerator works.
//!
//! A host may open `/dev/kvm`, answer its version and still never run a kernel (nested or filtered virtualization), so the
//! only proof is a guest: [`probe`] boots the real kernel for at most two seconds and looks whether it says anything.

use crate::vm::{Machine, Vm, VmSpec};
use crate::{Error, Result, wait};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// How long the tiny guest may take to print its first line. KVM needs about 0.1 s.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// An accelerator that QEMU can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// Translation in software, one host thread per virtual processor.
    Tcg,
}

impl Accel {
    /// Processors that a machine of a cluster gets unless told otherwise. Under TCG one: a kernel that patches its own code while
    /// another emulated processor runs it now and then dies of a breakpoint that this one still sees.
    pub fn processors(self) -> u32 {
        match self {
            Accel::Kvm => 2,
            Accel::Tcg => 1,
        }
    }

    /// QEMU's arguments.
    pub fn args(self) -> [&'static str; 4] {
        match self {
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// Deadlines are written for KVM with room to spare; translated code is 10 to 20 times slower, and more on a busy host.
    pub fn scale(self, limit: Duration) -> Duration {
        match self {
            Accel::Kvm => limit,
            Accel::Tcg => limit * 8,
        }
    }
}

impl std::fmt::Display for Accel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

/// What an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// KVM when a guest proves it, else TCG.
    #[default]
    Auto,
    /// This one.
    Only(Accel),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "kvm" => Ok(Choice::Only(Accel::Kvm)),
            "tcg" => Ok(Choice::Only(Accel::Tcg)),
            other => Err(format!("{other:?} is none of auto, kvm, tcg")),
        }
    }
}

/// The accelerator to use for `kernel`; files of the probe go to `scratch`.
///
/// # Errors
/// KVM is asked for by name, and no guest runs under it.
pub fn choose(choice: Choice, kernel: &Path, scratch: &Path) -> Result<Accel> {
    match choice {
        Choice::Only(Accel::Kvm) if !probe(kernel, scratch) => Err(Error::State(
            "no guest runs under kvm here: /dev/kvm is missing, closed to this user, or does not execute; use `--accel tcg`".into(),
        )),
        Choice::Only(accel) => Ok(accel),
        Choice::Auto if probe(kernel, scratch) => Ok(Accel::Kvm),
        Choice::Auto => Ok(Accel::Tcg),
    }
}

/// Whether `kernel` says anything under KVM within two seconds.
pub fn probe(kernel: &Path, scratch: &Path) -> bool {
    let kvm = Path::new("/dev/kvm");
    if std::fs::OpenOptions::new().read(true).write(true).open(kvm).is_err() {
        return false;
    }
    let spec = VmSpec {
        machine: Machine::Microvm,
        cmdline: vec!["console=ttyS0".into(), "earlyprintk=ttyS0".into(), "panic=-1".into()],
        ..VmSpec::new("probe", scratch, Accel::Kvm, kernel, None)
    };
    let _ = std::fs::remove_file(spec.console_log());
    let Ok(mut vm) = Vm::start(&spec) else { return false };
    let spoke = wait::until("a line from the kernel", PROBE_LIMIT, || {
        let text = vm.console().text();
        if text.contains("Linux version") { Ok(true) } else { vm.ended().map_or(Err(text.clone()), |_| Ok(false)) }
    });
    vm.kill();
    matches!(spoke, Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_by_name_and_unknown_ones_are_refused() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("tcg".parse(), Ok(Choice::Only(Accel::Tcg)));
        assert!("xen".parse::<Choice>().is_err());
    }
}
