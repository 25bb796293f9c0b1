//! What netd says: lines that PID 1 keeps and, for news and warnings, shows on the console.

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

/// An error and its sources in one line.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn write(line: String) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}
