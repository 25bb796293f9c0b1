//! Figures of the audit log, under upstream's names.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::policy::Level;
use crate::metrics::help;

/// What keeps an event from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The queue was full.
    Buffered,
    /// The file could not be written.
    Log,
}

/// Counts of events and of what became of them.
#[derive(Debug, Default)]
pub(super) struct Figures {
    events: AtomicU64,
    levels: [AtomicU64; Level::ALL.len()],
    buffered: AtomicU64,
    log: AtomicU64,
}

impl Figures {
    /// An event was made.
    pub(super) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The policy said this of a request.
    pub(super) fn level(&self, level: Level) {
        if let Some((_, count)) = Level::ALL.iter().zip(&self.levels).find(|(own, _)| **own == level) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many events were lost.
    pub(super) fn lost(&self, loss: Loss, events: u64) {
        let count = match loss {
            Loss::Buffered => &self.buffered,
            Loss::Log => &self.log,
        };
        count.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn render(&self, out: &mut String) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let name = "apiserver_audit_event_total";
        help(out, name, "counter", "Audit events that were made.");
        let _ = writeln!(out, "{name} {}", count(&self.events));
        let name = "apiserver_audit_error_total";
        help(out, name, "counter", "Audit events that were lost, by where.");
        for (plugin, own) in [("buffered", &self.buffered), ("log", &self.log)] {
            let _ = writeln!(out, "{name}{{plugin=\"{plugin}\"}} {}", count(own));
        }
        let name = "apiserver_audit_level_total";
        help(out, name, "counter", "Requests by what the audit policy says of them.");
        for (level, own) in Level::ALL.iter().zip(&self.levels) {
            let _ = writeln!(out, "{name}{{level=\"{}\"}} {}", level.name(), count(own));
        }
        // No request is refused because its event cannot be kept.
        let name = "apiserver_audit_requests_rejected_total";
        help(out, name, "counter", "Requests that were refused because their audit event could not be kept.");
        let _ = writeln!(out, "{name} 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_upstreams_names() {
        let figures = Figures::default();
        figures.event();
        figures.level(Level::Metadata);
        figures.lost(Loss::Buffered, 2);
        let mut text = String::new();
        figures.render(&mut text);
        for line in [
            "apiserver_audit_event_total 1",
            "apiserver_audit_error_total{plugin=\"buffered\"} 2",
            "apiserver_audit_error_total{plugin=\"log\"} 0",
            "apiserver_audit_level_total{level=\"Metadata\"} 1",
            "apiserver_audit_requests_rejected_total 0",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
