//! What this process says: PID 1 keeps it in `/var/log/rk/machine.log`, and shows warnings and `rk: ` lines on the console.

use std::error::Error;
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

/// An error and its sources in one line.
pub fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
