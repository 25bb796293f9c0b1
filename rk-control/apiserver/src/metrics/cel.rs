//! Expressions in the schemas of custom kinds: how long compiling and judging by them took.

use std::time::Duration;

use super::help;
use super::histogram::Histogram;

/// Upper bounds, in seconds; those of Prometheus' libraries, which upstream leaves as they are.
const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Durations of both.
pub struct Expressions {
    compiled: Histogram,
    evaluated: Histogram,
}

impl Default for Expressions {
    fn default() -> Self {
        Self { compiled: Histogram::new(BOUNDS), evaluated: Histogram::new(BOUNDS) }
    }
}

impl Expressions {
    /// The rules of a definition, or of one of its schemas, were compiled.
    pub fn compiled(&self, took: Duration) {
        self.compiled.observe(took.as_secs_f64());
    }

    /// An object was held against the rules of its kind.
    pub fn evaluated(&self, took: Duration) {
        self.evaluated.observe(took.as_secs_f64());
    }

    pub(super) fn render(&self, out: &mut String) {
        for (name, text, histogram) in [
            (
                "apiserver_cel_compilation_duration_seconds",
                "Time to compile the rules of custom kinds.",
                &self.compiled,
            ),
            (
                "apiserver_cel_evaluation_duration_seconds",
                "Time to hold an object against the rules of its kind.",
                &self.evaluated,
            ),
        ] {
            help(out, name, "histogram", text);
            histogram.render(out, name, "");
        }
    }
}
