//! The clock of the machine.

use crate::error::{Result, SysError};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::fs::File;
use std::os::fd::AsRawFd;
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

/// The battery-backed clock.
const HARDWARE_CLOCK: &str = "/dev/rtc0";

nix::ioctl_write_ptr!(rtc_set_time, b'p', 0x0a, RtcTime);

/// As the kernel's `struct rtc_time`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    /// From zero.
    month: i32,
    /// Since 1900.
    year: i32,
    week_day: i32,
    year_day: i32,
    daylight_saving: i32,
}

/// Sets the hardware's clock to this time since 1970, so that the next start begins with it.
///
/// # Errors
/// The machine has none, or it cannot be set.
pub fn set_hardware_clock(since_epoch: Duration) -> Result<()> {
    let failed = |err: std::io::Error| SysError::new("set", HARDWARE_CLOCK, err);
    let device = File::open(HARDWARE_CLOCK).map_err(failed)?;
    let time = rtc_time(since_epoch.as_secs());
    // SAFETY: the pointer is to a live struct of the layout that this request reads.
    unsafe { rtc_set_time(device.as_raw_fd(), &time) }.map_err(|errno| failed(errno.into()))?;
    Ok(())
}

/// Seconds since 1970 as a date of the Gregorian calendar, by counting 400-year cycles from March, where leap days come last.
fn rtc_time(seconds: u64) -> RtcTime {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let since_march = days + 719_468;
    let (cycle, of_cycle) = (since_march / 146_097, since_march % 146_097);
    let year_of_cycle = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = cycle * 400 + year_of_cycle + u64::from(month < 2);
    let small = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    RtcTime {
        second: small(of_day % 60),
        minute: small(of_day / 60 % 60),
        hour: small(of_day / 3600),
        day: small(day),
        month: small(month),
        year: small(year) - 1900,
        week_day: 0,
        year_day: 0,
        daylight_saving: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates_of_the_calendar() {
        // From `date --utc --date @SECONDS`.
        for (seconds, date) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_399, (2000, 2, 28, 23, 59, 59)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_735_689_600, (2025, 1, 1, 0, 0, 0)),
            (1_795_219_201, (2026, 11, 21, 0, 0, 1)),
            (4_107_542_399, (2100, 2, 28, 23, 59, 59)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        ] {
            let time = rtc_time(seconds);
            let seen = (time.year + 1900, time.month + 1, time.day, time.hour, time.minute, time.second);
            assert_eq!(seen, date, "{seconds}");
        }
    }
}
