//! The clock of the machine.

use crate::error::{Result, SysError};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::time::Duration;

/// How far the clock is off: positive when it must go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Microseconds.
    pub micros: i64,
}

/// Milliseconds since the kernel started, suspend included.
pub fn boot_millis() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .and_then(|time| u64::try_from(Duration::from(time).as_millis()).ok())
        .unwrap_or(0)
}

/// Sets the wall clock to this time since 1970.
///
/// # Errors
/// As `clock_settime(2)`.
pub fn set_clock(since_epoch: Duration) -> Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(since_epoch))
        .map_err(|errno| SysError::new("clock_settime", format!("{since_epoch:?} since 1970"), errno))
}

/// Makes the kernel move the wall clock by `offset` gradually. The kernel takes at most half a second.
///
/// # Errors
/// As `adjtimex(2)`.
pub fn slew_clock(offset: ClockOffset) -> Result<()> {
    // SAFETY: timex is a plain struct of integers, for which all zeroes is a valid value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    timex.modes = libc::ADJ_OFFSET_SINGLESHOT;
    timex.offset = offset.micros.clamp(-500_000, 500_000);
    // SAFETY: the pointer is to a live timex for the length of the call.
    if unsafe { libc::adjtimex(&mut timex) } < 0 {
        return Err(SysError::last("adjtimex", format!("{} µs", offset.micros)));
    }
    Ok(())
}
