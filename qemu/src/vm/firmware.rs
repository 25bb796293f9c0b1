//! What a machine starts from when it is not given a kernel.

use std::path::PathBuf;

/// The firmware of a machine that boots its own media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings.
    Bios,
    /// UEFI.
    Uefi {
        /// OVMF's code.
        code: PathBuf,
        /// Its variables: a copy of the machine's own, written to.
        variables: PathBuf,
    },
    /// UEFI whose variables only its own code, in system management mode, can change.
    LockedUefi {
        /// OVMF's code, built for that.
        code: PathBuf,
        /// Its variables, with keys in them.
        variables: PathBuf,
    },
}

impl Firmware {
    /// Whether it has a network stack of its own.
    pub(super) fn is_uefi(&self) -> bool {
        !matches!(self, Firmware::Bios)
    }

    /// Whether it needs system management mode.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Firmware::LockedUefi { .. })
    }

    pub(super) fn args(&self) -> Vec<String> {
        match self {
            Firmware::Bios => Vec::new(),
            Firmware::Uefi { code, variables } | Firmware::LockedUefi { code, variables } => {
                let flash = |path: &PathBuf, access: &str| {
                    ["-drive".to_owned(), format!("if=pflash,format=raw{access},file={}", super::args::escape(path))]
                };
                let mut args = [flash(code, ",readonly=on"), flash(variables, "")].concat();
                if self.is_locked() {
                    args.extend(["-global", "driver=cfi.pflash01,property=secure,value=on"].map(str::to_owned));
                }
                args
            }
        }
    }
}
