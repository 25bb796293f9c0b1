//! One line per step with its duration; a moving line meanwhile when somebody watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Prints steps.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    terminal: bool,
}

impl Report {
    /// Bars only when standard error is a terminal.
    pub fn new() -> Report {
        Report { terminal: std::io::stderr().is_terminal() }
    }

    /// Runs one step and prints its line, with what the step says about its result.
    pub fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> anyhow::Result<(T, String)>) -> anyhow::Result<T> {
        let step = Step { bar: self.bar(name) };
        let start = Instant::now();
        let outcome = work(&step);
        step.bar.finish_and_clear();
        let took = duration(start.elapsed());
        match outcome {
            Ok((value, note)) => {
                say!("{name:<28} {took:>8}  {note}");
                Ok(value)
            }
            Err(error) => {
                say!("{name:<28} {took:>8}  FAILED");
                Err(error)
            }
        }
    }

    fn bar(&self, name: &str) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {prefix:<26} {elapsed:>8}  {wide_msg}"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// A step in progress.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
}

impl Step {
    /// What is going on.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// How far it is.
    pub fn at(&self, done: u64, of: u64) {
        if self.bar.length() != Some(of) {
            self.bar.set_style(
                style("{spinner} {prefix:<26} {elapsed:>8}  [{wide_bar}] {pos}/{len}").progress_chars("=> "),
            );
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 05 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let cases = [(300, "0.3 s"), (59_900, "59 s"), (185_000, "3 min 05 s")];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
