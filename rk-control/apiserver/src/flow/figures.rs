//! What is counted of each FlowSchema, under upstream's names. Nothing waits, so nothing is told of queues.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::metrics::{Histogram, escape, help};

/// Upper bounds of the time that requests take, in seconds; upstream's.
const BOUNDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// Requests that match one schema, which leads to one level.
pub(super) struct Flow {
    schema: String,
    pub(super) level: String,
    /// Requests that began, and those that are over.
    begun: AtomicU64,
    over: AtomicU64,
    /// How long requests took: watches, which are over when they begin to tell, and all others.
    took: [Histogram; 2],
}

/// A request under way, until dropped.
pub(super) struct Executing {
    flow: Arc<Flow>,
    is_watch: bool,
    since: Instant,
}

impl std::fmt::Debug for Executing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.flow.schema)
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        let [watches, others] = &self.flow.took;
        if self.is_watch { watches } else { others }.observe(self.since.elapsed().as_secs_f64());
        self.flow.over.fetch_add(1, Ordering::Release);
    }
}

impl Flow {
    pub(super) fn new(schema: &str, level: &str) -> Self {
        let took = std::array::from_fn(|_| Histogram::new(BOUNDS));
        let (begun, over) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { schema: schema.to_owned(), level: level.to_owned(), begun, over, took }
    }

    /// Counts a request.
    pub(super) fn begin(flow: &Arc<Self>, is_watch: bool) -> Executing {
        flow.begun.fetch_add(1, Ordering::Relaxed);
        Executing { flow: Arc::clone(flow), is_watch, since: Instant::now() }
    }

    pub(super) fn is_named_as(&self, other: &Self) -> bool {
        self.schema == other.schema && self.level == other.level
    }

    /// How many requests are under way, and how many ever began.
    pub(super) fn counts(&self) -> (u64, u64) {
        // Who is over was counted before, so that there are never fewer than none.
        let over = self.over.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun.saturating_sub(over), begun)
    }

    fn labels(&self) -> String {
        format!("flow_schema=\"{}\",priority_level=\"{}\"", escape(&self.schema), escape(&self.level))
    }
}

/// Writes all of it; `seats` is what levels are configured to have.
pub(super) fn render(out: &mut String, seats: &[(String, u64)], flows: &[&Flow]) {
    let name = "apiserver_flowcontrol_nominal_limit_seats";
    help(out, name, "gauge", "Seats that a priority level is configured to have.");
    for (level, seats) in seats {
        let _ = writeln!(out, "{name}{{priority_level=\"{level}\"}} {seats}");
    }
    let name = "apiserver_flowcontrol_current_executing_requests";
    help(out, name, "gauge", "Requests under way, watches until they begin to tell.");
    for flow in flows {
        let _ = writeln!(out, "{name}{{{}}} {}", flow.labels(), flow.counts().0);
    }
    let name = "apiserver_flowcontrol_dispatched_requests_total";
    help(out, name, "counter", "Requests that were begun.");
    for flow in flows {
        let _ = writeln!(out, "{name}{{{}}} {}", flow.labels(), flow.counts().1);
    }
    let name = "apiserver_flowcontrol_request_execution_seconds";
    help(out, name, "histogram", "Time of requests until they are answered.");
    for flow in flows {
        for (kind, took) in ["watch", "regular"].into_iter().zip(&flow.took) {
            let figures = took.figures();
            if figures.total() > 0 {
                figures.render(out, name, &format!("{},type=\"{kind}\"", flow.labels()));
            }
        }
    }
}
