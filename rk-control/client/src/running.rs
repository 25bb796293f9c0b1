//! What workers are busy with: how long keys in hand have been worked on, for figures that show a worker that hangs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// By the queue's name and a number of its own; as many as there are workers.
static RUNNING: Mutex<BTreeMap<(&'static str, u64), Instant>> = Mutex::new(BTreeMap::new());

/// A key in hand, until dropped.
pub struct Running(&'static str, u64);

impl Running {
    /// Work on a key of this queue begins.
    #[must_use]
    pub fn begin(name: &'static str) -> Self {
        let mut all = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.range((name, 0)..=(name, u64::MAX)).next_back().map_or(0, |((_, last), _)| *last);
        all.insert((name, last + 1), Instant::now());
        Self(name, last + 1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&(self.0, self.1));
    }
}

/// Writes upstream's two figures of unfinished work.
pub(crate) fn render(out: &mut String) {
    let mut by_queue: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for ((name, _), begun) in &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
        let seconds = begun.elapsed().as_secs_f64();
        let (sum, longest) = by_queue.entry(name).or_default();
        *sum += seconds;
        *longest = longest.max(seconds);
    }
    let mut family = |name: &str, help: &str, pick: fn(&(f64, f64)) -> f64| {
        let _ = writeln!(out, "# HELP {name} [ALPHA] {help}\n# TYPE {name} gauge");
        for (queue, seconds) in &by_queue {
            let _ = writeln!(out, "{name}{{name=\"{queue}\"}} {}", pick(seconds));
        }
    };
    family("workqueue_unfinished_work_seconds", "Time that keys in hand have been worked on, summed.", |own| own.0);
    family("workqueue_longest_running_processor_seconds", "Time of the longest work in hand.", |own| own.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_of_until_it_ends() {
        let tell = || {
            let mut out = String::new();
            render(&mut out);
            out.matches("{name=\"busy\"}").count()
        };
        let (one, other) = (Running::begin("busy"), Running::begin("busy"));
        drop(one);
        assert_eq!(tell(), 2);
        drop(other);
        assert_eq!(tell(), 0);
    }
}
