//! The log of netd: lines that PID 1 keeps and, for news and warnings, shows on the console.

pub use rk_sys::chain;
use std::fmt::Display;
use std::io::Write;

/// For the log file alone.
pub fn info(text: impl Display) {
    write(format!("{:>10} INFO netd: {text}\n", rk_sys::boot_millis()));
}

/// Something odd that netd lives with.
pub fn warn(text: impl Display) {
    write(format!("{:>10} WARN netd: {text}\n", rk_sys::boot_millis()));
}

/// What an operator at the console waits for.
pub fn news(text: impl Display) {
    write(format!("rk: {text}\n"));
}

fn write(line: String) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}
