//! The end of the machine.

use crate::error::{Result, SysError};
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use std::convert::Infallible;

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Power off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Stop the CPUs, keep the power on.
    Halt,
}

/// Ends the machine at once: no process is asked, nothing is written back.
///
/// # Errors
/// As `reboot(2)`.
pub fn end_machine(end: End) -> Result<Infallible> {
    let mode = match end {
        End::PowerOff => RebootMode::RB_POWER_OFF,
        End::Reboot => RebootMode::RB_AUTOBOOT,
        End::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    reboot(mode).map_err(|errno| SysError::new("reboot", format!("{end:?}"), errno))
}

/// Makes Ctrl-Alt-Del a signal to PID 1 instead of an immediate reset.
///
/// # Errors
/// As `reboot(2)`.
pub fn route_ctrl_alt_del_to_init() -> Result<()> {
    set_cad_enabled(false).map_err(|errno| SysError::new("reboot", "ctrl-alt-del", errno))
}
