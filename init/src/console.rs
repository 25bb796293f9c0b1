//! What PID 1 says, on the console and in its own log.

use crate::events::Events;
use crate::logs::RotatingFile;
pub use rk_sys::chain;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Bytes of a line for the kernel's log, which refuses one of more than 1024 with what older kernels put before it.
const MOST_TO_KERNEL: usize = 960;

/// Writes one line to standard error, which is the console once [`take_console`] ran. A console that is gone is no error.
pub fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Into the kernel's log, of which the end outlives a panic where the machine has a place for it; at a level that no console shows, for
/// PID 1 writes there itself. Opened for each line: the kernel counts lines by opening, and leaves out what comes too fast.
pub fn tell_kernel(text: &str) {
    if rk_sys::pid() != 1 {
        return;
    }
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(record(text).as_bytes());
    }
}

/// One line for the kernel's log, cut where it would be too long: the kernel refuses it as a whole then, and a panic may say much.
fn record(text: &str) -> String {
    let mut line = format!("<7>{}", text.replace('\n', " "));
    let end = (0..=line.len().min(MOST_TO_KERNEL)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
    line.truncate(end);
    line.push('\n');
    line
}

/// Makes the kernel's console the standard streams of PID 1, if there is one.
pub fn take_console() {
    if let Ok(console) = rk_sys::open_console() {
        let _ = rk_sys::take_as_stdio(&console);
    }
}

/// PID 1's own voice: each line goes to the console as `rk: …`, into the kernel's log, and into `/var/log/rk/init.log` once that is open.
#[derive(Debug, Default)]
pub struct Journal {
    file: Option<RotatingFile>,
    events: Events,
}

impl Journal {
    /// What was said last.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Starts the log file; earlier lines are on the console alone.
    pub fn open(&mut self, dir: &Path) {
        self.file = Some(RotatingFile::new(dir.join("init.log")));
    }

    /// Says something.
    pub fn say(&mut self, text: impl Display) {
        let text = text.to_string();
        self.events.push(rk_sys::boot_millis(), &text);
        let text = format!("rk: {text}");
        line(&text);
        tell_kernel(&text);
        if let Some(file) = &mut self.file {
            file.write(format!("{:>10} {text}\n", rk_sys::boot_millis()).as_bytes());
        }
    }

    /// Says that a step failed and that PID 1 goes on without it.
    pub fn failed(&mut self, step: &str, err: &dyn std::error::Error) {
        self.say(format_args!("{step} failed: {}", chain(err)));
    }

    /// Tells a failure if there was one.
    pub fn check<E: std::error::Error>(&mut self, step: &str, result: Result<(), E>) {
        if let Err(err) = result {
            self.failed(step, &err);
        }
    }

    /// Closes the log file, so that its file system can be unmounted.
    pub fn close(&mut self) {
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_kernel_is_one_and_no_longer_than_it_takes() {
        assert_eq!(record("rk: a\nb"), "<7>rk: a b\n");
        for letter in ["x", "ä", "€"] {
            let line = record(&letter.repeat(2000));
            assert!((MOST_TO_KERNEL - 3..=MOST_TO_KERNEL + 1).contains(&line.len()), "{letter} {}", line.len());
            assert!(line.ends_with(&format!("{letter}\n")) && line.starts_with("<7>"), "{letter}");
        }
    }
}
