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
}

impl Firmware {
    pub(super) fn args(&self) -> Vec<String> {
        match self {
            Firmware::Bios => Vec::new(),
            Firmware::Uefi { code, variables } => {
                let flash = |path: &PathBuf, access: &str| {
                    ["-drive".to_owned(), format!("if=pflash,format=raw{access},file={}", super::spec::escape(path))]
                };
                [flash(code, ",readonly=on"), flash(variables, "")].concat()
            }
        }
    }
}
