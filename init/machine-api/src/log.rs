//! The log of this process: PID 1 keeps it in `/var/log/rk/machine.log`, and shows warnings and `rk: ` lines on the console.

pub use rk_sys::chain;
use std::fmt::Display;

/// For the log.
pub fn info(text: impl Display) {
    eprintln!("INFO {text}");
}

/// For the log and the console: something that an operator should look at.
pub fn warn(text: impl Display) {
    eprintln!("machine WARN {text}");
}

/// For the console: something that an operator waits for.
pub fn news(text: impl Display) {
    eprintln!("rk: {text}");
}
